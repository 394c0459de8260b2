//! What a line says: a value, perhaps behind its key; a JSON object; or hexadecimal digits.
//!
//! JSON is what `consume --format json` prints, so one command's output is the other's input:
//! `key` and `value` (or `key_base64`, `value_base64`), `headers`, `timestamp_ms`; `queue`, only if
//! asked for, since the other topic may have fewer. A value that is an object, an array, a number
//! or a boolean is taken as its JSON text.
//! Invariants: what is not understood is an error, and no message.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use memchr::memmem::Finder;
use serde_json::{Map, Value};

/// How a line becomes a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// The line is the value, byte for byte (or key and value, see --key-separator).
    #[default]
    Raw,
    /// One JSON object, as `consume --format json` prints them.
    Json,
    /// The value in hexadecimal digits (or key and value, see --key-separator).
    Hex,
}

/// Takes lines apart.
pub(super) struct Shape {
    format: Format,
    separator: Option<Finder<'static>>,
    /// Of all messages that have none of their own.
    key: Option<Vec<u8>>,
}

/// Name and value.
type Header = (Vec<u8>, Option<Vec<u8>>);

/// A message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) queue: Option<u16>,
    pub(super) key: Option<Cow<'a, [u8]>>,
    pub(super) value: Option<Cow<'a, [u8]>>,
    pub(super) headers: Vec<Header>,
    pub(super) timestamp_ms: Option<i64>,
}

impl Shape {
    pub(super) fn new(format: Format, separator: Option<&str>, key: Option<String>) -> Self {
        let separator = separator.map(|separator| Finder::new(separator).into_owned());
        Self { format, separator, key: key.map(String::into_bytes) }
    }

    /// Whether nothing about a line has to be found out.
    pub(super) fn is_plain(&self) -> bool {
        self.format == Format::Raw && self.separator.is_none() && self.key.is_none()
    }

    pub(super) fn line<'a>(&'a self, line: &'a [u8]) -> Result<Line<'a>, String> {
        let mut line = match self.format {
            Format::Raw => {
                let (key, value) = self.split(line);
                let (key, value) = (key.map(Cow::Borrowed), Some(Cow::Borrowed(value)));
                Line { key, value, ..Line::default() }
            }
            Format::Hex => {
                let (key, value) = self.split(line);
                let key = key.map(hex).transpose()?.map(Cow::Owned);
                Line { key, value: Some(Cow::Owned(hex(value)?)), ..Line::default() }
            }
            Format::Json => json(line)?,
        };
        if line.key.is_none() {
            line.key = self.key.as_deref().map(Cow::Borrowed);
        }
        Ok(line)
    }

    /// What stands before the first separator is the key.
    fn split<'a>(&self, line: &'a [u8]) -> (Option<&'a [u8]>, &'a [u8]) {
        let Some(separator) = &self.separator else { return (None, line) };
        let at = separator.find(line);
        match at.and_then(|at| line.split_at_checked(at)) {
            Some((key, rest)) => {
                (Some(key), rest.get(separator.needle().len()..).unwrap_or_default())
            }
            None => (None, line),
        }
    }
}

fn hex(text: &[u8]) -> Result<Vec<u8>, String> {
    let digit = |byte: &u8| (*byte as char).to_digit(16);
    let pairs = text.trim_ascii().chunks(2).map(|pair| match pair {
        [high, low] => Some((digit(high)? * 16 + digit(low)?) as u8),
        _ => None,
    });
    let bytes: Option<Vec<u8>> = pairs.collect();
    bytes.ok_or_else(|| "not pairs of hexadecimal digits".to_owned())
}

fn json(line: &[u8]) -> Result<Line<'static>, String> {
    let read: Result<Map<String, Value>, _> = serde_json::from_slice(line);
    let mut fields = read.map_err(|error| format!("not a JSON object: {error}"))?;
    let queue = match fields.remove("queue") {
        None | Some(Value::Null) => None,
        Some(queue) => {
            let queue = queue.as_u64().and_then(|queue| u16::try_from(queue).ok());
            Some(queue.ok_or("\"queue\" is no queue's number")?)
        }
    };
    let timestamp_ms = match fields.remove("timestamp_ms") {
        None | Some(Value::Null) => None,
        Some(time) => Some(time.as_i64().ok_or("\"timestamp_ms\" is no whole number")?),
    };
    if !["value", "value_base64"].iter().any(|name| fields.contains_key(*name)) {
        return Err("no \"value\" in it (null makes a tombstone)".to_owned());
    }
    let key = bytes(&mut fields, "key")?.map(Cow::Owned);
    let value = bytes(&mut fields, "value")?.map(Cow::Owned);
    Ok(Line { queue, key, value, headers: headers(fields.remove("headers"))?, timestamp_ms })
}

