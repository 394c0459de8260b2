//! Every knob and bound of a reactor, in one place.

use engine::io::ring::RingConfig;

/// How a reactor waits when it has nothing to do. Measured in `engine/docs/pump.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitMode {
    /// Sleep: no CPU when idle, a wake-up (some 30 us) for every event.
    Sleep,
    /// Sleep when idle; look, and yield the CPU between looks, while a durable write is in
    /// flight, so that its completion does not pay a wake-up.
    #[default]
    Hybrid,
    /// Never sleep. For dedicated cores.
    Poll,
}

/// A reactor's settings.
#[derive(Clone, Debug)]
pub struct ReactorConfig {
    /// Thread name.
    pub name: String,
    /// The CPU to pin the thread to; `None`: any.
    pub cpu: Option<usize>,
    /// How to wait.
    pub wait: WaitMode,
    /// Give the CPU away between looks while a durable write is in flight: where the device has no
    /// FUA the kernel worker that ends the write may need it.
    pub yield_in_flight: bool,
    /// Sizes of the ring.
    pub ring: RingConfig,
    /// What connections may use.
    pub limits: Limits,
}

impl Default for ReactorConfig {
    fn default() -> Self {
        Self {
            name: "reactor".to_owned(),
            cpu: None,
            wait: WaitMode::default(),
            yield_in_flight: true,
            ring: RingConfig::default(),
            limits: Limits::default(),
        }
    }
}

/// Bounds of a reactor's connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections of the node; beyond it new ones are refused.
    pub connections_max: u32,
    /// Connections from one address; 0: as many as of the node.
    pub connections_per_address_max: u32,
    /// The shared receive buffer: what one receive takes at most.
    pub receive_buffer_bytes: u32,
    /// What one connection may send before the next one has its turn.
    pub turn_bytes_max: u32,
    /// Of the only connection that is to be read: so many answers are worth a turn's end, and twice as
    /// many each time of the rest of the same input. Polling reactors do not do this.
    pub answers_per_turn: usize,
    /// Incomplete frames of all connections; at the bound no new frame is begun.
    pub partial_bytes_max: u64,
    /// Unsent output of a connection at which the node stops reading from it.
    pub unsent_bytes_max: u64,
    /// How long a new connection may take until its first frame has arrived.
    pub hello_deadline_ms: u32,
    /// Silence within a frame after which the connection is closed.
    pub partial_deadline_ms: u32,
    /// Silence in both directions, while nothing is asked, after which the connection is closed; 0:
    /// never.
    pub idle_deadline_ms: u32,
    /// How long a reader may take next to nothing while output waits for it.
    pub slow_reader_deadline_ms: u32,
    /// How long a stop waits for the service and for unsent output.
    pub stop_deadline_ms: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 65_536,
            connections_per_address_max: 0,
            receive_buffer_bytes: 256 << 10,
            turn_bytes_max: 256 << 10,
            answers_per_turn: 16,
            partial_bytes_max: 256 << 20,
            unsent_bytes_max: 8 << 20,
            hello_deadline_ms: 10_000,
            partial_deadline_ms: 10_000,
            idle_deadline_ms: 0,
            slow_reader_deadline_ms: 30_000,
            stop_deadline_ms: 5_000,
        }
    }
}
