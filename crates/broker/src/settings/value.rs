//! Kinds of values: how each is read from text, what is allowed, and what that is called in messages and docs.
//!
//! Deliberately not here: which setting has which kind (`table.rs`), and rules between settings (`listeners.rs`).

use std::path::PathBuf;

use super::listeners::{Address, Endpoint, parse_address, parse_endpoints};

/// Whose time a record carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's, at the append.
    LogAppendTime,
}

impl TimestampType {
    /// Kafka's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            TimestampType::CreateTime => "CreateTime",
            TimestampType::LogAppendTime => "LogAppendTime",
        }
    }
}

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// A whole number between both, of this unit ("" if it counts things).
    Whole {
        /// Least value.
        min: i64,
        /// Greatest value.
        max: i64,
        /// "ms", "bytes" or "".
        unit: &'static str,
    },
    /// `true` or `false`.
    Switch,
    /// One of these words, exactly as Kafka spells them.
    OneOf(&'static [&'static str]),
    /// Exactly one directory.
    Directory,
    /// `NAME://host:port`, any number of them, separated by commas.
    Endpoints,
    /// `host:port`, or empty for "off".
    AddressOrEmpty,
    /// `NAME:PROTOCOL`, any number of them, separated by commas.
    ProtocolMap,
}

impl Allowed {
    /// What to write, in words.
    #[must_use]
    pub fn in_words(&self) -> String {
        match *self {
            Allowed::Whole { min, max, unit } => {
                let unit = match unit {
                    "ms" => " (milliseconds)",
                    "bytes" => " (bytes)",
                    _ => "",
                };
                if max == i64::MAX {
                    format!("a whole number from {min} up{unit}")
                } else {
                    format!("a whole number from {min} to {max}{unit}")
                }
            }
            Allowed::Switch => "true or false".to_owned(),
            Allowed::OneOf(words) => words.join(" or "),
            Allowed::Directory => "exactly one directory".to_owned(),
            Allowed::Endpoints => {
                "NAME://host:port, several separated by commas, e.g. PLAINTEXT://127.0.0.1:9092".to_owned()
            }
            Allowed::AddressOrEmpty => "host:port, e.g. 127.0.0.1:9080, or empty for none".to_owned(),
            Allowed::ProtocolMap => "NAME:PROTOCOL, several separated by commas, e.g. INSIDE:PLAINTEXT".to_owned(),
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct KeySpec {
    /// Property name.
    pub name: &'static str,
    /// Default, as it would be written.
    pub default: &'static str,
    /// What is allowed.
    pub allowed: Allowed,
    /// What it does, in sentences, lines joined.
    pub doc: &'static [&'static str],
}

impl KeySpec {
    /// The documentation as one paragraph.
    #[must_use]
    pub fn paragraph(&self) -> String {
        self.doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    }
}

/// A type that a field of the settings can have.
pub(super) trait Value: Sized {
    /// Reads the text; `None` if it is not allowed.
    fn read(text: &str, allowed: &Allowed) -> Option<Self>;
}

fn whole(text: &str, allowed: &Allowed) -> Option<i64> {
    let Allowed::Whole { min, max, .. } = *allowed else { return None };
    text.parse::<i64>().ok().filter(|number| (min..=max).contains(number))
}

macro_rules! whole_numbers {
    ($($kind:ty),*) => {
        $(impl Value for $kind {
            fn read(text: &str, allowed: &Allowed) -> Option<$kind> {
                whole(text, allowed).and_then(|number| <$kind>::try_from(number).ok())
            }
        })*
    };
}

whole_numbers!(i16, i32, i64, u64, usize);

impl Value for bool {
    fn read(text: &str, _: &Allowed) -> Option<bool> {
        match text.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }
}

impl Value for TimestampType {
    fn read(text: &str, _: &Allowed) -> Option<TimestampType> {
        match text {
            "CreateTime" => Some(TimestampType::CreateTime),
            "LogAppendTime" => Some(TimestampType::LogAppendTime),
            _ => None,
        }
    }
}

impl Value for PathBuf {
    fn read(text: &str, _: &Allowed) -> Option<PathBuf> {
        (!text.is_empty() && !text.contains([',', '\0'])).then(|| PathBuf::from(text))
    }
}

impl Value for Vec<Endpoint> {
    fn read(text: &str, _: &Allowed) -> Option<Vec<Endpoint>> {
        parse_endpoints(text)
    }
}

impl Value for Option<Address> {
    fn read(text: &str, _: &Allowed) -> Option<Option<Address>> {
        if text.is_empty() { Some(None) } else { parse_address(text).map(Some) }
    }
}

impl Value for Vec<(String, String)> {
    fn read(text: &str, _: &Allowed) -> Option<Vec<(String, String)>> {
        text.split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(|entry| {
                let (name, protocol) = entry.split_once(':')?;
                let (name, protocol) = (name.trim(), protocol.trim());
                (!name.is_empty() && !protocol.is_empty()).then(|| (name.to_owned(), protocol.to_owned()))
            })
            .collect()
    }
}
