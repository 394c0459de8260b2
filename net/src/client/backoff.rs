//! How long to wait before trying again: longer each time, and never quite the same, so that
//! clients that lost one node do not come back to it in step.

use std::time::Duration;

use rand::Rng;

/// What trying again costs in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The first pause (10 ms). Each one is twice as long as the one before.
    pub pause_min: Duration,
    /// No pause is longer (1 s), unless the node asks for more.
    pub pause_max: Duration,
    /// A batch, or a fetch, is tried this often (without limit): what fails then is given up, also
    /// before its time is over.
    pub attempts_max: u32,
}

impl RetryPolicy {
    /// Nothing is tried again.
    pub const NONE: Self =
        Self { pause_min: Duration::ZERO, pause_max: Duration::ZERO, attempts_max: 1 };
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            pause_min: Duration::from_millis(10),
            pause_max: Duration::from_secs(1),
            attempts_max: u32::MAX,
        }
    }
}

/// The pauses of one run of failures.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    policy: RetryPolicy,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(policy: RetryPolicy) -> Self {
        Self { policy, failures: 0 }
    }

    /// Whether what has failed so often is given up.
    pub(super) fn is_enough(&self, failures: u32) -> bool {
        failures >= self.policy.attempts_max.max(1)
    }

    /// How often in a row something has failed.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Something worked: the next pause is a short one.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The next pause: between half and all of what the policy says, and never less than the node
    /// asked for.
    pub(super) fn pause(&mut self, retry_after: Duration) -> Duration {
        let longest = self
            .policy
            .pause_min
            .saturating_mul(1 << self.failures.min(20))
            .min(self.policy.pause_max);
        self.failures = self.failures.saturating_add(1);
        let mut random = rand::rng();
        let own = longest.mul_f64(random.random_range(0.5..=1.0));
        own.max(retry_after.mul_f64(random.random_range(1.0..=1.2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_vary_and_respect_the_node() {
        let policy = RetryPolicy::default();
        let mut backoff = Backoff::new(policy);
        let mut seen = std::collections::BTreeSet::new();
        for failure in 0..40_u32 {
            let longest = policy.pause_min.saturating_mul(1 << failure.min(20));
            let pause = backoff.pause(Duration::ZERO);
            assert!(pause <= longest.min(policy.pause_max));
            assert!(pause >= longest.min(policy.pause_max) / 2);
            seen.insert(pause);
        }
        assert!(seen.len() > 30, "they vary");
        backoff.reset();
        assert!(backoff.pause(Duration::ZERO) <= policy.pause_min);
        let asked = Duration::from_millis(300);
        let pause = backoff.pause(asked);
        assert!(pause >= asked && pause <= asked.mul_f64(1.2), "{pause:?}");
    }
}
