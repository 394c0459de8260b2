//! How messages are printed: as they are, as JSON, in hexadecimal digits, or by a template like
//! kcat's.
//!
//! | in a template | |
//! |---|---|
//! | `%s`, `%S` | value, its length (-1: none) |
//! | `%k`, `%K` | key, its length (-1: none) |
//! | `%h` | headers: `name=value`, with commas between them |
//! | `%t`, `%p`, `%o` | topic, queue, offset |
//! | `%T`, `%n` | the producer's time, the node's time, in milliseconds since 1970 |
//! | `%%`, `\n`, `\r`, `\t`, `\0`, `\\`, `\x1f` | characters |
//!
//! Nothing is added to a template, no newline either.

use std::io::{self, Write};
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use net::client::{Header, Message};
use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use serde_json::{Map, Value, json};

/// How messages are printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The value, and a newline.
    Raw,
    /// One JSON object per message and line.
    Json,
    /// The value in hexadecimal digits, and a newline.
    Hex,
    /// Piece by piece.
    Template(Vec<Piece>),
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(Vec<u8>),
    Value,
    ValueLength,
    Key,
    KeyLength,
    Headers,
    Topic,
    Queue,
    Offset,
    Time,
    StoreTime,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "raw" => Ok(Self::Raw),
            "json" => Ok(Self::Json),
            "hex" => Ok(Self::Hex),
            _ if text.contains(['%', '\\']) => template(text).map(Self::Template),
            _ => Err("expected raw, json, hex, or a template such as '%k: %s\\n'".to_owned()),
        }
    }
}

fn template(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut literal = Vec::new();
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        let piece = match next {
            '%' => match rest.next() {
                Some('%') => None,
                Some(token) => Some(token_piece(token)?),
                None => return Err("a single % at the end: write %% for the character".to_owned()),
            },
            '\\' => {
                literal.push(escaped(&mut rest)?);
                continue;
            }
            _ => None,
        };
        let Some(piece) = piece else {
            literal.extend(next.encode_utf8(&mut [0; 4]).bytes());
            continue;
        };
        if !literal.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut literal)));
        }
        pieces.push(piece);
    }
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Ok(pieces)
}

fn token_piece(token: char) -> Result<Piece, String> {
    Ok(match token {
        's' => Piece::Value,
        'S' => Piece::ValueLength,
        'k' => Piece::Key,
        'K' => Piece::KeyLength,
        'h' => Piece::Headers,
        't' => Piece::Topic,
        'p' => Piece::Queue,
        'o' => Piece::Offset,
        'T' => Piece::Time,
        'n' => Piece::StoreTime,
        other => {
            return Err(format!(
                "%{other} means nothing: there are %s %S %k %K %h %t %p %o %T %n %%"
            ));
        }
    })
}

fn escaped(rest: &mut std::str::Chars<'_>) -> Result<u8, String> {
    let unknown =
        || "there are \\n \\r \\t \\0 \\\\ and \\x with two hexadecimal digits".to_owned();
    Ok(match rest.next().ok_or_else(unknown)? {
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        '0' => 0,
        '\\' => b'\\',
        'x' => {
            let mut digit = || rest.next().and_then(|digit| digit.to_digit(16)).ok_or_else(unknown);
            (digit()? * 16 + digit()?) as u8
        }
        _ => return Err(unknown()),
    })
}

/// Writes messages of one topic.
pub(crate) struct Writer {
    pub(crate) format: Format,
    pub(crate) topic: String,
    /// Printed behind the key, before a raw or hexadecimal value.
    pub(crate) key_separator: Option<String>,
}

impl Writer {
    /// Appends a message to `out`.
    pub(crate) fn write(&self, out: &mut Vec<u8>, message: &Message) -> io::Result<()> {
        let value = message.value.as_deref();
        match &self.format {
            Format::Raw => {
                if let (Some(separator), Some(key)) = (&self.key_separator, &message.key) {
                    out.extend_from_slice(key);
                    out.extend_from_slice(separator.as_bytes());
                }
                out.extend_from_slice(value.unwrap_or_default());
            }
            Format::Hex => {
                if let (Some(separator), Some(key)) = (&self.key_separator, &message.key) {
                    hex(out, key);
                    out.extend_from_slice(separator.as_bytes());
                }
                hex(out, value.unwrap_or_default());
            }
            Format::Json => serde_json::to_writer(&mut *out, &Document(message))?,
            Format::Template(pieces) => {
                return pieces.iter().try_for_each(|piece| self.piece(out, piece, message));
            }
        }
        out.push(b'\n');
        Ok(())
    }

    fn piece(&self, out: &mut Vec<u8>, piece: &Piece, message: &Message) -> io::Result<()> {
        let (key, value) = (message.key.as_deref(), message.value.as_deref());
        match piece {
            Piece::Text(text) => out.extend_from_slice(text),
            Piece::Value => out.extend_from_slice(value.unwrap_or_default()),
            Piece::Key => out.extend_from_slice(key.unwrap_or_default()),
            Piece::ValueLength => length(out, value)?,
            Piece::KeyLength => length(out, key)?,
            Piece::Headers => headers(out, &message.headers),
            Piece::Topic => out.extend_from_slice(self.topic.as_bytes()),
            Piece::Queue => write!(out, "{}", message.queue)?,
            Piece::Offset => write!(out, "{}", message.offset)?,
            Piece::Time => write!(out, "{}", message.timestamp_ms)?,
            Piece::StoreTime => write!(out, "{}", message.store_timestamp_ms)?,
        }
        Ok(())
    }
}

