//! A closed-loop client for the bare server, and the yardsticks beside it; one thread, pinned.
//!
//! `bare_load ADDRESS CONNECTIONS SECONDS [CPU]`: N connections, one 1 KiB request outstanding
//! each. `bare_load --echo-server CPU` is a plain blocking echo; `bare_load --device DIR SECONDS
//! [CPU]` writes 4 KiB back to back, O_DIRECT and O_DSYNC, through the ring.
//! It yields the CPU whenever it finds nothing: a generator that only spins would delay the
//! kernel worker that ends a durable write by a scheduler slice.

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use engine::io::block::Budget;
use engine::io::ring::{DiskLimits, Ring, RingConfig, RingDisk};
use engine::io::{Disk, DiskOp, FileName, Output, run};
use hdrhistogram::Histogram;
use net::server::bare::REPLY_BYTES;
use nix::sched::{CpuSet, sched_setaffinity, sched_yield};
use nix::unistd::Pid;

const REQUEST_BYTES: usize = 1024;
const WARM_UP: Duration = Duration::from_millis(300);

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |n: usize| args.get(n).map(String::as_str).ok_or("see the module's documentation");
    let cpu = |n: usize| args.get(n).map_or(Ok(1), |cpu| cpu.parse::<usize>());
    match arg(0)? {
        "--echo-server" => {
            pin(cpu(1)?)?;
            echo_server()
        }
        "--device" => {
            pin(cpu(3)?)?;
            device(Path::new(arg(1)?), Duration::from_secs_f64(arg(2)?.parse()?))
        }
        address => {
            pin(cpu(3)?)?;
            load(address, arg(1)?.parse()?, Duration::from_secs_f64(arg(2)?.parse()?))
        }
    }
}

fn pin(cpu: usize) -> nix::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set)
}

fn report(what: &str, latency: &Histogram<u64>, seconds: f64) {
    let us = |q: f64| latency.value_at_quantile(q) as f64 / 1000.0;
    println!(
        "{what} {:.0}/s p50 {:.1} p90 {:.1} p99 {:.1} p99.9 {:.1} max {:.1} us",
        latency.len() as f64 / seconds,
        us(0.5),
        us(0.9),
        us(0.99),
        us(0.999),
        us(1.0)
    );
}

struct Client {
    stream: TcpStream,
    sent_at: Instant,
    got: usize,
}

fn load(address: &str, connections: usize, time: Duration) -> Result<(), Box<dyn Error>> {
    let mut frame = ((REQUEST_BYTES - 4) as u32).to_be_bytes().to_vec();
    frame.resize(REQUEST_BYTES, 7);
    let mut clients = Vec::new();
    for _ in 0..connections {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        clients.push(Client { stream, sent_at: Instant::now(), got: 0 });
    }
    for client in &mut clients {
        client.sent_at = Instant::now();
        client.stream.write_all(&frame)?;
    }
    let mut latency = Histogram::<u64>::new(3)?;
    let begin = Instant::now() + WARM_UP;
    let mut last_reply = Instant::now();
    loop {
        let mut found = false;
        for client in &mut clients {
            let mut reply = [0; REPLY_BYTES];
            match client.stream.read(&mut reply[client.got..]) {
                Ok(0) => return Err("the server closed a connection".into()),
                Ok(n) => client.got += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => continue,
                Err(e) => return Err(e.into()),
            }
            if client.got == REPLY_BYTES {
                let now = Instant::now();
                if now >= begin {
                    latency.record((now - client.sent_at).as_nanos() as u64)?;
                }
                (client.got, client.sent_at, found) = (0, now, true);
                client.stream.write_all(&frame)?;
            }
        }
        let now = Instant::now();
        if found {
            last_reply = now;
        } else {
            sched_yield()?;
            if now - last_reply > Duration::from_secs(5) {
                return Err("STALL: no reply for 5 s".into());
            }
        }
        if now >= begin + time {
            break;
        }
    }
    report(&format!("{connections:4} connections"), &latency, time.as_secs_f64());
    Ok(())
}

fn echo_server() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    for stream in listener.incoming() {
        let mut stream = stream?;
        stream.set_nodelay(true)?;
        let mut request = [0; REQUEST_BYTES];
        while stream.read_exact(&mut request).is_ok() {
            stream.write_all(&[0; REPLY_BYTES])?;
        }
    }
    Ok(())
}

fn device(directory: &Path, time: Duration) -> Result<(), Box<dyn Error>> {
    const FILE_BYTES: u64 = 16 << 20;
    let ring = Ring::new(RingConfig::default())?;
    let text = |e: engine::io::Errno| e.to_string();
    let budget = Budget::new(1 << 20);
    let mut disk = RingDisk::open(&ring, directory, budget, DiskLimits::default()).map_err(text)?;
    let name = FileName::Spare(0);
    let opened = run(&mut disk, DiskOp::Open { name, create: Some(FILE_BYTES) }).map_err(text)?;
    let Output::Opened { file, .. } = opened else { return Err("not opened".into()) };
    run(&mut disk, DiskOp::Zero { file, offset: 0, len: FILE_BYTES as u32 }).map_err(text)?;
    run(&mut disk, DiskOp::Sync { file }).map_err(text)?;
    let mut block = disk.block(4096).ok_or("no memory")?;
    block.append(&[7; 4096]);
    let mut latency = Histogram::<u64>::new(3)?;
    let (started, mut offset) = (Instant::now(), 0);
    while started.elapsed() < time {
        let data = block.slice(0..4096);
        let at = Instant::now();
        run(&mut disk, DiskOp::Write { file, offset, data, durable: true, unwritten: false })
            .map_err(text)?;
        latency.record(at.elapsed().as_nanos() as u64)?;
        offset = (offset + 4096) % FILE_BYTES;
    }
    report("D(4K,1)", &latency, time.as_secs_f64());
    run(&mut disk, DiskOp::Remove { name }).map_err(text)?;
    Ok(())
}
