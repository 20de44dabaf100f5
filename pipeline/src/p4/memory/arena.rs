// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Large zero-initialised arrays of atomic integers. Untouched pages use no memory, so that there
//! can be capacity for the largest table that a program declares.

use std::ops::Deref;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Size from which huge pages are requested.
#[cfg(not(miri))]
const HUGE_BYTES: usize = 2 << 20;

mod sealed {
    /// A type for which any bytes that an arena can hold are valid, and that can be shared.
    ///
    /// # Safety
    /// All-zero bytes are a valid value, values need no dropping, and modifications take `&self`.
    pub(in crate::p4) unsafe trait Cell: Sync + Send {}
}
use sealed::Cell;

// SAFETY: atomic integers: zero is a value, nothing to drop, interior mutability.
unsafe impl Cell for AtomicU64 {}
// SAFETY: as above.
unsafe impl Cell for AtomicU32 {}

/// An array of cells.
pub(in crate::p4) struct Arena<T: Cell> {
    #[cfg(not(miri))]
    start: std::ptr::NonNull<T>,
    #[cfg(not(miri))]
    count: usize,
    #[cfg(miri)]
    cells: Box<[T]>,
}

/// An array of words.
pub(in crate::p4) type Words = Arena<AtomicU64>;

#[cfg(not(miri))]
mod mapped {
    use std::ptr::{self, NonNull};

    use rustix::mm::{madvise, mmap_anonymous, munmap, Advice, MapFlags, ProtFlags};

    use super::{Arena, Cell, Deref, HUGE_BYTES};

    impl<T: Cell> Arena<T> {
        fn bytes(count: usize) -> Option<usize> {
            count.max(1).checked_mul(size_of::<T>())
        }

        /// The offset of the cells' address.
        #[cfg(feature = "jit")]
        pub(in crate::p4) const START: usize = std::mem::offset_of!(Arena<T>, start);

        /// Allocates zeroed cells. Returns `None` if there is not enough memory.
        pub(in crate::p4) fn new(count: usize) -> Option<Arena<T>> {
            let bytes = Arena::<T>::bytes(count)?;
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
            // SAFETY: a new private mapping at an address of the kernel's choice replaces nothing.
            let start = unsafe { mmap_anonymous(ptr::null_mut(), bytes, protection, flags) };
            let start = start.ok()?;
            if bytes >= HUGE_BYTES {
                // SAFETY: the range is the mapping just made; the advice changes no contents. A
                // kernel without huge pages refuses, which does no harm.
                let _ = unsafe { madvise(start, bytes, Advice::LinuxHugepage) };
            }
            let start = NonNull::new(start.cast::<T>())?;
            Some(Arena { start, count })
        }
    }

    impl<T: Cell> Drop for Arena<T> {
        fn drop(&mut self) {
            let Some(bytes) = Arena::<T>::bytes(self.count) else {
                return;
            };
            // SAFETY: the mapping is exclusively ours and nothing borrows from it any more: borrows
            // are bound to `self`. Cells need no dropping.
            let _ = unsafe { munmap(self.start.as_ptr().cast(), bytes) };
        }
    }

    impl<T: Cell> Deref for Arena<T> {
        type Target = [T];

        fn deref(&self) -> &[T] {
            // SAFETY: the mapping has space for `count` cells, is page-aligned, lives as long as
            // `self`, and its zeros and any values stored later are values of `T`. Modifications
            // use only the cells' own `&self` methods.
            unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
        }
    }

    // SAFETY: an arena owns its cells, which may be shared and sent (`Cell` requires both).
    unsafe impl<T: Cell> Send for Arena<T> {}
    // SAFETY: as above.
    unsafe impl<T: Cell> Sync for Arena<T> {}
}

#[cfg(miri)]
impl<T: Cell + Default> Arena<T> {
    #[cfg(feature = "jit")]
    pub(in crate::p4) const START: usize = std::mem::offset_of!(Arena<T>, cells);

    pub(in crate::p4) fn new(count: usize) -> Option<Arena<T>> {
        let cells = (0..count).map(|_| T::default()).collect();
        Some(Arena { cells })
    }
}

#[cfg(miri)]
impl<T: Cell> Deref for Arena<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.cells
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn begins_as_zeros_and_keeps_what_is_stored() {
        let words = Words::new(1000).unwrap();
        assert!(words.iter().all(|word| word.load(Relaxed) == 0));
        words[999].store(7, Relaxed);
        assert_eq!((words.len(), words[999].load(Relaxed)), (1000, 7));
        assert!(Words::new(usize::MAX / 2).is_none());
        assert_eq!(Words::new(0).unwrap().len(), 0);
    }
}
