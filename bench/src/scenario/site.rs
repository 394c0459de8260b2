//! Directories and child processes of a run. Everything here is gone when it is dropped.

use std::fs;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use engine::device;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{BenchError, Options};
use crate::load::control::{Control, Counters};
use crate::report::Waiting;
use crate::yardstick::{Child, Said};

/// A new log writes its first segment in the background, at the device's pace.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);
const SETTLE_LOOK: Duration = Duration::from_millis(15);
/// It is over when no counter has moved for so many looks.
const SETTLE_STILL_LOOKS: u32 = 3;
/// What a node is told that is to outlast a disk that stands still: its write ends, late, and that is in
/// the figures. Below the generator's own patience.
pub const PATIENT: [&str; 2] = ["--flush-deadline", "8s"];

/// A directory for data that is removed at the end, unless it should be kept.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    /// Makes a new directory in `parent` (which is made as well).
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(parent: &Path, keep: bool) -> Result<Self, BenchError> {
        fs::create_dir_all(parent).map_err(BenchError::dir("making", parent))?;
        for n in 0.. {
            let path = parent.join(format!("data-{}-{n}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path, keep }),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(BenchError::dir("making", &path)(e)),
            }
        }
        unreachable!("an integer range without an end")
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// The directory of one report, `OUT/YYYYMMDD-HHMMSS`. It goes again, and `OUT` with it if both are
/// empty and both were made for it: a run that failed leaves nothing behind.
#[derive(Debug)]
pub struct ReportDir {
    path: PathBuf,
    /// `OUT`, if it was not there before.
    made: Option<PathBuf>,
}

impl Deref for ReportDir {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl Drop for ReportDir {
    fn drop(&mut self) {
        // Only an empty directory can be removed so.
        if fs::remove_dir(&self.path).is_ok()
            && let Some(out) = &self.made
        {
            let _ = fs::remove_dir(out);
        }
    }
}

/// Makes the directory of a report.
///
/// # Errors
/// When it cannot be made.
pub fn report_dir(out: &Path) -> Result<ReportDir, BenchError> {
    let name = stamp(SystemTime::now());
    let made = (!out.exists()).then(|| out.to_path_buf());
    for n in 0.. {
        let name = if n == 0 { name.clone() } else { format!("{name}-{n}") };
        let path = out.join(name);
        fs::create_dir_all(out).map_err(BenchError::dir("making", out))?;
        match fs::create_dir(&path) {
            Ok(()) => return Ok(ReportDir { path, made }),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(BenchError::dir("making", &path)(e)),
        }
    }
    unreachable!("an integer range without an end")
}

/// Date and time of day in UTC, for the name of a directory.
fn stamp(now: SystemTime) -> String {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's civil_from_days, for days since 1970.
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    let (h, m, s) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}{month:02}{day:02}-{h:02}{m:02}{s:02}")
}

/// What was measured of the device under `parent` holds for a node's data in it, too.
fn take_device_file(parent: &Path, data: &Path) -> Result<(), BenchError> {
    let file = parent.join(device::FILE_NAME);
    if file.exists() {
        let copied = fs::copy(&file, data.join(device::FILE_NAME));
        copied.map_err(BenchError::dir("reading", &file))?;
    }
    Ok(())
}

/// A node: a child process with a fresh data directory, or one that runs already.
#[derive(Debug)]
pub struct Broker {
    addr: SocketAddr,
    // Dropped in this order: the process before its data.
    child: Option<Child>,
    data: Option<Scratch>,
}

impl Broker {
    /// Starts a node on a fresh directory in `parent`, pinned as the options say.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(options: &Options, waiting: Waiting, parent: &Path) -> Result<Self, BenchError> {
        Self::start_with(options, waiting, parent, &[])
    }

    /// The same, with further arguments for `serve`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_with(
        options: &Options,
        waiting: Waiting,
        parent: &Path,
        further: &[&str],
    ) -> Result<Self, BenchError> {
        let data = Scratch::new(parent, options.keep)?;
        take_device_file(parent, data.path())?;
        let broker = Self::on(options, waiting, data.path(), further)?;
        Ok(Self { data: Some(data), ..broker })
    }

    /// Starts a node on a directory that is there and stays.
    ///
    /// # Errors
    /// When it does not start.
    pub fn on(
        options: &Options,
        waiting: Waiting,
        data: &Path,
        further: &[&str],
    ) -> Result<Self, BenchError> {
        let mut args = vec!["serve".to_owned(), "--data".to_owned()];
        args.push(data.to_string_lossy().into_owned());
        args.extend(["--listen".to_owned(), "127.0.0.1:0".to_owned()]);
        args.extend(["--wait".to_owned(), waiting.to_string()]);
        // For `Said`: what it warns of belongs in the notes.
        args.extend(["--log", "warn", "--log-format", "json"].map(str::to_owned));
        if let Some(cpu) = options.broker_cpu() {
            args.extend(["--cpu".to_owned(), cpu.to_string()]);
        }
        if options.smoke {
            args.extend(PATIENT.map(str::to_owned));
        }
        args.extend(further.iter().map(|arg| (*arg).to_owned()));
        let child = Child::spawn(&options.exe, &args)?;
        Ok(Self { addr: child.addr(), child: Some(child), data: None })
    }

    /// A node that runs already.
    #[must_use]
    pub fn running(addr: SocketAddr) -> Self {
        Self { addr, child: None, data: None }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its process, if it is a child.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::pid)
    }

    /// What it has warned of so far, for the notes of a report.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.said().map(|said| warnings(&said)).unwrap_or_default()
    }

    /// What it says, also after its end.
    #[must_use]
    pub fn said(&self) -> Option<Said> {
        self.child.as_ref().map(|child| child.said().clone())
    }

    /// The error, with what the node said when that tells more.
    #[must_use]
    pub fn explained(&self, error: BenchError) -> BenchError {
        let said = self.warnings();
        if said.is_empty() {
            return error;
        }
        BenchError::Node { source: Box::new(error), said: said.join("\n  ") }
    }

    /// Its data, if it is a child.
    #[must_use]
    pub fn data(&self) -> Option<&Path> {
        self.data.as_ref().map(Scratch::path)
    }

    /// Is a node there at all? Asked before anything is measured, if it is not a child.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn check_running(addr: Option<SocketAddr>) -> Result<(), BenchError> {
        addr.map_or(Ok(()), |addr| Self::running(addr).control().map(|_| ()))
    }

    /// A connection for topics and statistics.
    ///
    /// # Errors
    /// When it is gone.
    pub fn control(&self) -> Result<Control, BenchError> {
        Control::connect(self.addr).map_err(BenchError::load("asking the node"))
    }

    /// Waits until nothing goes on in the background any more: spare space is written, and what was
    /// acknowledged early is on the device.
    ///
    /// # Errors
    /// When it is gone.
    pub fn settle(&self) -> Result<(), BenchError> {
        let mut control = self.control()?;
        let written = |counters: Counters| {
            let of = |name| counters.get(name).copied().unwrap_or(0);
            of("prefilled_bytes") + of("group_bytes") + of("index_bytes")
        };
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        let (mut last, mut still) = (u64::MAX, 0);
        while still < SETTLE_STILL_LOOKS && Instant::now() < deadline {
            std::thread::sleep(SETTLE_LOOK);
            let now = written(control.counters().map_err(BenchError::load("asking the node"))?);
            still = if now == last { still + 1 } else { 0 };
            last = now;
        }
        Ok(())
    }

    /// Stops the process where it stands until the guard is dropped.
    #[must_use]
    pub fn stopped(&self) -> Stopped {
        Stopped::new(self.pid())
    }
}

