//! Where it is measured: is it a disk, is there room, which CPUs are there.

use std::path::Path;
use std::time::SystemTime;

use engine::device::Evidence;
use humantime::format_rfc3339_seconds;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::statvfs::statvfs;
use nix::unistd::Pid;

use super::measure::{FREE_BYTES_MIN, Settings, TuneError};
use crate::yardstick::YardstickError;
use crate::yardstick::machine::environment;

/// CPUs that polling is measured on, at most.
const CPUS_MAX: usize = 4;

/// Refuses a directory in which nothing can be measured.
pub(super) fn check(dir: &Path) -> Result<(), TuneError> {
    let file_system = environment(dir).file_system;
    if matches!(file_system.as_str(), "tmpfs" | "ramfs") {
        return Err(TuneError::Memory { dir: dir.to_path_buf(), file_system });
    }
    let failed = |errno: nix::Error| YardstickError::file("looking at", dir, errno.into());
    let room = statvfs(dir).map_err(failed)?;
    let free_bytes = room.blocks_available() * room.fragment_size();
    if free_bytes < FREE_BYTES_MIN {
        return Err(TuneError::NoRoom { dir: dir.to_path_buf(), free_bytes });
    }
    Ok(())
}

/// CPUs this process may use, a few of them, the first and the last among them.
pub(super) fn cpus() -> Vec<u32> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return Vec::new() };
    let all: Vec<u32> = (0..CpuSet::count())
        .filter(|cpu| set.is_set(*cpu).unwrap_or(false))
        .filter_map(|cpu| u32::try_from(cpu).ok())
        .collect();
    spread(&all, CPUS_MAX)
}

fn spread(all: &[u32], most: usize) -> Vec<u32> {
    if all.len() <= most {
        return all.to_vec();
    }
    (0..most).map(|n| all[n * (all.len() - 1) / (most - 1)]).collect()
}

/// What holds for all figures.
pub(super) fn facts(dir: &Path, settings: &Settings) -> Evidence {
    let environment = environment(dir);
    Evidence {
        measured: format_rfc3339_seconds(SystemTime::now()).to_string(),
        seconds: settings.budget.as_secs_f64(),
        kernel: environment.kernel,
        mount_options: environment.mount_options,
        write_cache: environment.write_cache,
        fua: environment.fua,
        ..Evidence::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_cpus_stand_for_all() {
        let all: Vec<u32> = (0..64).collect();
        assert_eq!(spread(&all, 4), [0, 21, 42, 63]);
        assert_eq!(spread(&all[..3], 4), [0, 1, 2]);
        assert!(!cpus().is_empty());
    }
}
