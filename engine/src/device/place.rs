//! Where a directory lies: mount, file system, kernel. Figures of one place say nothing of another.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::utsname::uname;
use serde::{Deserialize, Serialize};

/// What the figures of a device depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// What is mounted there: the device.
    pub source: String,
    /// ext4, xfs...
    pub file_system: String,
    /// Major and minor number of the kernel.
    pub kernel: String,
}

impl Place {
    /// Where `dir` lies, or would lie once it is made. `None` if the system does not tell.
    #[must_use]
    pub fn of(dir: &Path) -> Option<Self> {
        let dir = std::path::absolute(dir).ok()?;
        let there = dir.ancestors().find(|dir| dir.exists())?;
        let Mount { source, file_system, .. } = Mount::of(there)?;
        let release = uname().ok()?.release().to_string_lossy().into_owned();
        Some(Self { source, file_system, kernel: major_minor(&release) })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on {}, Linux {}", self.file_system, self.source, self.kernel)
    }
}

/// `6.18.44-generic` -> `6.18`.
fn major_minor(release: &str) -> String {
    let numbers = release.split(|c: char| !c.is_ascii_digit());
    numbers.take(2).collect::<Vec<_>>().join(".")
}

/// A line of /proc/self/mountinfo.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// The device, or what stands for one.
    pub source: String,
    /// Type of the file system.
    pub file_system: String,
    /// Of the mount and of the file system, with commas between.
    pub options: String,
}

impl Mount {
    /// The mount that holds `dir`, which must exist.
    #[must_use]
    pub fn of(dir: &Path) -> Option<Self> {
        let path = dir.canonicalize().ok()?;
        Self::find(&fs::read_to_string("/proc/self/mountinfo").ok()?, &path)
    }

    /// The mount that holds `path`: the longest mount point above it, the last one of equals
    /// (later mounts hide earlier ones). See proc_pid_mountinfo(5).
    fn find(mountinfo: &str, path: &Path) -> Option<Self> {
        let mut best: Option<(usize, Self)> = None;
        for line in mountinfo.lines() {
            let Some((point, mount)) = Self::parse(line) else { continue };
            let depth = point.components().count();
            if path.starts_with(&point) && best.as_ref().is_none_or(|(d, _)| depth >= *d) {
                best = Some((depth, mount));
            }
        }
        best.map(|(_, mount)| mount)
    }

    /// `27 1 254:0 / /data rw,relatime shared:1 - ext4 /dev/vda rw,discard`
    fn parse(line: &str) -> Option<(PathBuf, Self)> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(4);
        let point = mount.next()?.replace("\\040", " ");
        let per_mount = mount.next()?;
        let mut file_system = file_system.split(' ');
        let kind = file_system.next()?.to_owned();
        let source = file_system.next()?.to_owned();
        let mut options: Vec<&str> = per_mount.split(',').collect();
        for option in file_system.next().unwrap_or_default().split(',') {
            if !option.is_empty() && !options.contains(&option) {
                options.push(option);
            }
        }
        let options = options.join(",");
        Some((PathBuf::from(point), Self { source, file_system: kind, options }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
25 24 0:23 / /dev/shm rw - tmpfs tmpfs rw,size=1k
40 27 8:1 / /data\\040dir rw,noatime shared:7 master:1 - xfs /dev/sda1 rw,attr2
garbage
41 27 8:2 / /data\\040dir rw,noatime - btrfs /dev/sdb rw
";

    #[test]
    fn the_deepest_and_latest_mount_holds_the_path() {
        let find = |path| Mount::find(MOUNTINFO, Path::new(path)).unwrap();
        let root = find("/database");
        assert_eq!((root.file_system.as_str(), root.source.as_str()), ("ext4", "/dev/vda"));
        assert_eq!(root.options, "rw,relatime,discard");
        assert_eq!(find("/data dir/x").file_system, "btrfs");
        assert_eq!(find("/dev/shm").options, "rw,size=1k");
    }

    #[test]
    fn a_place_is_known_before_its_directory_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let here = Place::of(dir.path()).unwrap();
        assert_eq!(Place::of(&dir.path().join("not/yet/there")), Some(here.clone()));
        assert!(!here.file_system.is_empty() && here.kernel.contains('.'), "{here}");
    }

    #[test]
    fn patches_of_a_kernel_are_the_same_place() {
        let releases = ["6.18.44-fc", "6.1.0", "6.1", "6.18-rc1"].map(major_minor);
        assert_eq!(releases, ["6.18", "6.1", "6.1", "6.18"]);
    }
}
