// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The files of a client's DMA windows, kept for a successor: one descriptor for each file, however
//! many windows it backs.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};

use rustix::fs::{fcntl_getfl, fstat, FileType, OFlags};

use crate::Errno;

/// A regular file and the accesses that a descriptor of it permits: descriptors with equal keys can
/// stand in for one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    device: u64,
    inode: u64,
    access: u32,
}

impl Key {
    /// Returns the key of a descriptor. `None` if it cannot be shared: unrelated files of an
    /// anonymous kind have one inode.
    fn of(fd: BorrowedFd<'_>) -> Result<Option<Self>, Errno> {
        let stat = fstat(fd)?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Ok(None);
        }
        Ok(Some(Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            access: (fcntl_getfl(fd)? & OFlags::RWMODE).bits(),
        }))
    }
}

/// The file of a window.
#[derive(Debug, Clone)]
pub(crate) struct WindowFile {
    fd: Arc<OwnedFd>,
    key: Option<Key>,
}

impl AsFd for WindowFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The files of all windows of a client.
#[derive(Debug, Default)]
pub(crate) struct WindowFiles {
    shared: HashMap<Key, Weak<OwnedFd>>,
}

impl WindowFiles {
    /// Returns the file of `fd`, which is duplicated if it is new.
    pub(crate) fn keep(&mut self, fd: BorrowedFd<'_>) -> Result<WindowFile, Errno> {
        self.find(fd, || rustix::io::fcntl_dupfd_cloexec(fd, 0).map(Arc::new))
    }

    /// Returns the file of `fd`, which was received from a predecessor.
    pub(crate) fn adopt(&mut self, fd: &Arc<OwnedFd>) -> Result<WindowFile, Errno> {
        self.find(fd.as_fd(), || Ok(fd.clone()))
    }

    fn find(
        &mut self,
        fd: BorrowedFd<'_>,
        make: impl FnOnce() -> Result<Arc<OwnedFd>, Errno>,
    ) -> Result<WindowFile, Errno> {
        let key = Key::of(fd)?;
        let known = key.and_then(|key| self.shared.get(&key)?.upgrade());
        let fd = match known {
            Some(fd) => fd,
            None => make()?,
        };
        if let Some(key) = key {
            self.shared.insert(key, Arc::downgrade(&fd));
        }
        Ok(WindowFile { fd, key })
    }

    /// Releases the file of a window; its descriptor is closed with the last one.
    pub(crate) fn release(&mut self, file: WindowFile) {
        let WindowFile { fd, key } = file;
        drop(fd);
        if let Some(key) = key {
            if self.shared.get(&key).is_some_and(|f| f.strong_count() == 0) {
                self.shared.remove(&key);
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shared.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memfd() -> OwnedFd {
        rustix::fs::memfd_create("window", rustix::fs::MemfdFlags::CLOEXEC).unwrap()
    }

    #[test]
    fn a_file_has_one_descriptor_until_its_last_window_ends() {
        let mut files = WindowFiles::default();
        let memory = memfd();
        let again = memory.try_clone().unwrap();
        let first = files.keep(memory.as_fd()).unwrap();
        let second = files.keep(again.as_fd()).unwrap();
        assert!(Arc::ptr_eq(&first.fd, &second.fd));
        let other = files.keep(memfd().as_fd()).unwrap();
        assert!(!Arc::ptr_eq(&first.fd, &other.fd));
        assert_eq!(files.len(), 2);
        files.release(first);
        assert_eq!(files.len(), 2);
        files.release(second);
        files.release(other);
        assert_eq!(files.len(), 0);
    }

    #[test]
    fn descriptors_with_other_accesses_are_not_shared() {
        let mut files = WindowFiles::default();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memory");
        let both = std::fs::File::create_new(&path).unwrap();
        let read = std::fs::File::open(&path).unwrap();
        let both = files.keep(both.as_fd()).unwrap();
        let read = files.keep(read.as_fd()).unwrap();
        assert!(!Arc::ptr_eq(&both.fd, &read.fd));
    }

    #[test]
    fn files_without_an_inode_of_their_own_are_not_shared() {
        let mut files = WindowFiles::default();
        let eventfd = || rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
        let first = files.keep(eventfd().as_fd()).unwrap();
        let second = files.keep(eventfd().as_fd()).unwrap();
        assert!(!Arc::ptr_eq(&first.fd, &second.fd));
        assert_eq!(files.len(), 0);
    }
}
