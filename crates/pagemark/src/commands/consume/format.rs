//! How a record is written: kcat's format strings, or JSON.
//!
//! Bytes go out as they came. Deliberately not here: schemas.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pagemark_client::Record;
use serde_json::{Map, Value, json};

use crate::times;

/// A format, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Format(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Bytes(Vec<u8>),
    Value,
    ValueLength,
    ValueLengthBytes,
    Key,
    KeyLength,
    Timestamp,
    Headers,
    Topic,
    Partition,
    Offset,
    Json,
}

impl Format {
    /// A JSON object a line.
    pub(super) fn json() -> Format {
        Format(vec![Piece::Json, Piece::Bytes(b"\n".to_vec())])
    }

    /// Reads a format string.
    pub(super) fn parse(text: &str) -> Result<Format, String> {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\\' => literal.push(escape(&mut letters)?),
                '%' => {
                    let token = letters.next();
                    let Some(piece) = token.and_then(piece) else {
                        if token == Some('%') {
                            literal.push(b'%');
                            continue;
                        }
                        let token = token.map(String::from).unwrap_or_default();
                        return Err(format!("no token %{token}: there are %s %S %R %k %K %T %h %t %p %o and %%"));
                    };
                    if !literal.is_empty() {
                        pieces.push(Piece::Bytes(std::mem::take(&mut literal)));
                    }
                    pieces.push(piece);
                }
                _ => literal.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Bytes(literal));
        }
        Ok(Format(pieces))
    }

    /// Writes a record.
    pub(super) fn write(&self, record: &Record, out: &mut Vec<u8>) {
        let length = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| i32::try_from(bytes.len()).unwrap_or(i32::MAX));
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        for piece in &self.0 {
            // Memory takes everything.
            let _ = match piece {
                Piece::Bytes(bytes) => out.write_all(bytes),
                Piece::Value => out.write_all(value.unwrap_or_default()),
                Piece::ValueLength => write!(out, "{}", length(value)),
                Piece::ValueLengthBytes => out.write_all(&length(value).to_be_bytes()),
                Piece::Key => out.write_all(key.unwrap_or_default()),
                Piece::KeyLength => write!(out, "{}", length(key)),
                Piece::Timestamp => write!(out, "{}", record.timestamp_ms),
                Piece::Headers => out.write_all(&headers(record)),
                Piece::Topic => write!(out, "{}", record.topic()),
                Piece::Partition => write!(out, "{}", record.partition.partition),
                Piece::Offset => write!(out, "{}", record.offset),
                Piece::Json => write!(out, "{}", object(record)),
            };
        }
    }
}

fn piece(token: char) -> Option<Piece> {
    Some(match token {
        's' => Piece::Value,
        'S' => Piece::ValueLength,
        'R' => Piece::ValueLengthBytes,
        'k' => Piece::Key,
        'K' => Piece::KeyLength,
        'T' => Piece::Timestamp,
        'h' => Piece::Headers,
        't' => Piece::Topic,
        'p' => Piece::Partition,
        'o' => Piece::Offset,
        _ => return None,
    })
}

/// What follows a backslash: one byte.
fn escape(letters: &mut std::str::Chars<'_>) -> Result<u8, String> {
    match letters.next() {
        Some('n') => Ok(b'\n'),
        Some('r') => Ok(b'\r'),
        Some('t') => Ok(b'\t'),
        Some('\\') => Ok(b'\\'),
        Some('0') => Ok(0),
        Some('x') => {
            let digits: String = letters.by_ref().take(2).collect();
            u8::from_str_radix(&digits, 16).map_err(|_| format!("\\x{digits}: write two hexadecimal digits"))
        }
        other => {
            let other = other.map(String::from).unwrap_or_default();
            Err(format!("no escape \\{other}: there are \\n \\r \\t \\0 \\xXX and \\\\"))
        }
    }
}

/// `name=value,name=value`, as kcat writes them.
fn headers(record: &Record) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, (name, value)) in record.headers.iter().enumerate() {
        out.extend_from_slice(if at > 0 { b"," } else { b"" });
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        out.extend_from_slice(value.as_deref().unwrap_or(b"NULL"));
    }
    out
}

/// A record as a JSON object. What is not UTF-8 goes under another name, in base64.
fn object(record: &Record) -> Value {
    let mut object = Map::new();
    object.insert("topic".to_owned(), record.topic().into());
    object.insert("partition".to_owned(), record.partition.partition.into());
    object.insert("offset".to_owned(), record.offset.into());
    let timestamp = if record.timestamp_ms < 0 { None } else { times::rfc3339(record.timestamp_ms) };
    object.insert("timestamp".to_owned(), timestamp.into());
    bytes(&mut object, "key", record.key.as_deref());
    bytes(&mut object, "value", record.value.as_deref());
    let header = |(name, value): &(String, Option<bytes::Bytes>)| {
        let mut header = Map::from_iter([("name".to_owned(), json!(name))]);
        bytes(&mut header, "value", value.as_deref());
        Value::Object(header)
    };
    object.insert("headers".to_owned(), record.headers.iter().map(header).collect());
    Value::Object(object)
}

fn bytes(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| std::str::from_utf8(bytes).map_err(|_| bytes)) {
        Some(Err(bytes)) => object.insert(format!("{name}_base64"), STANDARD.encode(bytes).into()),
        Some(Ok(text)) => object.insert(name.to_owned(), text.into()),
        None => object.insert(name.to_owned(), Value::Null),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_literals_tokens_and_escapes() {
        let parsed = Format::parse("%k:\\t%s%%\\x21é\\n").unwrap();
        let expected = [
            Piece::Key,
            Piece::Bytes(b":\t".to_vec()),
            Piece::Value,
            Piece::Bytes([&b"%!"[..], "é\n".as_bytes()].concat()),
        ];
        assert_eq!(parsed.0, expected);
        for wrong in ["%", "%q", "\\", "\\q", "\\x", "\\xg1"] {
            assert!(Format::parse(wrong).is_err(), "{wrong}");
        }
    }
}
