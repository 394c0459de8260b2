//! `uringmq serve`: a node in the foreground, until SIGTERM or SIGINT.

mod tuned;

use std::process::ExitCode;
use std::time::Instant;

use config::{Arguments, Resolved};
use net::node::Node;
use nix::sys::signal::{SigSet, Signal};

use crate::options::{effective, node_options, wait_mode};
use crate::output::{print, say};
use crate::{doctor, exit, logging};

/// Runs the node; returns when it was asked to stop or has failed.
pub(crate) fn run(arguments: &Arguments, verbosity: u8) -> ExitCode {
    let begun = Instant::now();
    let Resolved { options, .. } = match effective(&["serve"], arguments) {
        Ok(resolved) => resolved,
        Err(code) => return code,
    };
    if let Err(error) = logging::init_node(&options, verbosity) {
        say(format_args!("uringmq: {error}"));
        return ExitCode::from(exit::CANNOT_START);
    }
    // Before any thread exists, so that only this one ever takes the signals.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    if let Err(errno) = signals.thread_block() {
        return exit::fail(exit::CANNOT_START, &errno);
    }
    if !doctor::admits(&options) {
        say("  `uringmq doctor` checks everything that a node needs");
        return ExitCode::from(exit::CANNOT_START);
    }
    let mut node = node_options(&options);
    let tuned = match tuned::apply(&mut node, &options) {
        Ok(line) => line,
        Err(error) => {
            let code = exit::fail(exit::CANNOT_START, &error);
            say("  measure again with `uringmq tune`, or remove the file");
            return code;
        }
    };
    let node = match Node::start(node) {
        Ok(node) => node,
        Err(error) => return exit::fail(exit::CANNOT_START, &error),
    };
    let took = begun.elapsed().as_secs_f64() * 1e3;
    let ready = format!(
        "uringmq ready: listening on {}, data in {}, {:?} mode{}, started in {took:.1} ms\n\
         {tuned}\n",
        node.address(),
        options.data.display(),
        wait_mode(&options),
        if options.reactors > 1 {
            format!(", {} reactors", options.reactors)
        } else {
            String::new()
        },
    );
    // Whoever started the node may not be listening.
    let _ = print(&ready);
    let waker = node.waker();
    std::thread::spawn(move || {
        if let Ok(signal) = signals.wait() {
            waker.stop();
            say(format_args!("uringmq: {signal}, stopping: finishing what was begun"));
        }
    });
    match node.join() {
        Ok(()) => {
            say(format_args!("uringmq: stopped, everything acknowledged is on stable media"));
            ExitCode::SUCCESS
        }
        Err(error) => exit::fail(exit::FAILED, &error),
    }
}
