//! What the program says about itself while it runs: to standard error, never to standard output.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Logs to standard error: warnings, and more with every `-v`; `RUST_LOG` overrules both.
pub(crate) fn init(verbosity: u8) {
    let level = match verbosity {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
