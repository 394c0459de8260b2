//! As many messages a second as there is room for, and what that took: compressed, in full batches,
//! with callers that wait only when the buffer is full.
//!
//! ```text
//! cargo run --release -p net --example firehose -- 127.0.0.1:9440 clicks 1000000
//! ```

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use net::client::{AckLevel, Client, Compression, ProducerStats, Record};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9440".to_owned());
    let topic = arguments.next().unwrap_or_else(|| "clicks".to_owned());
    let count = arguments.next().map_or(Ok(1_000_000), |count| count.parse())?;
    run(&address, &topic, count).await
}

/// Sends this many messages to a topic that is there, and prints what it took.
pub async fn run(address: &str, topic: &str, count: u64) -> Result<(), Box<dyn Error>> {
    let client = Client::connect(address).await?;
    let stats = Arc::new(ProducerStats::new());
    let producer = client
        .producer(topic)
        .ack(AckLevel::Written)
        .compression(Compression::Lz4)
        .batch_bytes(512 * 1024)
        .linger(Duration::from_millis(5))
        .observer(Arc::clone(&stats) as _)
        .build()
        .await?;
    let begun = Instant::now();
    for number in 0..count {
        let value = format!("{{\"user\":{},\"page\":\"/item/{number}\"}}", number % 1000);
        drop(producer.send_async(&Record::new(value.as_bytes())).await?);
    }
    // Says so if anything was given up.
    producer.close().await?;
    let counts = stats.counts();
    println!(
        "{} messages in {} batches, {} of {} bytes sent, {:.0} messages/s, batches took {:.1} ms \
         (p50) and {:.1} ms (p99), {} retries",
        counts.records,
        counts.batches,
        counts.sent_bytes,
        counts.plain_bytes,
        counts.records as f64 / begun.elapsed().as_secs_f64(),
        counts.latency_ns.value_at_quantile(0.5) as f64 / 1e6,
        counts.latency_ns.value_at_quantile(0.99) as f64 / 1e6,
        counts.retries,
    );
    assert_eq!(counts.records, count, "every one was acknowledged");
    Ok(())
}
