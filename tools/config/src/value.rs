//! What is written behind the equals sign: values with units.
//!
//! Each type reads what it shows and shows what it reads. Absent: values without a unit where one
//! could be mistaken (a time must say which; a bare number of bytes is bytes).

use std::fmt::{self, Display};
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use clap::ValueEnum;
use engine::device::file::GROUPS_INFLIGHT_LIMIT;
use engine::limits::{
    BLOCK_MEMORY_BYTES_MIN, DISK_FULL_PERCENT, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SHARDS_MAX,
};

/// The longest time an option takes: a hundred years, so that sums never overflow.
const TIME_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A number of bytes: `256MiB`, `10GB`, `4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size {
    /// How many.
    pub bytes: u64,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read: Result<ByteSize, _> = text.parse();
        let size = read.map_err(|_| "a size is a number and a unit, such as 256MiB".to_owned())?;
        match size.0 {
            0 => Err("a size is at least 1 byte (where there may be none, say `none`)".to_owned()),
            // The parser saturates.
            u64::MAX => Err("more bytes than there are".to_owned()),
            bytes => Ok(Self { bytes }),
        }
    }
}

impl Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];
        let exact = units.into_iter().find(|(_, shift)| self.bytes.trailing_zeros() >= *shift);
        let (unit, shift) = exact.unwrap_or(("B", 0));
        write!(f, "{}{unit}", self.bytes >> shift)
    }
}

/// A stretch of time: `72h`, `2s`, `1day 12h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

impl Time {
    /// In whole milliseconds.
    #[must_use]
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = humantime::parse_duration(text);
        let time = read.map_err(|error| {
            format!("{error}; a time is a number and a unit, such as 500ms, 2s, 72h, 30days")
        })?;
        if time < Duration::from_millis(1) {
            return Err("a time is at least 1ms (where there may be none, say `none`)".to_owned());
        }
        if time > TIME_MAX {
            return Err("a time is at most a hundred years (where there may be, say `none`)".into());
        }
        if !time.subsec_nanos().is_multiple_of(1_000_000) {
            return Err("a time is a whole number of milliseconds".to_owned());
        }
        Ok(Self(time))
    }
}

impl Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.as_millis();
        let units = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
        let exact = units.into_iter().find(|(_, unit)| millis.is_multiple_of(*unit));
        let (name, unit) = exact.unwrap_or(("ms", 1));
        write!(f, "{}{name}", millis / unit)
    }
}

/// A share: `80%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub u8);

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').unwrap_or(text).trim_end();
        match number.parse() {
            Ok(percent @ 1..=100) => Ok(Self(percent)),
            _ => Err("a share is from 1% to 100% (where there may be none, say `none`)".to_owned()),
        }
    }
}

impl Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// A value, or the word `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrNone<T>(pub Option<T>);

/// A value, or the word `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrAuto<T>(pub Option<T>);

fn or_word<T: FromStr>(text: &str, word: &str) -> Result<Option<T>, String>
where
    T::Err: Display,
{
    if text == word {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| format!("{error}; or say `{word}`"))
}

impl<T: FromStr<Err: Display>> FromStr for OrNone<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        or_word(text, "none").map(Self)
    }
}

impl<T: FromStr<Err: Display>> FromStr for OrAuto<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        or_word(text, "auto").map(Self)
    }
}

/// `true` or `false`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Yes.
    #[value(name = "true")]
    On,
    /// No.
    #[value(name = "false")]
    Off,
}

impl Switch {
    /// Whether it is `true`.
    #[must_use]
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

/// Where the admin server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admin {
    /// At its default address, unless that is in use.
    Auto,
    /// Nowhere.
    Off,
    /// Here, or the node does not start.
    At(SocketAddr),
}

impl Admin {
    /// Where `auto` listens.
    pub const DEFAULT: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9442);

    /// The address to listen on, if any.
    #[must_use]
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Auto => Some(Self::DEFAULT),
            Self::Off => None,
            Self::At(address) => Some(address),
        }
    }
}

impl FromStr for Admin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => return Ok(Self::Auto),
            "off" => return Ok(Self::Off),
            _ => {}
        }
        if let Ok(port) = text.parse::<u16>() {
            return Ok(Self::At((Ipv4Addr::LOCALHOST, port).into()));
        }
        let address = text.parse().map(Self::At);
        address.map_err(|_| "an address such as 127.0.0.1:9442, a port, `auto` or `off`".to_owned())
    }
}

fn between<T: PartialOrd + Display>(value: T, min: T, max: T) -> Result<T, String> {
    if value < min || value > max { Err(format!("from {min} to {max}")) } else { Ok(value) }
}

/// The CPUs of reactors, one each: `none`, `2` or `2,3`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpus(pub Vec<usize>);

impl FromStr for Cpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::default());
        }
        let number = |word: &str| word.trim().parse();
        let cpus: Result<_, _> = text.split(',').map(number).collect();
        cpus.map(Self).map_err(|_| "CPU numbers such as 2 or 2,3, or `none`".to_owned())
    }
}

/// A number of reactors; no machine has more CPUs.
pub(crate) fn reactors(text: &str) -> Result<u16, String> {
    let number = text.parse().map_err(|_| format!("a number from 1 to {SHARDS_MAX}"))?;
    between(number, 1, SHARDS_MAX)
}

/// A number of shards.
pub(crate) fn shards(text: &str) -> Result<OrAuto<u16>, String> {
    let shards: OrAuto<u16> = text.parse()?;
    shards.0.map_or(Ok(shards), |number| between(number, 1, SHARDS_MAX).map(|_| shards))
}

