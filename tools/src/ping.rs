//! `uringmq ping`: is the node there, and how far away is it?

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use config::value::Time;
use serde_json::json;

use crate::connect::{Server, block_on};
use crate::failure::Failure;
use crate::output::{counted, print, print_json};

/// Options of `ping`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How often.
    #[arg(short, long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Time between two pings (a number alone: milliseconds).
    #[arg(long, alias = "interval-ms", value_name = "TIME", default_value = "100ms",
          value_parser = interval)]
    interval: Duration,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

fn interval(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(millis) => Ok(Duration::from_millis(millis)),
        Err(_) => text.parse().map(|Time(time)| time),
    }
}

/// Runs it.
pub(crate) fn run(options: Options) -> ExitCode {
    block_on(async move { ping(&options).await })
}

async fn ping(options: &Options) -> Result<(), Failure> {
    let begun = Instant::now();
    let client = options.server.connect().await?;
    let connected = begun.elapsed();
    let mut round_trips = Vec::new();
    for turn in 0..options.count {
        if turn > 0 {
            tokio::time::sleep(options.interval).await;
        }
        let begun = Instant::now();
        client.ping(b"uringmq ping").await?;
        round_trips.push(micros(begun.elapsed()));
    }
    round_trips.sort_by(f64::total_cmp);
    let at = |index: usize| round_trips.get(index).copied().unwrap_or_default();
    let (min, median, max) = (at(0), at(round_trips.len() / 2), at(round_trips.len() - 1));
    let node = client.node();
    if options.json {
        return print_json(&json!({
            "node": node.name,
            "node_id": format!("{:032x}", u128::from_be_bytes(node.id)),
            "shards": node.shards,
            "connect_us": micros(connected),
            "pings": options.count,
            "min_us": min, "median_us": median, "max_us": max,
        }));
    }
    print(&format!(
        "{} at {}, {}, connected in {:.0} us\n\
         {}: min {min:.0} us, median {median:.0} us, max {max:.0} us\n",
        node.name,
        options.server.server,
        counted(node.shards.into(), "shard"),
        micros(connected),
        counted(options.count.into(), "ping"),
    ))
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