/// What a node has warned of so far, as notes.
#[must_use]
pub fn warnings(said: &Said) -> Vec<String> {
    said.lines().into_iter().map(|line| format!("the node says: {line}")).collect()
}

/// A child that does not run for a while (SIGSTOP): it neither computes nor spins.
#[derive(Debug)]
pub struct Stopped(Option<Pid>);

impl Stopped {
    fn new(pid: Option<u32>) -> Self {
        let pid = pid.and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill(pid, Signal::SIGSTOP);
        }
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill(pid, Signal::SIGCONT);
        }
    }
}

/// All files below a data directory whose names begin so, in the order of their names.
///
/// # Errors
/// When a directory cannot be read.
pub fn log_files(dir: Option<&Path>, prefix: &str) -> Result<Vec<PathBuf>, BenchError> {
    let mut found = Vec::new();
    let mut dirs: Vec<PathBuf> = dir.map(Path::to_path_buf).into_iter().collect();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).map_err(BenchError::dir("reading", &dir))?.flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                dirs.push(path);
            } else if name.starts_with(prefix) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_dates() {
        let at = |seconds| stamp(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "19700101-000000");
        assert_eq!(at(951_827_696), "20000229-123456");
        assert_eq!(at(1_767_225_599), "20251231-235959");
    }

    #[test]
    fn scratch_data_is_removed_unless_it_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (gone, kept) =
            (Scratch::new(dir.path(), false).unwrap(), Scratch::new(dir.path(), true).unwrap());
        let (gone_path, kept_path) = (gone.path().to_path_buf(), kept.path().to_path_buf());
        fs::write(gone_path.join("segment"), "x").unwrap();
        drop((gone, kept));
        assert!(!gone_path.exists() && kept_path.exists());
    }

    #[test]
    fn a_node_takes_the_device_file_of_the_directory_its_data_is_in() {
        let dir = tempfile::tempdir().unwrap();
        let data = Scratch::new(dir.path(), false).unwrap();
        take_device_file(dir.path(), data.path()).unwrap();
        assert!(!data.path().join(device::FILE_NAME).exists());
        fs::write(dir.path().join(device::FILE_NAME), "version = 1").unwrap();
        take_device_file(dir.path(), data.path()).unwrap();
        let taken = fs::read_to_string(data.path().join(device::FILE_NAME)).unwrap();
        assert_eq!(taken, "version = 1");
    }

    #[test]
    fn files_are_found_wherever_they_are() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("shard-0")).unwrap();
        for name in ["shard-0/segment-2.log", "shard-0/segment-1.log", "shard-0/index-1.idx"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let found = log_files(Some(dir.path()), "segment-").unwrap();
        let there = ["segment-1.log", "segment-2.log"].map(|n| dir.path().join("shard-0").join(n));
        assert_eq!(found, there);
        assert!(log_files(None, "segment-").unwrap().is_empty());
    }

    #[test]
    fn reports_of_one_second_do_not_share_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (report_dir(dir.path()).unwrap(), report_dir(dir.path()).unwrap());
        assert_ne!(a.to_path_buf(), b.to_path_buf());
    }

    #[test]
    fn a_report_that_was_not_written_leaves_no_directory() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        drop(report_dir(&out).unwrap());
        assert!(!out.exists());
        let written = report_dir(&out).unwrap();
        fs::write(written.join("report.json"), "{}").unwrap();
        let path = written.to_path_buf();
        drop((written, report_dir(&out).unwrap()));
        assert!(path.join("report.json").is_file());
        assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
    }
}
