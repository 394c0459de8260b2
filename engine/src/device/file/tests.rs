use super::*;
use crate::device::evidence::{Blocks, ColdFigure, ColdWay, SpinFigure, WriteFigure};

const GOLDEN: &str = include_str!("golden.toml");

fn file() -> DeviceFile {
    let writes = vec![WriteFigure {
        flush: Flush::Dsync,
        blocks: Blocks::Unwritten,
        block_kib: 4,
        depth: 1,
        every_us: Some(2000),
        per_s: 500.0,
        p50_us: 210.5,
        p99_us: 900.0,
    }];
    let spins =
        vec![SpinFigure { cpu: 1, yields: true, per_s: 9000.0, p50_us: 100.0, p99_us: 250.0 }];
    let way = ColdWay::Sendfile;
    let cold_reads = vec![ColdFigure { extent_kib: 64, way, gb_per_s: 1.5, cpu_s_per_gb: 0.57 }];
    let evidence = Evidence {
        measured: "2026-11-21T16:40:00Z".to_owned(),
        seconds: 30.0,
        kernel: "6.12.9".to_owned(),
        mount_options: "rw,noatime".to_owned(),
        write_cache: Some("write back".to_owned()),
        fua: Some(true),
        write_zeroes: false,
        notes: vec!["the machine was busy".to_owned()],
        writes,
        spins,
        cold_reads,
    };
    let choices = Choices {
        flush: Flush::Fdatasync,
        groups_inflight_max: 4,
        group_kib: 128,
        prefill_step_kib: 512,
        yield_in_flight: false,
    };
    let place = Place {
        source: "/dev/sda1".to_owned(),
        file_system: "xfs".to_owned(),
        kernel: "6.12".to_owned(),
    };
    DeviceFile::new(choices, place, evidence)
}

#[test]
fn the_format_is_the_golden_one() {
    assert_eq!(file().text().unwrap(), GOLDEN);
    assert_eq!(DeviceFile::parse(GOLDEN).unwrap(), file());
}

#[test]
fn what_cannot_be_meant_is_an_error_that_names_the_line() {
    let cases = [
        ("flush = \"fdatasync\"", "flush = \"hope\"", "line 6"),
        ("flush = \"fdatasync\"", "flsh = \"fdatasync\"", "unknown field `flsh`"),
        ("cpu = 1", "cpu = 1\nwarm = true", "line 39"),
        ("version = 1", "version = 2", "version 2, this program reads 1: measure again"),
        ("version = 1\n", "", "no version"),
        ("groups_inflight_max = 4", "groups_inflight_max = 0", "at least 1"),
        ("groups_inflight_max = 4", "groups_inflight_max = 65", "the most is 64"),
        ("groups_inflight_max = 4\n", "", "missing field `groups_inflight_max`"),
        ("group_kib = 128", "group_kib = 130", "no multiple of 4"),
        ("group_kib = 128", "group_kib = 2048", "the most is 1024"),
        ("prefill_step_kib = 512", "prefill_step_kib = 6", "no multiple of 4"),
        ("prefill_step_kib = 512", "prefill_step_kib = 1000000", "the most is 65536"),
        ("[place]", "[place", "line 12"),
    ];
    for (there, instead, says) in cases {
        assert!(GOLDEN.contains(there), "{there}");
        let why = DeviceFile::parse(&GOLDEN.replacen(there, instead, 1)).unwrap_err();
        assert!(why.contains(says), "{instead:?}: {why}");
    }
}

#[test]
fn a_file_counts_where_it_was_measured_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(look(dir.path()).unwrap(), Found::Missing);
    assert_eq!(look(&dir.path().join("absent")).unwrap(), Found::Missing);
    let elsewhere = file();
    let path = elsewhere.write(dir.path()).unwrap();
    let found = look(dir.path()).unwrap();
    assert!(matches!(&found, Found::Elsewhere { measured, .. } if *measured == elsewhere.place));
    let here = DeviceFile { place: Place::of(dir.path()).unwrap(), ..elsewhere };
    assert_eq!(here.write(dir.path()).unwrap(), path);
    assert_eq!(look(dir.path()).unwrap(), Found::Fits(Box::new(here)));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    fs::write(&path, "version = ").unwrap();
    let error = look(dir.path()).unwrap_err().to_string();
    assert!(error.contains("device.toml") && error.contains("line 1"), "{error}");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(look(dir.path()), Err(FileError::Io { .. })));
}
