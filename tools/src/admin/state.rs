//! What the admin server knows of its node, and how it asks.
//!
//! Over the node's own port, as a client: so what is said to be healthy is what clients meet,
//! listener and all. One connection, made when first needed and kept; one question at a time, whose
//! answer serves everybody who asks within the next moment.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use net::client::{Client, ClientConfig, NodeStats};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::topics::{self, Topics};

/// How long the node may take to answer; scrapers wait for 10 s, probes for less.
const DEADLINE: Duration = Duration::from_secs(2);
/// How long it may take to say what its topics hold.
const TOPICS_DEADLINE: Duration = Duration::from_secs(5);
/// An answer that is younger than this is given again.
const FRESH: Duration = Duration::from_millis(200);

/// The node, seen from the admin server.
#[derive(Debug, Default)]
pub(crate) struct State {
    node: OnceLock<SocketAddr>,
    draining: AtomicBool,
    asked: Mutex<Asked>,
    topics: Mutex<AskedTopics>,
    topics_max: usize,
}

#[derive(Debug, Default)]
struct Asked {
    client: Option<Client>,
    last: Option<(Instant, Arc<NodeStats>)>,
}

#[derive(Debug, Default)]
struct AskedTopics {
    client: Option<Client>,
    last: Option<(Instant, Arc<Topics>)>,
}

/// Why the node's figures are not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// It still reads its logs.
    Starting,
    /// It does not answer, for this reason.
    Mute(String),
}

impl State {
    /// Of a node that does not listen yet; topics are asked about up to so many.
    pub(super) fn new(topics_max: usize) -> Self {
        Self { topics_max, ..Self::default() }
    }

    /// The node listens here now.
    pub(super) fn node_is_at(&self, node: SocketAddr) {
        let _ = self.node.set(reachable(node));
    }

    /// The node takes no new connections any more.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// What the node has counted and measured, per shard.
    pub(super) async fn stats(&self) -> Result<Arc<NodeStats>, Silence> {
        let Some(node) = self.node.get() else { return Err(Silence::Starting) };
        match timeout(DEADLINE, self.ask(*node)).await {
            Ok(answer) => answer,
            Err(_) => Err(Silence::Mute(format!("no answer within {} s", DEADLINE.as_secs()))),
        }
    }

    /// What topics hold. Over a connection of its own: it may take longer than what probes ask. If it
    /// takes too long it is what it was before, or nothing.
    pub(super) async fn topics(&self) -> Arc<Topics> {
        let Some(node) = self.node.get() else { return Arc::default() };
        // Whoever comes while it is asked waits, and is given the same.
        let mut asked = self.topics.lock().await;
        if let Some((at, topics)) = &asked.last
            && at.elapsed() < topics::FRESH
        {
            return Arc::clone(topics);
        }
        let client = asked.client.take();
        let taken = timeout(TOPICS_DEADLINE, async {
            let client = match client {
                Some(client) => client,
                None => connect(*node).await?,
            };
            let topics = Topics::take(&client, self.topics_max).await?;
            Ok::<_, net::client::ClientError>((client, Arc::new(topics)))
        });
        match taken.await {
            Ok(Ok((client, topics))) => {
                *asked = AskedTopics {
                    client: Some(client),
                    last: Some((Instant::now(), Arc::clone(&topics))),
                };
                return topics;
            }
            Ok(Err(error)) => tracing::warn!(%error, "metrics of topics cannot be had"),
            Err(_) => {
                let seconds = TOPICS_DEADLINE.as_secs();
                tracing::warn!(
                    seconds,
                    "metrics of topics were not had in time; fewer can be: metrics_topics"
                );
            }
        }
        asked.last.as_ref().map(|(_, topics)| Arc::clone(topics)).unwrap_or_default()
    }

    async fn ask(&self, node: SocketAddr) -> Result<Arc<NodeStats>, Silence> {
        let mut asked = self.asked.lock().await;
        if let Some((at, stats)) = &asked.last
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(stats));
        }
        let mute = |error: net::client::ClientError| Silence::Mute(error.to_string());
        // Taken out: a connection over which a question was given up is not used again.
        let client = match asked.client.take() {
            Some(client) => client,
            None => connect(node).await.map_err(mute)?,
        };
        let stats = match client.stats(true).await {
            Ok(stats) => Arc::new(stats),
            Err(error) => return Err(mute(error)),
        };
        asked.client = Some(client);
        asked.last = Some((Instant::now(), Arc::clone(&stats)));
        Ok(stats)
    }
}

async fn connect(node: SocketAddr) -> Result<Client, net::client::ClientError> {
    let name = concat!("uringmq-admin/", env!("CARGO_PKG_VERSION")).to_owned();
    let config = ClientConfig { name, ..ClientConfig::default() };
    Client::connect_with(node, config).await
}

/// Where a node can be reached that listens here: "everywhere" is nowhere to connect to.
fn reachable(listens: SocketAddr) -> SocketAddr {
    let ip = match listens.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listens.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_that_does_not_answer_is_given_up() {
        let state = State::default();
        assert_eq!(state.stats().await.unwrap_err(), Silence::Starting);
        // It takes connections (the kernel does) and says nothing, as one whose reactor is stuck.
        let stuck = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        state.node_is_at(stuck.local_addr().unwrap());
        let begun = Instant::now();
        let (first, second) = tokio::join!(state.stats(), state.stats());
        for silence in [first, second] {
            let silence = silence.unwrap_err();
            assert!(matches!(&silence, Silence::Mute(why) if why.contains("within 2 s")));
        }
        assert!(begun.elapsed() < 2 * DEADLINE, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_node_that_is_gone_is_said_at_once() {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let state = State::default();
        state.node_is_at(gone);
        assert!(matches!(state.stats().await, Err(Silence::Mute(_))));
    }

    #[test]
    fn everywhere_is_reached_on_loopback() {
        for (listens, at) in [
            ("0.0.0.0:9440", "127.0.0.1:9440"),
            ("[::]:9440", "[::1]:9440"),
            ("10.1.2.3:9440", "10.1.2.3:9440"),
        ] {
            assert_eq!(reachable(listens.parse().unwrap()), at.parse().unwrap());
        }
    }
}
