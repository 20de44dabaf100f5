// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A log of the pages that a device writes, for clients that copy its memory while it runs.
//!
//! The log is shared by all maps of a device's memory. A page is marked before it is written, so a
//! report can take a mark whose write is yet to come. Writes are made in turns, which a lock
//! separates: that of the function, or that of the composed device. So whoever reports takes the
//! marks, then acquires and releases that lock, and only then lets the client copy what it has
//! taken. A write of an earlier turn is visible to the client then, whether its mark was taken or
//! is left for the next report. A turn that begins later finds the marks taken, and marks its pages
//! again. This holds for a page that was marked already, too, which is why that needs no atomic
//! operation but a load, and why no operation here orders others.

use std::sync::atomic::{AtomicU64, Ordering};

use adit_vfio_user::migration::IovaRange;
use thiserror::Error;

/// The maximum number of pages of a log: 256 GiB with pages of 4 KiB, in 8 MiB of memory.
pub const MAX_LOGGED_PAGES: u64 = 1 << 26;

/// The number of pages of a word.
const PAGES: u64 = u64::BITS as u64;

/// The system has no memory for a log.
#[derive(Debug, Error)]
#[error("there is no memory for a log of {0} pages")]
pub struct LogTooLarge(u64);

/// A log of the pages of ranges that were written.
#[derive(Debug)]
pub struct WriteLog {
    /// The logarithm of the page size.
    shift: u32,
    /// In ascending order, without overlap.
    ranges: Box<[Range]>,
}

/// A range that is logged.
#[derive(Debug)]
struct Range {
    first: u64,
    last: u64,
    /// A bit for each page, from that of the first address on.
    words: Box<[AtomicU64]>,
}

impl WriteLog {
    /// A log of these ranges, which are in ascending order and do not overlap. Its pages have this
    /// size, a power of two, or are larger if there would be more than [`MAX_LOGGED_PAGES`].
    ///
    /// # Errors
    /// Fails when the system has no memory for it.
    pub fn new(page_size: u64, ranges: &[IovaRange]) -> Result<Self, LogTooLarge> {
        Self::bounded(page_size, ranges, MAX_LOGGED_PAGES)
    }

    /// A log like [`new`](Self::new) of no more than `max_pages`, unless there are more ranges than
    /// that.
    ///
    /// # Errors
    /// Fails when the system has no memory for it.
    pub fn bounded(
        page_size: u64,
        ranges: &[IovaRange],
        max_pages: u64,
    ) -> Result<Self, LogTooLarge> {
        let pages = |range: &IovaRange, shift: u32| {
            let last = range.end() - 1;
            (last >> shift) - (range.iova >> shift) + 1
        };
        let all = |shift| ranges.iter().map(|range| pages(range, shift)).sum::<u64>();
        let mut shift = page_size.trailing_zeros();
        while all(shift) > max_pages && shift < u64::BITS - 1 {
            shift += 1;
        }
        let logged = ranges.iter().map(|range| {
            let len = pages(range, shift).div_ceil(PAGES) as usize;
            let mut words = Vec::new();
            let reserved = words.try_reserve_exact(len);
            reserved.map_err(|_| LogTooLarge(all(shift)))?;
            words.resize_with(len, AtomicU64::default);
            Ok(Range {
                first: range.iova,
                last: range.end() - 1,
                words: words.into(),
            })
        });
        Ok(Self {
            shift,
            ranges: logged.collect::<Result<_, _>>()?,
        })
    }

    /// The size of its pages in bytes.
    #[must_use]
    pub fn page_size(&self) -> u64 {
        1 << self.shift
    }

