//! `uringmq serve`: a node in the foreground, until SIGTERM or SIGINT.

mod service;
mod tuned;

use std::process::ExitCode;
use std::time::Instant;

use config::value::Admin as Where;
use config::{Arguments, Options, Resolved};
use net::node::Node;
use nix::sys::signal::{SigSet, Signal};

use crate::admin::Admin;
use crate::options::{effective, node_options, wait_mode};
use crate::output::{complain, print, say};
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
    let conflicts = options.conflicts();
    if !conflicts.is_empty() {
        conflicts
            .iter()
            .for_each(|conflict| complain(format_args!("uringmq: options: {conflict}")));
        return ExitCode::from(exit::USAGE);
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
    let topics_max = usize::try_from(options.metrics_topics).unwrap_or(usize::MAX);
    let admin = match Admin::start(options.admin, topics_max) {
        Ok(admin) => admin,
        Err(error) => return exit::fail(exit::CANNOT_START, &error),
    };
    let node = match Node::start(node) {
        Ok(node) => node,
        Err(error) => return exit::fail(exit::CANNOT_START, &error),
    };
    let ready = ready_line(&options, &node, begun) + &tuned + "\n";
    let ready = ready + &admin_line(options.admin, admin.as_ref());
    if let Some(admin) = &admin {
        admin.node_is_at(node.address());
    }
    // Whoever started the node may not be listening.
    let _ = print(&ready);
    service::ready(node.address());
    let waker = node.waker();
    std::thread::spawn(move || {
        if let Ok(signal) = signals.wait() {
            if let Some(admin) = admin {
                admin.drain();
            }
            service::stopping();
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

fn ready_line(options: &Options, node: &Node, begun: Instant) -> String {
    let reactors = match options.reactors {
        1 => String::new(),
        several => format!(", {several} reactors"),
    };
    format!(
        "uringmq ready: listening on {}, data in {}, {:?} mode{reactors}, started in {:.1} ms\n",
        node.address(),
        options.data.display(),
        wait_mode(options),
        begun.elapsed().as_secs_f64() * 1e3,
    )
}

fn admin_line(wanted: Where, admin: Option<&Admin>) -> String {
    match (admin, wanted) {
        (Some(admin), _) => {
            let address = admin.address();
            format!("uringmq admin: http://{address}/metrics, /healthz, /readyz\n")
        }
        (None, Where::Off) => "uringmq admin: off\n".to_owned(),
        (None, _) => {
            let address = Where::DEFAULT;
            format!("uringmq admin: none, {address} is in use; choose a port with --admin\n")
        }
    }
}
