//! A workload file of the OpenMessaging Benchmark, as it is.
//!
//! Its keys are read by their documented names; those that are not known are returned, to be said,
//! not refused: forks of the benchmark have keys of their own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use serde::Deserialize;

use crate::load::Messages;
use crate::scenario::BenchError;

const NO_KEY: &str = "NO_KEY";
const SEED: u64 = 0x6f6d_6221;
/// More random payloads than this are not told apart by anything that compresses.
const POOL_BYTES_MAX: usize = 64 << 20;

/// What a file says.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Workload {
    /// What it is called.
    pub name: String,
    /// Number of topics.
    pub topics: u32,
    /// Queues of each.
    pub partitions_per_topic: u16,
    /// How messages get keys.
    pub key_distributor: String,
    /// Bytes of a message.
    pub message_size: u32,
    /// Payloads that are partly random instead of a file's.
    pub use_randomized_payloads: bool,
    /// Share of random bytes in them; the rest is zeros.
    pub random_bytes_ratio: f64,
    /// How many of them there are.
    pub randomized_payload_pool_size: u32,
    /// The payload, if it is not random.
    pub payload_file: Option<PathBuf>,
    /// How many times each message is consumed.
    pub subscriptions_per_topic: u32,
    /// Producers of each topic.
    pub producers_per_topic: u32,
    /// Consumers of each topic and subscription.
    pub consumer_per_subscription: u32,
    /// Messages a second over all producers; 0: as many as it takes.
    pub producer_rate: f64,
    /// Held back before consumers start, in GiB.
    #[serde(rename = "consumerBacklogSizeGB")]
    pub consumer_backlog_size_gb: f64,
    /// The share of it that counts as drained.
    pub backlog_drain_ratio: f64,
    /// How long is measured.
    pub test_duration_minutes: f64,
    /// How long before that.
    pub warmup_duration_minutes: f64,
}

impl Default for Workload {
    /// What the benchmark itself assumes.
    fn default() -> Self {
        Self {
            name: String::new(),
            topics: 0,
            partitions_per_topic: 0,
            key_distributor: NO_KEY.to_owned(),
            message_size: 0,
            use_randomized_payloads: false,
            random_bytes_ratio: 0.0,
            randomized_payload_pool_size: 0,
            payload_file: None,
            subscriptions_per_topic: 0,
            producers_per_topic: 0,
            consumer_per_subscription: 0,
            producer_rate: 0.0,
            consumer_backlog_size_gb: 0.0,
            backlog_drain_ratio: 1.0,
            test_duration_minutes: 0.0,
            warmup_duration_minutes: 1.0,
        }
    }
}

/// All keys that are known.
const KEYS: [&str; 17] = [
    "name",
    "topics",
    "partitionsPerTopic",
    "keyDistributor",
    "messageSize",
    "useRandomizedPayloads",
    "randomBytesRatio",
    "randomizedPayloadPoolSize",
    "payloadFile",
    "subscriptionsPerTopic",
    "producersPerTopic",
    "consumerPerSubscription",
    "producerRate",
    "consumerBacklogSizeGB",
    "backlogDrainRatio",
    "testDurationMinutes",
    "warmupDurationMinutes",
];

impl Workload {
    /// Reads a file. The remarks say what of it means nothing here.
    ///
    /// # Errors
    /// [`BenchError::Failed`] says what is wrong with it.
    pub fn read(path: &Path) -> Result<(Self, Vec<String>), BenchError> {
        let text = fs::read_to_string(path).map_err(BenchError::dir("reading", path))?;
        let wrong = |what: String| BenchError::Failed(format!("{}: {what}", path.display()));
        let (mut workload, remarks) = Self::parse(&text).map_err(wrong)?;
        if workload.name.is_empty() {
            let stem = path.file_stem().unwrap_or_default();
            workload.name = stem.to_string_lossy().into_owned();
        }
        Ok((workload, remarks))
    }

