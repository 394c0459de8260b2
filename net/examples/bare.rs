//! The yardstick server: `bare ADDRESS --mode sleep|hybrid|poll [--durable DIR] [--cpu N]`.

use std::error::Error;
use std::path::{Path, PathBuf};

use engine::io::block::Budget;
use engine::io::ring::{DiskLimits, RingDisk};
use net::server::bare::Bare;
use net::server::{Reactor, ReactorConfig, WaitMode, bind};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let address = args.next().ok_or("bare ADDRESS [--mode M] [--durable DIR] [--cpu N]")?;
    let mut config = ReactorConfig { cpu: Some(0), ..ReactorConfig::default() };
    let mut directory: Option<PathBuf> = None;
    while let Some(option) = args.next() {
        let value = args.next().ok_or("an option without a value")?;
        match option.as_str() {
            "--mode" => config.wait = mode(&value)?,
            "--durable" => directory = Some(value.into()),
            "--cpu" => config.cpu = value.parse().ok(),
            _ => return Err(format!("unknown option {option}").into()),
        }
    }
    let listener = bind(address.parse()?)?;
    let local = listener.local_addr()?;
    let reactor = Reactor::spawn(config, listener, move |ring| {
        let Some(directory) = directory else { return Ok(Bare::echo()) };
        let budget = Budget::new(64 << 20);
        let disk = RingDisk::open(ring, Path::new(&directory), budget, DiskLimits::default())
            .map_err(|e| e.to_string())?;
        Bare::durable(disk).map_err(|e| e.to_string().into())
    })?;
    println!("{local}");
    reactor.join()?;
    Ok(())
}

fn mode(name: &str) -> Result<WaitMode, String> {
    match name {
        "sleep" => Ok(WaitMode::Sleep),
        "hybrid" => Ok(WaitMode::Hybrid),
        "poll" => Ok(WaitMode::Poll),
        _ => Err(format!("no mode {name}")),
    }
}
