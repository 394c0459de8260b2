//! Values of the harness's options: checked before anything is started, with units as everywhere.
//!
//! A bare number is what it was before there were units: bytes, or seconds.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use bench::scenario::options::REQUEST_BYTES_MAX;
use config::value::{Size, Time};

/// Messages a second: less takes longer than anybody waits, more is no schedule.
const RATE_MIN: f64 = 0.01;
const RATE_MAX: f64 = 1e9;
/// The longest time a figure is recorded for.
const TIME_MAX: Duration = Duration::from_secs(24 * 3600);
const TIME_MIN: Duration = Duration::from_millis(1);
const MINUTES_MAX: f64 = 7.0 * 24.0 * 60.0;
const GIB_MAX: f64 = 1024.0 * 1024.0;

/// Bytes of a message: `1024`, `1KiB`.
pub(super) fn size(text: &str) -> Result<u32, String> {
    let size: Size = text.parse()?;
    let bytes = u32::try_from(size.bytes).ok().filter(|bytes| *bytes <= REQUEST_BYTES_MAX);
    let max = Size { bytes: u64::from(REQUEST_BYTES_MAX) };
    bytes.ok_or_else(|| format!("a message is from 1 byte to {max}"))
}

/// How long is recorded: `2s`, `500ms`, or a number of seconds.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let time = in_units(text, 1.0)?;
    match (TIME_MIN..=TIME_MAX).contains(&time) {
        true => Ok(time),
        false => Err("from 1ms to 24h".to_owned()),
    }
}

/// A time that may be nothing: a warm-up.
pub(super) fn time_or_zero(text: &str) -> Result<Duration, String> {
    let is_zero = matches!(text.parse(), Ok(0.0)) || ["0s", "0ms"].contains(&text);
    if is_zero { Ok(Duration::ZERO) } else { time(text) }
}

/// A bound: `10ms`, or a number of milliseconds.
pub(super) fn millis(text: &str) -> Result<Duration, String> {
    let time = in_units(text, 1e-3)?;
    let is_possible = !time.is_zero() && time <= TIME_MAX;
    if is_possible { Ok(time) } else { Err("above zero, and up to 24h".to_owned()) }
}

/// With a unit, or a bare number of so many seconds each.
fn in_units(text: &str, unit_s: f64) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(number) => Duration::try_from_secs_f64(number * unit_s)
            .map_err(|_| "a time is a number and a unit, such as 2s, up to 24h".to_owned()),
        Err(_) => text.parse::<Time>().map(|time| time.0),
    }
}

/// Messages a second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    between(text, RATE_MIN, RATE_MAX)
}

/// Minutes of a workload.
pub(super) fn minutes(text: &str) -> Result<f64, String> {
    between(text, 1e-3, MINUTES_MAX)
}

/// GiB of a log or backlog.
pub(super) fn gib(text: &str) -> Result<f64, String> {
    between(text, 1e-3, GIB_MAX)
}

/// A share in percent by which something may get worse.
pub(super) fn percent(text: &str) -> Result<f64, String> {
    between(text, 0.0, 1e6)
}

fn between(text: &str, min: f64, max: f64) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| format!("a number from {min} to {max}"))
}

/// A node's address, with a name or a number: `localhost:9440`.
pub(super) fn server(text: &str) -> Result<SocketAddr, String> {
    let mut all = text.to_socket_addrs().map_err(|error| error.to_string())?;
    all.next().ok_or_else(|| "no such host".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_taken_and_bare_numbers_are_what_they_were() {
        assert_eq!(["1024", "1KiB", "1MiB"].map(size), [Ok(1024), Ok(1024), Ok(1 << 20)]);
        let ms = |n| Ok(Duration::from_millis(n));
        assert_eq!(
            ["2", "2s", "0.15", "150ms"].map(time),
            [ms(2_000), ms(2_000), ms(150), ms(150)]
        );
        assert_eq!(["10", "10ms", "1s"].map(millis), [ms(10), ms(10), ms(1_000)]);
        assert_eq!(["0", "0s", "0.3"].map(time_or_zero), [ms(0), ms(0), ms(300)]);
        assert_eq!(rate("0.5"), Ok(0.5));
        assert_eq!(server("localhost:9440").unwrap().port(), 9440);
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        for text in ["0", "1e-300", "-1", "nan", "inf", "many"] {
            assert!(rate(text).is_err(), "{text}");
        }
        for text in ["0", "0s", "1e300", "25h", "-1", "nan", "2 sheep"] {
            let error = time(text).unwrap_err();
            assert!(error.len() < 250, "{text}: {error}");
        }
        assert!(["0", "2MiB", "-1", "1e9"].iter().all(|text| size(text).is_err()));
        assert!(["0", "nan", "1e300"].iter().all(|text| millis(text).is_err()));
        assert!(server("nowhere").is_err());
    }
}
