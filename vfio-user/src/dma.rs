// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The DMA windows of a client.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::device::DmaProt;
use crate::error::ProtocolError;
use crate::window_files::{WindowFile, WindowFiles};
use crate::{Errno, PAGE_SIZE};

/// A window without its start.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) size: u64,
    /// Its offset in the file.
    pub(crate) offset: u64,
    pub(crate) prot: DmaProt,
    /// Its file, if it has one and files are kept.
    pub(crate) file: Option<WindowFile>,
}

/// The windows of one client: they never overlap, and their number is
/// bounded.
#[derive(Debug)]
pub(crate) struct DmaWindows {
    /// The windows by their start.
    windows: BTreeMap<u64, Window>,
    max: usize,
    /// The files of the windows, if they are kept for a successor.
    files: Option<WindowFiles>,
}

impl DmaWindows {
    pub(crate) fn new(max: usize, keep_files: bool) -> Self {
        Self {
            windows: BTreeMap::new(),
            max,
            files: keep_files.then(WindowFiles::default),
        }
    }

    /// Checks that this window may be added.
    pub(crate) fn check(&self, iova: u64, size: u64) -> Result<(), ProtocolError> {
        let aligned = (iova | size) % PAGE_SIZE == 0;
        let Some(end) = iova.checked_add(size).filter(|_| size != 0 && aligned) else {
            return Err(ProtocolError::DmaRange { iova, size });
        };
        if self
            .windows
            .range(..end)
            .next_back()
            .is_some_and(|(&start, window)| start + window.size > iova)
        {
            return Err(ProtocolError::DmaOverlap { iova, size });
        }
        if self.windows.len() >= self.max {
            return Err(ProtocolError::DmaFull(self.max));
        }
        Ok(())
    }

    /// Returns what is kept of the file of a new window.
    pub(crate) fn keep(&mut self, fd: Option<&OwnedFd>) -> Result<Option<WindowFile>, Errno> {
        match (&mut self.files, fd) {
            (Some(files), Some(fd)) => files.keep(fd.as_fd()).map(Some),
            _ => Ok(None),
        }
    }

    /// Returns what is kept of the file of a predecessor's window.
    pub(crate) fn adopt(&mut self, fd: Option<&Arc<OwnedFd>>) -> Result<Option<WindowFile>, Errno> {
        match (&mut self.files, fd) {
            (Some(files), Some(fd)) => files.adopt(fd).map(Some),
            _ => Ok(None),
        }
    }

    /// Releases the file of a window that has ended, or did not come about.
    pub(crate) fn release(&mut self, file: Option<WindowFile>) {
        if let (Some(files), Some(file)) = (&mut self.files, file) {
            files.release(file);
        }
    }

    /// Closes all files and keeps none from now on.
    pub(crate) fn forget_files(&mut self) {
        self.files = None;
        for window in self.windows.values_mut() {
            window.file = None;
        }
    }

    /// Adds a window that [`check`](Self::check) has accepted.
    pub(crate) fn insert(&mut self, iova: u64, window: Window) {
        self.windows.insert(iova, window);
    }

