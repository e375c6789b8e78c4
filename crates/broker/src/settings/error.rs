//! What can be wrong with a setting, and where it was found.
//!
//! Deliberately not here: deciding what is wrong; `value.rs`, `listeners.rs` and `sources.rs` do.

use std::fmt;
use std::path::PathBuf;

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Line of a properties file, counted from 1.
    File(PathBuf, usize),
    /// An environment variable, by its name.
    Env(String),
    /// `--set` on the command line.
    Set,
    /// Nowhere: it is the default.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path, line) => write!(f, "{}:{line}", path.display()),
            Source::Env(name) => write!(f, "environment variable {name}"),
            Source::Set => f.write_str("--set"),
            Source::Default => f.write_str("default"),
        }
    }
}

/// What is wrong, named by what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// Correct the key: nobody knows it. The nearest known name, if one is near.
    UnknownKey {
        /// A name that looks like it.
        nearest: Option<String>,
    },
    /// Correct the value: this is what is allowed.
    BadValue {
        /// Completes "allowed: ...".
        allowed: String,
    },
    /// The value is well formed but not to be served as it stands: what to do instead.
    Refused {
        /// A sentence with the exact flag.
        advice: String,
    },
    /// The file cannot be read.
    Unreadable {
        /// The system's reason.
        reason: String,
    },
    /// Its bytes are not UTF-8.
    NotUtf8,
    /// Not of the form `key=value`.
    NotAnAssignment,
}

/// One thing that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingError {
    /// The key as it was given; empty for a file that cannot be read.
    pub key: String,
    /// The value as it was given.
    pub value: String,
    /// Where.
    pub source: Source,
    /// What.
    pub problem: Problem,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SettingError { key, value, source, problem } = self;
        match problem {
            Problem::UnknownKey { nearest: Some(name) } => {
                write!(f, "unknown setting {key}={value} ({source}); did you mean {name}?")
            }
            Problem::UnknownKey { nearest: None } => {
                write!(f, "unknown setting {key}={value} ({source}); docs/settings.md lists all of them")
            }
            Problem::BadValue { allowed } => write!(f, "{key}={value} ({source}): allowed: {allowed}"),
            Problem::Refused { advice } => write!(f, "{key}={value} ({source}): {advice}"),
            Problem::Unreadable { reason } => write!(f, "the settings cannot be read ({source}): {reason}"),
            Problem::NotUtf8 => write!(f, "{key}={value} ({source}) is not UTF-8"),
            Problem::NotAnAssignment => write!(f, "{value:?} ({source}) is not of the form key=value"),
        }
    }
}

impl std::error::Error for SettingError {}
