//! The client library's examples do what they say, against the real node.

use crate::harness::node::{Node, create_topic, fresh_dir};
use crate::harness::verify::read_all;

#[path = "../net/examples/copy_at_least_once.rs"]
#[allow(dead_code, unreachable_pub)]
mod copy_at_least_once;
#[path = "../net/examples/firehose.rs"]
#[allow(dead_code, unreachable_pub)]
mod firehose;
#[path = "../net/examples/produce_and_consume.rs"]
#[allow(dead_code, unreachable_pub)]
mod produce_and_consume;

#[tokio::test]
async fn one_after_the_other() {
    let dir = fresh_dir();
    let node = Node::start(&dir.path().join("data"), &[]);
    let client = node.client().await;
    produce_and_consume::run(&node.address).await.expect("it runs");
    produce_and_consume::run(&node.address).await.expect("and again");

    create_topic(&client, "upper", 2).await;
    let copied = copy_at_least_once::run(&node.address, "example", "upper").await;
    assert_eq!(copied.expect("it runs"), 20);
    let again = copy_at_least_once::run(&node.address, "example", "upper").await;
    assert_eq!(again.expect("it goes on where it ended"), 0);
    let messages = read_all(&client, "upper").await;
    assert_eq!(messages.len(), 20);
    assert!(
        messages.iter().all(|message| message
            .value
            .as_deref()
            .expect("one")
            .starts_with(b"VALUE-"))
    );

    create_topic(&client, "clicks", 3).await;
    firehose::run(&node.address, "clicks", 20_000).await.expect("it runs");
    assert_eq!(read_all(&client, "clicks").await.len(), 20_000);
    node.stop();
}
