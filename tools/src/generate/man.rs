//! Man pages: what `clap_mangen` writes, with a synopsis that names values, and with the last lines of
//! the help as the sections that man pages have for them.

use std::fs;
use std::io;
use std::path::Path;

use clap::{Arg, ArgAction, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use crate::exit::{CODES, EXAMPLES};

/// Writes a page for the command and every one below it.
pub(super) fn write_all(command: Command, dir: &Path) -> io::Result<()> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    write(&command, dir)
}

fn write(command: &Command, dir: &Path) -> io::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        write(below, dir)?;
    }
    let path = dir.join(Man::new(command.clone()).get_filename());
    fs::write(path, page(command)?)
}

fn page(command: &Command) -> io::Result<String> {
    let last = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut rendered = Vec::new();
    let plain = command.clone().after_help(None::<&str>).after_long_help(None::<&str>);
    Man::new(plain).render(&mut rendered)?;
    let text = String::from_utf8_lossy(&rendered).into_owned();
    let text = match (text.find(".SH SYNOPSIS"), text.find(".SH DESCRIPTION")) {
        (Some(from), Some(to)) if from < to => {
            let (before, behind) = (text.get(..from), text.get(to..));
            [before.unwrap_or(""), &section(&synopsis(command)), behind.unwrap_or("")].concat()
        }
        _ => text,
    };
    let end = text.find(".SH VERSION").unwrap_or(text.len());
    let (before, behind) = text.split_at(end);
    Ok([before, &section(&exit_status(&last)), &section(&examples(&last)), behind].concat())
}

/// Sections alone, without what stands before the first one of a page.
fn section(roff: &Roff) -> String {
    let text = roff.render();
    text.find(".SH").and_then(|at| text.get(at..)).map(str::to_owned).unwrap_or_default()
}

fn synopsis(command: &Command) -> Roff {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let mut line = vec![bold(name)];
    let (positional, options): (Vec<&Arg>, Vec<&Arg>) = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set())
        .partition(|arg| arg.is_positional());
    for arg in options.into_iter().chain(positional) {
        let (open, close) = if arg.is_required_set() { (" ", "") } else { (" [", "]") };
        line.push(roman(open));
        line.extend(usage(arg));
        line.push(roman(close));
    }
    if command.has_subcommands() {
        line.extend([roman(" "), italic("COMMAND")]);
    }
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]).text(line);
    roff
}

/// An option with its value, or what stands without a name.
fn usage(arg: &Arg) -> Vec<Inline> {
    let names = arg.get_value_names().unwrap_or_default();
    let value = names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ");
    let range = arg.get_num_args().unwrap_or_default();
    let many = if range.max_values() > 1 || matches!(arg.get_action(), ArgAction::Append) {
        "..."
    } else {
        ""
    };
    if arg.is_positional() {
        return vec![italic(value), roman(many)];
    }
    let mut usage = match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => {
            vec![bold(format!("-{short}")), roman("|"), bold(format!("--{long}"))]
        }
        (Some(short), None) => vec![bold(format!("-{short}"))],
        (None, long) => vec![bold(format!("--{}", long.unwrap_or_default()))],
    };
    let is_set = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    if is_set && range.takes_values() {
        let equals = if arg.is_require_equals_set() { "=" } else { " " };
        usage.extend(match range.min_values() {
            0 => vec![roman(format!("[{equals}")), italic(value), roman("]")],
            _ => vec![roman(equals), italic(value)],
        });
    }
    usage.push(roman(many));
    usage
}

/// The lines below a heading of the help's end, up to an empty one.
fn below<'a>(last: &'a str, heading: &str) -> Vec<&'a str> {
    let lines = last.lines().skip_while(|line| *line != heading).skip(1);
    lines.take_while(|line| !line.is_empty()).map(str::trim_start).collect()
}

fn exit_status(last: &str) -> Roff {
    let mut roff = Roff::new();
    let codes = below(last, CODES);
    if !codes.is_empty() {
        roff.control("SH", ["EXIT STATUS"]);
    }
    for line in codes {
        let (code, meaning) = line.split_once("  ").unwrap_or((line, ""));
        roff.control("TP", []).text([bold(code)]).text([roman(meaning)]);
    }
    roff
}

/// As they are typed: nothing is filled, and a quote stays one.
fn examples(last: &str) -> Roff {
    let mut roff = Roff::new();
    let lines = below(last, EXAMPLES);
    if !lines.is_empty() {
        roff.control("SH", ["EXAMPLES"]).control("nf", []);
        lines.into_iter().for_each(|line| {
            roff.text([roman(line)]);
        });
        roff.control("fi", []);
    }
    roff
}
