//! Why a client command failed, and what to do about it.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use net::client::{ClientError, ErrorCode, HTTP_ANSWERED, PollError};
use net::wire::{DecodeError, EncodeError};
use thiserror::Error;

use crate::exit;
use crate::output::say;

/// Ends a client command.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The options do not go together.
    #[error("{0}")]
    Usage(String),
    /// No node could be reached.
    #[error("{server}: {source}")]
    Connect {
        /// The address asked for.
        server: String,
        /// Why.
        source: ClientError,
    },
    /// The node refused, or the connection broke.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The node refused, or this client did, because of a topic.
    #[error("{}", about_topic(topic, source))]
    Topic {
        /// Its name.
        topic: String,
        /// Why.
        source: ClientError,
    },
    /// A queue could not be read.
    #[error(transparent)]
    Poll(#[from] PollError),
    /// A file, or standard input or output.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// It was done in part; the sentence says how far.
    #[error("{0}")]
    Incomplete(String),
}

impl Failure {
    /// A failure of a file or stream.
    pub(crate) fn io(what: impl Display) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what: what.to_string(), source }
    }

    /// The same, with the name of the topic that was asked for, where that matters.
    pub(crate) fn about(self, topic: &str) -> Self {
        let source = match self {
            Self::Client(source) if is_about_topic(&source) => source,
            Self::Poll(error) if is_about_topic(&error.source) => error.source,
            other => return other,
        };
        Self::Topic { topic: topic.to_owned(), source }
    }

    /// Prints it with advice and returns the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        say(format_args!("uringmq: {self}"));
        let advice = match self {
            Self::Connect { source, .. } | Self::Client(source) => advice(source),
            Self::Poll(error) => advice(&error.source),
            Self::Topic { topic, source } => advice(source).map(|a| a.replace("TOPIC", topic)),
            Self::Usage(_) | Self::Io { .. } | Self::Incomplete(_) => None,
        };
        if let Some(advice) = advice {
            say(format_args!("  {advice}"));
        }
        ExitCode::from(match self {
            Self::Usage(_) => exit::USAGE,
            Self::Client(source) | Self::Topic { source, .. } if is_bad_name(source) => exit::USAGE,
            Self::Connect { .. } => exit::CANNOT_START,
            _ => exit::FAILED,
        })
    }
}

fn is_about_topic(error: &ClientError) -> bool {
    use ErrorCode::{InvalidTopic, TopicExists, UnknownQueue, UnknownTopic};
    match error {
        ClientError::NoSuchQueue { .. } => true,
        ClientError::Server { code, .. } => {
            matches!(code, InvalidTopic | TopicExists | UnknownQueue | UnknownTopic)
        }
        _ => false,
    }
}

fn about_topic(topic: &str, source: &ClientError) -> String {
    match source {
        ClientError::NoSuchQueue { queue } => format!("topic {topic} has no queue {queue}"),
        other => format!("topic {topic}: {other}"),
    }
}

/// Nothing was done because a name is none.
fn is_bad_name(error: &ClientError) -> bool {
    use ErrorCode::{InvalidGroup, InvalidTopic};
    match error {
        ClientError::Request(error) => {
            matches!(error, EncodeError::InvalidTopic | EncodeError::InvalidGroup)
        }
        ClientError::Server { code, .. } => matches!(code, InvalidTopic | InvalidGroup),
        _ => false,
    }
}

/// What a person can do about an error.
pub(crate) fn advice(error: &ClientError) -> Option<String> {
    fixed_advice(error).map(str::to_owned)
}

fn fixed_advice(error: &ClientError) -> Option<&'static str> {
    Some(match error {
        ClientError::Connect { source } if source.kind() == io::ErrorKind::ConnectionRefused => {
            "is a node running there? start one with: uringmq serve"
        }
        ClientError::Connect { .. } => {
            "check the address: --server HOST:PORT, or the variable URINGMQ_SERVER"
        }
        ClientError::ConnectionLost { .. } => {
            "the node closed the connection or has ended; its log says why"
        }
        ClientError::TimedOut { .. } => "is it a uringmq node that answers at this address?",
        ClientError::Reply(DecodeError::Malformed { what }) if *what == HTTP_ANSWERED => {
            "that may be the port of a node's admin server; the node's own is another one (9440)"
        }
        ClientError::Reply(_) => "is it a uringmq node, of a similar version, at this address?",
        ClientError::NoSuchQueue { .. } => "see the queues with: uringmq topic describe TOPIC",
        ClientError::NotDelivered { last: Some(last), .. } => return fixed_advice(last),
        ClientError::Decompress { .. } => {
            "read on behind it: --queue N --from OFFSET, with the offset that is named"
        }
        ClientError::Server { code, .. } => return advice_on_code(*code),
        _ => return None,
    })
}

fn advice_on_code(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::UnknownTopic => {
            "see what there is with: uringmq topic list; make it with: uringmq topic create TOPIC"
        }
        ErrorCode::UnknownQueue => "see the queues with: uringmq topic describe TOPIC",
        ErrorCode::TooManyGroups => "delete groups that are not needed: uringmq group delete NAME",
        ErrorCode::TopicExists => "see it with: uringmq topic describe TOPIC",
        ErrorCode::OffsetOutOfRange => {
            "begin with what is stored: --from earliest, or an offset in that range"
        }
        ErrorCode::Truncated => {
            "the node was killed before its disk had all of it: read on behind what is left, with \
             --queue N --from OFFSET as named; with --group, run it again"
        }
        ErrorCode::Busy => "the node is at a limit of its memory: try again, or send less at once",
        ErrorCode::DiskFull => "make room on the node's disk, then try again",
        ErrorCode::ShardPoisoned | ErrorCode::FlushDiskTimeout => {
            "the node's disk failed or stalls: look at its log, mend the disk, restart the node"
        }
        ErrorCode::ShuttingDown => "try again when the node is back",
        ErrorCode::UnsupportedVersion => "use a client and a node of similar versions",
        _ => return None,
    })
}
