//! Reads a topic as a consumer group, does something with each message, and sends the result to
//! another topic. Whatever fails in between, every message gets there; after a crash of this
//! program, those since the last commit get there a second time.
//!
//! ```text
//! cargo run -p net --example copy_at_least_once -- 127.0.0.1:9440 orders orders-upper
//! ```

use std::error::Error;
use std::time::Duration;

use net::client::{Client, Record};

/// How long to wait for more before it ends.
const PATIENCE: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |default: &str| arguments.next().unwrap_or_else(|| default.to_owned());
    let (address, from, to) = (next("127.0.0.1:9440"), next("orders"), next("orders-upper"));
    println!("{} messages", run(&address, &from, &to).await?);
    Ok(())
}

/// Copies what is there and says how much that was.
pub async fn run(address: &str, from: &str, to: &str) -> Result<usize, Box<dyn Error>> {
    let client = Client::connect(address).await?;
    let mut consumer = client.consumer(from).group("copier").build().await?;
    let producer = client.producer(to).build().await?;
    let mut copied = 0;
    while let Ok(messages) = tokio::time::timeout(PATIENCE, consumer.poll()).await {
        for message in messages? {
            let value = message.value.as_deref().unwrap_or_default().to_ascii_uppercase();
            let record = Record { key: message.key.as_deref(), ..Record::new(&value) };
            // Only waits for room: the flush below waits for all of them at once.
            drop(producer.send_async(&record).await?);
            copied += 1;
        }
        // First the results are durable, then it is said that they are: never the other way round.
        producer.flush().await?;
        consumer.commit().await?;
    }
    Ok(copied)
}
