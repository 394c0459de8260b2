//! SIGINT and SIGTERM: the first one asks to finish, the second one kills. For the client commands,
//! which wait for it, and for those that measure, which look at a flag.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal};
use tokio::sync::Notify;

use crate::failure::Failure;
use crate::output::say;

/// Resolves [`Notify::notified`] once a signal has come.
pub(crate) fn on_signal() -> Result<Arc<Notify>, Failure> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    // Threads made from here on inherit the mask, so only the one below ever takes the signals.
    signals.thread_block().map_err(|errno| Failure::io("blocking signals")(errno.into()))?;
    let stop = Arc::new(Notify::new());
    let told = Arc::clone(&stop);
    std::thread::spawn(move || {
        if signals.wait().is_ok() {
            // Kept for whoever waits next, so it cannot be missed.
            told.notify_one();
        }
        // From here on a signal meets this thread unmasked, and its default action: a command
        // that hangs in a write to a stuck pipe can still be ended.
        let _ = signals.thread_unblock();
        loop {
            std::thread::park();
        }
    });
    Ok(stop)
}

/// A flag that SIGINT or SIGTERM sets, which is said together with what happens `then`; the second one ends the process at once.
pub(crate) fn flag_on_signal(then: &'static str) -> Result<Arc<AtomicBool>, nix::Error> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    // Before any other thread exists, so that none of them takes the signals.
    signals.thread_block()?;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    std::thread::spawn(move || {
        while let Ok(signal) = signals.wait() {
            if flag.swap(true, Ordering::Relaxed) {
                std::process::exit(128 + signal as i32);
            }
            say(format_args!("\nuringmq: {signal}, ending: {then}"));
        }
    });
    Ok(stop)
}