    /// The ranges, in ascending order.
    pub fn ranges(&self) -> impl Iterator<Item = IovaRange> + '_ {
        self.ranges.iter().map(|range| IovaRange {
            iova: range.first,
            len: range.last - range.first + 1,
        })
    }

    /// The number of pages that it has bits for.
    #[must_use]
    pub fn pages(&self) -> u64 {
        let words = self.ranges.iter().map(|range| range.words.len() as u64);
        words.sum::<u64>() * PAGES
    }

    /// Marks the pages of a write that is about to be made, in the turn that makes it, or that was
    /// marked in another log before it was made. The write is not empty and does not wrap.
    #[inline(never)]
    pub fn mark(&self, iova: u64, len: usize) {
        let last = iova + (len as u64 - 1);
        let skipped = self.ranges.partition_point(|range| range.last < iova);
        for range in &self.ranges[skipped..] {
            if range.first > last {
                break;
            }
            let base = range.first >> self.shift;
            let from = (iova.max(range.first) >> self.shift) - base;
            let to = (last.min(range.last) >> self.shift) - base;
            for page in from..=to {
                let word = &range.words[(page / PAGES) as usize];
                let bit = 1 << (page % PAGES);
                if word.load(Ordering::Relaxed) & bit == 0 {
                    word.fetch_or(bit, Ordering::Relaxed);
                }
            }
        }
    }

    /// Marks all pages: it is not known which were written.
    pub fn mark_all(&self) {
        let words = self.ranges.iter().flat_map(|range| range.words.iter());
        words.for_each(|word| word.store(u64::MAX, Ordering::Relaxed));
    }

    /// Takes the marks within a range, and calls `written` with the address and the length of each
    /// page. A page of which only a part is within the range stays marked. Not to be called by two
    /// threads at a time.
    ///
    /// The pages may be copied once all turns that have begun before have ended.
    pub fn take(&self, range: IovaRange, mut written: impl FnMut(u64, u64)) {
        let mut left = usize::MAX;
        for logged in &self.ranges {
            logged.take(self.shift, range, &mut left, |first, mut found| {
                while found != 0 {
                    let page = first + u64::from(found.trailing_zeros());
                    let (start, end) = logged.part(self.shift, page);
                    written(start, end - start + 1);
                    found &= found - 1;
                }
            });
        }
    }

    /// Takes the marks within a range like [`take`](Self::take), by words of 64 pages: calls `written`
    /// with the address of the first page of a word, and a bit for each page of it. Returns the rest of
    /// the range after `max` words, if there are more marks in it.
    pub fn take_words(
        &self,
        range: IovaRange,
        max: usize,
        mut written: impl FnMut(u64, u64),
    ) -> Option<IovaRange> {
        let mut left = max;
        for logged in &self.ranges {
            let base = logged.first >> self.shift;
            let next = logged.take(self.shift, range, &mut left, |first, found| {
                written((base + first) << self.shift, found);
            });
            if let Some(first) = next {
                let iova = ((base + first) << self.shift).max(range.iova);
                let len = range.end() - iova;
                return Some(IovaRange { iova, len });
            }
        }
        None
    }
}

impl Range {
    /// The first and the last address of the part of a page that is logged.
    fn part(&self, shift: u32, page: u64) -> (u64, u64) {
        let start = ((self.first >> shift) + page) << shift;
        let end = start + ((1 << shift) - 1);
        (start.max(self.first), end.min(self.last))
    }

    /// Takes the marks of pages within a range, and calls `found` with the first page of each word that
    /// has any, and a bit for each page. Returns the first page of the word that comes after `left`
    /// words.
    fn take(
        &self,
        shift: u32,
        range: IovaRange,
        left: &mut usize,
        mut found: impl FnMut(u64, u64),
    ) -> Option<u64> {
        let (first, last) = (range.iova, range.end() - 1);
        if last < self.first || self.last < first {
            return None;
        }
        let base = self.first >> shift;
        let from = (first.max(self.first) >> shift) - base;
        let to = (last.min(self.last) >> shift) - base;
        let is_whole = |page| {
            let (start, end) = self.part(shift, page);
            first <= start && end <= last
        };
        for at in from / PAGES..=to / PAGES {
            let word = &self.words[at as usize];
            let marked = word.load(Ordering::Relaxed);
            if marked == 0 {
                continue;
            }
            let (low, high) = (from.max(at * PAGES), to.min(at * PAGES + (PAGES - 1)));
            let mut mask = (u64::MAX >> (PAGES - 1 - (high - low))) << (low % PAGES);
            let mut marked = marked & mask;
            if marked == 0 {
                continue;
            }
            if *left == 0 {
                return Some(at * PAGES);
            }
            *left -= 1;
            // Only the first and the last page can be outside in part.
            for page in [low, high] {
                if !is_whole(page) {
                    mask &= !(1 << (page % PAGES));
                }
            }
            if marked & mask != 0 {
                marked |= word.fetch_and(!mask, Ordering::Relaxed) & mask;
            }
            found(at * PAGES, marked);
        }
        None
    }
}