/// A number of connections.
pub(crate) fn connections(text: &str) -> Result<OrNone<u32>, String> {
    let connections: OrNone<u32> = text.parse()?;
    connections
        .0
        .map_or(Ok(connections), |number| between(number, 1, 1_000_000).map(|_| connections))
}

/// The length of a segment.
pub(crate) fn segment_size(text: &str) -> Result<Size, String> {
    let size: Size = text.parse()?;
    let (min, max) = (Size { bytes: SEGMENT_BYTES_MIN }, Size { bytes: SEGMENT_BYTES_MAX });
    if !size.bytes.is_multiple_of(1 << 20) {
        return Err("a segment is a whole number of MiB".to_owned());
    }
    between(size, min, max)
}

/// The memory of a shard.
pub(crate) fn shard_memory(text: &str) -> Result<Size, String> {
    between(text.parse()?, Size { bytes: BLOCK_MEMORY_BYTES_MIN }, Size { bytes: 1 << 40 })
}

/// A number of groups in flight.
pub(crate) fn groups(text: &str) -> Result<OrAuto<u16>, String> {
    let groups: OrAuto<u16> = text.parse()?;
    let max = u16::try_from(GROUPS_INFLIGHT_LIMIT).unwrap_or(u16::MAX);
    groups.0.map_or(Ok(groups), |number| between(number, 1, max).map(|_| groups))
}

/// A share of the disk, below the one from which on the disk counts as full.
pub(crate) fn disk_percent(text: &str) -> Result<OrNone<Percent>, String> {
    let share: OrNone<Percent> = text.parse()?;
    let bounds = (Percent(1), Percent(DISK_FULL_PERCENT));
    share.0.map_or(Ok(share), |percent| between(percent, bounds.0, bounds.1).map(|_| share))
}

/// How long somebody may be idle, if there is a limit.
pub(crate) fn idle_deadline(text: &str) -> Result<OrNone<Time>, String> {
    let time: OrNone<Time> = text.parse()?;
    time.0.map_or(Ok(time), |_| deadline(text).map(|_| time))
}

/// A deadline: short enough that it can matter, and that 32 bits hold its milliseconds.
pub(crate) fn deadline(text: &str) -> Result<Time, String> {
    let time: Time = text.parse()?;
    between(time, Time(Duration::from_millis(1)), Time(Duration::from_secs(24 * 3600)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_are_understood_and_shown() {
        for (text, bytes, shown) in [
            ("256MiB", 256 << 20, "256MiB"),
            ("256 mib", 256 << 20, "256MiB"),
            ("10GB", 10_000_000_000, "9765625KiB"),
            ("4096", 4096, "4KiB"),
            ("1.5GiB", 3 << 29, "1536MiB"),
            ("7B", 7, "7B"),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!((size.bytes, size.to_string().as_str()), (bytes, shown), "{text}");
        }
        for (text, shown) in
            [("72h", "72h"), ("3days", "72h"), ("1h 30m", "90m"), ("1500ms", "1500ms")]
        {
            assert_eq!(text.parse::<Time>().unwrap().to_string(), shown, "{text}");
        }
        assert_eq!("80%".parse::<Percent>(), "80".parse());
    }

    #[test]
    fn what_is_wrong_is_said() {
        let size = |text: &str| text.parse::<Size>().unwrap_err();
        assert!(size("MiB").contains("such as 256MiB"));
        assert!(size("0").contains("say `none`") && size("99999EiB").contains("more bytes"));
        let time = |text: &str| text.parse::<OrNone<Time>>().unwrap_err();
        assert!(time("72").contains("unit") && time("0s").contains("none"), "{}", time("72"));
        assert!(time("9999999y").contains("hundred years"), "{}", time("9999999y"));
        assert_eq!(segment_size("3GiB").unwrap_err(), "from 1MiB to 2GiB");
        assert!(shard_memory("63MiB").is_err() && shard_memory("64MiB").is_ok());
        assert!(groups("65").is_err() && groups("0").is_err() && groups("auto").is_ok());
        assert!(disk_percent("96%").is_err() && disk_percent("none").is_ok());
        assert!(deadline("25h").is_err() && shards("256").is_err() && reactors("0").is_err());
        assert_eq!("2, 3".parse(), Ok(Cpus(vec![2, 3])));
        assert_eq!("none".parse(), Ok(Cpus(Vec::new())));
        assert!(["", "2,", "2-3", "none,1"].iter().all(|text| text.parse::<Cpus>().is_err()));
    }

    #[test]
    fn an_admin_address_may_be_a_port() {
        assert_eq!("9000".parse(), Ok(Admin::At(SocketAddr::from(([127, 0, 0, 1], 9000)))));
        assert_eq!("off".parse::<Admin>().unwrap().address(), None);
        assert_eq!("auto".parse::<Admin>().unwrap().address(), Some(Admin::DEFAULT));
        assert!("localhost".parse::<Admin>().is_err());
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_read(bytes in 1..u64::MAX, millis in 1..3_000_000_000_000_u64) {
            let size = Size { bytes };
            prop_assert_eq!(size.to_string().parse::<Size>().unwrap(), size);
            let time = Time(Duration::from_millis(millis));
            prop_assert_eq!(time.to_string().parse::<Time>().unwrap(), time);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,24}") {
            let _ = text.parse::<Size>();
            let _ = text.parse::<OrNone<Time>>();
            let _ = text.parse::<Admin>();
            let _ = (connections(&text), idle_deadline(&text));
            let _ = (reactors(&text), text.parse::<Cpus>());
            let _ = (shards(&text), segment_size(&text), shard_memory(&text), groups(&text), disk_percent(&text));
        }
    }
}
