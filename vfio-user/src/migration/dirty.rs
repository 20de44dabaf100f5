// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Logging of the client's pages that a device writes (`VFIO_DEVICE_FEATURE_DMA_LOGGING_*`).

use crate::Errno;

/// A device that records its writes to the client's memory.
///
/// A client that disconnects ends its log, without a call of [`stop`](DirtyLog::stop).
pub trait DirtyLog {
    /// Starts to log DMA writes to `ranges`, or all of them if `ranges` is empty, and returns the
    /// page size that the device uses. `page_size` is the client's wish, a power of two of at least
    /// [`PAGE_SIZE`](crate::PAGE_SIZE); the ranges are multiples of it, in ascending order, and do
    /// not overlap. They need not be in DMA windows, and may be as large as the address space: the
    /// device must bound its log. Not called while a log exists.
    fn start(&mut self, page_size: u64, ranges: &[IovaRange]) -> Result<u64, Errno>;

    /// Ends the log.
    fn stop(&mut self);

    /// Marks in `bitmap` what was written within its range since the start or the previous report,
    /// and clears that in the log. After an error the client considers all of its memory as
    /// written.
    fn report(&mut self, bitmap: &mut DirtyBitmap<'_>) -> Result<(), Errno>;
}

/// A range of addresses on the device's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct IovaRange {
    /// The first address.
    pub iova: u64,
    /// The length in bytes, never 0; `iova + len` does not overflow.
    pub len: u64,
}

impl IovaRange {
    /// Returns a range that is not empty and does not wrap; `None` otherwise.
    pub fn new(iova: u64, len: u64) -> Option<Self> {
        let valid = len != 0 && iova.checked_add(len).is_some();
        valid.then_some(Self { iova, len })
    }

    /// Returns the address after the last.
    pub const fn end(self) -> u64 {
        self.iova + self.len
    }
}

/// The bitmap of a report: one bit for each page of a range, least significant bit first.
#[derive(Debug)]
pub struct DirtyBitmap<'a> {
    range: IovaRange,
    /// The logarithm of the page size.
    shift: u32,
    /// Words of 64 bits in the host's byte order. They need no alignment.
    bytes: &'a mut [u8],
}

impl<'a> DirtyBitmap<'a> {
    /// Returns the length of a bitmap in bytes, which are whole words of 64 bits; `page_size` is a
    /// power of two.
    pub const fn len(range: IovaRange, page_size: u64) -> u64 {
        range.len.div_ceil(page_size).div_ceil(64) * 8
    }

    /// Views `bytes`, which are zeroed and [`len`](Self::len) long.
    pub fn new(range: IovaRange, page_size: u64, bytes: &'a mut [u8]) -> Self {
        debug_assert_eq!(bytes.len() as u64, Self::len(range, page_size));
        Self {
            range,
            shift: page_size.trailing_zeros(),
            bytes,
        }
    }

    /// Returns the range that is reported.
    pub const fn range(&self) -> IovaRange {
        self.range
    }

    /// Returns the page size of the bitmap in bytes: a power of two, which need not be the log's.
    pub const fn page_size(&self) -> u64 {
        1 << self.shift
    }

    /// Marks the pages that `len` bytes from `iova` on touch. What lies outside the range is
    /// ignored.
    pub fn mark(&mut self, iova: u64, len: u64) {
        let first = iova.max(self.range.iova);
        let end = iova.saturating_add(len).min(self.range.end());
        if first >= end {
            return;
        }
        let page = |at: u64| ((at - self.range.iova) >> self.shift) as usize;
        let (mut at, last) = (page(first), page(end - 1));
        while at <= last {
            let (word, bit) = (at / 64, at % 64);
            let bits = (last - at + 1).min(64 - bit);
            let mask = (u64::MAX >> (64 - bits)) << bit;
            if let Some(bytes) = self.bytes[word * 8..].first_chunk_mut() {
                *bytes = (u64::from_ne_bytes(*bytes) | mask).to_ne_bytes();
            }
            at += bits;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn impossible_ranges_are_refused() {
        assert_eq!(IovaRange::new(0, 0), None);
        assert_eq!(IovaRange::new(u64::MAX, 1), None);
        assert_eq!(IovaRange::new(4096, u64::MAX - 4095), None);
        assert_eq!(
            IovaRange::new(4096, u64::MAX - 4096).unwrap().end(),
            u64::MAX
        );
    }

    #[test]
    fn a_bitmap_is_whole_words() {
        let len = |pages, page_size| {
            let range = IovaRange::new(0, pages).unwrap();
            DirtyBitmap::len(range, page_size)
        };
        assert_eq!(len(1, 4096), 8);
        assert_eq!(len(64 << 12, 4096), 8);
        assert_eq!(len((64 << 12) + 1, 4096), 16);
        assert_eq!(len(u64::MAX, 4096), 1 << 49);
        assert_eq!(len(u64::MAX, 1 << 63), 8);
    }

    proptest! {
        /// Compares the bitmap with a model that asks of every page whether it is touched.
        #[test]
        fn agrees_with_a_page_by_page_model(
            base in prop_oneof![Just(0u64), Just(u64::MAX - (200 << 12)), any::<u64>()],
            len in 1u64..200 << 12,
            shift in 12u32..15,
            marks in prop::collection::vec((any::<i32>(), 0u64..20 << 12), 0..8),
        ) {
            let Some(range) = IovaRange::new(base, len) else { return Ok(()) };
            let size = DirtyBitmap::len(range, 1 << shift) as usize;
            let mut bytes = vec![0; size];
            let mut bitmap = DirtyBitmap::new(range, 1 << shift, &mut bytes);
            let marks: Vec<_> = marks
                .into_iter()
                .map(|(at, len)| (base.saturating_add_signed(i64::from(at % (210 << 12))), len))
                .collect();
            for &(at, len) in &marks {
                bitmap.mark(at, len);
            }
            for bit in 0..size as u64 * 8 {
                let from = u128::from(base) + (u128::from(bit) << shift);
                let to = (from + (1 << shift)).min(u128::from(range.end()));
                let touched = marks.iter().any(|&(at, len)| {
                    let (at, end) = (u128::from(at), u128::from(at.saturating_add(len)));
                    at.max(from) < end.min(to)
                });
                let word = (bit / 64) as usize * 8;
                let word = u64::from_ne_bytes(bytes[word..word + 8].try_into().unwrap());
                prop_assert_eq!(word >> (bit % 64) & 1 == 1, touched, "page {}", bit);
            }
        }
    }
}
