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
    /// `false`: what the switch would switch on is not there.
    Off,
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
    /// A whole number between both, or this other one, which has a meaning of its own.
    WholeOr {
        /// The other one.
        other: i64,
        /// Least value.
        min: i64,
        /// Greatest value.
        max: i64,
        /// As for `Whole`.
        unit: &'static str,
    },
    /// A decimal number from 0 to 1.
    Fraction,
    /// Any number of these words, separated by commas.
    Words(&'static [&'static str]),
    /// `PARTITION:BROKER`, any number of them, separated by commas, or `*` for all.
    Replicas,
    /// This, or empty for "not set".
    Optional(&'static Allowed),
}

/// A type of values as DescribeConfigs numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean = 1,
    /// Text.
    String = 2,
    /// 32 bits.
    Int = 3,
    /// 64 bits.
    Long = 5,
    /// A decimal number.
    Double = 6,
    /// Several, separated by commas.
    List = 7,
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
            Allowed::WholeOr { other, min, max, unit } => {
                format!("{}, or {other}", Allowed::Whole { min, max, unit }.in_words())
            }
            Allowed::Fraction => "a number from 0 to 1".to_owned(),
            Allowed::Words(words) => format!("{}, several separated by commas, or nothing", words.join(" or ")),
            Allowed::Replicas => "PARTITION:BROKER, several separated by commas, or * for all, or nothing".to_owned(),
            Allowed::Optional(inner) => format!("{}, or empty", inner.in_words()),
            Allowed::Switch => "true or false".to_owned(),
            Allowed::Off => "false".to_owned(),
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

impl Allowed {
    /// The type that DescribeConfigs tells.
    #[must_use]
    pub fn config_type(&self) -> ConfigType {
        match self {
            Allowed::Switch | Allowed::Off => ConfigType::Boolean,
            Allowed::Whole { max, .. } | Allowed::WholeOr { max, .. } if *max <= i64::from(i32::MAX) => ConfigType::Int,
            Allowed::Whole { .. } | Allowed::WholeOr { .. } => ConfigType::Long,
            Allowed::Fraction => ConfigType::Double,
            Allowed::Endpoints | Allowed::Words(_) | Allowed::Replicas => ConfigType::List,
            Allowed::OneOf(_) | Allowed::Directory | Allowed::AddressOrEmpty | Allowed::ProtocolMap => {
                ConfigType::String
            }
            Allowed::Optional(inner) => inner.config_type(),
        }
    }

    /// The value as it is to be kept and used, which is as whoever uses it reads it, without the spaces and signs that
    /// Kafka overlooks; `None` if it is not allowed.
    #[must_use]
    pub fn canonical(&self, text: &str) -> Option<String> {
        let text = text.trim();
        match self {
            Allowed::Whole { .. } | Allowed::WholeOr { .. } => whole(text, self).map(|number| number.to_string()),
            Allowed::Switch => bool::read(text, self).map(|on| on.to_string()),
            Allowed::Off => bool::read(text, self).filter(|on| !on).map(|off| off.to_string()),
            Allowed::OneOf(words) => words.contains(&text).then(|| text.to_owned()),
            Allowed::Fraction => {
                text.parse::<f64>().ok().filter(|number| (0.0..=1.0).contains(number)).map(|_| text.to_owned())
            }
            Allowed::Words(words) => list(text, |word| words.contains(&word)),
            Allowed::Replicas if text == "*" => Some(text.to_owned()),
            Allowed::Replicas => list(text, is_replica),
            Allowed::Optional(_) if text.is_empty() => Some(String::new()),
            Allowed::Optional(inner) => inner.canonical(text),
            Allowed::Directory => PathBuf::read(text, self).map(|_| text.to_owned()),
            Allowed::Endpoints => <Vec<Endpoint>>::read(text, self).map(|_| text.to_owned()),
            Allowed::AddressOrEmpty => <Option<Address>>::read(text, self).map(|_| text.to_owned()),
            Allowed::ProtocolMap => <Vec<(String, String)>>::read(text, self).map(|_| text.to_owned()),
        }
    }
}

/// A list without the spaces, if it is empty or every entry is legal.
fn list(text: &str, is_legal: impl Fn(&str) -> bool) -> Option<String> {
    let entries: Vec<&str> = text.split(',').map(str::trim).collect();
    (text.is_empty() || entries.iter().all(|entry| is_legal(entry))).then(|| entries.join(","))
}

fn is_replica(entry: &str) -> bool {
    let is_number = |text: &str| text.trim().parse::<i32>().is_ok_and(|number| number >= 0);
    entry.split_once(':').is_some_and(|(partition, broker)| is_number(partition) && is_number(broker))
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
    let number = text.parse::<i64>().ok()?;
    let is_allowed = match *allowed {
        Allowed::Whole { min, max, .. } => (min..=max).contains(&number),
        Allowed::WholeOr { other, min, max, .. } => number == other || (min..=max).contains(&number),
        Allowed::Optional(inner) => return whole(text, inner),
        _ => false,
    };
    is_allowed.then_some(number)
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

impl Value for Option<i64> {
    fn read(text: &str, allowed: &Allowed) -> Option<Option<i64>> {
        if text.is_empty() { Some(None) } else { whole(text, allowed).map(Some) }
    }
}

impl Value for String {
    fn read(text: &str, allowed: &Allowed) -> Option<String> {
        allowed.canonical(text)
    }
}

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
