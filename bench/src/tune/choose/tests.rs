//! Devices that do not exist, and what is chosen for them.

use super::super::synthetic::Device;
use super::*;

fn chosen(device: &Device) -> (Flush, u32, u32, bool) {
    let (choices, notes) = choose(&[device.evidence(), device.evidence()]);
    assert_eq!(notes, Vec::<String>::new());
    (choices.flush, choices.groups_inflight_max, choices.prefill_step_kib, choices.yield_in_flight)
}

#[test]
fn every_kind_of_device_gets_what_suits_it() {
    use Flush::{Dsync, Fdatasync};
    let reference = Device::default();
    let cases = [
        ("the reference device", reference.clone(), (Dsync, 2, 1024, true)),
        (
            // Parallel, in no need of flushes, its completions need no worker.
            "NVMe with FUA",
            Device {
                rates: [30e3, 60e3, 115e3, 200e3],
                lone_us: [33.0, 40.0],
                full_gb: [2.0, 3.6, 5.8, 6.0],
                spin_us: [33.0, 29.0],
            },
            (Dsync, 4, 2048, false),
        ),
        (
            "a slow fdatasync",
            Device { lone_us: [110.0, 1400.0], ..reference.clone() },
            (Dsync, 2, 1024, true),
        ),
        (
            "a slow FUA",
            Device { lone_us: [900.0, 400.0], ..reference.clone() },
            (Fdatasync, 2, 2048, true),
        ),
        (
            "fdatasync a little faster: not worth leaving the default",
            Device { lone_us: [110.0, 105.0], ..reference.clone() },
            (Dsync, 2, 1024, true),
        ),
        (
            "a depth that does not help",
            Device {
                rates: [9e3; 4],
                full_gb: [0.4; 4],
                spin_us: [110.0, 110.0],
                ..reference.clone()
            },
            (Dsync, 1, 256, true),
        ),
        (
            "a cloud disk that has to be asked for much at once",
            Device {
                rates: [1e3, 2e3, 4e3, 8e3],
                lone_us: [1000.0, 1100.0],
                full_gb: [0.02, 0.04, 0.08, 0.12],
                ..reference
            },
            (Dsync, 8, 64, true),
        ),
    ];
    for (name, device, wanted) in cases {
        assert_eq!(chosen(&device), wanted, "{name}");
    }
}

#[test]
fn groups_are_as_large_as_the_device_wants_them() {
    let group = |change: &dyn Fn(&mut Evidence)| {
        let mut evidence = Device::default().evidence();
        change(&mut evidence);
        choose(&[evidence.clone(), evidence]).0.group_kib
    };
    assert_eq!(group(&|_| {}), 256);
    // Four times the size, twice the bandwidth.
    let larger = |evidence: &mut Evidence| {
        let of = write(evidence, Flush::Dsync, (256, 2), None).cloned().unwrap();
        evidence.writes.push(WriteFigure { block_kib: 1024, per_s: of.per_s / 2.0, ..of });
    };
    assert_eq!(group(&larger), 1024);
    // Nobody wants to wait for the default's; a quarter of it ends in time.
    let slow = |evidence: &mut Evidence| {
        let large = evidence.writes.iter_mut().filter(|figure| figure.block_kib == 256);
        large.for_each(|figure| figure.p99_us = 50_000.0);
    };
    assert_eq!(group(&slow), 64);
}

#[test]
fn without_figures_the_defaults_are_chosen() {
    for rounds in [&[][..], &[Evidence::default()]] {
        assert_eq!(choose(rounds), (DEFAULTS, Vec::new()));
    }
}

#[test]
fn rounds_that_do_not_agree_choose_the_default() {
    let deep = Device {
        rates: [1e3, 2e3, 4e3, 8e3],
        lone_us: [900.0, 400.0],
        full_gb: [0.02, 0.04, 0.08, 0.12],
        spin_us: [100.0, 80.0],
    };
    let deep = deep.evidence();
    let (alone, _) = choose(std::slice::from_ref(&deep));
    assert_eq!((alone.flush, alone.groups_inflight_max), (Flush::Fdatasync, 8));
    assert!(!alone.yield_in_flight && alone.prefill_step_kib < 1024);
    let (choices, notes) = choose(&[deep.clone(), Device::default().evidence(), deep]);
    assert_eq!(choices, DEFAULTS);
    assert_eq!(notes.len(), 4, "{notes:?}");
    assert!(notes[1].contains("([8, 2, 8]): the default, 2, stays"), "{notes:?}");
}

#[test]
fn one_cpu_that_suffers_is_enough_to_yield_on() {
    let mut evidence = Device { spin_us: [100.0, 80.0], ..Device::default() }.evidence();
    assert!(!yields(&evidence));
    let worst = evidence.spins.last_mut().unwrap();
    assert!(!worst.yields);
    (worst.p50_us, worst.per_s) = (4000.0, 250.0);
    assert!(yields(&evidence));
}

#[test]
fn a_way_to_send_cold_extents_wins_by_a_clear_margin_only() {
    let mut evidence = Device::default().evidence();
    let mut set = |kib, (gb, cpu): (f64, f64)| {
        evidence.cold_reads.push(ColdFigure {
            extent_kib: kib,
            way: ColdWay::Direct,
            gb_per_s: 1.0,
            cpu_s_per_gb: 0.5,
        });
        evidence.cold_reads.push(ColdFigure {
            extent_kib: kib,
            way: ColdWay::Sendfile,
            gb_per_s: gb,
            cpu_s_per_gb: cpu,
        });
    };
    for (kib, figures) in [
        (1, (1.3, 0.5)),
        (2, (1.0, 0.3)),
        (3, (1.1, 0.45)),
        (5, (1.5, 0.9)),
        (6, (0.7, 0.6)),
        (7, (0.9, 0.3)),
    ] {
        set(kib, figures);
    }
    let (direct, sendfile) = (Some(ColdWay::Direct), Some(ColdWay::Sendfile));
    let wanted = [(1, sendfile), (2, sendfile), (3, None), (5, None), (6, direct), (7, None)];
    assert_eq!(cold_winners(&[evidence.clone(), evidence.clone()]), wanted);
    let mut other = evidence.clone();
    other.cold_reads.iter_mut().for_each(|cold| cold.gb_per_s = 1.0);
    let agreed: Vec<u32> = cold_winners(&[evidence, other])
        .into_iter()
        .filter_map(|(kib, winner)| winner.map(|_| kib))
        .collect();
    assert_eq!(agreed, [2], "the only one that was cheaper and not only faster");
}
