//! What the client commands share: the address, a runtime, a connection.

use std::future::Future;
use std::process::ExitCode;

use clap::Args;
use net::client::{Client, ClientConfig};
use net::wire::AckLevel;
use tokio::sync::Notify;

use crate::failure::Failure;

/// Where the node is.
#[derive(Clone, Debug, Args)]
pub(crate) struct Server {
    /// Address of the node.
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "URINGMQ_SERVER",
        default_value = "127.0.0.1:9440"
    )]
    pub(crate) server: String,
}

impl Server {
    /// Connects and says Hello.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        let name = concat!("uringmq-cli/", env!("CARGO_PKG_VERSION")).to_owned();
        let config = ClientConfig { name, ..ClientConfig::default() };
        let connected = Client::connect_with(self.server.as_str(), config).await;
        connected.map_err(|source| Failure::Connect { server: self.server.clone(), source })
    }

    /// The same, unless a signal comes first.
    pub(crate) async fn connect_unless(&self, stop: &Notify) -> Result<Client, Failure> {
        tokio::select! {
            biased;
            () = stop.notified() => Err(Failure::Incomplete("stopped while connecting".to_owned())),
            connected = self.connect() => connected,
        }
    }
}

/// Runs a command on a runtime of this one thread.
pub(crate) fn block_on(command: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::io("starting the runtime")(error).report(),
    };
    match runtime.block_on(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Ack levels as options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Ack {
    /// Taken by the node, and nothing more: a message may be lost and nobody will say so.
    None,
    /// In the node's memory: lost with its process.
    Memory,
    /// The device write completed: survives the node's process.
    Written,
    /// On stable media, with everything before it: survives power loss.
    Durable,
}

impl From<Ack> for AckLevel {
    fn from(ack: Ack) -> Self {
        match ack {
            Ack::None => Self::None,
            Ack::Memory => Self::Memory,
            Ack::Written => Self::Written,
            Ack::Durable => Self::Durable,
        }
    }
}
