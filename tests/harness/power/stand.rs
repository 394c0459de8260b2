//! The device, a loop device on it, a file system on that; taken down in reverse when dropped.
//!
//! All of it lives in a mount namespace of its own: when the test ends in whatever way, the kernel
//! unmounts what is left, and the loop device lets go by itself.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fuser::BackgroundSession;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

use super::device::{Device, FILE, Shared, lock, shared};
use super::record::Record;
use crate::harness::node::fresh_dir;

/// How long a file system may be busy that nobody should be using any more.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// A device that is switched on, with a file system that is mounted once it has been made.
pub(crate) struct Stand {
    dir: TempDir,
    state: Shared,
    /// Of the file that is the device; ends when it is unmounted.
    _session: BackgroundSession,
    loop_device: Option<String>,
    mounted: bool,
}

/// Runs this in a thread with a mount namespace of its own.
///
/// # Errors
/// What is missing to do so, and to make devices in it.
pub(crate) fn in_own_namespace(run: impl FnOnce() + Send + 'static) -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("only root may mount file systems".to_owned());
    }
    for path in ["/dev/fuse", "/dev/loop-control"] {
        let mut options = std::fs::OpenOptions::new();
        let opened = options.read(true).write(true).open(path);
        opened.map_err(|error| format!("{path}: {error}"))?;
    }
    for program in ["mkfs.ext4", "losetup", "mount"] {
        let output = Command::new(program).arg("-V").output();
        output.map_err(|error| format!("{program}: {error}"))?;
    }
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| format!("a mount namespace: {errno}"))?;
        // What is mounted here is seen nowhere else; what is unmounted elsewhere goes here, too.
        let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
        let none: Option<&str> = None;
        mount(none, "/", none, flags, none)
            .map_err(|errno| format!("a mount namespace: {errno}"))?;
        run();
        Ok(())
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

impl Stand {
    /// Switches on a device with this on it. The seed decides how long it takes for what.
    pub(crate) fn new(image: Vec<u8>, seed: u64) -> Self {
        let dir = fresh_dir();
        for name in ["fuse", "mount"] {
            std::fs::create_dir(dir.path().join(name)).expect("a directory");
        }
        let state = shared(image);
        let device = Device::new(Arc::clone(&state), seed);
        let mut config = fuser::Config::default();
        config.mount_options = vec![fuser::MountOption::FSName("uringmq-power".to_owned())];
        let session = fuser::spawn_mount(device, dir.path().join("fuse"), &config);
        let _session = session.expect("FUSE can be mounted");
        let mut stand = Self { dir, state, _session, loop_device: None, mounted: false };
        // Direct, so that as many requests are on their way as there are.
        let file = stand.dir.path().join("fuse").join(FILE);
        let set_up = ["--find", "--show", "--direct-io=on"];
        let name = run(Command::new("losetup").args(set_up).arg(file)).expect("a loop device");
        stand.loop_device = Some(name);
        stand
    }

    fn loop_device(&self) -> &str {
        self.loop_device.as_deref().expect("not mounted yet")
    }

    /// Makes a file system.
    pub(crate) fn format(&self, block_bytes: u32) {
        let mut mkfs = Command::new("mkfs.ext4");
        mkfs.args(["-q", "-F", "-m", "0", "-E", "nodiscard,lazy_itable_init=0", "-b"]);
        run(mkfs.arg(block_bytes.to_string()).arg(self.loop_device())).expect("a file system");
    }

    /// Mounts the file system, which first mends what a cut has left; returns where it is.
    pub(crate) fn mount(&mut self) -> PathBuf {
        let path = self.dir.path().join("mount");
        let device = self.loop_device().to_owned();
        run(Command::new("mount").args(["-t", "ext4"]).arg(&device).arg(&path))
            .expect("the file system can be mounted");
        self.mounted = true;
        // Takes effect when nobody uses it any more.
        run(Command::new("losetup").args(["-d", &device])).expect("it is ours");
        self.loop_device = None;
        path
    }

    /// How many events there were.
    pub(crate) fn now(&self) -> u64 {
        lock(&self.state).record.len() as u64
    }

    /// A clock that counts the device's events.
    pub(crate) fn clock(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let state = Arc::clone(&self.state);
        move || lock(&state).record.len() as u64
    }

    /// Switches it off and hands out its record, which goes a little beyond what users saw.
    pub(crate) fn into_record(self) -> Record {
        let state = Arc::clone(&self.state);
        drop(self);
        let record = &mut lock(&state).record;
        std::mem::replace(record, Record::new(Vec::new()))
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        let undo = |what: &str, result: Result<String, String>| {
            if let Err(why) = result {
                eprintln!("{what}: {why}");
            }
        };
        let unmount = |name: &str, flags| {
            let path = self.dir.path().join(name);
            let begun = Instant::now();
            // A killed node's io_uring holds on to its files for a moment.
            loop {
                match umount2(&path, flags) {
                    Err(Errno::EBUSY) if begun.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
                    result => {
                        return result.map(|()| String::new()).map_err(|errno| errno.to_string());
                    }
                }
            }
        };
        if self.mounted {
            undo("the file system", unmount("mount", MntFlags::empty()));
        }
        if let Some(device) = &self.loop_device {
            undo("the loop device", run(Command::new("losetup").args(["-d", device])));
        }
        // The loop device may hold it for a moment longer.
        undo("the device", unmount("fuse", MntFlags::MNT_DETACH));
    }
}

/// Runs a program; what it prints.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// The instrument itself: what was synced is there after a cut, what was not is not.
#[test]
fn a_sync_reaches_the_device() {
    use super::record::Survivors;
    use rand::SeedableRng;

    let tried = in_own_namespace(|| {
        let mut random = rand::rngs::StdRng::seed_from_u64(1);
        let mut stand = Stand::new(vec![0; 16 << 20], 1);
        stand.format(4096);
        let path = stand.mount();
        std::fs::write(path.join("early"), "early").expect("a file");
        nix::unistd::syncfs(std::fs::File::open(&path).expect("a directory")).expect("a sync");
        let before = stand.now() as usize;
        let synced = std::fs::File::create(path.join("synced")).expect("a file");
        std::os::unix::fs::FileExt::write_all_at(&synced, &[7; 10_000], 0).expect("room");
        synced.sync_all().expect("a sync");
        let after = stand.now() as usize;
        std::fs::write(path.join("not synced"), "lost").expect("a file");
        drop(synced);
        let record = stand.into_record();
        for (at, is_there) in [(before, false), (after, true)] {
            for survivors in [Survivors::None, Survivors::Writes, Survivors::Sectors] {
                let mut stand = Stand::new(record.cut(at, survivors, &mut random), 2);
                let path = stand.mount();
                let early = std::fs::read(path.join("early")).expect("it was synced");
                assert_eq!(early, b"early");
                let found = std::fs::read(path.join("synced")).ok();
                let whole = found.as_deref() == Some(&[7; 10_000]);
                if survivors == Survivors::None || is_there {
                    assert_eq!(whole, is_there, "cut at {at}, synced between {before} and {after}");
                }
                assert!(!path.join("not synced").exists(), "nobody asked for it yet");
            }
        }
    });
    if let Err(why) = tried {
        crate::harness::skip(why);
    }
}
