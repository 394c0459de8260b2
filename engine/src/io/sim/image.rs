//! What is on the medium after a crash: to start from again, to compare, and to damage.
//!
//! Cheap to clone: pages are shared until somebody changes them.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::cache::{self, PAGE_BYTES, Page, Pages};
use super::random::mix;
use crate::io::FileName;

/// The files that survived.
#[derive(Clone, Debug, Default)]
pub struct CrashImage {
    pub(super) files: BTreeMap<FileName, ImageFile>,
}

#[derive(Clone, Debug)]
pub(super) struct ImageFile {
    pub(super) len: u64,
    pub(super) pages: Rc<Pages>,
}

impl CrashImage {
    /// Names of the files, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<FileName> {
        self.files.keys().copied().collect()
    }

    /// Length of a file in bytes.
    #[must_use]
    pub fn len(&self, name: FileName) -> Option<u64> {
        self.files.get(&name).map(|file| file.len)
    }

    /// Whether no file survived.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Bytes of a file; `None` beyond its end or without such a file.
    #[must_use]
    pub fn read(&self, name: FileName, offset: u64, len: usize) -> Option<Vec<u8>> {
        let file = self.files.get(&name)?;
        let end = offset.checked_add(len as u64).filter(|end| *end <= file.len)?;
        let mut out = Vec::with_capacity(len);
        while offset + (out.len() as u64) < end {
            let at = offset + out.len() as u64;
            let page = file.pages.get(&(at / PAGE_BYTES as u64)).unwrap_or(&Page::Zeros);
            let from = (at % PAGE_BYTES as u64) as usize;
            let take = (PAGE_BYTES - from).min(len - out.len());
            out.extend_from_slice(&page.bytes()[from..from + take]);
        }
        Some(out)
    }

    /// Makes an empty file of `len` bytes, or replaces one.
    pub fn create(&mut self, name: FileName, len: u64) {
        self.files.insert(name, ImageFile { len, pages: Rc::default() });
    }

    /// Takes a file away.
    pub fn remove(&mut self, name: FileName) {
        self.files.remove(&name);
    }

    /// Overwrites bytes of a file.
    ///
    /// # Panics
    /// If there is no such file or it is shorter.
    pub fn overwrite(&mut self, name: FileName, offset: u64, bytes: &[u8]) {
        let pages = self.pages_mut(name, offset, bytes.len() as u64);
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let number = at / PAGE_BYTES as u64;
            let from = (at % PAGE_BYTES as u64) as usize;
            let take = (PAGE_BYTES - from).min(bytes.len() - done);
            let new = &bytes[done..done + take];
            let page = pages.get(&number).unwrap_or(&Page::Zeros);
            let page = page.edited(|old| old[from..from + take].copy_from_slice(new));
            cache::put(pages, number, page);
            done += take;
        }
    }

    /// Flips bit `bit` (0-7) of the byte at `offset`.
    ///
    /// # Panics
    /// If there is no such byte.
    pub fn flip_bit(&mut self, name: FileName, offset: u64, bit: u32) {
        cache::flip(self.pages_mut(name, offset, 1), offset, bit);
    }

    /// A hash of all names, lengths and bytes: equal images need to be recovered only once.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hash = 0;
        let mut fold = |bits: u64| hash = mix(hash ^ bits).wrapping_add(1);
        for (name, file) in &self.files {
            name.to_string().bytes().for_each(|byte| fold(u64::from(byte)));
            fold(file.len);
            for (number, page) in file.pages.iter() {
                // A page of written zeros is the same as a page never written.
                if page.bytes().iter().any(|byte| *byte != 0) {
                    fold(*number);
                    fold(u64::from(crc32c::crc32c(page.bytes())));
                }
            }
        }
        hash
    }

    fn pages_mut(&mut self, name: FileName, offset: u64, len: u64) -> &mut Pages {
        let Some(file) = self.files.get_mut(&name) else { panic!("no file {name} in the image") };
        assert!(offset.saturating_add(len) <= file.len, "{name} is shorter than {offset}+{len}");
        Rc::make_mut(&mut file.pages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_are_independent() {
        const NAME: FileName = FileName::Segment(0);
        let mut image = CrashImage::default();
        image.create(NAME, 12288);
        image.overwrite(NAME, 4090, b"over the edge");
        let mut damaged = image.clone();
        assert_eq!(damaged.digest(), image.digest());
        damaged.flip_bit(NAME, 4090, 0);
        assert_ne!(damaged.digest(), image.digest());
        assert_eq!(image.read(NAME, 4090, 13).unwrap(), b"over the edge");
        assert_eq!(damaged.read(NAME, 4090, 4).unwrap(), b"nver");
        damaged.flip_bit(NAME, 4090, 0);
        assert_eq!(damaged.digest(), image.digest());
        assert_eq!(image.read(NAME, 12288, 1), None);
    }
}
