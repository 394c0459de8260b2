//! Frames that do not follow the protocol: an error and a close, as `net/PROTOCOL.md` says, while
//! everybody else goes on and nothing acknowledged is lost.

use std::time::{Duration, Instant};

use net::client::{Client, Record};
use net::wire::limits::FRAME_BYTES_MAX;
use net::wire::{ErrorCode, Hello, Request};

use crate::harness::node::{Node, create_topic, fresh_dir};
use crate::harness::raw::{Raw, frame};
use crate::harness::verify::{Acked, check, read_all, value};

/// Short, so that the test is; the node's default is ten seconds.
const SILENCE_MS: u64 = 300;

/// A node, a client that must not be disturbed, and what it had acknowledged.
struct Scene {
    _dir: tempfile::TempDir,
    node: Node,
    client: Client,
    acked: Acked,
}

impl Scene {
    async fn new() -> Self {
        let dir = fresh_dir();
        let silence = format!("{SILENCE_MS}ms");
        let node = Node::start(&dir.path().join("data"), &["--frame-deadline", &silence]);
        let client = node.client().await;
        create_topic(&client, "good", 1).await;
        let mut scene = Self { _dir: dir, node, client, acked: Acked::default() };
        scene.produce(20).await;
        scene
    }

    async fn produce(&mut self, count: u64) {
        let producer = self.client.producer("good").build().await.expect("the topic is there");
        let begin = self.acked.0.len() as u64;
        for sequence in begin..begin + count {
            let value = value(0, sequence, 100);
            let sent = producer.send(&Record::new(&value)).await.expect("an ack");
            self.acked.add(sent.queue, sent.offset, &value);
        }
    }

    /// The other connection was not disturbed, and nothing is lost.
    async fn end(mut self) {
        self.produce(20).await;
        check(&read_all(&self.client, "good").await, &self.acked);
        self.node.stop();
    }
}

#[tokio::test]
async fn malformed_frames_are_answered_and_closed() {
    let scene = Scene::new().await;
    let ping = frame(9, &Request::Ping(b""));
    let changed = |at: usize, byte: u8| {
        let mut bytes = ping.clone();
        bytes[at] = byte;
        bytes
    };
    let mut cut_body = frame(9, &Request::TopicDelete("good"));
    cut_body[3] -= 2;
    cut_body.truncate(cut_body.len() - 2);
    let malformed = [
        ("an unknown flag", changed(5, 0x80)),
        ("a reserved byte", changed(7, 1)),
        ("one-way, but no produce", changed(5, 2)),
        ("a length below a header's", vec![0, 0, 0, 7, 2, 0, 0, 0]),
        ("a body that is too short", cut_body),
        ("a second Hello with a wrong magic", bad_hello()),
    ];
    for (what, bytes) in malformed {
        let mut raw = Raw::greeted(&scene.node.address);
        raw.send(&bytes);
        assert_eq!(raw.refused().code, ErrorCode::Malformed, "{what}");
        raw.expect_closed();
    }
    scene.end().await;
}

#[tokio::test]
async fn an_unknown_operation_is_answered_and_the_connection_goes_on() {
    let scene = Scene::new().await;
    let mut raw = Raw::greeted(&scene.node.address);
    let mut bytes = frame(9, &Request::Ping(b""));
    bytes[4] = 200;
    raw.send(&bytes);
    let refused = raw.refused();
    assert_eq!((refused.code, refused.correlation), (ErrorCode::UnknownOperation, 9));
    raw.expect_open();
    scene.end().await;
}

#[tokio::test]
async fn a_frame_over_the_limit_is_refused_before_it_is_sent() {
    let scene = Scene::new().await;
    for length in [FRAME_BYTES_MAX - 3, u32::MAX] {
        let mut raw = Raw::greeted(&scene.node.address);
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend([8, 0, 0, 0, 0, 0, 0, 9]);
        raw.send(&bytes);
        let refused = raw.refused();
        assert_eq!((refused.code, refused.correlation), (ErrorCode::FrameTooLarge, 9));
        raw.expect_closed();
    }
    scene.end().await;
}

#[tokio::test]
async fn half_a_frame_and_silence_ends_in_a_close() {
    let scene = Scene::new().await;
    let whole = frame(9, &Request::Ping(&[b'x'; 100]));
    for bytes in [1, 3, 5, 12, whole.len() - 1] {
        let mut raw = Raw::greeted(&scene.node.address);
        let begun = Instant::now();
        raw.send(whole.get(..bytes).expect("a part"));
        raw.expect_closed();
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(SILENCE_MS * 9 / 10), "{bytes} bytes: {took:?}");
    }
    // Silence between frames is no fault, however long.
    let mut raw = Raw::greeted(&scene.node.address);
    std::thread::sleep(Duration::from_millis(SILENCE_MS * 2));
    raw.expect_open();
    scene.end().await;
}

#[tokio::test]
async fn nothing_goes_before_hello() {
    let scene = Scene::new().await;
    let mut raw = Raw::connect(&scene.node.address);
    raw.send(&frame(9, &Request::Ping(b"hi")));
    let refused = raw.refused();
    assert_eq!((refused.code, refused.correlation), (ErrorCode::HelloRequired, 9));
    raw.expect_closed();

    let mut raw = Raw::connect(&scene.node.address);
    let future = Hello { version_min: 7, version_max: 9, shard_wish: 0, client: "from the future" };
    raw.send(&frame(9, &Request::Hello(future)));
    assert_eq!(raw.refused().code, ErrorCode::UnsupportedVersion);
    raw.expect_closed();
    scene.end().await;
}

#[tokio::test]
async fn garbage_is_answered_and_closed() {
    let scene = Scene::new().await;
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
    let noise: Vec<u8> =
        (0..5000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for bytes in [http, noise, vec![0; 64], vec![0xff; 64]] {
        let mut raw = Raw::connect(&scene.node.address);
        raw.send(&bytes);
        let code = raw.refused().code;
        let expected = [ErrorCode::Malformed, ErrorCode::FrameTooLarge];
        assert!(expected.contains(&code), "{code:?}");
        raw.expect_closed();
    }
    scene.end().await;
}

fn bad_hello() -> Vec<u8> {
    let hello = Hello { version_min: 1, version_max: 1, shard_wish: 0, client: "x" };
    let mut bytes = frame(9, &Request::Hello(hello));
    bytes[12..16].copy_from_slice(b"NOPE");
    bytes
}
