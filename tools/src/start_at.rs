//! `--from`: earliest, latest, an offset, or a time.

use std::str::FromStr;

use net::client::StartAt;

/// Where to begin to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start(pub(crate) StartAt);

/// A point in time, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) i64);

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let time = text.strip_prefix('@').and_then(|millis| millis.parse().ok());
        time.or_else(|| rfc3339_ms(text)).map(Self).ok_or_else(|| {
            "expected @MILLISECONDS since 1970, or a time like 2026-01-31T12:00:00Z".to_owned()
        })
    }
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let start = match text {
            "earliest" => Some(StartAt::Earliest),
            "latest" => Some(StartAt::Latest),
            _ => match text.strip_prefix('@') {
                Some(time) => {
                    time.parse().ok().or_else(|| rfc3339_ms(time)).map(StartAt::Timestamp)
                }
                None => match text.parse() {
                    Ok(offset) => Some(StartAt::Offset(offset)),
                    Err(_) => rfc3339_ms(text).map(StartAt::Timestamp),
                },
            },
        };
        start.map(Self).ok_or_else(|| {
            "expected earliest, latest, an offset, @MILLISECONDS since 1970, \
             or a time like 2026-01-31T12:00:00Z"
                .to_owned()
        })
    }
}

/// Milliseconds since 1970 of an RFC 3339 time (`2026-01-31T12:00:00.5+01:00`).
fn rfc3339_ms(text: &str) -> Option<i64> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let [year, month, day] = numbers::<3>(date, '-')?;
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = rest.split_at_checked(zone_at)?;
    let (whole, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers::<3>(whole, ':')?;
    let in_range = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        // 60 is a leap second.
        && second <= 60;
    if !in_range || fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let millis: String = fraction.chars().chain("000".chars()).take(3).collect();
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some((seconds - zone_seconds(zone)?) * 1000 + millis.parse::<i64>().ok()?)
}

fn zone_seconds(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let [hours, minutes] = numbers::<2>(zone.get(1..)?, ':')?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Exactly `N` numbers of two to four digits.
fn numbers<const N: usize>(text: &str, separator: char) -> Option<[i64; N]> {
    let number = |part: &str| {
        let digits = part.bytes().all(|byte| byte.is_ascii_digit());
        (digits && (2..=4).contains(&part.len())).then(|| part.parse().ok()).flatten()
    };
    let parts: Vec<i64> = text.split(separator).map(number).collect::<Option<_>>()?;
    parts.try_into().ok()
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar; years begin in March, so that the leap day is
/// their last one.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_understood() {
        let from = |text: &str| text.parse::<Start>().map(|Start(start)| start);
        assert_eq!(from("earliest"), Ok(StartAt::Earliest));
        assert_eq!(from("latest"), Ok(StartAt::Latest));
        assert_eq!(from("17"), Ok(StartAt::Offset(17)));
        assert_eq!(from("@17"), Ok(StartAt::Timestamp(17)));
        let at = Ok(StartAt::Timestamp(1_700_000_000_000));
        for text in [
            "@1700000000000",
            "2023-11-14T22:13:20Z",
            "@2023-11-14t22:13:20.000z",
            "2023-11-14 23:43:20+01:30",
            "2023-11-14T21:13:20.0009-01:00",
        ] {
            assert_eq!(from(text), at, "{text}");
        }
        assert_eq!(from("1970-01-01T00:00:00.25Z"), Ok(StartAt::Timestamp(250)));
        assert_eq!(from("2024-02-29T00:00:00Z"), Ok(StartAt::Timestamp(1_709_164_800_000)));
    }

    #[test]
    fn nonsense_is_not() {
        for text in [
            "",
            "now",
            "-1",
            "@",
            "@x",
            "2023-02-29T00:00:00Z",
            "2023-13-01T00:00:00Z",
            "2023-11-14",
            "2023-11-14T22:13:20",
            "2023-11-14T24:13:20Z",
            "2023-11-14T22:13:20.Z",
            "2023-11-14T22:13Z",
        ] {
            assert!(text.parse::<Start>().is_err(), "{text}");
        }
    }
}
