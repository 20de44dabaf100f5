// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The log of the pages that an ADI writes, which the device keeps.

use std::ops::Range;

use adit_uapi::virtchnl2::adi::{
    op, AdiLogRange, AdiLogWord, ReadAdiLog, StartAdiLog, StopAdiLog, MAX_LOG_RANGES, MIN_LOG_PAGE,
};
use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, IntoBytes};

use crate::{Device, Error};

/// Starts a log of the pages of ranges of addresses that an ADI writes, and returns the size of its pages
/// in bytes: `page_size`, a power of two, or a larger one. The ranges are in ascending order and do not
/// overlap. They are extended to multiples of the page size, and those closest to each other are joined
/// if a message has no space for all. The log ends with a reset of the ADI.
///
/// # Errors
/// Fails when there is a log, the device has none to offer, or the ADI is gone.
pub fn start_log(device: &dyn Device, page_size: u64, ranges: &[Range<u64>]) -> Result<u64, Error> {
    let page_size = page_size.max(MIN_LOG_PAGE);
    let ranges = joined(page_size, ranges);
    let head = StartAdiLog {
        num_ranges: U16::new(ranges.len() as u16), // at most MAX_LOG_RANGES
        page_size: U64::new(page_size),
        ..StartAdiLog::default()
    };
    let ranges: Vec<_> = ranges
        .iter()
        .map(|range| AdiLogRange {
            iova: U64::new(range.start),
            len: U64::new(range.end - range.start),
        })
        .collect();
    let message = [head.as_bytes(), ranges.as_bytes()].concat();
    let reply = device.request(op::START_ADI_LOG, &message)?;
    let (started, _) = header::<StartAdiLog>(op::START_ADI_LOG, &reply)?;
    Ok(started.page_size.get())
}

/// Ends the log of an ADI, if it has one.
///
/// # Errors
/// Fails when the ADI is gone, or knows no logs.
pub fn stop_log(device: &dyn Device) -> Result<(), Error> {
    let message = StopAdiLog::default();
    device.request(op::STOP_ADI_LOG, message.as_bytes())?;
    Ok(())
}

/// Reads and clears the log of an ADI within a range, which is not empty: calls `written` with the
/// address and the length of consecutive pages that were written since the start of the log or since
/// they were read. The writes are complete when this returns. Pages of which only a part is in the range
/// are not cleared.
///
/// # Errors
/// Fails when the ADI has no log or is gone, or a reply is impossible. What was cleared is not known
/// then, and all pages have to be considered as written.
pub fn read_log(
    device: &dyn Device,
    range: Range<u64>,
    written: impl FnMut(u64, u64),
) -> Result<(), Error> {
    let request = |message: &[u8]| device.request(op::READ_ADI_LOG, message);
    read(request, range, written)
}

/// Reads a log by messages.
fn read(
    mut request: impl FnMut(&[u8]) -> Result<Vec<u8>, Error>,
    range: Range<u64>,
    mut written: impl FnMut(u64, u64),
) -> Result<(), Error> {
    let opcode = op::READ_ADI_LOG;
    let impossible = |reason| Error::Impossible { opcode, reason };
    let (mut next, mut stalled) = (range.start, false);
    while next < range.end {
        let message = ReadAdiLog {
            iova: U64::new(next),
            len: U64::new(range.end - next),
            ..ReadAdiLog::default()
        };
        let reply = request(message.as_bytes())?;
        let (head, rest) = header::<ReadAdiLog>(opcode, &reply)?;
        let want = usize::from(head.num_words.get()) * AdiLogWord::LEN;
        let words = <[AdiLogWord]>::ref_from_bytes(rest).ok();
        let words = words.filter(|_| rest.len() == want).ok_or(Error::Reply {
            opcode,
            got: reply.len(),
            want: ReadAdiLog::LEN + want,
        })?;
        for word in words {
            let pages = runs(word, head.page_shift.get());
            for (iova, len) in pages.ok_or(impossible("a page is beyond the last address"))? {
                written(iova, len);
            }
        }
        let (left, rest) = (range.end - next, head.len.get());
        // Once, it may be as long: each range may have a word at the same address.
        let is_stalled = std::mem::replace(&mut stalled, rest == left) && stalled;
        if rest > left || is_stalled {
            return Err(impossible("the rest of the range is not smaller"));
        }
        next = range.end - rest;
    }
    Ok(())
}

