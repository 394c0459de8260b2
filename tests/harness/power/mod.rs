//! A block device of our own under a real file system, whose power can be cut at any moment.
//!
//! Reading order: `record` (what the device was told and what it has promised; what may be on it
//! after a cut) -> `device` (a FUSE file system of one file, which is the device) -> `stand` (loop
//! device, file system, mount points; and that nothing of it is left behind).
//!
//! The kernel's own block layer and file system decide what is written and flushed, and when. What
//! the device keeps is what `engine/docs/faults.md` says of a power cut: what a completed flush
//! covers, and of every other sector any version that was on its way.
//! Absent: the machine's own memory and firmware, and a device with FUA (loop devices have none).

mod device;
mod record;
mod stand;

pub(crate) use record::{Record, Survivors};
pub(crate) use stand::{Stand, in_own_namespace};