fn length(out: &mut Vec<u8>, bytes: Option<&[u8]>) -> io::Result<()> {
    match bytes {
        Some(bytes) => write!(out, "{}", bytes.len()),
        None => write!(out, "-1"),
    }
}

fn headers(out: &mut Vec<u8>, all: &[Header]) {
    for (at, header) in all.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&header.key);
        out.push(b'=');
        out.extend_from_slice(header.value.as_deref().unwrap_or(b"NULL"));
    }
}

fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    let digit = |value: u8| char::from_digit(value.into(), 16).map_or(b'0', |digit| digit as u8);
    out.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
}

/// A message as JSON, without a tree in between.
pub(crate) struct Document<'a>(pub(crate) &'a Message);

/// Bytes that are text under their name, or in base64 under another.
fn field<M: SerializeMap>(
    map: &mut M,
    (text, encoded): (&str, &str),
    bytes: Option<&[u8]>,
) -> Result<(), M::Error> {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => map.serialize_entry(text, &()),
        Some((_, Ok(content))) => map.serialize_entry(text, content),
        Some((bytes, Err(_))) => map.serialize_entry(encoded, &BASE64.encode(bytes)),
    }
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let message = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("queue", &message.queue)?;
        map.serialize_entry("offset", &message.offset)?;
        map.serialize_entry("timestamp_ms", &message.timestamp_ms)?;
        map.serialize_entry("store_timestamp_ms", &message.store_timestamp_ms)?;
        field(&mut map, ("key", "key_base64"), message.key.as_deref())?;
        field(&mut map, ("value", "value_base64"), message.value.as_deref())?;
        if !message.headers.is_empty() {
            map.serialize_entry("headers", &Headers(&message.headers))?;
        }
        map.end()
    }
}

struct Headers<'a>(&'a [Header]);

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for header in self.0 {
            list.serialize_element(&OneHeader(header))?;
        }
        list.end()
    }
}

struct OneHeader<'a>(&'a Header);

impl Serialize for OneHeader<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        field(&mut map, ("key", "key_base64"), Some(&self.0.key))?;
        field(&mut map, ("value", "value_base64"), self.0.value.as_deref())?;
        map.end()
    }
}

/// Puts bytes into a document: as text, or, with a name that says so, in base64.
pub(crate) fn insert_bytes(fields: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => fields.insert(name.to_owned(), Value::Null),
        Some((_, Ok(text))) => fields.insert(name.to_owned(), text.into()),
        Some((bytes, Err(_))) => {
            fields.insert(format!("{name}_base64"), json!(BASE64.encode(bytes)))
        }
    };
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message() -> Message {
        let header = |key: &'static str, value: Option<&'static [u8]>| Header {
            key: key.into(),
            value: value.map(Bytes::from_static),
        };
        Message {
            queue: 3,
            offset: 17,
            timestamp_ms: 1000,
            store_timestamp_ms: 2000,
            key: Some(Bytes::from_static(b"k\xc3\xa4y")),
            value: Some(Bytes::from_static(b"\xff\x00")),
            headers: vec![header("a", Some(b"1")), header("b", None)],
        }
    }

    fn printed(format: &str, separator: Option<&str>, message: &Message) -> Vec<u8> {
        let (format, topic) = (format.parse().unwrap(), "orders".to_owned());
        let writer = Writer { format, topic, key_separator: separator.map(str::to_owned) };
        let mut out = vec![];
        writer.write(&mut out, message).unwrap();
        out
    }

    #[test]
    fn every_token_of_a_template() {
        let out =
            printed("%t/%p/%o %T %n %k(%K)=%s(%S) [%h] 5%%\\t\\x41\\\\\\0\\r\\n", None, &message());
        let expected: &[u8] =
            b"orders/3/17 1000 2000 k\xc3\xa4y(4)=\xff\x00(2) [a=1,b=NULL] 5%\tA\\\0\r\n";
        assert_eq!(out, expected);
        let empty = Message { key: None, value: None, headers: vec![], ..message() };
        assert_eq!(printed("%k %K %s %S %h;", None, &empty), b" -1  -1 ;");
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for text in ["", "kcat", "%", "%s%", "%z", "\\q", "\\x4", "\\x4g", "\\"] {
            assert!(text.parse::<Format>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_text_is_base64() {
        let document: Value = serde_json::from_slice(&printed("json", None, &message())).unwrap();
        let expected = json!({
            "queue": 3, "offset": 17, "timestamp_ms": 1000, "store_timestamp_ms": 2000,
            "key": "k\u{e4}y", "value_base64": "/wA=",
            "headers": [{"key": "a", "value": "1"}, {"key": "b", "value": null}],
        });
        assert_eq!(document, expected);
        let mut fields = Map::new();
        insert_bytes(&mut fields, "value", Some(b"\xff\x00"));
        insert_bytes(&mut fields, "gone", None);
        assert_eq!(Value::Object(fields), json!({ "gone": null, "value_base64": "/wA=" }));
    }

    #[test]
    fn raw_and_hexadecimal_values_stand_behind_their_keys_if_asked() {
        assert_eq!(printed("raw", None, &message()), b"\xff\x00\n");
        assert_eq!(printed("raw", Some("="), &message()), b"k\xc3\xa4y=\xff\x00\n");
        assert_eq!(printed("hex", Some(":"), &message()), b"6bc3a479:ff00\n");
    }
}
