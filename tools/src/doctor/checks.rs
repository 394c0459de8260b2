//! What facts mean to a node: one function a check, each with its advice.
//!
//! Levels: `Fail` keeps the node from starting; `Warn` is said when it starts; `Note` is for whoever
//! asks. Invariants: a check looks at nothing but the facts; what fails or warns says what to do.

use serde::Serialize;

use super::facts::{Clock, Direct, Facts, Ring, Tuned};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// glommio starts no executor with less.
const MEMLOCK_MIN: u64 = MIB / 2;
/// A reactor registers 256 KiB three times over.
const MEMLOCK_REACTOR: u64 = MIB;
/// A node with one log, however long, and some tens of clients.
const FILES_MIN: u64 = 256;
/// A log that is read all over, and the few files of it that are written.
const FILES_LOG: u64 = engine::limits::READ_FILES_MAX as u64 + 12;
/// As many clients as a node takes unless told otherwise. It leaves a quarter of the files to others.
const FILES_CLIENTS: u64 = 65_536_u64.div_ceil(3) * 4;
/// From here on producers are refused when nothing is left to go.
const FULL_PERCENT: u64 = engine::limits::DISK_FULL_PERCENT as u64;
/// The oldest kernel that is tested.
const KERNEL_MIN: (u32, u32) = (6, 1);
/// 2026-01-01: no machine that runs this is older.
const EPOCH_MIN: u64 = 1_767_225_600;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Ok,
    Note,
    Warn,
    Fail,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) check: &'static str,
    pub(crate) level: Level,
    pub(crate) what: String,
    /// What to do about it.
    pub(crate) fix: Option<String>,
}

/// What a check says: how bad, what, and what to do.
type Verdict = (Level, String, &'static str);
/// A check's name, and how it judges.
type Check = (&'static str, fn(&Facts) -> Verdict);

/// Every check.
pub(crate) fn all(facts: &Facts) -> Vec<Finding> {
    let checks: [Check; 11] = [
        ("kernel", kernel),
        ("io_uring", io_uring),
        ("memlock", memlock),
        ("open files", files),
        ("cores", cores),
        ("file system", file_system),
        ("space", space),
        ("device", device),
        ("huge pages", huge_pages),
        ("network", network),
        ("clock", |facts| clock(&facts.clock)),
    ];
    let finding = |(check, judge): Check| {
        let (level, what, fix) = judge(facts);
        let fix = fix.replace("{DIR}", &facts.wanted.data.display().to_string());
        Finding { check, level, what, fix: Some(fix).filter(|fix| !fix.is_empty()) }
    };
    checks.into_iter().map(finding).collect()
}

fn kernel(facts: &Facts) -> Verdict {
    let what = format!("Linux {}", facts.kernel);
    let mut numbers = facts.kernel.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) < KERNEL_MIN => {
            (Level::Warn, format!("{what} is older than 6.1"), "use Linux 6.1 or newer")
        }
        _ => (Level::Ok, what, ""),
    }
}

fn io_uring(facts: &Facts) -> Verdict {
    let (missing, rare, deferred) = match &facts.ring {
        Ring::Refused(errno) => return refused(*errno, facts),
        Ring::Works { missing, rare_missing, deferred } => (missing, rare_missing, deferred),
    };
    if !missing.is_empty() {
        let what = format!("this kernel's io_uring lacks {}", missing.join(", "));
        return (Level::Fail, what, "use Linux 6.1 or newer");
    }
    if !deferred {
        let what = "works, but without DEFER_TASKRUN: completions interrupt the reactor".to_owned();
        return (Level::Warn, what, "use Linux 6.1 or newer");
    }
    if !rare.is_empty() {
        let what = format!(
            "works, but lacks {} (Linux 6.9): a start may fail when a crash left a file that is too long",
            rare.join(", ")
        );
        return (
            Level::Note,
            what,
            "use Linux 6.9 or newer; or remove the file that the start names",
        );
    }
    (Level::Ok, "works, and has every operation that is needed".to_owned(), "")
}

fn refused(errno: i32, facts: &Facts) -> Verdict {
    let error = nix::errno::Errno::from_raw(errno);
    let disabled = facts.io_uring_disabled.unwrap_or(0);
    let (why, fix) = match error {
        nix::errno::Errno::EPERM if disabled > 0 => (
            format!("kernel.io_uring_disabled is {disabled}"),
            "sysctl kernel.io_uring_disabled=0 (to keep it: a file in /etc/sysctl.d)",
        ),
        nix::errno::Errno::EPERM | nix::errno::Errno::EACCES | nix::errno::Errno::ENOSYS
            if facts.seccomp =>
        {
            (
                "a seccomp filter is in force, as containers have by default".to_owned(),
                "allow io_uring_setup, io_uring_enter and io_uring_register: \
                 docker run --security-opt seccomp=FILE with tools/packaging/seccomp.json \
                 (installed: /usr/share/uringmq/seccomp.json)",
            )
        }
        nix::errno::Errno::ENOSYS => (
            "this kernel has no io_uring".to_owned(),
            "use Linux 6.1 or newer, built with CONFIG_IO_URING",
        ),
        nix::errno::Errno::ENOMEM => (
            "no memory for its queues".to_owned(),
            "raise RLIMIT_MEMLOCK: ulimit -l 65536, or LimitMEMLOCK=64M in the systemd unit",
        ),
        _ => (
            "the system does not say why".to_owned(),
            "look for a security module (SELinux, AppArmor) that denies io_uring",
        ),
    };
    (Level::Fail, format!("cannot be used: {error}; {why}"), fix)
}

