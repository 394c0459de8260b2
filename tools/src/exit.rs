//! Exit codes, the same for every subcommand; 2 is clap's for wrong usage.

use std::process::ExitCode;

/// It ran and failed.
pub(crate) const FAILED: u8 = 1;
/// It could not start: data directory, port, kernel.
pub(crate) const CANNOT_START: u8 = 3;

/// Prints an error for people and returns the code.
pub(crate) fn fail(code: u8, error: &dyn std::error::Error) -> ExitCode {
    eprintln!("uringmq: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        // Transparent wrappers repeat themselves.
        if cause.to_string() != error.to_string() {
            eprintln!("  because: {cause}");
        }
        source = cause.source();
    }
    ExitCode::from(code)
}
