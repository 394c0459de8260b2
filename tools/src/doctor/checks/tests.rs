//! Each check against facts of machines that are not at hand.

use std::path::PathBuf;

use engine::io::Space;
use nix::libc;

use super::super::facts::{Disk, Wanted};
use super::*;

/// A machine with nothing wrong.
fn good() -> Facts {
    Facts {
        wanted: Wanted {
            data: PathBuf::from("/srv/mq"),
            reactors: 1,
            poll: false,
            cpus: Vec::new(),
            first_bytes: 256 * MIB,
            disk_percent: Some(80),
        },
        kernel: "6.18.44-generic".to_owned(),
        ring: Ring::Works { missing: Vec::new(), rare_missing: Vec::new(), deferred: true },
        io_uring_disabled: Some(0),
        seccomp: false,
        memlock: (64 * MIB, 64 * MIB),
        nofile: (1 << 20, 1 << 20),
        cores: 2,
        cpus: vec![0, 1],
        disk: Disk {
            dir: PathBuf::from("/srv"),
            formatted: false,
            file_system: "ext4".to_owned(),
            direct: Direct::Works,
            space: Some(Space { used: 40 * GIB, available: 60 * GIB }),
        },
        congestion_control: Some("cubic".to_owned()),
        huge_pages: Some("always [madvise] never".to_owned()),
        tuned: Tuned::Yes,
        clock: Clock {
            unix_seconds: EPOCH_MIN + 1,
            source: Some("tsc".to_owned()),
            synchronized: Some(true),
        },
    }
}

/// Changes one fact; one check must change its mind, to this level, and say this.
fn expect(check: &str, level: Level, says: [&str; 2], change: impl FnOnce(&mut Facts)) {
    let mut facts = good();
    change(&mut facts);
    for finding in all(&facts) {
        if finding.check != check {
            assert_eq!(finding.level, Level::Ok, "{finding:?}");
            continue;
        }
        assert_eq!(finding.level, level, "{finding:?}");
        let fix = finding.fix.clone().unwrap_or_default();
        assert!(finding.what.contains(says[0]) && fix.contains(says[1]), "{finding:?}");
        assert!(level < Level::Warn || !fix.is_empty(), "{finding:?}");
    }
}

#[test]
fn a_good_machine_is_left_alone() {
    for finding in all(&good()) {
        assert_eq!((finding.level, &finding.fix), (Level::Ok, &None), "{finding:?}");
        assert!(!finding.what.is_empty());
    }
}

#[test]
fn kernels() {
    for old in ["5.15.0-91", "6.0.19", "4.19.1"] {
        expect("kernel", Level::Warn, [old, "6.1 or newer"], |f| f.kernel = old.to_owned());
    }
    for new in ["6.1.0", "7.0", "unheard of"] {
        expect("kernel", Level::Ok, [new, ""], |f| f.kernel = new.to_owned());
    }
}

#[test]
fn io_uring_that_is_refused() {
    let refused = |errno, says, change: fn(&mut Facts)| {
        expect("io_uring", Level::Fail, says, move |f| {
            f.ring = Ring::Refused(errno);
            change(f);
        });
    };
    refused(libc::EPERM, ["io_uring_disabled is 2", "sysctl"], |f| f.io_uring_disabled = Some(2));
    for errno in [libc::EPERM, libc::ENOSYS] {
        refused(errno, ["seccomp filter", "--security-opt seccomp="], |f| f.seccomp = true);
    }
    refused(libc::ENOSYS, ["has no io_uring", "CONFIG_IO_URING"], |_| {});
    refused(libc::ENOMEM, ["no memory", "RLIMIT_MEMLOCK"], |_| {});
    refused(libc::EACCES, ["does not say", "SELinux"], |_| {});
}

#[test]
fn io_uring_that_lacks_something() {
    let works = |missing, rare_missing, deferred| Ring::Works { missing, rare_missing, deferred };
    expect("io_uring", Level::Fail, ["lacks RENAMEAT, UNLINKAT", "6.1"], |f| {
        f.ring = works(vec!["RENAMEAT", "UNLINKAT"], vec!["FTRUNCATE"], false);
    });
    expect("io_uring", Level::Warn, ["DEFER_TASKRUN", "6.1"], |f| {
        f.ring = works(vec![], vec!["FTRUNCATE"], false);
    });
    expect("io_uring", Level::Note, ["lacks FTRUNCATE", "6.9"], |f| {
        f.ring = works(vec![], vec!["FTRUNCATE"], true);
    });
}