    /// Iterates over the windows and their starts in ascending order.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (u64, &Window)> {
        self.windows.iter().map(|(&iova, window)| (iova, window))
    }

    /// Removes the windows within a range, which they need not fill: QEMU unmaps whole address
    /// spaces of a virtual IOMMU, as the kernel's type1 IOMMU permits. Calls `ended` for each
    /// window.
    pub(crate) fn remove(
        &mut self,
        iova: u64,
        size: u64,
        mut ended: impl FnMut(u64, u64),
    ) -> Result<(), ProtocolError> {
        // The last byte instead of the end: a range may extend up to 2^64.
        let last = size
            .checked_sub(1)
            .and_then(|n| iova.checked_add(n))
            .ok_or(ProtocolError::DmaRange { iova, size })?;
        let cut = |at: u64| {
            self.windows
                .range(..at)
                .next_back()
                .is_some_and(|(&start, window)| start + window.size > at)
        };
        if cut(iova) || last.checked_add(1).is_some_and(cut) {
            return Err(ProtocolError::DmaSplit { iova, size });
        }
        while let Some((&start, _)) = self.windows.range(iova..=last).next() {
            let Some(window) = self.windows.remove(&start) else {
                break;
            };
            self.release(window.file);
            ended(start, window.size);
        }
        Ok(())
    }

    /// Removes all windows.
    pub(crate) fn clear(&mut self, mut ended: impl FnMut(u64, u64)) {
        while let Some((start, window)) = self.windows.pop_first() {
            self.release(window.file);
            ended(start, window.size);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const P: u64 = PAGE_SIZE;

    fn map(w: &mut DmaWindows, iova: u64, size: u64) -> Result<(), ProtocolError> {
        let window = Window {
            size,
            offset: 0,
            prot: DmaProt::ReadWrite,
            file: None,
        };
        w.check(iova, size).map(|()| w.insert(iova, window))
    }

    fn unmap(w: &mut DmaWindows, iova: u64, size: u64) -> Result<Vec<(u64, u64)>, ProtocolError> {
        let mut ended = Vec::new();
        w.remove(iova, size, |iova, size| ended.push((iova, size)))
            .map(|()| ended)
    }

    #[test]
    fn impossible_windows_are_refused() {
        let mut w = DmaWindows::new(4, false);
        for (iova, size) in [
            (0, 0),
            (P, 0),
            (1, P),
            (0, P + 1),
            (u64::MAX - P + 1, P),
            (P, !0),
        ] {
            assert!(matches!(
                map(&mut w, iova, size),
                Err(ProtocolError::DmaRange { .. })
            ));
        }
    }

    #[test]
    fn overlaps_of_every_kind_are_refused() {
        let mut w = DmaWindows::new(4, false);
        map(&mut w, 4 * P, 4 * P).unwrap();
        for (iova, size) in [(4, 4), (3, 2), (7, 2), (5, 1), (0, 100)] {
            let refused = map(&mut w, iova * P, size * P);
            assert!(
                matches!(refused, Err(ProtocolError::DmaOverlap { .. })),
                "{iova} {size}"
            );
        }
        map(&mut w, 3 * P, P).unwrap();
        map(&mut w, 8 * P, P).unwrap();
    }

    #[test]
    fn their_number_is_bounded() {
        let mut w = DmaWindows::new(2, false);
        map(&mut w, 0, P).unwrap();
        map(&mut w, P, P).unwrap();
        assert!(matches!(
            map(&mut w, 2 * P, P),
            Err(ProtocolError::DmaFull(2))
        ));
    }

    #[test]
    fn a_range_ends_what_lies_in_it_and_cuts_nothing() {
        let mut w = DmaWindows::new(9, false);
        for n in [0, 2, 4] {
            map(&mut w, n * P, 2 * P).unwrap();
        }
        for (iova, size) in [(1, 1), (0, 1), (1, 5), (0, 5)] {
            let refused = unmap(&mut w, iova * P, size * P);
            assert!(
                matches!(refused, Err(ProtocolError::DmaSplit { .. })),
                "{iova} {size}"
            );
        }
        assert_eq!(
            unmap(&mut w, 2 * P, 4 * P).unwrap(),
            [(2 * P, 2 * P), (4 * P, 2 * P)]
        );
        assert_eq!(unmap(&mut w, 1 << 63, 1 << 63).unwrap(), []);
        assert_eq!(unmap(&mut w, 0, u64::MAX).unwrap(), [(0, 2 * P)]);
        assert!(unmap(&mut w, 1, u64::MAX).is_ok());
        assert!(unmap(&mut w, 2, u64::MAX).is_err());
        assert!(unmap(&mut w, 0, 0).is_err());
    }

    proptest! {
        /// Compares the windows with a model that stores the owner of every page.
        #[test]
        fn agrees_with_a_page_by_page_model(
            ops in prop::collection::vec((any::<bool>(), 0u64..24, 0u64..8), 0..64)
        ) {
            let mut w = DmaWindows::new(1000, false);
            let mut owner = [None::<u64>; 32];
            for (is_map, at, n) in ops {
                let pages = at as usize..(at + n) as usize;
                if is_map {
                    let free = n > 0 && owner[pages.clone()].iter().all(Option::is_none);
                    prop_assert_eq!(map(&mut w, at * P, n * P).is_ok(), free);
                    if free {
                        owner[pages].fill(Some(at));
                    }
                } else {
                    let inside = |o: &u64| pages.contains(&(*o as usize));
                    let whole = n > 0 && owner.iter().enumerate().all(|(page, o)| {
                        o.is_none_or(|o| pages.contains(&page) == inside(&o))
                    });
                    prop_assert_eq!(unmap(&mut w, at * P, n * P).is_ok(), whole);
                    if whole {
                        owner[pages].fill(None);
                    }
                }
            }
        }
    }
}
