//! Prints the yardsticks of a directory's disk and of loopback, in about 15 seconds.
//!
//! `cargo run --release -p bench --example yardsticks -- [DIR] [--json FILE] [--svg FILE]`
//! (the current directory by default). The echo servers are child processes: this program again,
//! with other arguments. They run on CPU 0, the measuring thread on CPU 1.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bench::report::{Report, Yardstick, json, model, plot, table};
use bench::yardstick::{
    Child, Measured, Probe, ServerSpec, Space, Wait, YardstickError, device, echo, machine, serve,
};

const SERVER_CPU: usize = 0;
const CLIENT_CPU: usize = 1;
const SPACE_BYTES: u64 = 256 * 1024 * 1024;
const MEASURE: Duration = Duration::from_millis(900);
/// 500 a second: the pace of the latency cases.
const PACE: Duration = Duration::from_millis(2);
/// The subcommand under which this program is a server.
const SERVE: &str = "yardstick";

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    if args.first().is_some_and(|first| first == SERVE) {
        return Ok(serve(&ServerSpec::from_args(&args[1..])?)?);
    }
    let options = Options::of(&args)?;
    let dir = options.dir.as_path();
    let mut yardsticks = devices(dir)?;
    yardsticks.extend(echoes(dir)?);
    let report = Report {
        version: model::REPORT_VERSION,
        command: "cargo run --release -p bench --example yardsticks".to_owned(),
        started_unix_s: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        environment: machine::environment(dir),
        yardsticks,
        runs: Vec::new(),
        canary: None, // it would be measured with the rest
        caveats: bench::report::caveats::of_conditions(false, None),
        notes: Vec::new(),
    };
    print!("{}", table::text(&report));
    if let Some(path) = options.json {
        json::write(&report, &path)?;
    }
    if let Some(path) = options.svg {
        plot::write(&report, &path)?;
    }
    Ok(())
}

#[derive(Default)]
struct Options {
    dir: PathBuf,
    json: Option<PathBuf>,
    svg: Option<PathBuf>,
}

impl Options {
    fn of(args: &[String]) -> Result<Self, String> {
        let mut options = Self { dir: PathBuf::from("."), ..Self::default() };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--json" => options.json = args.next().map(PathBuf::from),
                "--svg" => options.svg = args.next().map(PathBuf::from),
                option if option.starts_with('-') => return Err(format!("no option {option}")),
                dir => options.dir = PathBuf::from(dir),
            }
        }
        Ok(options)
    }
}

fn probe(wait: Wait, pace: Option<Duration>) -> Probe {
    Probe { wait, cpu: Some(CLIENT_CPU), pace, measure: MEASURE, ..Probe::default() }
}

fn named(name: &str, probe: &Probe, measured: &Measured) -> Yardstick {
    let pace_per_s = probe.pace.map(|pace| 1.0 / pace.as_secs_f64());
    Yardstick::of(name, probe.wait.word(), pace_per_s, measured)
}

fn devices(dir: &Path) -> Result<Vec<Yardstick>, YardstickError> {
    let space = Space::written(dir, SPACE_BYTES)?;
    let mut yardsticks = Vec::new();
    let durable = [
        ("D(4K,1)", 4096, 1, Wait::Sleeping, None),
        ("D(4K,1)", 4096, 1, Wait::Spinning, None),
        ("D(4K,1)", 4096, 1, Wait::Sleeping, Some(PACE)),
        ("D(4K,4)", 4096, 4, Wait::Sleeping, None),
        ("D(64K,4)", 64 * 1024, 4, Wait::Sleeping, None),
    ];
    for (name, block_bytes, depth, wait, pace) in durable {
        let probe = probe(wait, pace);
        let measured = device::durable_writes(&space, block_bytes, depth, &probe)?;
        yardsticks.push(named(name, &probe, &measured));
    }
    let probe = probe(Wait::Sleeping, None);
    yardsticks.push(named("W", &probe, &device::sequential_writes(&space, &probe)?));
    yardsticks.push(named("R", &probe, &device::sequential_reads(&space, &probe)?));
    Ok(yardsticks)
}

fn echoes(dir: &Path) -> Result<Vec<Yardstick>, Box<dyn Error>> {
    let exe = env::current_exe()?;
    let mut yardsticks = Vec::new();
    for wait in [Wait::Sleeping, Wait::Spinning] {
        for (name, spec) in [
            ("E", ServerSpec::echo(wait, Some(SERVER_CPU))),
            ("ED", ServerSpec::echo_durable(wait, Some(SERVER_CPU), dir)),
        ] {
            let mut args = vec![SERVE.to_owned()];
            args.extend(spec.to_args());
            let server = Child::spawn(&exe, &args)?;
            for pace in [None, Some(PACE)] {
                for (size, request_bytes) in [("64", 64), ("1K", 1024)] {
                    // ED does the same 4 KiB write for either size.
                    if name == "ED" && request_bytes == 64 {
                        continue;
                    }
                    let probe = Probe { measure: MEASURE / 2, ..probe(wait, pace) };
                    let measured = echo::round_trips(server.addr(), request_bytes, &probe)?;
                    yardsticks.push(named(&format!("{name}({size})"), &probe, &measured));
                }
            }
        }
    }
    Ok(yardsticks)
}
