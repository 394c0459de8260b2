//! The other end of a connection, driven by a test frame by frame.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::client::{Client, ClientConfig};
use crate::wire::limits::{BATCH_BYTES_MAX, FETCH_BYTES_MAX, FRAME_BYTES_MAX};
use crate::wire::{
    HelloReply, Reply, ReplyHeader, Request, RequestHeader, VERSION, decode_request, encode_reply,
    frame_length,
};

pub(super) struct Peer {
    stream: TcpStream,
    read: Vec<u8>,
}

/// A request as it came: decode it again with `decode_request`.
pub(super) struct Frame(pub(super) Vec<u8>);

impl Frame {
    pub(super) fn decode(&self) -> (RequestHeader, Request<'_>) {
        decode_request(&self.0).unwrap()
    }

    pub(super) fn correlation(&self) -> u32 {
        self.decode().0.correlation
    }
}

impl Peer {
    /// A client and the peer it is connected to, Hello behind them.
    pub(super) async fn pair(config: ClientConfig) -> (Client, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, peer) =
            tokio::join!(Client::connect_with(address, config), Self::accept(&listener));
        (client.unwrap(), peer)
    }

    pub(super) async fn accept(listener: &TcpListener) -> Self {
        Self::accept_of(listener, 1).await.0
    }

    /// A connection to a node of so many shards, and the shard it wished for.
    pub(super) async fn accept_of(listener: &TcpListener, shards: u16) -> (Self, u16) {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut peer = Self { stream, read: vec![] };
        let hello = peer.next().await.unwrap();
        let Request::Hello(wanted) = hello.decode().1 else { panic!("{:?}", hello.decode().1) };
        let wish = wanted.shard_wish;
        let reply = HelloReply {
            version: VERSION,
            shard: 1,
            shards,
            frame_bytes_max: FRAME_BYTES_MAX,
            batch_bytes_max: BATCH_BYTES_MAX,
            fetch_bytes_max: FETCH_BYTES_MAX,
            node_id: [7; 16],
            node: "peer",
        };
        peer.reply(hello.correlation(), &Reply::Hello(reply)).await;
        (peer, wish)
    }

    /// The next request; `None` when the client has closed.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        loop {
            match frame_length(&self.read, FRAME_BYTES_MAX).unwrap() {
                Some(total) if self.read.len() >= total => {
                    return Some(Frame(self.read.drain(..total).collect()));
                }
                _ => {}
            }
            if self.stream.read_buf(&mut self.read).await.ok()? == 0 {
                return None;
            }
        }
    }

    pub(super) async fn reply(&mut self, correlation: u32, reply: &Reply<'_>) {
        let header = ReplyHeader { correlation, ..ReplyHeader::default() };
        self.reply_with(&header, reply).await;
    }

    pub(super) async fn reply_with(&mut self, header: &ReplyHeader, reply: &Reply<'_>) {
        let mut out = vec![];
        encode_reply(&mut out, header, reply);
        self.send(&out).await;
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        // The client may be gone: that is for the test to notice, not for the peer.
        let _ = self.stream.write_all(bytes).await;
    }
}