fn memlock(facts: &Facts) -> Verdict {
    let (soft, hard) = facts.memlock;
    let what = format!("RLIMIT_MEMLOCK is {}", bytes(soft));
    let fix = if hard > soft {
        "ulimit -l 65536, or LimitMEMLOCK=64M in the systemd unit"
    } else {
        "LimitMEMLOCK=64M in the systemd unit; docker run --ulimit memlock=67108864; \
         or a memlock line in /etc/security/limits.conf"
    };
    if soft < MEMLOCK_MIN {
        return (Level::Fail, format!("{what}, a node needs {}", bytes(MEMLOCK_MIN)), fix);
    }
    let all = MEMLOCK_REACTOR * facts.wanted.reactors as u64;
    if soft < all {
        let what = format!("{what}, the buffers of the reactors need {}", bytes(all));
        return (Level::Warn, what, fix);
    }
    (Level::Ok, what, "")
}

fn files(facts: &Facts) -> Verdict {
    let soft = facts.nofile.0;
    let what = format!("RLIMIT_NOFILE is {}", count(soft));
    let fix = "LimitNOFILE=1048576 in the systemd unit; docker run --ulimit nofile=1048576; \
               or a nofile line in /etc/security/limits.conf";
    if soft < FILES_MIN {
        return (Level::Fail, format!("{what}, a node needs {FILES_MIN}"), fix);
    }
    // By default a reactor has a log.
    let logs = FILES_LOG * facts.wanted.reactors as u64;
    if soft / 4 < logs {
        let enough = 4 * logs;
        let what = format!("{what}: too few for the logs beside clients, {enough} are enough");
        return (Level::Warn, what, fix);
    }
    let all = FILES_CLIENTS.max(4 * logs);
    if soft < all {
        let what = format!("{what}: fewer than clients and logs could take ({all})");
        return (Level::Note, what, fix);
    }
    (Level::Ok, what, "")
}

fn cores(facts: &Facts) -> Verdict {
    let wanted = &facts.wanted;
    let (cores, reactors) = (facts.cores, wanted.reactors);
    let foreign = |cpu: &&usize| !facts.cpus.is_empty() && !facts.cpus.contains(cpu);
    if let Some(cpu) = wanted.cpus.iter().find(foreign) {
        let what = format!("cpu = {cpu}, but this process may run on {} only", list(&facts.cpus));
        return (Level::Fail, what, "choose one of these with --cpu, or say --cpu none");
    }
    if wanted.poll && reactors >= cores {
        let what = format!(
            "poll mode would take every core: {reactors} that never sleep, {cores} to have"
        );
        return (Level::Fail, what, "use --wait hybrid, or give the process more cores");
    }
    if !facts.cpus.is_empty() && reactors > facts.cpus.len() {
        let cpus = list(&facts.cpus);
        let what = format!(
            "{reactors} reactors, but this process may run on {cpus} only: each needs a CPU of its own"
        );
        return (Level::Fail, what, "use as many reactors as there are CPUs, or fewer");
    }
    if reactors > cores {
        let what = format!("{reactors} reactors, but time for {cores} only (a quota)");
        return (Level::Warn, what, "use fewer reactors, or raise the quota of the control group");
    }
    let mode = if wanted.poll { ", polling" } else { "" };
    (Level::Ok, format!("{cores} to have, {reactors} wanted{mode}"), "")
}

fn file_system(facts: &Facts) -> Verdict {
    let disk = &facts.disk;
    let what = format!("{} at {}", disk.file_system, disk.dir.display());
    match disk.direct {
        Direct::Refused => (
            Level::Fail,
            format!("{what} has no O_DIRECT"),
            "put the data directory on ext4 or XFS (--data)",
        ),
        // Its own error says more, when the node gets there.
        Direct::Untried(errno) => {
            let error = nix::errno::Errno::from_raw(errno);
            let what = format!("{what}: O_DIRECT could not be tried: {error}");
            (Level::Note, what, "run this as the user that the node runs as")
        }
        Direct::Works => match disk.file_system.as_str() {
            "tmpfs" | "ramfs" => (
                Level::Warn,
                format!("{what} is memory: nothing there survives a power cut"),
                "put the data directory on a disk (--data)",
            ),
            "nfs" | "nfs4" | "cifs" | "9p" | "virtiofs" | "fuseblk" => (
                Level::Warn,
                format!("{what}: what a flush is worth there is another machine's word"),
                "put the data directory on a local disk (--data)",
            ),
            _ => (Level::Ok, format!("{what} has O_DIRECT"), ""),
        },
    }
}

