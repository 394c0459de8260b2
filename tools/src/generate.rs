//! `uringmq generate`: man pages and shell completions, made from the command line itself.

mod man;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Subcommand};
use clap_complete::Shell;

use crate::failure::Failure;
use crate::output::{print, written};
use crate::{Cli, exit};

/// What to make.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a man page for every command into a directory.
    #[command(after_help = exit::after_help(
        "  uringmq generate man /usr/local/share/man/man1 && man uringmq-serve"
    ))]
    Man(Man),
    /// Print a script that completes commands and options.
    #[command(after_help = exit::after_help(
        "  uringmq generate completions bash > /etc/bash_completion.d/uringmq\n  \
         uringmq generate completions zsh > \"${fpath[1]}/_uringmq\"\n  \
         uringmq generate completions fish > ~/.config/fish/completions/uringmq.fish"
    ))]
    Completions(Completions),
}

/// Options of `generate man`.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Where to; made if it is missing.
    dir: PathBuf,
}

/// Options of `generate completions`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// For which shell.
    shell: Shell,
}

/// Makes it.
pub(crate) fn run(command: &Command) -> ExitCode {
    let made = match command {
        Command::Man(options) => man_pages(options),
        Command::Completions(options) => completions(options),
    };
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn man_pages(options: &Man) -> Result<(), Failure> {
    let dir = options.dir.display();
    fs::create_dir_all(&options.dir).map_err(Failure::io(format!("making {dir}")))?;
    let written = man::write_all(Cli::command(), &options.dir);
    written.map_err(Failure::io(format!("writing man pages to {dir}")))?;
    print(&format!("wrote man pages to {dir}; see them with: man -l {dir}/uringmq.1\n"))
}

fn completions(options: &Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "uringmq", &mut script);
    written(std::io::Write::write_all(&mut std::io::stdout().lock(), &script))
}
