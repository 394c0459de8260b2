//! Figures of this process under the names that every Prometheus client library gives them.

use std::fs;

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{SysconfVar, sysconf};

/// What the system says of this process; what it does not say is left out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) virtual_bytes: Option<u64>,
    pub(super) open_fds: Option<u64>,
    pub(super) max_fds: Option<u64>,
    pub(super) start_seconds: Option<f64>,
}

impl Process {
    /// Looks.
    pub(super) fn now() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let (stat, statm, all) =
            (read("/proc/self/stat"), read("/proc/self/statm"), read("/proc/stat"));
        let variable = |variable| sysconf(variable).ok().flatten();
        let ticks = variable(SysconfVar::CLK_TCK).unwrap_or(100) as f64;
        let page = variable(SysconfVar::PAGE_SIZE).and_then(|page| u64::try_from(page).ok());
        let field = |number| stat_field(&stat, number);
        let pages = |at| statm.split_whitespace().nth(at).and_then(|text| text.parse::<u64>().ok());
        let boot = all.lines().find_map(|line| line.strip_prefix("btime ")?.parse::<f64>().ok());
        Self {
            cpu_seconds: field(14).zip(field(15)).map(|(user, sys)| (user + sys) as f64 / ticks),
            resident_bytes: pages(1).zip(page).map(|(pages, page)| pages * page),
            virtual_bytes: pages(0).zip(page).map(|(pages, page)| pages * page),
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count() as u64),
            max_fds: getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft),
            start_seconds: boot.zip(field(22)).map(|(boot, start)| boot + start as f64 / ticks),
        }
    }
}

/// A field of /proc/self/stat by its number in proc(5), beyond the command's name, which may hold
/// anything.
fn stat_field(stat: &str, number: usize) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_said_of_a_process_that_runs() {
        let process = Process::now();
        assert!(process.cpu_seconds.unwrap() < 1e6);
        assert!(process.resident_bytes.unwrap() > 100_000);
        assert!(process.virtual_bytes >= process.resident_bytes);
        assert!(process.open_fds.unwrap() >= 3 && process.max_fds.unwrap() > 3);
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        let age = now - process.start_seconds.unwrap();
        assert!((-2.0..86_400.0).contains(&age), "{age}");
    }

    #[test]
    fn names_with_brackets_are_survived() {
        assert_eq!(stat_field("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 111 112", 14), Some(111));
        assert_eq!(stat_field("nothing", 14), None);
    }
}
