//! The yardsticks of a scenario: their servers as children, and one measurement at a time.

use std::path::Path;
use std::time::Duration;

use super::{BenchError, Options};
use crate::yardstick::{Child, Measured, Probe, ServerSpec, Space, Wait, device, echo};

/// Written space for D: enough that neighbouring writes hit different device blocks.
const SPACE_BYTES: u64 = 64 << 20;
const WARM_UP: Duration = Duration::from_millis(100);
/// An echo's request has at least its own header.
const REQUEST_BYTES_MIN: u32 = 64;

/// Everything yardsticks need.
#[derive(Debug)]
pub struct Yardsticks {
    space: Space,
    echo: Child,
    echo_durable: Child,
    server_cpu: Option<usize>,
    client_cpu: Option<usize>,
    wait: Wait,
}

impl Yardsticks {
    /// Writes the space for D and starts the servers of E and ED. They wait as `wait` says, on the
    /// CPU of the broker; clients run where the generator does.
    ///
    /// # Errors
    /// When the disk has no direct I/O, or a child does not start.
    pub fn start(options: &Options, dir: &Path, wait: Wait) -> Result<Self, BenchError> {
        let cpu = options.broker_cpu();
        let child = |spec: ServerSpec| {
            let mut args = vec!["yardstick".to_owned()];
            args.extend(spec.to_args());
            Child::spawn(&options.exe, &args)
        };
        Ok(Self {
            space: Space::written(dir, SPACE_BYTES)?,
            echo: child(ServerSpec::echo(wait, cpu))?,
            echo_durable: child(ServerSpec::echo_durable(wait, cpu, dir))?,
            server_cpu: cpu,
            client_cpu: options.generator_cpu(),
            wait,
        })
    }

    /// D(block, depth), waiting as these yardsticks do unless `wait` says otherwise.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn durable(
        &self,
        (block_bytes, depth): (usize, usize),
        wait: Option<Wait>,
        pace: Option<Duration>,
        measure: Duration,
    ) -> Result<Measured, BenchError> {
        let wait = wait.unwrap_or(self.wait);
        let probe = Probe { wait, cpu: self.server_cpu, ..probe(pace, measure) };
        Ok(device::durable_writes(&self.space, block_bytes, depth, &probe)?)
    }

    /// E: round trips of a request of this size.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn echo(
        &self,
        request_bytes: u32,
        pace: Option<Duration>,
        measure: Duration,
    ) -> Result<Measured, BenchError> {
        self.round_trips(&self.echo, request_bytes, pace, measure)
    }

    /// ED: round trips with a durable write of 4 KiB in the middle.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn echo_durable(
        &self,
        request_bytes: u32,
        pace: Option<Duration>,
        measure: Duration,
    ) -> Result<Measured, BenchError> {
        self.round_trips(&self.echo_durable, request_bytes, pace, measure)
    }

    fn round_trips(
        &self,
        server: &Child,
        request_bytes: u32,
        pace: Option<Duration>,
        measure: Duration,
    ) -> Result<Measured, BenchError> {
        let probe = Probe { wait: self.wait, cpu: self.client_cpu, ..probe(pace, measure) };
        let bytes = request_bytes.clamp(REQUEST_BYTES_MIN, echo::REQUEST_BYTES_MAX as u32);
        Ok(echo::round_trips(server.addr(), bytes as usize, &probe)?)
    }
}

fn probe(pace: Option<Duration>, measure: Duration) -> Probe {
    Probe { pace, warm_up: WARM_UP, measure, ..Probe::default() }
}
