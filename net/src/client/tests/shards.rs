//! With a node of several shards, what concerns a queue goes over a connection that asked for the
//! queue's shard.

use std::collections::BTreeMap;

use tokio::net::TcpListener;

use super::peer::Peer;
use crate::client::{AckLevel, Client, ClientConfig, Partitioner, Record};
use crate::wire::{ProducerId, Reply, Request, SHARD_ANY, TopicMetadata};

#[tokio::test]
async fn every_queue_is_reached_over_its_shards_connection() {
    let expected = BTreeMap::from([(0, vec![0, 2, 0, 2]), (1, vec![1, 1])]);
    assert_eq!(queues_by_wish(ClientConfig::default()).await, expected);
    let one = ClientConfig { connection_per_shard: false, ..ClientConfig::default() };
    let expected = BTreeMap::from([(SHARD_ANY, vec![0, 1, 2, 0, 1, 2])]);
    assert_eq!(queues_by_wish(one).await, expected);
}

/// Sends to three queues in turn, and says which arrived over a connection with which wish.
async fn queues_by_wish(config: ClientConfig) -> BTreeMap<u16, Vec<u16>> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = async {
        let client = Client::connect_with(address, config).await.unwrap();
        let producer = client.producer("t").partitioner(Partitioner::RoundRobin);
        let producer = producer.build().await.unwrap();
        for _ in 0..6 {
            producer.send(&Record::new(b"v")).await.unwrap();
        }
        client.ping(b"done").await.unwrap();
    };
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let node = async {
        loop {
            let (mut peer, wish) = Peer::accept_of(&listener, 2).await;
            let sender = sender.clone();
            tokio::spawn(async move {
                while let Some(frame) = peer.next().await {
                    let reply = match frame.decode().1 {
                        Request::Metadata(_) => Reply::Metadata(vec![TopicMetadata {
                            error: None,
                            topic: 3,
                            ack: AckLevel::Durable,
                            name: "t",
                            shards: vec![0, 1, 0].into(),
                        }]),
                        Request::InitProducerId => {
                            Reply::InitProducerId(ProducerId { id: 1, epoch: 0 })
                        }
                        Request::Produce(produce) => {
                            sender.send((wish, produce.queue)).unwrap();
                            Reply::Produce(0)
                        }
                        Request::Ping(echo) => {
                            assert_eq!(wish, SHARD_ANY);
                            Reply::Ping(echo)
                        }
                        other => panic!("{other:?}"),
                    };
                    peer.reply(frame.correlation(), &reply).await;
                }
            });
        }
    };
    tokio::select! {
        () = client => {}
        () = node => {}
    }
    let mut queues: BTreeMap<u16, Vec<u16>> = BTreeMap::new();
    while let Ok((wish, queue)) = seen.try_recv() {
        queues.entry(wish).or_default().push(queue);
    }
    queues
}