/// A field that is there as text or, under another name, in base64.
fn bytes(fields: &mut Map<String, Value>, name: &str) -> Result<Option<Vec<u8>>, String> {
    let encoded = format!("{name}_base64");
    if let Some(text) = fields.remove(&encoded) {
        let decoded = text.as_str().and_then(|text| BASE64.decode(text).ok());
        return decoded.map(Some).ok_or_else(|| format!("\"{encoded}\" is not base64"));
    }
    Ok(fields.remove(name).and_then(text))
}

fn text(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.into_bytes()),
        other => Some(other.to_string().into_bytes()),
    }
}

/// As a list of objects with key and value, or as one object.
fn headers(value: Option<Value>) -> Result<Vec<Header>, String> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Object(fields)) => {
            Ok(fields.into_iter().map(|(name, value)| (name.into_bytes(), text(value))).collect())
        }
        Some(Value::Array(all)) => {
            let header = |header| {
                let Value::Object(mut fields) = header else {
                    return Err("a header is an object with \"key\" and \"value\"".to_owned());
                };
                let key = bytes(&mut fields, "key")?.ok_or("a header without a \"key\"")?;
                Ok((key, bytes(&mut fields, "value")?))
            };
            all.into_iter().map(header).collect()
        }
        Some(_) => Err("\"headers\" is neither an object nor a list".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(format: Format, separator: Option<&str>) -> Shape {
        Shape::new(format, separator, None)
    }

    #[test]
    fn a_key_stands_before_the_first_separator() {
        let split = |line: &'static str, separator| {
            let shape = shape(Format::Raw, separator);
            let line = shape.line(line.as_bytes()).unwrap();
            let text = |bytes: Cow<'_, [u8]>| String::from_utf8(bytes.into_owned()).unwrap();
            (line.key.map(text), line.value.map(text).unwrap())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(split("a=b=c", Some("=")), (some("a"), "b=c".to_owned()));
        assert_eq!(split("a::b", Some("::")), (some("a"), "b".to_owned()));
        assert_eq!(split("=b", Some("=")), (some(""), "b".to_owned()));
        assert_eq!(split("a=", Some("=")), (some("a"), String::new()));
        assert_eq!(split("ab", Some("=")), (None, "ab".to_owned()));
        assert_eq!(split("a=b", None), (None, "a=b".to_owned()));
        let keyed = Shape::new(Format::Raw, Some("="), Some("all".to_owned()));
        assert_eq!(keyed.line(b"x").unwrap().key.as_deref(), Some(&b"all"[..]));
        assert_eq!(keyed.line(b"k=x").unwrap().key.as_deref(), Some(&b"k"[..]));
    }

    #[test]
    fn hexadecimal_digits_come_in_pairs() {
        let hex = shape(Format::Hex, Some(":"));
        let line = hex.line(b"00ff:6869").unwrap();
        assert_eq!(line.key.as_deref(), Some(&[0, 255][..]));
        assert_eq!(line.value.as_deref(), Some(&b"hi"[..]));
        assert!(hex.line(b"123").is_err());
        assert!(hex.line(b"zz").is_err());
    }

    #[test]
    fn json_says_everything_about_a_message() {
        let json = shape(Format::Json, None);
        let line = json.line(
            br#"{"queue": 3, "key": "k", "value_base64": "/wA=", "timestamp_ms": 5, "offset": 9,
                 "headers": [{"key": "a", "value": "1"}, {"key": "b", "value": null}]}"#,
        );
        let line = line.unwrap();
        assert_eq!((line.queue, line.timestamp_ms), (Some(3), Some(5)));
        assert_eq!(line.key.as_deref(), Some(&b"k"[..]));
        assert_eq!(line.value.as_deref(), Some(&[255, 0][..]));
        let headers = [(b"a".to_vec(), Some(b"1".to_vec())), (b"b".to_vec(), None)];
        assert_eq!(line.headers, headers);
        let object = json.line(br#"{"value": {"x": [1, 2]}, "headers": {"n": 7}}"#).unwrap();
        assert_eq!(object.value.as_deref(), Some(&br#"{"x":[1,2]}"#[..]));
        assert_eq!(object.headers, [(b"n".to_vec(), Some(b"7".to_vec()))]);
        assert_eq!(json.line(br#"{"value": null}"#).unwrap().value, None);
        for (bad, why) in [
            ("[]", "not a JSON object"),
            ("{}", "no \"value\""),
            (r#"{"value": "", "queue": -1}"#, "queue"),
            (r#"{"value_base64": "?"}"#, "not base64"),
            (r#"{"value": "", "headers": 3}"#, "headers"),
        ] {
            let error = json.line(bad.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
