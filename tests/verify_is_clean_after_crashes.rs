//! `verify` finds no damage in what a crash leaves, and counts what consumers get.

use net::client::{AckLevel, Client, ClientError, ErrorCode, Record};

use crate::harness::directory::{records, verify_clean};
use crate::harness::node::{Node, create_topic, fresh_dir};
use crate::harness::verify::{read_all, value};
use crate::harness::{run_badly, run_well};

/// Records of each round.
const RECORDS: u64 = 300;

#[tokio::test]
async fn killed_started_again_and_stopped() {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let options = ["--segment-size", "1MiB", "--shards", "2"];
    let node = Node::start(&data, &options);
    let client = node.client().await;
    create_topic(&client, "t", 3).await;
    create_topic(&client, "gone", 1).await;
    produce(&client, "gone", 1).await;
    produce(&client, "t", RECORDS).await;
    client.delete_topic("gone").await.expect("it is there");
    node.kill();
    let first = verify_clean(&data);
    assert_eq!(records(&first, "t"), RECORDS);

    let node = Node::start(&data, &options);
    let client = node.client().await;
    produce(&client, "t", RECORDS).await;
    let messages = read_all(&client, "t").await.len() as u64;
    assert_eq!(messages, 2 * RECORDS);
    node.stop();
    let second = verify_clean(&data);
    assert_eq!((records(&second, "t"), records(&second, "gone")), (messages, 1));
    let shards = second["shards"].as_array().expect("shards");
    assert_eq!((shards.len(), &shards[0]["life"]), (2, &2.into()));
    assert!(shards[0]["segments"].as_u64() > Some(1), "it rolled: {second}");
    let gone = second["queues"].as_array().expect("queues").iter().find(|q| q["topic"] == "gone");
    assert_eq!(gone.expect("its entries are in the log")["deleted"], true);
    let text = run_well(&["verify", data.to_str().expect("a path")]);
    let text = String::from_utf8(text).expect("text");
    assert!(text.lines().last().is_some_and(|line| line.starts_with("clean: ")), "{text}");
    assert!(text.contains("gone (deleted)"), "{text}");
}

#[tokio::test]
async fn a_running_node_is_not_disturbed() {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let node = Node::start(&data, &[]);
    let client = node.client().await;
    create_topic(&client, "t", 1).await;
    produce(&client, "t", 5).await;
    let path = data.to_str().expect("a path");
    let errors = run_badly(&["verify", path], 2);
    assert!(errors.contains("in use") && errors.contains("stop"), "{errors}");
    // Nobody writes at the moment, so it happens to be whole.
    let output = crate::harness::run(&["verify", path, "--read-only"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("a running node may be changing"), "{errors}");
    assert_eq!(output.status.code(), Some(0));
    produce(&client, "t", 5).await;
    node.stop();
    assert_eq!(records(&verify_clean(&data), "t"), 10);
}

#[test]
fn what_is_no_data_directory_is_refused_and_left_alone() {
    let dir = fresh_dir();
    let missing = dir.path().join("missing");
    for path in [dir.path(), &missing] {
        let errors = run_badly(&["verify", path.to_str().expect("a path")], 2);
        assert!(errors.contains(path.to_str().expect("a path")), "{errors}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("it is there").count(), 0);
}

/// Records of changing sizes, in turn durable and written.
async fn produce(client: &Client, topic: &str, count: u64) {
    let mut producers = Vec::new();
    for level in [AckLevel::Durable, AckLevel::Written] {
        let producer = client.producer(topic).ack(level).build().await;
        producers.push(producer.expect("the topic is there"));
    }
    for number in 0..count {
        let value = value(0, number, number as usize * 37 % 20_000);
        loop {
            match producers[number as usize % 2].send(&Record::new(&value)).await {
                Ok(_) => break,
                // Small segments roll faster than their successors are made.
                Err(ClientError::Server { code: ErrorCode::Busy, .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}
