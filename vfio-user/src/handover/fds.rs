// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The file descriptors of a description: numbered by the sender, owned by the receiver.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use super::HandoverError;

/// Descriptors to send, in the order of their numbers.
#[derive(Debug, Default)]
pub struct SentFds<'a> {
    fds: Vec<BorrowedFd<'a>>,
    numbers: HashMap<RawFd, u32>,
}

impl<'a> SentFds<'a> {
    /// Returns the number of a descriptor; equal descriptors have one number.
    pub fn add(&mut self, fd: BorrowedFd<'a>) -> u32 {
        *self.numbers.entry(fd.as_raw_fd()).or_insert_with(|| {
            self.fds.push(fd);
            // Descriptors are fewer than 2^31.
            (self.fds.len() - 1) as u32
        })
    }

    /// Returns the descriptors in the order of their numbers.
    pub fn as_slice(&self) -> &[BorrowedFd<'a>] {
        &self.fds
    }
}

/// Descriptors that were received. Those that nothing takes are closed with it.
#[derive(Debug, Default)]
pub struct InheritedFds {
    fds: Vec<Option<Arc<OwnedFd>>>,
}

impl InheritedFds {
    /// Returns the number of descriptors, taken or not.
    pub fn len(&self) -> usize {
        self.fds.len()
    }

    /// Returns whether no descriptor was received.
    pub fn is_empty(&self) -> bool {
        self.fds.is_empty()
    }

    /// Returns a descriptor that others may share.
    ///
    /// # Errors
    /// Fails if it does not exist or was taken.
    pub fn share(&self, index: u32) -> Result<Arc<OwnedFd>, HandoverError> {
        let fd = self.fds.get(index as usize).and_then(Option::as_ref);
        fd.cloned().ok_or_else(|| self.none(index))
    }

    /// Returns a descriptor and forgets it.
    ///
    /// # Errors
    /// Fails if it does not exist, was taken, or is shared.
    pub fn take(&mut self, index: u32) -> Result<OwnedFd, HandoverError> {
        let slot = self.fds.get_mut(index as usize);
        let Some(fd) = slot.and_then(Option::take) else {
            return Err(self.none(index));
        };
        Arc::into_inner(fd).ok_or(HandoverError::SharedFd(index))
    }

    fn none(&self, index: u32) -> HandoverError {
        let count = self.fds.len();
        HandoverError::NoFd { index, count }
    }
}

impl FromIterator<OwnedFd> for InheritedFds {
    fn from_iter<I: IntoIterator<Item = OwnedFd>>(fds: I) -> Self {
        let fds = fds.into_iter().map(|fd| Some(Arc::new(fd))).collect();
        Self { fds }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn null() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn equal_descriptors_have_one_number() {
        let (a, b) = (null(), null());
        let mut fds = SentFds::default();
        let numbers = [&a, &b, &a].map(|fd| fds.add(fd.as_fd()));
        assert_eq!((numbers, fds.as_slice().len()), ([0, 1, 0], 2));
    }

    #[test]
    fn a_descriptor_is_taken_once() {
        let mut fds: InheritedFds = [null(), null()].into_iter().collect();
        fds.take(0).unwrap();
        assert!(matches!(
            fds.take(0),
            Err(HandoverError::NoFd { index: 0, count: 2 })
        ));
        assert!(matches!(fds.share(0), Err(HandoverError::NoFd { .. })));
        assert!(matches!(fds.take(2), Err(HandoverError::NoFd { .. })));
        let shared = fds.share(1).unwrap();
        assert!(fds.share(1).is_ok());
        assert!(matches!(fds.take(1), Err(HandoverError::SharedFd(1))));
        drop(shared);
    }
}
