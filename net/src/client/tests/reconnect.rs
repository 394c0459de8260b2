//! A consumer goes on over a new connection where the old one broke, for as long as it was told.

use std::time::Duration;

use super::small_node::{Fault, SmallNode};
use crate::client::{Client, ClientError, Record, RetryPolicy};

#[tokio::test]
async fn a_consumer_reads_on_after_a_lost_connection() {
    let node = SmallNode::start(2).await;
    let client = Client::connect(node.address).await.unwrap();
    let mut consumer = client.consumer("t").build().await.unwrap();
    let producer = client.producer("t").build().await.unwrap();
    let mut read = vec![];
    for number in 0..10_u8 {
        // Producer and consumer share the connection: it ends under both.
        node.state.lock().unwrap().faults = [Fault::CutAfter].into();
        producer.send(&Record::new(&[number])).await.unwrap();
        while read.len() <= usize::from(number) {
            let messages = consumer.poll().await.unwrap();
            read.extend(messages.iter().map(|message| message.value.as_deref().unwrap()[0]));
        }
    }
    assert_eq!(read, (0..10).collect::<Vec<_>>());
    assert!(node.state.lock().unwrap().connections > 10);
}

#[tokio::test]
async fn a_consumer_says_when_nobody_comes_back() {
    let node = SmallNode::start(1).await;
    let client = Client::connect(node.address).await.unwrap();
    let quick = RetryPolicy { pause_max: Duration::from_millis(10), ..RetryPolicy::default() };
    let consumer = client.consumer("t").retry(quick).retry_for(Duration::from_millis(100));
    let mut consumer = consumer.build().await.unwrap();
    node.stop();
    let begun = tokio::time::Instant::now();
    let error = consumer.poll().await.unwrap_err();
    assert!(begun.elapsed() >= Duration::from_millis(100));
    assert!(matches!(error.source, ClientError::Connect { .. }), "{error}");
}