fn space(facts: &Facts) -> Verdict {
    let Some(space) = facts.disk.space else {
        return (Level::Note, "the file system does not say how much there is".to_owned(), "");
    };
    let (free, used_percent) = (space.available, u64::from(space.used_percent()));
    let what = format!("{} free", bytes(free));
    let wanted = &facts.wanted;
    if !facts.disk.formatted && free < wanted.first_bytes {
        let need = bytes(wanted.first_bytes);
        let what = format!("{what}, a new data directory begins with {need}");
        return (Level::Fail, what, "make room, or use a smaller --segment-size or fewer --shards");
    }
    match wanted.disk_percent.map(u64::from) {
        Some(mark) if used_percent > mark => (
            Level::Warn,
            format!("{what}: {used_percent} % is used, above {mark} % the oldest records go"),
            "make room, or raise --retention-disk (none: never for that)",
        ),
        None if used_percent >= FULL_PERCENT => (
            Level::Warn,
            format!("{what}: {used_percent} % is used"),
            "make room before the file system is full",
        ),
        _ => (Level::Ok, what, ""),
    }
}

fn device(facts: &Facts) -> Verdict {
    let tune = "uringmq tune {DIR} (half a minute, with the node stopped)";
    match &facts.tuned {
        Tuned::Yes => (Level::Ok, "measured, the node does what suits it".to_owned(), ""),
        Tuned::No => (Level::Note, "not measured: the node does what is usual".to_owned(), tune),
        // The node says these itself.
        Tuned::Elsewhere(why) => (Level::Note, format!("device.toml is ignored: {why}"), tune),
        Tuned::Broken(why) => (Level::Fail, why.clone(), tune),
    }
}

fn network(facts: &Facts) -> Verdict {
    match facts.congestion_control.as_deref() {
        // Measured over loopback, before a node there did without it: engine/docs/pump.md, Overload.
        Some("bbr") => (
            Level::Note,
            "TCP's congestion control is bbr: it paces, with a timer for each connection, which costs the \
             reactors time"
                .to_owned(),
            "sysctl net.ipv4.tcp_congestion_control=cubic, unless clients are far away (to keep it: a file \
             in /etc/sysctl.d); a node that listens on a loopback address does without it anyway",
        ),
        Some(name) => (Level::Ok, format!("TCP's congestion control is {name}"), ""),
        None => (Level::Ok, "the system does not say which congestion control TCP has".to_owned(), ""),
    }
}

fn huge_pages(facts: &Facts) -> Verdict {
    // Measured: bench/docs/results.md, bulk.
    let never = facts.huge_pages.as_deref().is_some_and(|choice| choice.contains("[never]"));
    if never || facts.huge_pages.is_none() {
        let what = "the system gives nobody huge pages: large batches cost a node a third more CPU";
        return (
            Level::Note,
            what.to_owned(),
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled (to keep it: \
             transparent_hugepage=madvise among the kernel's parameters): the log asks for some",
        );
    }
    (Level::Ok, "the log asks for some, and the system has them".to_owned(), "")
}

fn clock(clock: &Clock) -> Verdict {
    if clock.unix_seconds < EPOCH_MIN {
        let what =
            format!("the wall clock says {} s since 1970: it is not set", clock.unix_seconds);
        return (Level::Warn, what, "set the clock: records age by it, and are found by it");
    }
    if let Some(source @ ("hpet" | "acpi_pm" | "jiffies" | "pit")) = clock.source.as_deref() {
        let what = format!("the time is read from {source}, which is slow");
        return (
            Level::Warn,
            what,
            "use a clock source of the CPU (tsc, kvm-clock, arch_sys_counter)",
        );
    }
    if clock.synchronized == Some(false) {
        let what = "nobody keeps the wall clock right".to_owned();
        return (Level::Note, what, "run chrony or systemd-timesyncd: records age by this clock");
    }
    (Level::Ok, format!("read from {}", clock.source.as_deref().unwrap_or("an unnamed source")), "")
}

fn bytes(bytes: u64) -> String {
    match bytes {
        u64::MAX => "unlimited".to_owned(),
        GIB.. => format!("{:.1} GiB", bytes as f64 / GIB as f64),
        MIB.. => format!("{:.1} MiB", bytes as f64 / MIB as f64),
        _ => format!("{} KiB", bytes >> 10),
    }
}

fn count(number: u64) -> String {
    if number == u64::MAX { "unlimited".to_owned() } else { number.to_string() }
}

fn list(cpus: &[usize]) -> String {
    cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
