//! The facts a figure is worthless without: kernel, CPU, file system, device.
//!
//! Everything here is best effort: what a machine does not tell is `unknown`, never an error, since
//! a report without it still is a report.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use engine::device::Mount;
use nix::sys::stat::{major, minor};
use nix::sys::utsname::uname;

use super::process::memory_bytes;
use crate::report::Environment;

const UNKNOWN: &str = "unknown";

/// The environment of a run whose data lives in `data_dir`.
#[must_use]
pub fn environment(data_dir: &Path) -> Environment {
    let mount = Mount::of(data_dir).unwrap_or_default();
    let queue = queue_dir(data_dir);
    let fact = |name: &str| queue.as_deref().and_then(|dir| read_line(&dir.join(name)));
    Environment {
        build: build(),
        node: None,
        kernel: kernel(),
        cpu: cpu_model(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
        cpus: thread::available_parallelism().map_or(0, usize::from),
        memory_bytes: memory_bytes(),
        governor: read_line(Path::new("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        data_dir: absolute(data_dir).display().to_string(),
        file_system: or_unknown(mount.file_system),
        mount_options: mount.options,
        device: or_unknown(mount.source),
        write_cache: fact("write_cache"),
        fua: fact("fua").map(|fua| fua == "1"),
        scheduler: fact("scheduler").map(|all| active_scheduler(&all)),
        rotational: fact("rotational").map(|rotational| rotational == "1"),
    }
}

/// A remark if other programs keep the machine busy, which every figure of the run will show.
#[must_use]
pub fn busy_note() -> Option<String> {
    let loadavg = fs::read_to_string("/proc/loadavg").ok()?;
    busy(&loadavg, thread::available_parallelism().map_or(1, usize::from))
}

/// Busy: on average, more than a quarter of the CPUs had something to do in the last minute.
fn busy(loadavg: &str, cpus: usize) -> Option<String> {
    let load: f64 = loadavg.split_whitespace().next()?.parse().ok()?;
    (load > cpus as f64 / 4.0).then(|| {
        format!(
            "other programs kept the machine busy before this began (load average {load:.1} on \
             {cpus} CPUs): expect latencies of milliseconds that are not the broker's"
        )
    })
}

/// Version, commit if whoever built it said (`URINGMQ_COMMIT`), and profile.
fn build() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let commit = option_env!("URINGMQ_COMMIT").filter(|commit| !commit.is_empty());
    let commit = commit.map_or_else(String::new, |commit| format!(", commit {commit}"));
    let profile = if cfg!(debug_assertions) { "development build" } else { "release build" };
    format!("uringmq {version}{commit}, {profile}")
}

fn absolute(path: &Path) -> PathBuf {
    path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.into())
}

fn or_unknown(text: String) -> String {
    if text.is_empty() { UNKNOWN.to_owned() } else { text }
}

fn kernel() -> String {
    let release = uname().ok().map(|u| u.release().to_string_lossy().into_owned());
    release.unwrap_or_else(|| UNKNOWN.to_owned())
}

fn cpu_model(cpuinfo: &str) -> String {
    let model = cpuinfo.lines().find_map(|line| {
        // ARM has no model name; the implementer's number is better than nothing.
        let (key, value) = line.split_once(':')?;
        matches!(key.trim(), "model name" | "CPU implementer").then(|| value.trim().to_owned())
    });
    model.unwrap_or_else(|| UNKNOWN.to_owned())
}

fn read_line(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|line| !line.is_empty())
}

/// `none [mq-deadline] kyber` -> `mq-deadline`.
fn active_scheduler(all: &str) -> String {
    let active = all.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    active.map_or_else(|| all.to_owned(), |(active, _)| active.to_owned())
}

/// /sys directory of the block device's queue; a partition's is its disk's.
fn queue_dir(data_dir: &Path) -> Option<PathBuf> {
    let dev = fs::metadata(data_dir).ok()?.dev();
    let block = PathBuf::from(format!("/sys/dev/block/{}:{}", major(dev), minor(dev)));
    let block = block.canonicalize().ok()?;
    [block.join("queue"), block.parent()?.join("queue")].into_iter().find(|dir| dir.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_machine_is_remarked_on() {
        assert_eq!(busy("0.49 1.00 2.00 1/99 12345\n", 2), None);
        assert!(busy("4.43 1.00 2.00 1/99 12345\n", 2).unwrap().contains("4.4 on 2 CPUs"));
        assert_eq!(busy("", 2), None);
    }

    #[test]
    fn the_active_scheduler_and_the_cpu_are_named() {
        assert_eq!(active_scheduler("none [mq-deadline] kyber"), "mq-deadline");
        assert_eq!(active_scheduler("none"), "none");
        assert_eq!(cpu_model("processor : 0\nmodel name\t: EPYC 7B13\n"), "EPYC 7B13");
        assert_eq!(cpu_model(""), UNKNOWN);
    }

    #[test]
    fn this_machine_has_a_kernel_and_a_cpu() {
        let here = environment(&std::env::temp_dir());
        assert!(here.cpus >= 1 && here.memory_bytes > 0, "{here:?}");
        assert_ne!(here.kernel, UNKNOWN);
        assert_ne!(here.file_system, UNKNOWN);
        assert!(here.build.contains(env!("CARGO_PKG_VERSION")), "{here:?}");
        let relative = environment(Path::new("."));
        assert!(Path::new(&relative.data_dir).is_absolute(), "{relative:?}");
    }
}