/// The consecutive pages of a word, each with its address and length; `None` if they wrap.
fn runs(word: &AdiLogWord, shift: u32) -> Option<Vec<(u64, u64)>> {
    let mut found = Vec::new();
    let (mut bits, mut page) = (word.written.get(), 0_u32);
    while bits != 0 {
        let skipped = bits.trailing_zeros();
        let count = (bits >> skipped).trailing_ones();
        page += skipped;
        let bytes = |pages: u32| u64::from(pages).checked_mul(1_u64.checked_shl(shift)?);
        let iova = word.iova.get().checked_add(bytes(page)?)?;
        let len = bytes(count)?;
        // The last page of all addresses may end with them.
        iova.checked_add(len - 1)?;
        found.push((iova, len));
        page += count;
        bits = bits.checked_shr(skipped + count).unwrap_or(0);
    }
    Some(found)
}

/// Extends ranges to multiples of the page size, and joins those that touch; then those closest to each
/// other, until they fit in a message.
fn joined(page_size: u64, ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mask = page_size - 1;
    let mut all: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        let start = range.start & !mask;
        // Not beyond the last address: no ADI has the page that ends there.
        let end = range.end.saturating_add(mask) & !mask;
        if let Some(last) = all.last_mut().filter(|last| start <= last.end) {
            last.end = last.end.max(end);
        } else if start < end {
            all.push(start..end);
        }
    }
    while all.len() > usize::from(MAX_LOG_RANGES) {
        let gap = |at: &usize| all[at + 1].start - all[*at].end;
        let Some(at) = (0..all.len() - 1).min_by_key(gap) else {
            break;
        };
        all[at].end = all[at + 1].end;
        all.remove(at + 1);
    }
    all
}

fn header<T>(opcode: u32, reply: &[u8]) -> Result<(T, &[u8]), Error>
where
    T: FromBytes,
{
    T::read_from_prefix(reply).map_err(|_| Error::Reply {
        opcode,
        got: reply.len(),
        want: size_of::<T>(),
    })
}

#[cfg(test)]
mod tests {
    use zerocopy::little_endian::U32;

    use super::*;

    fn word(iova: u64, written: u64) -> AdiLogWord {
        AdiLogWord {
            iova: U64::new(iova),
            written: U64::new(written),
        }
    }

    #[test]
    fn a_word_is_runs_of_pages() {
        let found = |iova, written, shift| runs(&word(iova, written), shift);
        assert_eq!(found(0x5000, 0, 12), Some(vec![]));
        let pages = [(0x5000, 0x2000), (0x8000, 0x1000)];
        assert_eq!(found(0x5000, 0b1011, 12), Some(pages.into()));
        assert_eq!(found(0x5000, u64::MAX, 12), Some(vec![(0x5000, 0x4_0000)]));
        let last = vec![(0x5000 + (63 << 12), 0x1000)];
        assert_eq!(found(0x5000, 1 << 63, 12), Some(last));
        let end = u64::MAX - 0xFFF;
        assert_eq!(found(end, 1, 12), Some(vec![(end, 0x1000)]));
        // Of a device that is out of order.
        assert_eq!(found(end, 2, 12), None);
        assert_eq!(found(end, 3, 12), None);
        assert_eq!(found(0, 1 << 63, 60), None);
        assert_eq!(found(0, 1, 64), None);
        assert_eq!(found(0, 1, u32::MAX), None);
    }

