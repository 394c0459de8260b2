//! Two nodes on one data directory would destroy it: the second one is refused.

use crate::harness::node::{Node, create_topic, fresh_dir};
use crate::harness::run_badly;

#[tokio::test]
async fn until_the_first_one_has_ended() {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let first = Node::start(&data, &[]);
    let client = first.client().await;
    create_topic(&client, "kept", 1).await;
    let path = data.to_str().expect("a path");
    let errors = run_badly(&["serve", "--listen", "127.0.0.1:0", "--data", path], 3);
    assert!(errors.contains("in use by another node") && errors.contains(path), "{errors}");
    client.ping(b"undisturbed").await.expect("the first node goes on");
    // A killed node leaves its LOCK file behind, but not the lock.
    first.kill();
    let second = Node::start(&data, &[]);
    let topics = second.client().await.list_topics().await.expect("a list");
    assert_eq!(topics.first().map(|topic| &*topic.name), Some("kept"));
    second.stop();
}