    fn parse(text: &str) -> Result<(Self, Vec<String>), String> {
        let said = |error: serde_saphyr::Error| error.to_string();
        let workload: Self = serde_saphyr::from_str(text).map_err(said)?;
        let keys: BTreeMap<String, serde::de::IgnoredAny> =
            serde_saphyr::from_str(text).map_err(said)?;
        let mut remarks: Vec<String> = keys
            .keys()
            .filter(|key| !KEYS.contains(&key.as_str()))
            .map(|key| format!("{key} is not known here and was left out of account"))
            .collect();
        workload.check()?;
        if workload.key_distributor != NO_KEY {
            remarks.push(format!(
                "keyDistributor {} was left out of account: queues are taken in turn, and the first \
                 message of a batch carries when it was due as its key",
                workload.key_distributor
            ));
        }
        Ok((workload, remarks))
    }

    fn check(&self) -> Result<(), String> {
        for (key, value) in [
            ("topics", self.topics),
            ("partitionsPerTopic", u32::from(self.partitions_per_topic)),
            ("messageSize", self.message_size),
            ("producersPerTopic", self.producers_per_topic),
        ] {
            if value == 0 {
                return Err(format!("{key} must be above 0"));
            }
        }
        let numbers = [
            ("producerRate", self.producer_rate),
            ("consumerBacklogSizeGB", self.consumer_backlog_size_gb),
            ("testDurationMinutes", self.test_duration_minutes),
            ("warmupDurationMinutes", self.warmup_duration_minutes),
        ];
        for (key, value) in numbers {
            if !value.is_finite() || value < 0.0 {
                return Err(format!("{key} must not be below 0"));
            }
        }
        for (key, share) in [
            ("randomBytesRatio", self.random_bytes_ratio),
            ("backlogDrainRatio", self.backlog_drain_ratio),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return Err(format!("{key} must be from 0 to 1"));
            }
        }
        if self.test_duration_minutes == 0.0 {
            return Err("testDurationMinutes must be above 0".to_owned());
        }
        if self.consumer_backlog_size_gb > 0.0 && self.producer_rate == 0.0 {
            return Err("a backlog needs a producerRate".to_owned());
        }
        Ok(())
    }

    /// The payloads: random ones, or the file's. A file is looked for where the benchmark is
    /// started, beside the workload, and one folder above it (where the benchmark keeps its own).
    ///
    /// # Errors
    /// When there is no such file, or it has another length than messages should have.
    pub fn payloads(&self, workload: &Path) -> Result<Arc<Messages>, BenchError> {
        if self.use_randomized_payloads {
            return Ok(Arc::new(Messages::payloads(self.random_payloads())));
        }
        let Some(file) = &self.payload_file else {
            let zeros = vec![0; self.message_size as usize];
            return Ok(Arc::new(Messages::payloads(vec![zeros])));
        };
        let beside = workload.parent().unwrap_or(Path::new("."));
        let places = [file.clone(), beside.join(file), beside.join("..").join(file)];
        let Some(found) = places.iter().find(|place| place.is_file()) else {
            return Err(BenchError::Failed(format!(
                "payloadFile {} is neither here nor beside {} nor a folder above it",
                file.display(),
                workload.display()
            )));
        };
        let payload = fs::read(found).map_err(BenchError::dir("reading", found))?;
        if payload.len() != self.message_size as usize {
            return Err(BenchError::Failed(format!(
                "payloadFile {} has {} bytes, and messageSize is {}",
                found.display(),
                payload.len(),
                self.message_size
            )));
        }
        Ok(Arc::new(Messages::payloads(vec![payload])))
    }

    fn random_payloads(&self) -> Vec<Vec<u8>> {
        let bytes = self.message_size as usize;
        let random_bytes = (bytes as f64 * self.random_bytes_ratio) as usize;
        let most = (POOL_BYTES_MAX / bytes.max(1)).max(1);
        let count = (self.randomized_payload_pool_size.max(1) as usize).min(most);
        let mut random = SmallRng::seed_from_u64(SEED);
        let mut payload = || {
            let mut payload = vec![0; bytes];
            if let Some(part) = payload.get_mut(..random_bytes) {
                random.fill_bytes(part);
            }
            payload
        };
        (0..count).map(|_| payload()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "\
# a comment
name: two topics, keys
topics: 2
partitionsPerTopic: 16
keyDistributor: \"KEY_ROUND_ROBIN\"
messageSize: 1024
payloadFile: \"payload/1kb.data\"
subscriptionsPerTopic: 1
consumerPerSubscription: 4
producersPerTopic: 3
producerRate: 50000
consumerBacklogSizeGB: 100
testDurationMinutes: 15
producerStartRate: 1
";

    #[test]
    fn every_documented_key_is_read_and_others_are_named() {
        let (workload, remarks) = Workload::parse(WHOLE).unwrap();
        assert_eq!((workload.topics, workload.partitions_per_topic), (2, 16));
        assert_eq!((workload.producers_per_topic, workload.consumer_per_subscription), (3, 4));
        assert_eq!((workload.producer_rate, workload.consumer_backlog_size_gb), (50_000.0, 100.0));
        assert_eq!((workload.test_duration_minutes, workload.warmup_duration_minutes), (15.0, 1.0));
        assert_eq!(workload.payload_file.as_deref(), Some(Path::new("payload/1kb.data")));
        assert_eq!(remarks.len(), 2, "{remarks:?}");
        assert!(remarks[0].starts_with("producerStartRate is not known"), "{remarks:?}");
        assert!(remarks[1].starts_with("keyDistributor KEY_ROUND_ROBIN"), "{remarks:?}");
    }

    #[test]
    fn what_makes_no_sense_is_said_with_its_key() {
        for (from, to, said) in [
            ("topics: 2", "topics: 0", "topics must be above 0"),
            ("topics: 2", "topics: many", "topics"),
            ("messageSize: 1024\n", "", "messageSize must be above 0"),
            ("producerRate: 50000", "producerRate: 0", "a backlog needs a producerRate"),
            ("testDurationMinutes: 15", "testDurationMinutes: 0", "testDurationMinutes"),
            ("producerStartRate: 1", "randomBytesRatio: 2", "randomBytesRatio"),
            ("topics: 2", "topics: [", ""),
        ] {
            let error = Workload::parse(&WHOLE.replace(from, to)).unwrap_err();
            assert!(error.contains(said), "{to}: {error}");
        }
    }

    #[test]
    fn random_payloads_are_random_as_far_as_they_should_be() {
        let workload = Workload {
            message_size: 100,
            use_randomized_payloads: true,
            random_bytes_ratio: 0.25,
            randomized_payload_pool_size: 3,
            ..Workload::default()
        };
        let payloads = workload.random_payloads();
        assert_eq!(payloads.len(), 3);
        assert_ne!(payloads[0], payloads[1]);
        for payload in payloads {
            assert!(payload.len() == 100 && payload[25..].iter().all(|byte| *byte == 0));
            assert!(payload[..25].iter().any(|byte| *byte != 0));
        }
    }

    #[test]
    fn a_payload_file_is_found_near_the_workload_and_has_the_right_length() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("payload")).unwrap();
        fs::create_dir_all(dir.path().join("workloads")).unwrap();
        fs::write(dir.path().join("payload/p"), "hello").unwrap();
        let path = dir.path().join("workloads/w.yaml");
        let mut workload = Workload {
            message_size: 5,
            payload_file: Some("payload/p".into()),
            ..Workload::default()
        };
        assert_eq!(workload.payloads(&path).unwrap().get(7), b"hello");
        workload.message_size = 6;
        let error = workload.payloads(&path).unwrap_err().to_string();
        assert!(error.contains("has 5 bytes, and messageSize is 6"), "{error}");
        workload.payload_file = Some("absent".into());
        assert!(workload.payloads(&path).unwrap_err().to_string().contains("absent is neither"));
    }
}
