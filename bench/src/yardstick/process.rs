//! What a process cost: CPU time, memory and context switches, from /proc.
//!
//! The difference of two [`Usage`]s is a run's cost. Kernel workers serve disk completions outside
//! every process; [`kernel_workers_cpu`] counts them for the whole machine, other work included.

use std::fs;
use std::io::{self, ErrorKind};
use std::time::Duration;

use nix::sys::sysinfo;
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// A process at one moment. Times count from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and kernel CPU time of all threads, io_uring workers (`iou-wrk`) included; exact.
    pub cpu: Duration,
    /// The user part, in scheduler ticks.
    pub user: Duration,
    /// The kernel part, in scheduler ticks.
    pub system: Duration,
    /// Resident memory.
    pub rss_bytes: u64,
    /// Times it slept, over all threads that live now.
    pub switches_voluntary: u64,
    /// Times it was preempted, over all threads that live now.
    pub switches_involuntary: u64,
}

impl Usage {
    /// Reads /proc/PID.
    ///
    /// # Errors
    /// When there is no such process, or /proc is not what Linux documents.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = Stat::read(&format!("/proc/{pid}/stat"))?;
        let mut usage = Self {
            cpu: process_cpu(pid)?,
            user: ticks(stat.user_ticks),
            system: ticks(stat.system_ticks),
            rss_bytes: stat.rss_pages * page_bytes(),
            ..Self::default()
        };
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may end while we look.
            let Ok(status) = fs::read_to_string(task?.path().join("status")) else { continue };
            usage.switches_voluntary += status_number(&status, "voluntary_ctxt_switches:");
            usage.switches_involuntary += status_number(&status, "nonvoluntary_ctxt_switches:");
        }
        Ok(usage)
    }

    /// What was used since `earlier`. Memory is the present one.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
            rss_bytes: self.rss_bytes,
            switches_voluntary: self.switches_voluntary.saturating_sub(earlier.switches_voluntary),
            switches_involuntary: self
                .switches_involuntary
                .saturating_sub(earlier.switches_involuntary),
        }
    }
}

/// CPU time of the calling thread: what a generator on one thread used itself.
#[must_use]
pub fn thread_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

/// CPU time of all kernel workers (`kworker/...`) of the machine. Kernel threads that ended in
/// between are missing, so a difference is a lower bound.
#[must_use]
pub fn kernel_workers_cpu() -> Duration {
    let Ok(processes) = fs::read_dir("/proc") else { return Duration::ZERO };
    let mut cpu = Duration::ZERO;
    for process in processes.flatten() {
        if !process.file_name().to_string_lossy().starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        let path = process.path();
        let is_worker =
            fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.starts_with("kworker/"));
        if is_worker {
            cpu += scheduled(&path.join("schedstat").to_string_lossy());
        }
    }
    cpu
}

/// Time on a CPU, exact: the first number of schedstat is nanoseconds.
fn scheduled(path: &str) -> Duration {
    let text = fs::read_to_string(path).unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// CPU time of a process, exact, and nothing else: cheap enough for a hot loop.
///
/// # Errors
/// When there is no such process.
pub fn process_cpu(pid: u32) -> io::Result<Duration> {
    let pid = i32::try_from(pid).map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
    let clock = clock_getcpuclockid(Pid::from_raw(pid))?;
    Ok(Duration::from(clock_gettime(clock)?))
}

struct Stat {
    user_ticks: u64,
    system_ticks: u64,
    rss_pages: u64,
}

impl Stat {
    fn read(path: &str) -> io::Result<Self> {
        Self::parse(&fs::read_to_string(path)?).ok_or_else(|| ErrorKind::InvalidData.into())
    }

    /// See proc_pid_stat(5). The name in parentheses may hold spaces and parentheses itself.
    fn parse(stat: &str) -> Option<Self> {
        let (_, after_name) = stat.rsplit_once(')')?;
        // The first field after the name is the third of the file.
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse().ok();
        Some(Self { user_ticks: field(14)?, system_ticks: field(15)?, rss_pages: field(24)? })
    }
}

fn status_number(status: &str, key: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(key));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

fn ticks(count: u64) -> Duration {
    let per_second = system_number(SysconfVar::CLK_TCK, 100);
    Duration::from_secs_f64(count as f64 / per_second as f64)
}

fn page_bytes() -> u64 {
    system_number(SysconfVar::PAGE_SIZE, 4096)
}

fn system_number(variable: SysconfVar, otherwise: u64) -> u64 {
    let value = sysconf(variable).ok().flatten();
    value.and_then(|value| u64::try_from(value).ok()).filter(|v| *v > 0).unwrap_or(otherwise)
}

/// Memory of the machine.
#[must_use]
pub(super) fn memory_bytes() -> u64 {
    sysinfo::sysinfo().map(|info| info.ram_total()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 0 0 0 0 0 111 222 0 0 20 0 1 0 5 4096 333 1";
        let stat = Stat::parse(stat).unwrap();
        assert_eq!((stat.user_ticks, stat.system_ticks, stat.rss_pages), (111, 222, 333));
        assert!(Stat::parse("42 (a) S 1").is_none());
        assert!(Stat::parse("").is_none());
    }

    #[test]
    fn work_shows_in_the_cpu_time_and_sleep_in_the_switches() {
        let before = Usage::of(std::process::id()).unwrap();
        let thread_before = thread_cpu();
        let until = Instant::now() + Duration::from_secs(10);
        while thread_cpu() - thread_before < Duration::from_millis(5) && Instant::now() < until {}
        std::thread::sleep(Duration::from_millis(1));
        let used = Usage::of(std::process::id()).unwrap().since(&before);
        assert!(used.cpu >= Duration::from_millis(5), "{used:?}");
        // Not a difference: tests in other threads end meanwhile and take their counts along.
        let now = Usage::of(std::process::id()).unwrap();
        assert!(now.switches_voluntary >= 1, "{now:?}");
        assert!(used.rss_bytes > 100 * 1024, "{used:?}");
    }

    #[test]
    fn an_absent_process_is_an_error() {
        assert!(Usage::of(u32::MAX).is_err());
    }
}