#[test]
fn limits() {
    expect("memlock", Level::Fail, ["64 KiB, a node needs 512 KiB", "LimitMEMLOCK"], |f| {
        f.memlock = (64 << 10, 64 << 10);
    });
    expect("memlock", Level::Warn, ["reactors need 1.0 MiB", "ulimit -l"], |f| {
        f.memlock = (600 << 10, u64::MAX);
    });
    expect("memlock", Level::Ok, ["unlimited", ""], |f| f.memlock = (u64::MAX, u64::MAX));
    for (files, level) in
        [(100, Level::Fail), (512, Level::Warn), (1024, Level::Note), (u64::MAX, Level::Ok)]
    {
        let says = if level == Level::Ok { "unlimited" } else { "RLIMIT_NOFILE is" };
        let fix = if level == Level::Ok { "" } else { "LimitNOFILE" };
        expect("open files", level, [says, fix], |f| f.nofile = (files, files));
    }
}

#[test]
fn cores_and_reactors() {
    expect("cores", Level::Fail, ["on 0, 1 only", "--cpu"], |f| f.wanted.cpus = vec![7]);
    expect("cores", Level::Ok, ["2 to have", ""], |f| f.wanted.cpus = vec![1]);
    expect("cores", Level::Fail, ["every core", "--wait hybrid"], |f| {
        (f.wanted.poll, f.cores) = (true, 1);
    });
    expect(
        "cores",
        Level::Fail,
        ["4 reactors, but this process may run on 0, 1 only", "fewer"],
        |f| f.wanted.reactors = 4,
    );
    expect("cores", Level::Warn, ["2 reactors, but time for 1", "quota"], |f| {
        (f.wanted.reactors, f.cores) = (2, 1);
    });
    expect("cores", Level::Ok, ["polling", ""], |f| f.wanted.poll = true);
}

#[test]
fn file_systems() {
    expect("file system", Level::Fail, ["has no O_DIRECT", "ext4 or XFS"], |f| {
        f.disk.direct = Direct::Refused;
    });
    expect("file system", Level::Note, ["EACCES", "as the user"], |f| {
        f.disk.direct = Direct::Untried(libc::EACCES);
    });
    for (name, says) in [("tmpfs", "is memory"), ("nfs4", "another machine")] {
        expect("file system", Level::Warn, [says, "--data"], |f| {
            f.disk.file_system = name.to_owned();
        });
    }
}

#[test]
fn room() {
    expect("space", Level::Fail, ["begins with 256.0 MiB", "--segment-size"], |f| {
        f.disk.space = Some(Space { used: 500 * MIB, available: 200 * MIB });
    });
    expect("space", Level::Warn, ["90 % is used, above 80 %", "--retention-disk"], |f| {
        f.disk.space = Some(Space { used: 90 * GIB, available: 10 * GIB });
    });
    expect("space", Level::Warn, ["96 % is used", "make room"], |f| {
        f.disk.space = Some(Space { used: 96 * GIB, available: 4 * GIB });
        f.wanted.disk_percent = None;
    });
    // A directory that is there must be served, full or not.
    expect("space", Level::Warn, ["100 % is used", "make room"], |f| {
        f.disk.space = Some(Space { used: GIB, available: 0 });
        f.disk.formatted = true;
    });
    expect("space", Level::Note, ["does not say", ""], |f| f.disk.space = None);
}

#[test]
fn networks() {
    expect("network", Level::Note, ["bbr", "tcp_congestion_control=cubic"], |f| {
        f.congestion_control = Some("bbr".to_owned());
    });
    expect("network", Level::Ok, ["does not say", ""], |f| f.congestion_control = None);
}

#[test]
fn memory() {
    expect("huge pages", Level::Ok, ["the system has them", ""], |f| {
        f.huge_pages = Some("[always] madvise never".to_owned());
    });
    expect("huge pages", Level::Note, ["nobody", "echo madvise"], |f| {
        f.huge_pages = Some("always madvise [never]".to_owned());
    });
    expect("huge pages", Level::Note, ["nobody", "transparent_hugepage"], |f| f.huge_pages = None);
}

#[test]
fn devices_and_clocks() {
    expect("device", Level::Note, ["not measured", "uringmq tune /srv/mq"], |f| {
        f.tuned = Tuned::No;
    });
    expect("device", Level::Note, ["ignored: another disk", "tune"], |f| {
        f.tuned = Tuned::Elsewhere("another disk".to_owned());
    });
    expect("device", Level::Fail, ["line 2", "tune"], |f| {
        f.tuned = Tuned::Broken("line 2".to_owned());
    });
    expect("clock", Level::Warn, ["not set", "set the clock"], |f| f.clock.unix_seconds = 100);
    expect("clock", Level::Warn, ["hpet", "tsc"], |f| f.clock.source = Some("hpet".to_owned()));
    expect("clock", Level::Note, ["keeps", "chrony"], |f| f.clock.synchronized = Some(false));
}
