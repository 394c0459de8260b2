//! The files of one disk: handles, and the descriptors behind them.
//!
//! A file that was opened keeps its descriptor until it is closed. One that was adopted has a name,
//! and a descriptor from the first operation that needs it until others need theirs more: at most
//! `descriptors_max` are kept that no operation uses, and the least recently used goes first.
//!
//! Invariants: a descriptor is given up only if its file can be opened again by its name, and not
//! while an operation uses it; while a name is being changed its file has a descriptor, so that a
//! handle follows its file whatever order the kernel works in.
//! Absent: system calls; what the operations do.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use nix::libc;

use super::super::{Errno, FileId, FileName};

/// How to get at a file.
#[derive(Debug)]
pub(super) enum Way {
    /// It has a descriptor.
    Descriptor(Rc<OwnedFd>),
    /// It is to be opened by this name first.
    Name(FileName),
}

#[derive(Debug)]
enum Handle {
    Opened(Rc<OwnedFd>),
    Adopted(Adopted),
}

#[derive(Debug)]
struct Adopted {
    /// `None`: it was removed.
    name: Option<FileName>,
    descriptor: Option<Rc<OwnedFd>>,
    /// When it was used last, counted in uses.
    used: u64,
    /// Its name is being changed: the descriptor stays.
    held: bool,
}

impl Adopted {
    /// Whether its descriptor can be given up: nobody uses it, and there is a way back to it.
    fn is_idle(&self) -> bool {
        let unused = self.descriptor.as_ref().is_some_and(|fd| Rc::strong_count(fd) == 1);
        unused && !self.held && self.name.is_some()
    }
}

/// The files of one disk.
#[derive(Debug)]
pub(super) struct Files {
    handles: BTreeMap<FileId, Handle>,
    next: u32,
    /// Adopted files that have a descriptor.
    located: Vec<FileId>,
    descriptors_max: usize,
    uses: u64,
}

impl Files {
    pub(super) fn new(descriptors_max: u32) -> Self {
        Self {
            handles: BTreeMap::new(),
            next: 0,
            located: Vec::new(),
            descriptors_max: descriptors_max as usize,
            uses: 0,
        }
    }

    fn insert(&mut self, handle: Handle) -> FileId {
        let file = FileId(self.next);
        self.next += 1;
        self.handles.insert(file, handle);
        file
    }

    /// A file that was opened.
    pub(super) fn opened(&mut self, descriptor: OwnedFd) -> FileId {
        self.insert(Handle::Opened(Rc::new(descriptor)))
    }

    /// A file that is there by its name.
    pub(super) fn adopt(&mut self, name: FileName) -> FileId {
        let adopted = Adopted { name: Some(name), descriptor: None, used: 0, held: false };
        self.insert(Handle::Adopted(adopted))
    }

    /// The way to a file, for an operation on it.
    pub(super) fn way(&mut self, file: FileId) -> Result<Way, Errno> {
        self.uses += 1;
        match self.handles.get_mut(&file).ok_or(Errno(libc::EBADF))? {
            Handle::Opened(descriptor) => Ok(Way::Descriptor(Rc::clone(descriptor))),
            Handle::Adopted(adopted) => {
                adopted.used = self.uses;
                match (&adopted.descriptor, adopted.name) {
                    (Some(descriptor), _) => Ok(Way::Descriptor(Rc::clone(descriptor))),
                    (None, Some(name)) => Ok(Way::Name(name)),
                    (None, None) => Err(Errno(libc::ENOENT)),
                }
            }
        }
    }

    /// The descriptor of a file that may be written.
    pub(super) fn writable(&self, file: FileId) -> Result<Rc<OwnedFd>, Errno> {
        match self.handles.get(&file) {
            Some(Handle::Opened(descriptor)) => Ok(Rc::clone(descriptor)),
            Some(Handle::Adopted(_)) | None => Err(Errno(libc::EBADF)),
        }
    }

    /// An adopted file that had no descriptor has this one now.
    pub(super) fn locate(&mut self, file: FileId, descriptor: OwnedFd) -> Rc<OwnedFd> {
        let descriptor = Rc::new(descriptor);
        if let Some(Handle::Adopted(adopted)) = self.handles.get_mut(&file) {
            adopted.descriptor = Some(Rc::clone(&descriptor));
            self.located.push(file);
        }
        descriptor
    }

    /// A descriptor to be closed because there are more than there may be.
    pub(super) fn evict(&mut self) -> Option<OwnedFd> {
        if self.located.len() <= self.descriptors_max {
            return None;
        }
        let idle = |(at, file): (usize, &FileId)| match self.handles.get(file) {
            Some(Handle::Adopted(adopted)) if adopted.is_idle() => Some((adopted.used, at)),
            _ => None,
        };
        let (_, at) = self.located.iter().enumerate().filter_map(idle).min()?;
        match self.handles.get_mut(&self.located.swap_remove(at)) {
            Some(Handle::Adopted(adopted)) => Rc::try_unwrap(adopted.descriptor.take()?).ok(),
            _ => None,
        }
    }

    /// The file is given back; its descriptor, if it has one that no operation uses. The last of
    /// the operations that use it closes it otherwise.
    pub(super) fn close(&mut self, file: FileId) -> Result<Option<OwnedFd>, Errno> {
        let descriptor = match self.handles.remove(&file).ok_or(Errno(libc::EBADF))? {
            Handle::Opened(descriptor) => Some(descriptor),
            Handle::Adopted(adopted) => {
                self.located.retain(|located| *located != file);
                adopted.descriptor
            }
        };
        Ok(descriptor.and_then(|descriptor| Rc::try_unwrap(descriptor).ok()))
    }

    /// The name of a file is about to be changed. `Some`: not before this handle of it has got a
    /// descriptor.
    pub(super) fn hold(&mut self, name: FileName) -> Option<FileId> {
        let mut without = None;
        for (file, handle) in &mut self.handles {
            if let Handle::Adopted(adopted) = handle
                && adopted.name == Some(name)
            {
                adopted.held = true;
                if adopted.descriptor.is_none() {
                    without = Some(*file);
                }
            }
        }
        without
    }

    /// The change of a name has ended; if it was made, the file is called `to` now, or has gone.
    pub(super) fn changed(&mut self, name: FileName, to: Option<FileName>, made: bool) {
        for handle in self.handles.values_mut() {
            if let Handle::Adopted(adopted) = handle
                && adopted.name == Some(name)
            {
                adopted.held = false;
                if made {
                    adopted.name = to;
                }
            }
        }
    }

    /// Adopted files that have a descriptor.
    #[cfg(test)]
    pub(super) fn located(&self) -> usize {
        self.located.len()
    }
}
