//! What the program says about itself while it runs: to standard error, never to standard output.

use std::io::IsTerminal;

use config::Options;
use config::options::LogFormat;
use tracing_subscriber::EnvFilter;

use crate::output::speak_json;

/// Logs to standard error: warnings, and more with every `-v`; `RUST_LOG` overrules both.
pub(crate) fn init(verbosity: u8) {
    let level = match verbosity {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    start(filter, LogFormat::Text);
}

/// Logs to standard error as a node's options say, more with every `-v`; `RUST_LOG` overrules both.
pub(crate) fn init_node(options: &Options, verbosity: u8) -> Result<(), String> {
    let wanted = match verbosity {
        0 => options.log.as_str(),
        1 => "debug",
        _ => "trace",
    };
    let filter = match EnvFilter::try_from_default_env() {
        Ok(filter) => filter,
        Err(_) => EnvFilter::try_new(wanted).map_err(|error| {
            format!("log = {wanted:?}: {error}; say info, or a filter such as warn,net=debug")
        })?,
    };
    start(filter, options.log_format);
    Ok(())
}

fn start(filter: EnvFilter, format: LogFormat) {
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => {
            speak_json();
            builder.json().flatten_event(true).with_ansi(false).init();
        }
    }
}
