//! `uringmq find`: messages by their key and by the words of their header, in recent and sealed
//! segments, after a restart, and after the index was switched on late.

use engine::batch::RecordHeader;
use net::client::{Client, ClientError, ErrorCode, Message, NewTopic, Record, Retention};
use serde_json::Value;

use crate::harness::node::{Node, fresh_dir};
use crate::harness::run_well;

const OPTIONS: [&str; 2] = ["--segment-size", "1MiB"];
const MESSAGES: u64 = 400;
const KEYS: u64 = 10;

fn key(number: u64) -> String {
    format!("order-{}", number % KEYS)
}

async fn send(client: &Client, numbers: std::ops::Range<u64>) {
    let producer = client.producer("orders").build().await.expect("the topic is there");
    for number in numbers {
        let (key, value) = (key(number), format!("{number}/{}", "x".repeat(8000)));
        let word = format!("invoice-{number} paid");
        let headers = [RecordHeader { key: b"KEYS", value: Some(word.as_bytes()) }];
        loop {
            let record = Record::new(value.as_bytes()).with_key(key.as_bytes());
            match producer.send(&Record { headers: &headers, ..record }).await {
                Ok(_) => break,
                // The next small segment may still be in the making.
                Err(ClientError::Server { code: ErrorCode::Busy, .. }) => {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn number(message: &Message) -> u64 {
    let value = std::str::from_utf8(message.value.as_deref().expect("a value")).expect("text");
    value.split('/').next().and_then(|number| number.parse().ok()).expect("a number")
}

async fn check(client: &Client, numbers: std::ops::Range<u64>) {
    for wanted in 0..KEYS {
        let found = client.find("orders", key(wanted).as_bytes(), 1000).await.expect("an index");
        let mut found: Vec<u64> = found.iter().map(number).collect();
        found.sort_unstable();
        let expected: Vec<u64> = numbers.clone().filter(|n| n % KEYS == wanted).collect();
        assert_eq!(found, expected, "key {wanted}");
    }
    for wanted in [numbers.start, numbers.end / 2, numbers.end - 1] {
        let word = format!("invoice-{wanted}");
        let found = client.find("orders", word.as_bytes(), 10).await.expect("an index");
        assert_eq!(found.iter().map(number).collect::<Vec<_>>(), [wanted]);
    }
    assert!(client.find("orders", b"order-77", 10).await.expect("an index").is_empty());
}

#[tokio::test]
async fn messages_are_found_by_key() {
    let dir = fresh_dir();
    let node = Node::start(dir.path(), &OPTIONS);
    let client = node.client().await;
    let topic = NewTopic {
        name: "orders",
        queues: 2,
        ack: None,
        deep_validation: false,
        key_index: true,
        retention: Retention::default(),
    };
    client.create_topic(&topic).await.expect("a new topic");
    send(&client, 0..MESSAGES).await;
    check(&client, 0..MESSAGES).await;
    let server = ["--server", &node.address];
    let newest = run_well(&[&["find", "orders", "order-3", "--max", "1"], &server[..]].concat());
    assert!(newest.starts_with(b"393/"), "{:?}", String::from_utf8_lossy(&newest[..20]));
    let all = run_well(&[&["find", "orders", "order-3", "--json"], &server[..]].concat());
    let all: Vec<Value> = serde_json::from_slice(&all).expect("JSON");
    assert_eq!(all.len(), 40);
    assert!(all.iter().all(|message| message["key"] == "order-3"));
    node.kill();
    let node = Node::start(dir.path(), &OPTIONS);
    check(&node.client().await, 0..MESSAGES).await;
    node.stop();
    let dir = dir.path().to_str().expect("a name");
    run_well(&["verify", dir]);
    let dump = run_well(&["dump", dir, "--index", "1", "--topic", "orders", "--limit", "10000"]);
    let dump = String::from_utf8(dump).expect("text");
    assert!(dump.contains("  key with hash "), "{dump:.400}");
}

#[tokio::test]
async fn an_index_made_late_knows_what_comes_from_then_on() {
    let dir = fresh_dir();
    let node = Node::start(dir.path(), &OPTIONS);
    let client = node.client().await;
    let server = ["--server", &node.address];
    run_well(&[&["topic", "create", "orders", "--queues", "2"], &server[..]].concat());
    send(&client, 0..20).await;
    let refused = crate::harness::run(&[&["find", "orders", "order-3"], &server[..]].concat());
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("topic alter orders --key-index on"), "{said}");
    run_well(&[&["topic", "alter", "orders", "--key-index", "on"], &server[..]].concat());
    send(&client, 20..40).await;
    check(&client, 20..40).await;
    node.stop();
}
