//! How long a reactor looks around before it goes to sleep.
//!
//! Falling asleep and being woken cost about 50 us each on a virtual machine, so a wait that ends
//! sooner is better spent looking. How long waits are is learned, as KVM's halt polling does it
//! (`Documentation/virt/kvm/halt-polling.rst`): a sleep that a longer look would have met awake
//! doubles the look, one that lasted longer than any look halves it. A reactor that waits for
//! milliseconds soon does not look at all, and an idle one never does.
//!
//! After much work the reactor goes to sleep at once: spread over so many bytes a wake-up costs
//! nothing, and the CPU is somebody else's.
//! Absent: clocks, rings.

/// Longest look: KVM's default, and more than a durable write takes on a disk worth polling for.
const LOOK_NANOS_MAX: u64 = 200_000;
/// Where growing starts and shrinking ends.
const LOOK_NANOS_MIN: u64 = 10_000;
/// The first look of a reactor.
const LOOK_NANOS_FIRST: u64 = 50_000;
/// Bytes received between two waits from which on the work is heavy.
const HEAVY_BYTES: u64 = 32 << 10;

/// The look before one kind of sleep.
#[derive(Debug)]
pub(super) struct Look {
    nanos: u64,
}

impl Look {
    pub(super) fn new() -> Self {
        Self { nanos: LOOK_NANOS_FIRST }
    }

    /// How long to look now.
    pub(super) fn nanos(&self) -> u64 {
        self.nanos
    }

    /// The look found nothing, and it took so long, look included, until something came.
    pub(super) fn slept(&mut self, waited_nanos: u64) {
        self.nanos = if waited_nanos <= LOOK_NANOS_MAX {
            (self.nanos * 2).clamp(LOOK_NANOS_MIN, LOOK_NANOS_MAX)
        } else if self.nanos > LOOK_NANOS_MIN {
            self.nanos / 2
        } else {
            0
        };
    }
}

/// The most that was received between two waits, fading by an eighth with each: bulk brings many
/// waits for completions, in which nothing is received.
#[derive(Debug, Default)]
pub(super) struct Work {
    bytes: u64,
}

impl Work {
    /// Since the last wait so many bytes were received; is that too much for a look?
    pub(super) fn is_heavy(&mut self, received_bytes: u64) -> bool {
        self.bytes = received_bytes.max(self.bytes / 8 * 7);
        self.bytes >= HEAVY_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_waits_end_the_looking_and_short_ones_bring_it_back() {
        let mut look = Look::new();
        for _ in 0..10 {
            look.slept(2_000_000);
        }
        assert_eq!(look.nanos(), 0);
        look.slept(150_000);
        assert_eq!(look.nanos(), LOOK_NANOS_MIN);
        for _ in 0..10 {
            look.slept(150_000);
        }
        assert_eq!(look.nanos(), LOOK_NANOS_MAX);
        look.slept(2_000_000);
        assert_eq!(look.nanos(), LOOK_NANOS_MAX / 2, "one long wait is no pattern");
    }

    #[test]
    fn bulk_is_heavy_and_wears_off() {
        let mut work = Work::default();
        for _ in 0..20 {
            assert!(!work.is_heavy(30 << 10));
        }
        assert!(work.is_heavy(200 << 10));
        assert!(work.is_heavy(0), "a wait for a completion");
        let waits = (0..100).take_while(|_| work.is_heavy(30 << 10)).count();
        assert!((5..20).contains(&waits), "{waits}");
    }
}
