// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The log of written pages: its marks, their reports, and writes beside a report.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use adit_vfio_user::migration::IovaRange;
use proptest::prelude::*;

use super::*;

fn range(iova: u64, len: u64) -> IovaRange {
    IovaRange::new(iova, len).unwrap()
}

fn logged(page_size: u64, ranges: &[IovaRange]) -> (GuestMemory, Arc<WriteLog>) {
    let mut mem = GuestMemory::new();
    mem.map(0x1_0000, 0x10_0000, RW, Some((sealed(0x10_0000), 0)))
        .unwrap();
    let log = Arc::new(WriteLog::new(page_size, ranges).unwrap());
    mem.set_log(Some(log.clone()));
    (mem, log)
}

/// Takes the marks within a range.
fn taken(log: &WriteLog, range: IovaRange) -> Vec<(u64, u64)> {
    let mut pages = Vec::new();
    log.take(range, |iova, len| pages.push((iova, len)));
    pages
}

const ALL: u64 = 1 << 38;

#[test]
fn all_pages_of_all_ranges_can_be_marked() {
    // Neither range ends with a word's pages, and the second one not with a page.
    let (_, log) = logged(
        0x1000,
        &[range(0x1_0000, 0x4_1000), range(0x10_0000, 0x1800)],
    );
    log.mark_all();
    let pages = (0x10..0x51).map(|page| (page << 12, 0x1000));
    let pages: Vec<_> = pages
        .chain([(0x10_0000, 0x1000), (0x10_1000, 0x800)])
        .collect();
    assert_eq!(taken(&log, range(0, ALL)), pages);
    assert_eq!(taken(&log, range(0, ALL)), []);
}

#[test]
fn each_way_to_write_is_logged_and_nothing_else() {
    let (mut mem, log) = logged(0x1000, &[range(0, ALL)]);
    let all = || taken(&log, range(0, ALL));
    mem.read(0x1_0000, &mut [0; 64]).unwrap();
    assert_eq!(mem.piece_len(Request::write(0x1_0000, 64)), Ok(64));
    assert_eq!(all(), []);
    mem.write(0x1_1FFF, &[1; 0x1002]).unwrap();
    let pages = [0x1_1000, 0x1_2000, 0x1_3000].map(|page| (page, 0x1000));
    assert_eq!(all(), pages);
    assert_eq!(all(), []);
    mem.publish_u64(0x1_4008, 1).unwrap();
    mem.publish_u32(0x1_6FFC, 1).unwrap();
    assert_eq!(all(), [(0x1_4000, 0x1000), (0x1_6000, 0x1000)]);
    // A place has no address: its page has to be written by that.
    let place = remembered(&mem, 0x1_5000).unwrap();
    assert_eq!(mem.write_in(&place, 0, &[1]), None);
    assert_eq!(mem.read_in(&place, 0, &mut [0]), Some(()));
    // What was written is reported after it has been unmapped.
    mem.write(0x1_7000, &[1]).unwrap();
    mem.unmap(0x1_0000, 0x10_0000).unwrap();
    assert!(mem.write(0x1_8000, &[1]).is_err());
    assert_eq!(all(), [(0x1_7000, 0x1000)]);
    let file = Some((sealed(0x1000), 0));
    mem.map(0x1_0000, 0x1000, RW, file).unwrap();
    mem.write(0x1_0000, &[1]).unwrap();
    mem.clear();
    assert_eq!(all(), [(0x1_0000, 0x1000)]);
    let file = Some((sealed(0x1000), 0));
    mem.map(0x1_0000, 0x1000, RW, file).unwrap();
    mem.set_log(None);
    mem.write(0x1_0000, &[1]).unwrap();
    assert_eq!(all(), []);
}

#[test]
fn a_page_that_a_report_has_in_part_stays_marked() {
    let (mem, log) = logged(0x4000, &[range(0x1_0000, 0x8000)]);
    assert_eq!(log.page_size(), 0x4000);
    mem.write(0x1_3000, &[1]).unwrap();
    let page = [(0x1_0000, 0x4000)];
    assert_eq!(taken(&log, range(0x1_0000, 0x1000)), page);
    assert_eq!(taken(&log, range(0x1_3000, 0x1000)), page);
    assert_eq!(taken(&log, range(0x1_4000, 0x8000)), []);
    assert_eq!(taken(&log, range(0, ALL)), page);
    assert_eq!(taken(&log, range(0, ALL)), []);
}

#[test]
fn the_memory_of_a_log_is_bounded_by_larger_pages() {
    let exact = MAX_LOGGED_PAGES << 12;
    let size = |ranges: &[IovaRange]| WriteLog::new(0x1000, ranges).unwrap().page_size();
    assert_eq!(size(&[range(0, exact)]), 0x1000);
    assert_eq!(size(&[range(0, exact), range(exact, 0x1000)]), 0x2000);
    let all = range(0, u64::MAX - 0xFFF);
    assert_eq!(size(&[all]), 1 << 38);
    let wide = WriteLog::new(1 << 63, &[range(0, 1 << 63)]).unwrap();
    assert_eq!(wide.page_size(), 1 << 63);
    // Pages of which the ranges have parts.
    let (mem, log) = logged(0x1000, &[range(0x1_1000, 0x1000), range(1 << 62, 1 << 62)]);
    let size = log.page_size();
    assert!(size > 0x1000);
    mem.write(0x1_0FFF, &[1; 0x1002]).unwrap();
    assert_eq!(taken(&log, range(0x1_1000, 0x1000)), [(0x1_1000, 0x1000)]);
    assert_eq!(taken(&log, all), []);
}

