//! Huge pages made ready ahead of time, by a thread that may wait for them.
//!
//! The first touch of a huge page takes the time to zero it (measured: 0.23 ms), and on a virtual
//! machine, whose memory the host may have to find first, up to 6 ms: too long for a reactor, which
//! meets it in each of the first chunks of a log. So one page is always ready.
//!
//! [`Warmer::start`] -> `Ahead::new` (orders) -> `Ahead::take` (takes what is ready, and orders).
//! Absent: what to do when none is ready (the budget takes cold memory).

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::pages::{HUGE_BYTES, Pages};

/// Memory that is in place, or none because the system has none.
type Ready = Option<Pages>;

/// The thread. Clones are the same one; it ends when all of them have gone.
#[derive(Clone, Debug)]
pub struct Warmer(Sender<Sender<Ready>>);

impl Warmer {
    /// Starts the thread. It runs where the caller may, but not on these CPUs if there are others:
    /// a CPU that a virtual machine's host has no memory for stands still.
    ///
    /// # Errors
    /// That of starting a thread.
    pub fn start(apart_from: &[usize]) -> io::Result<Self> {
        let (orders, ordered) = channel::<Sender<Ready>>();
        let apart_from = apart_from.to_vec();
        thread::Builder::new().name("memory".to_owned()).spawn(move || {
            keep_apart(&apart_from);
            for reply in ordered {
                let ready = Pages::new(HUGE_BYTES as u32).inspect(Pages::touch);
                // Who ordered it may have gone.
                let _ = reply.send(ready);
            }
        })?;
        Ok(Self(orders))
    }
}

/// Keeps the calling thread off these CPUs, if others are left. Nothing depends on it.
fn keep_apart(cpus: &[usize]) {
    let this = Pid::from_raw(0);
    let Ok(mut allowed) = sched_getaffinity(this) else { return };
    for cpu in cpus {
        // One that the system cannot have is not among them.
        let _ = allowed.unset(*cpu);
    }
    if (0..CpuSet::count()).any(|cpu| allowed.is_set(cpu).unwrap_or(false)) {
        let _ = sched_setaffinity(this, &allowed);
    }
}

/// What one budget has ordered: one piece of memory at a time.
#[derive(Debug)]
pub(super) struct Ahead {
    warmer: Warmer,
    reply: Sender<Ready>,
    ready: Receiver<Ready>,
}

impl Ahead {
    /// Orders the first.
    pub(super) fn new(warmer: Warmer) -> Self {
        let (reply, ready) = channel();
        let ahead = Self { warmer, reply, ready };
        ahead.order();
        ahead
    }

    /// Memory of this length, if it is ready. Does not wait.
    pub(super) fn take(&self, len: u32) -> Option<Pages> {
        if len as usize != HUGE_BYTES {
            return None;
        }
        let ready = self.ready.try_recv().ok()?;
        self.order();
        ready
    }

    fn order(&self) {
        // The thread ends after its last client.
        let _ = self.warmer.0.send(self.reply.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use nix::sys::resource::{UsageWho, getrusage};

    use super::*;

    fn wait_for(ahead: &Ahead) -> Pages {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(pages) = ahead.take(HUGE_BYTES as u32) {
                return pages;
            }
            assert!(Instant::now() < until, "nothing is ready");
            thread::yield_now();
        }
    }

    fn faults() -> i64 {
        getrusage(UsageWho::RUSAGE_THREAD).unwrap().minor_page_faults()
    }

    #[test]
    fn what_is_ready_was_touched_and_the_next_is_ordered() {
        let ahead = Ahead::new(Warmer::start(&[0]).unwrap());
        assert!(ahead.take(4096).is_none(), "short blocks are not its business");
        for _ in 0..4 {
            let pages = wait_for(&ahead);
            let before = faults();
            pages.touch();
            assert_eq!(faults(), before, "somebody else has met the faults");
        }
    }

    #[test]
    fn it_stays_off_cpus_while_others_are_left() {
        let allowed = || {
            let set = sched_getaffinity(Pid::from_raw(0)).unwrap();
            (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap()).collect::<Vec<_>>()
        };
        thread::spawn(move || {
            let all = allowed();
            keep_apart(&all);
            assert_eq!(allowed(), all, "there are no others");
            keep_apart(&[all[0], CpuSet::count()]);
            let others = if all.len() > 1 { &all[1..] } else { &all };
            assert_eq!(allowed(), others);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn the_thread_ends_with_its_last_client() {
        let warmer = Warmer::start(&[]).unwrap();
        let (reply, ready) = channel();
        warmer.0.send(reply).unwrap();
        drop(warmer);
        assert!(ready.recv().unwrap().is_some());
        assert!(ready.recv().is_err());
    }
}
