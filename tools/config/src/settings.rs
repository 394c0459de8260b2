//! File, environment and flags together: the options in force, and where each came from.
//!
//! A file's values take the place of the defaults and the command line is read again, so one parser
//! gives the order of precedence: flag, environment, file, default.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use serde::Serialize;

use crate::options::Wait;
use crate::{Arguments, File, FileError, Options};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// The command line.
    Flag {
        /// The flag.
        name: String,
    },
    /// An environment variable.
    Environment {
        /// The variable.
        name: String,
    },
    /// A file.
    File {
        /// Which.
        path: PathBuf,
        /// Where in it.
        line: usize,
    },
    /// Nobody said anything.
    Default,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag { name } | Self::Environment { name } => f.write_str(name),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// An option in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its key in a file.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Where that came from.
    pub source: Source,
    /// What it does.
    pub help: String,
}

/// The options in force.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// For the program.
    pub options: Options,
    /// For people, in the order of [`Options`].
    pub settings: Vec<Setting>,
}

/// Why there are no options.
#[derive(Debug)]
pub enum ResolveError {
    /// The file is no good.
    File(FileError),
    /// The command line is no good, or asks for help: let it print itself.
    Usage(clap::Error),
}

/// Reads a command line with the file it names. `path` are the names of the subcommand that has the
/// [`Arguments`] in it.
///
/// # Errors
/// When the file, the command line or the environment is no good.
pub fn resolve<T: Into<OsString> + Clone>(
    command: Command,
    path: &[&str],
    arguments: &Arguments,
    words: impl IntoIterator<Item = T>,
) -> Result<Resolved, ResolveError> {
    let file = arguments.config.as_deref().map(File::read).transpose();
    let file = file.map_err(ResolveError::File)?;
    let command = match &file {
        Some(file) => with_defaults(command, path, file),
        None => command,
    };
    let matches = command.try_get_matches_from(words).map_err(ResolveError::Usage)?;
    let mut matches = &matches;
    for name in path {
        matches = matches.subcommand_matches(name).unwrap_or(matches);
    }
    resolved(matches, file.as_ref(), arguments.poll)
}

/// A file alone, over the defaults, whatever the environment says.
///
/// # Errors
/// When values of the file are no good (which [`File::read`] has found before).
pub fn of_file(file: &File) -> Result<Resolved, ResolveError> {
    let command = Options::augment_args(Command::new("file").no_binary_name(true));
    let command = command.mut_args(|arg| arg.env(None::<&str>));
    let command = with_defaults(command, &[], file);
    let none: [&str; 0] = [];
    let matches = command.try_get_matches_from(none).map_err(ResolveError::Usage)?;
    resolved(&matches, Some(file), false)
}

fn with_defaults(command: Command, path: &[&str], file: &File) -> Command {
    if let Some((name, rest)) = path.split_first() {
        return command.mut_subcommand(name, |command| with_defaults(command, rest, file));
    }
    command.mut_args(|arg| match file.get(arg.get_id().as_str()) {
        Some(entry) => arg.default_value(entry.value.clone()),
        None => arg,
    })
}

fn resolved(
    matches: &ArgMatches,
    file: Option<&File>,
    poll: bool,
) -> Result<Resolved, ResolveError> {
    let mut options = Options::from_arg_matches(matches).map_err(ResolveError::Usage)?;
    let all = Options::augment_args(Command::new("all"));
    let mut settings: Vec<Setting> =
        all.get_arguments().map(|arg| setting(arg, matches, file)).collect();
    if poll {
        options.wait = Wait::Poll;
        for setting in settings.iter_mut().filter(|setting| setting.key == "wait") {
            setting.value = "poll".to_owned();
            setting.source = Source::Flag { name: "--poll".to_owned() };
        }
    }
    Ok(Resolved { options, settings })
}

fn setting(arg: &Arg, matches: &ArgMatches, file: Option<&File>) -> Setting {
    let key = arg.get_id().as_str();
    let raw = matches.get_raw(key).and_then(|mut values| values.next());
    let source = match matches.value_source(key) {
        Some(ValueSource::CommandLine) => {
            Source::Flag { name: format!("--{}", arg.get_long().unwrap_or(key)) }
        }
        Some(ValueSource::EnvVariable) => {
            let name = arg.get_env().unwrap_or_default().to_string_lossy().into_owned();
            Source::Environment { name }
        }
        _ => match file.and_then(|file| file.get(key).map(|entry| (file, entry))) {
            Some((file, entry)) => Source::File { path: file.path.clone(), line: entry.line },
            None => Source::Default,
        },
    };
    Setting {
        key: key.to_owned(),
        value: raw.map(|value| value.to_string_lossy().into_owned()).unwrap_or_default(),
        source,
        help: arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::file::parse;

    #[derive(Debug, Parser)]
    enum Cli {
        Serve(Arguments),
    }

    fn file(text: &str) -> File {
        File { path: PathBuf::from("mq.toml"), entries: parse(text.as_bytes()).unwrap() }
    }

    fn with(text: &str, words: &[&str]) -> Resolved {
        use clap::CommandFactory as _;
        let command = Cli::command().mut_subcommand("serve", |serve| {
            serve.mut_args(|arg| match arg.get_id().as_str() {
                // A variable that is there wherever tests run stands for one that is set.
                "data" => arg.env("PATH"),
                _ => arg.env(None::<&str>),
            })
        });
        let file = file(text);
        let command = with_defaults(command, &["serve"], &file);
        let matches =
            command.try_get_matches_from([&["uringmq", "serve"], words].concat()).unwrap();
        let poll = words.contains(&"--poll");
        resolved(matches.subcommand_matches("serve").unwrap(), Some(&file), poll).unwrap()
    }

    fn find(resolved: &Resolved, key: &str) -> (String, String) {
        let setting = resolved.settings.iter().find(|setting| setting.key == key).unwrap();
        (setting.value.clone(), setting.source.to_string())
    }

    #[test]
    fn flags_win_over_the_environment_that_over_the_file_that_over_defaults() {
        let text = "data = \"from-file\"\nretention = \"48h\"\nshards = 3\n";
        let resolved = with(text, &["--retention", "24h"]);
        assert_eq!(find(&resolved, "retention"), ("24h".into(), "--retention".into()));
        assert_eq!(find(&resolved, "data").1, "URINGMQ_DATA");
        assert_eq!(find(&resolved, "shards"), ("3".into(), "mq.toml:3".into()));
        assert_eq!(find(&resolved, "wait"), ("hybrid".into(), "default".into()));
        assert_eq!(resolved.options.shards.0, Some(3));
        assert_eq!(resolved.options.retention.0.unwrap().to_string(), "24h");
        let data = with(text, &["--data", "given"]).options.data;
        assert_eq!(data, PathBuf::from("given"));
    }

    #[test]
    fn poll_is_short_for_a_flag() {
        let resolved = with("wait = \"sleep\"\nallow_remote = true", &["--poll"]);
        assert_eq!(find(&resolved, "wait"), ("poll".into(), "--poll".into()));
        assert_eq!(resolved.options.wait, Wait::Poll);
        assert_eq!(find(&resolved, "allow_remote"), ("true".into(), "mq.toml:2".into()));
        let off = with("allow_remote = true", &["--allow-remote=false"]);
        assert!(!off.options.allow_remote.is_on());
        let on = with("", &["--allow-remote", "--shards", "2"]);
        assert!(on.options.allow_remote.is_on() && on.options.shards.0 == Some(2));
    }
}
