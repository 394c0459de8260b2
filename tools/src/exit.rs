//! Exit codes, the same for every subcommand; 2 is clap's for wrong usage, and so it is ours for
//! options that are wrong wherever they were said: on the command line, in the environment, in a file.

use std::process::ExitCode;

use crate::output::complain;

/// It ran and failed.
pub(crate) const FAILED: u8 = 1;
/// Options are wrong, or do not go together (what clap itself refuses has the same code).
pub(crate) const USAGE: u8 = 2;
/// It could not start or connect: data directory, port, kernel, no node at the address.
pub(crate) const CANNOT_START: u8 = 3;

/// What stands above the examples in a help.
pub(crate) const EXAMPLES: &str = "Examples:";
/// ... and above the codes.
pub(crate) const CODES: &str = "Exit codes:";

/// The last lines of a subcommand's help.
pub(crate) fn after_help(examples: &str) -> String {
    format!(
        "{EXAMPLES}\n{examples}\n\n\
         {CODES}\n  \
         0  done\n  \
         1  failed: what was asked for was not, or not wholly, done\n  \
         2  wrong usage or options\n  \
         3  cannot start or connect"
    )
}

/// Prints an error for people and returns the code.
pub(crate) fn fail(code: u8, error: &dyn std::error::Error) -> ExitCode {
    let mut text = format!("uringmq: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        // Many errors say their cause themselves.
        if !text.contains(&cause.to_string()) {
            text.push_str(&format!("\n  because: {cause}"));
        }
        source = cause.source();
    }
    complain(text);
    ExitCode::from(code)
}