    #[test]
    fn ranges_fit_in_a_message() {
        let message = |ranges: &[(u64, u64)]| {
            let ranges: Vec<_> = ranges.iter().map(|&(start, end)| start..end).collect();
            let ranges = joined(0x1000, &ranges).into_iter();
            ranges
                .map(|range| (range.start, range.end))
                .collect::<Vec<_>>()
        };
        let extended = message(&[(0x1800, 0x2800), (0x2900, 0x3000)]);
        assert_eq!(extended, [(0x1000, 0x3000)]);
        let touching = message(&[(0, 0x1000), (0x1000, 0x2000)]);
        assert_eq!(touching, [(0, 0x2000)]);
        let apart = [(0, 0x1000), (0x3000, 0x4000)];
        assert_eq!(message(&apart), apart);
        let end = !0xFFF;
        assert_eq!(message(&[(0x1000, u64::MAX)]), [(0x1000, end)]);
        assert_eq!(message(&[(end, u64::MAX)]), []);
        let mut many: Vec<_> = (0..256).map(|n| (n << 20, (n << 20) + 0x1000)).collect();
        // The two that are closest.
        many[100] = ((100 << 20) - 0x1000, 100 << 20);
        let ranges = message(&many);
        assert_eq!(ranges.len(), 255);
        assert_eq!(ranges[99], (99 << 20, 100 << 20));
        assert_eq!(ranges[100], (101 << 20, (101 << 20) + 0x1000));
    }

    /// A reply with words, of pages of 4 KiB, after which `rest` bytes are to be read.
    fn reply(rest: u64, words: &[AdiLogWord]) -> Vec<u8> {
        let head = ReadAdiLog {
            num_words: U16::new(words.len() as u16),
            page_shift: U32::new(12),
            len: U64::new(rest),
            ..ReadAdiLog::default()
        };
        [head.as_bytes(), words.as_bytes()].concat()
    }

    /// Reads the log of a megabyte by these replies.
    fn read_by(replies: &[Vec<u8>]) -> (Result<(), Error>, Vec<(u64, u64)>) {
        let (mut replies, mut pages) = (replies.iter().cloned(), Vec::new());
        let next = |_: &[u8]| Ok(replies.next().expect("no more messages"));
        let result = read(next, 0..0x10_0000, |iova, len| pages.push((iova, len)));
        (result, pages)
    }

    #[test]
    fn a_log_is_read_to_its_end() {
        let replies = [
            reply(0x8_0000, &[word(0x1000, 0b11), word(0x4_0000, 1)]),
            // As many words as fit may end in the same place.
            reply(0x8_0000, &[word(0x8_0000, 1)]),
            reply(0, &[]),
        ];
        let (result, pages) = read_by(&replies);
        result.unwrap();
        assert_eq!(
            pages,
            [(0x1000, 0x2000), (0x4_0000, 0x1000), (0x8_0000, 0x1000)]
        );
        assert!(read(|_| unreachable!(), 7..7, |_, _| {}).is_ok());
    }

    #[test]
    fn impossible_replies_are_errors() {
        let mut longer = reply(0, &[word(0, 1)]);
        longer.push(0);
        let mut fewer = reply(0, &[word(0, 1)]);
        fewer[2] = 2;
        for (reply, text) in [
            (longer, "has 41 bytes instead of 40"),
            (fewer, "has 40 bytes instead of 56"),
            (vec![0; 23], "has 23 bytes instead of 24"),
            (
                reply(0x10_0001, &[word(0, 1)]),
                "the rest of the range is not smaller",
            ),
            (
                reply(u64::MAX, &[word(0, 1)]),
                "the rest of the range is not smaller",
            ),
            (
                reply(0, &[word(u64::MAX, 2)]),
                "a page is beyond the last address",
            ),
        ] {
            let error = read_by(&[reply]).0.unwrap_err().to_string();
            assert!(
                error.contains(text) && error.contains("READ_ADI_LOG"),
                "{error}"
            );
        }
        let endless = || reply(0x10_0000, &[word(0, 1)]);
        let (result, pages) = read_by(&[endless(), endless()]);
        let error = result.unwrap_err().to_string();
        assert!(
            error.contains("the rest of the range is not smaller"),
            "{error}"
        );
        assert_eq!(pages.len(), 2);
    }
}