/// Takes the marks by words, a few at a time.
fn taken_by_words(log: &WriteLog, range: IovaRange, max: usize) -> Vec<u64> {
    let (mut pages, mut next) = (Vec::new(), Some(range));
    while let Some(range) = next {
        let mut words = 0;
        next = log.take_words(range, max, |iova, written| {
            words += 1;
            let bits = (0..64).filter(|bit| written >> bit & 1 != 0);
            pages.extend(bits.map(|bit| iova + bit * log.page_size()));
        });
        assert!(words == max || next.is_none());
    }
    pages
}

#[test]
fn words_are_taken_a_few_at_a_time() {
    let ranges = [range(0x1_1000, 0x8_0000), range(0x10_0000, 0x1000)];
    let (mem, log) = logged(0x1000, &ranges);
    assert_eq!(log.ranges().collect::<Vec<_>>(), ranges);
    assert_eq!(log.pages(), 3 * 64);
    let pages = [0x1_1000, 0x1_3000, 0x8_F000, 0x9_0000, 0x10_0000];
    for max in [1, 2, 3, 100] {
        for page in pages.into_iter().chain([0x1_0000, 0xF_F000]) {
            mem.write(page, &[1]).unwrap();
        }
        assert_eq!(taken_by_words(&log, range(0, ALL), max), pages);
        assert_eq!(taken(&log, range(0, ALL)), []);
    }
    let small = WriteLog::bounded(0x1000, &[range(0, 0x10_0000)], 100).unwrap();
    assert_eq!((small.page_size(), small.pages()), (0x4000, 64));
}

/// A report takes the marks, then lets the turns end that have begun, then copies. Each write is the
/// last of a round, of a page that is marked or not, so that the copy has it or the next report does.
#[test]
fn no_write_beside_a_report_is_lost() {
    const ROUNDS: u64 = 20_000;
    let (mem, log) = logged(0x1000, &[range(0x1_0000, 0x1000)]);
    let file = sealed(0x1000);
    let mut written = GuestMemory::new();
    let own = Some((file.try_clone().unwrap(), 0));
    written.map(0x1_0000, 0x1000, RW, own).unwrap();
    let mut read = GuestMemory::new();
    read.map(0x1_0000, 0x1000, RW, Some((file, 0))).unwrap();
    drop(mem);
    written.set_log(Some(log.clone()));

    let turn = Mutex::new(());
    // The round, and the round that the writer has completed.
    let (begun, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let spin = |round: &AtomicU64, n: u64| {
        while round.load(Ordering::Acquire) < n {
            std::thread::yield_now();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let written = written;
            for n in 1..=ROUNDS {
                spin(&begun, n);
                for value in [2 * n, 2 * n + 1] {
                    let _turn = turn.lock().unwrap();
                    written.publish_u64(0x1_0000, value).unwrap();
                }
                done.store(n, Ordering::Release);
            }
        });
        let mut copy = 0;
        let mut report = || {
            if !taken(&log, range(0x1_0000, 0x1000)).is_empty() {
                drop(turn.lock().unwrap());
                copy = read.read_obj::<U64>(0x1_0000).unwrap().get();
            }
            copy
        };
        let mut beside = 0_u64;
        for n in 1..=ROUNDS {
            begun.store(n, Ordering::Release);
            for _ in 0..n % 8 {
                std::hint::spin_loop();
            }
            beside += u64::from(report() == 2 * n);
            spin(&done, n);
            let copied = report();
            if copied != 2 * n + 1 {
                // The writer ends before the scope does.
                begun.store(ROUNDS, Ordering::Release);
                panic!("round {n}: the copy has {copied}, the memory {}", 2 * n + 1);
            }
        }
        println!("{beside} of {ROUNDS} first reports were between two writes");
    });
}

proptest! {
    /// Compares a log with a set of page numbers.
    #[test]
    fn a_log_agrees_with_a_set_of_pages(
        shift in 12_u32..15,
        pieces in prop::collection::vec((0_u64..40, 1_u64..40), 0..4),
        steps in prop::collection::vec((any::<bool>(), 0_u64..0x10_0000, 1_u64..0x4000), 1..40),
    ) {
        let (mut ranges, mut at) = (Vec::new(), 0x1_0000 >> shift);
        for (gap, len) in pieces {
            at += gap;
            ranges.push(range(at << shift, len << shift));
            at += len;
        }
        let (mem, log) = logged(1 << shift, &ranges);
        let is_logged = |page: &u64| {
            let at = page << shift;
            ranges.iter().any(|range| range.iova <= at && at < range.end())
        };
        let mut marked = BTreeSet::new();
        for (is_write, at, len) in steps {
            let len = len.min(0x10_0000 - at);
            let (iova, last) = (0x1_0000 + at, 0x1_0000 + at + len - 1);
            if is_write {
                mem.write(iova, &vec![1; len as usize]).unwrap();
                marked.extend((iova >> shift..=last >> shift).filter(is_logged));
                continue;
            }
            let found = marked.range(iova >> shift..=last >> shift);
            let found: Vec<_> = found.map(|page| (page << shift, 1 << shift)).collect();
            prop_assert_eq!(taken(&log, range(iova, len)), found);
            marked.retain(|page| page << shift < iova || (page + 1) << shift > last + 1);
        }
    }
}
