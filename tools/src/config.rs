//! `uringmq config`: what the options are, and whether a file of them is good.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use config::{File, show};
use serde_json::json;

use crate::exit;
use crate::failure::Failure;
use crate::options::{effective, file_code};
use crate::output::{counted, print, print_json, say};

/// What to do with options.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a file: everything that is wrong with it, with line and column.
    #[command(after_help = exit::after_help("  uringmq config check /etc/uringmq/uringmq.toml"))]
    Check(Check),
    /// Print the options in force, and where each came from: a flag, a variable, a file, or the
    /// default. What is printed is a file that says the same.
    #[command(after_help = exit::after_help(
        "  uringmq config print\n  \
         uringmq config print --explain > uringmq.toml\n  \
         uringmq config print --config uringmq.toml --retention 24h --json | jq '.[] | .key'"
    ))]
    Print(Box<Print>),
}

/// Options of `config check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The file.
    file: PathBuf,
}

/// Options of `config print`.
#[derive(Debug, Args)]
pub(crate) struct Print {
    /// Print above every option what it does.
    #[arg(long, conflicts_with = "json")]
    explain: bool,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    arguments: config::Arguments,
}

/// Runs one of them.
pub(crate) fn run(command: &Command) -> ExitCode {
    match command {
        Command::Check(options) => check(options),
        Command::Print(options) => print_options(options),
    }
}

fn check(options: &Check) -> ExitCode {
    let file = match File::read(&options.file) {
        Ok(file) => file,
        Err(error) => return exit::fail(file_code(&error), &error),
    };
    let name = options.file.display();
    let conflicts = match config::settings::of_file(&file) {
        Ok(resolved) => resolved.options.conflicts(),
        Err(error) => vec![format!("{error:?}")],
    };
    if !conflicts.is_empty() {
        for conflict in conflicts {
            say(format_args!("{name}: {conflict}"));
        }
        return ExitCode::from(exit::USAGE);
    }
    finish(print(&format!("{name}: good, sets {}\n", counted(file.entries.len() as u64, "option"))))
}

fn print_options(options: &Print) -> ExitCode {
    let resolved = match effective(&["config", "print"], &options.arguments) {
        Ok(resolved) => resolved,
        Err(code) => return code,
    };
    let settings = &resolved.settings;
    finish(if options.json {
        print_json(&json!(settings))
    } else {
        print(&show::toml(settings, options.explain))
    })
}

fn finish(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
