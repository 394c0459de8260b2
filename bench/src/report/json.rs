//! JSON of a report. Histograms are HdrHistogram V2 in base64, which every HdrHistogram library
//! (Java, Go, Python, JavaScript) and its plotting tools can read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::model::{REPORT_VERSION, Report};

/// A report that could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The file cannot be written or read.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// Not a report, or one that was damaged.
    #[error("not a report: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Written by a newer harness: use that one.
    #[error("the report has version {found}; this harness reads up to {REPORT_VERSION}")]
    Newer {
        /// The version in the file.
        found: u32,
    },
    /// The plot could not be drawn.
    #[error("the plot could not be drawn: {0}")]
    Plot(String),
}

/// The report as JSON, indented.
///
/// # Errors
/// [`ReportError::Malformed`] if a histogram cannot be encoded.
pub fn to_json(report: &Report) -> Result<String, ReportError> {
    Ok(serde_json::to_string_pretty(report)?)
}

/// The report in `text`.
///
/// # Errors
/// [`ReportError::Malformed`] or [`ReportError::Newer`].
pub fn from_json(text: &str) -> Result<Report, ReportError> {
    // The version first: a newer report may well lack a field that this one needs.
    let value: serde_json::Value = serde_json::from_str(text)?;
    let version = value.get("version").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if version > u64::from(REPORT_VERSION) {
        return Err(ReportError::Newer { found: u32::try_from(version).unwrap_or(u32::MAX) });
    }
    Ok(serde_json::from_value(value)?)
}

/// Writes the report to a file.
///
/// # Errors
/// [`ReportError::File`] names it.
pub fn write(report: &Report, path: &Path) -> Result<(), ReportError> {
    let text = to_json(report)?;
    fs::write(path, text).map_err(|source| ReportError::File { path: path.to_path_buf(), source })
}

/// Reads a report from a file.
///
/// # Errors
/// As [`from_json`], and [`ReportError::File`].
pub fn read(path: &Path) -> Result<Report, ReportError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ReportError::File { path: path.to_path_buf(), source })?;
    from_json(&text)
}

/// For `#[serde(with)]`: a histogram as a base64 string of its V2 encoding.
pub(super) mod hdr_v2_base64 {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
    use serde::Deserialize;
    use serde::de::Error as _;
    use serde::ser::Error as _;

    pub(in crate::report) fn serialize<S: serde::Serializer>(
        histogram: &Histogram<u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(histogram, &mut bytes).map_err(S::Error::custom)?;
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(in crate::report) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Histogram<u64>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
        Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| D::Error::custom(format!("histogram: {error:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::sample::report;

    #[test]
    fn a_report_survives_its_json_histograms_included() {
        let report = report();
        let text = to_json(&report).unwrap();
        assert_eq!(from_json(&text).unwrap(), report);
        // The V2 cookie 0x1c849303 (with 0x10: varint words) in base64.
        assert!(text.contains(r#""histogram_ns": "HISTEw"#), "not HdrHistogram V2");
        assert!(text.contains(r#""ack": "durable""#) && text.contains(r#""flush_wait""#));
    }

    #[test]
    fn a_report_survives_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.json");
        write(&report(), &path).unwrap();
        assert_eq!(read(&path).unwrap(), report());
        assert!(matches!(read(&dir.path().join("absent")), Err(ReportError::File { .. })));
    }

    #[test]
    fn damage_and_newer_versions_are_errors() {
        let text = to_json(&report()).unwrap();
        for damaged in ["", "{}", &text[..text.len() / 2], &text.replace("HISTEw", "HISTE!")] {
            assert!(matches!(from_json(damaged), Err(ReportError::Malformed(_))));
        }
        let version = |version: u32| format!("\"version\": {version}");
        let next = REPORT_VERSION + 1;
        let newer = text.replacen(&version(REPORT_VERSION), &version(next), 1);
        let read = from_json(&newer);
        assert!(matches!(read, Err(ReportError::Newer { found }) if found == next), "{read:?}");
    }

    #[test]
    fn a_report_of_the_first_version_is_still_read() {
        let mut old = serde_json::to_value(report()).unwrap();
        old["version"] = 1.into();
        // What it did not have; and it had a p99.9 of however few samples.
        old.as_object_mut().unwrap().remove("caveats");
        for name in ["build", "node"] {
            old["environment"].as_object_mut().unwrap().remove(name);
        }
        old["runs"][0]["latency"]["p999_us"] = 549.0.into();
        let read = from_json(&old.to_string()).unwrap();
        assert_eq!(read.runs[0].latency.p999_us, Some(549.0));
        assert!(read.caveats.is_empty() && read.environment.build.is_empty());
    }
}
