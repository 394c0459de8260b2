//! Watches that the data directory stays where it is and can be written to.
//!
//! An open file can be written to long after its name is gone: a node whose directory was removed
//! would acknowledge what nobody finds again. Therefore an ordinary thread is told by the kernel
//! (inotify) when something in the directory is removed or renamed, and looks, then and once a
//! second, whether directory, shards and superblocks are still those that were opened. When they
//! are not, every shard is closed for writing. A directory in which no files can be made is only
//! reported: what is in its files is safe, and shards that need a new segment refuse by themselves.
//!
//! Invariant: a loss is noticed within a second, and by an acknowledgement that begins after it was
//! noticed never.
//! Absent: single segments that are removed by hand (a reader finds that out, and `verify`).

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::data_dir::DataDir;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, access};
use tracing::{error, info, warn};

use crate::native::Alarm;
use crate::server::Waker;

/// Between two looks, if nothing is heard.
const LOOK_MS: u16 = 1000;
/// After something was heard: removing a directory takes many steps.
const SETTLE: Duration = Duration::from_millis(1);

/// A file or directory that must stay what it is.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Place {
    fn of(path: PathBuf) -> io::Result<Self> {
        let is = fs::metadata(&path)?;
        Ok(Self { path, device: is.dev(), inode: is.ino() })
    }

    fn is_there(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|is| (is.dev(), is.ino()) == (self.device, self.inode))
    }
}

/// The watching thread.
#[derive(Debug)]
pub(super) struct Watch {
    ends: Arc<AtomicBool>,
}

impl Watch {
    /// Begins to watch a directory whose shards are open.
    pub(super) fn start(dir: &DataDir, alarm: Alarm, waker: Waker) -> io::Result<Self> {
        let mut places = vec![Place::of(dir.path().to_owned())?];
        for shard in 0..dir.shards {
            let path = dir.shard_path(shard);
            places.push(Place::of(path.join("superblock"))?);
            places.push(Place::of(path)?);
        }
        let ends = Arc::new(AtomicBool::new(false));
        let root = dir.path().to_owned();
        let inotify = listen(&places);
        let look = Look { root, places, inotify, alarm, waker, ends: Arc::clone(&ends) };
        let thread = std::thread::Builder::new().name("directory".to_owned());
        thread.spawn(move || look.run())?;
        Ok(Self { ends })
    }

    /// The node has ended: whatever happens to the directory is no loss. The thread notices within
    /// a second.
    pub(super) fn end(&self) {
        self.ends.store(true, Ordering::Release);
    }
}

/// Asks to be told of what vanishes. Without it (a limit of the system) a look a second must do.
fn listen(places: &[Place]) -> Option<Inotify> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC);
    let gone = AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF;
    let listen = |inotify: &Inotify| -> nix::Result<()> {
        for place in places.iter().filter(|place| place.path.is_dir()) {
            inotify.add_watch(&place.path, gone)?;
        }
        Ok(())
    };
    match inotify.and_then(|inotify| listen(&inotify).map(|()| inotify)) {
        Ok(inotify) => Some(inotify),
        Err(errno) => {
            warn!(%errno, "the kernel does not tell of changes in the data directory");
            None
        }
    }
}

struct Look {
    root: PathBuf,
    places: Vec<Place>,
    inotify: Option<Inotify>,
    alarm: Alarm,
    waker: Waker,
    ends: Arc<AtomicBool>,
}

impl Look {
    fn run(self) {
        while !self.ends.load(Ordering::Acquire) && !self.alarm.is_lost() {
            if self.wait() {
                std::thread::sleep(SETTLE);
            }
            if let Some(lost) = self.places.iter().find(|place| !place.is_there()) {
                // A node that ends may be followed by the removal of its directory.
                if !self.ends.load(Ordering::Acquire) {
                    self.lost(&lost.path);
                }
                return;
            }
            self.look_for_access();
        }
    }

    fn lost(&self, path: &Path) {
        self.alarm.raise_lost();
        self.waker.wake();
        error!(
            path = %path.display(),
            "the data directory was removed, renamed or replaced while the node runs: \
             nothing is acknowledged any more; stop the node, put the directory back, start it"
        );
    }

    /// Waits until something is heard, or for a second; whether something was heard.
    fn wait(&self) -> bool {
        let Some(inotify) = &self.inotify else {
            std::thread::park_timeout(Duration::from_millis(LOOK_MS.into()));
            return false;
        };
        let mut heard = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
        let heard = poll(&mut heard, PollTimeout::from(LOOK_MS)).unwrap_or(0) > 0;
        while heard && inotify.read_events().is_ok_and(|events| !events.is_empty()) {}
        heard
    }

    fn look_for_access(&self) {
        let is_read_only = !can_write(&self.root)
            || !self.places.iter().all(|place| !place.path.is_dir() || can_write(&place.path));
        if is_read_only != self.alarm.is_read_only() {
            self.alarm.set_read_only(is_read_only);
            let path = self.root.display();
            if is_read_only {
                error!(%path, "no files can be made in the data directory any more: when a shard \
                               needs a new segment, its producers will be refused");
            } else {
                info!(%path, "files can be made in the data directory again");
            }
        }
    }
}

fn can_write(path: &Path) -> bool {
    let read_only = statvfs(path).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_RDONLY));
    !read_only && access(path, AccessFlags::W_OK).is_ok()
}
