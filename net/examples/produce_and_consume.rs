//! Sends a few records to a node and reads them back.
//!
//! ```text
//! cargo run -p net --example produce_and_consume -- 127.0.0.1:9440
//! ```

use std::error::Error;

use net::client::{Client, ClientError, ErrorCode, NewTopic, Record, StartAt};

const RECORDS: usize = 10;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9440".to_owned());
    run(&address).await
}

/// Makes the topic `example`, sends, and reads what was sent.
pub async fn run(address: &str) -> Result<(), Box<dyn Error>> {
    let client = Client::connect(address).await?;
    println!("connected to {}, shard {}", client.node().name, client.node().shard);

    let topic = NewTopic {
        name: "example",
        queues: 4,
        ack: None,
        deep_validation: false,
        key_index: false,
        retention: Default::default(),
    };
    match client.create_topic(&topic).await {
        Ok(id) => println!("made topic {id}"),
        Err(ClientError::Server { code: ErrorCode::TopicExists, .. }) => {}
        Err(error) => return Err(error.into()),
    }

    // The consumer begins behind what is there already, before the records are sent.
    let mut consumer = client.consumer("example").start(StartAt::Latest).build().await?;

    // Once each, in order, durable: that is what a producer does unless told otherwise.
    let producer = client.producer("example").timings(true).build().await?;
    let mut acks = Vec::new();
    for number in 0..RECORDS {
        let (key, value) = (format!("key-{}", number % 3), format!("value-{number}"));
        let record = Record::new(value.as_bytes()).with_key(key.as_bytes());
        acks.push(producer.send_async(&record).await?);
    }
    for ack in acks {
        let sent = ack.await?;
        println!("stored at {}/{}: {:?}", sent.queue, sent.offset, sent.timings);
    }

    let mut read = 0;
    while read < RECORDS {
        for message in consumer.poll().await? {
            println!("{}/{}: {:?}", message.queue, message.offset, message.value);
            read += 1;
        }
    }
    Ok(())
}
