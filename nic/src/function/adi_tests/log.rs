// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The log of the pages that an ADI writes.

use adit_uapi::virtchnl2::adi::{
    op as adi_op, AdiLogRange, AdiLogWord, ReadAdiLog, ResetAdi, StartAdiLog,
};
use zerocopy::little_endian::U64;

use super::*;
use crate::testing::adi::{IOVA, LEN};

/// The number of pages of an ADI's memory, which is all logged.
const PAGES: u64 = LEN / 0x1000;
/// The pages of the completion queue, of the RX queue, and of the first buffers.
const COMPLETIONS: u64 = 1;
const RX: u64 = 2;
const DATA: u64 = 16;

fn start(guest: &mut Guest, adi: &AdiDriver) -> u32 {
    let header = StartAdiLog {
        adi_id: U16::new(adi.created.id()),
        num_ranges: U16::new(1),
        page_size: U64::new(0x1000),
        ..StartAdiLog::default()
    };
    let range = AdiLogRange {
        iova: U64::new(IOVA),
        len: U64::new(LEN),
    };
    let message = [header.as_bytes(), range.as_bytes()].concat();
    guest.call(adi_op::START_ADI_LOG, &message).0
}

/// The numbers of the pages that were written since the last time, or the status.
fn written(guest: &mut Guest, adi: &AdiDriver) -> Result<Vec<u64>, u32> {
    let message = ReadAdiLog {
        adi_id: U16::new(adi.created.id()),
        len: U64::new(1 << 46),
        ..ReadAdiLog::default()
    };
    let (status, reply) = guest.call(adi_op::READ_ADI_LOG, message.as_bytes());
    if status != 0 {
        return Err(status);
    }
    let (head, words) = ReadAdiLog::read_from_prefix(&reply).unwrap();
    assert_eq!((head.len.get(), head.page_shift.get()), (0, 12));
    let words = <[AdiLogWord]>::ref_from_bytes(words).unwrap();
    let word = |word: &AdiLogWord| {
        assert_eq!(word.iova.get(), IOVA);
        word.written.get()
    };
    let words = words.iter().fold(0, |all, it| all | word(it));
    Ok((0..PAGES).filter(|page| words >> page & 1 != 0).collect())
}

#[test]
fn pages_that_an_adi_writes_are_logged_and_no_others() {
    let (mut guest, mut a, mut b) = pair();
    // Of what came before the log there is nothing.
    let to_b = frame(b.mac(), a.mac(), 1);
    a.send(&mut guest, &to_b);
    guest.poll();
    assert_eq!(b.recv(&guest).as_ref(), Some(&to_b));
    assert_eq!(start(&mut guest, &b), 0);
    assert_eq!(written(&mut guest, &b), Ok(vec![]));
    for n in 0..20 {
        let to_b = frame(b.mac(), a.mac(), n);
        a.send(&mut guest, &to_b);
        guest.poll();
        assert_eq!(b.recv(&guest), Some(to_b));
        // Two buffers are in a page, and the first one is taken.
        let page = DATA + (u64::from(n) + 1) % 16 / 2;
        assert_eq!(written(&mut guest, &b), Ok(vec![RX, page]), "frame {n}");
        b.post(&mut guest, 1);
    }
    assert_eq!(written(&mut guest, &b), Ok(vec![]));
    // The sender has none of its own.
    assert_eq!(written(&mut guest, &a), Err(status::ERR_ENXIO));
    // What is read to be sent is not written, but that it is sent.
    let out = frame(STRANGER, b.mac(), 2);
    b.send(&mut guest, &out);
    guest.poll();
    assert!(b.completion(&guest).is_some());
    assert_eq!(written(&mut guest, &b), Ok(vec![COMPLETIONS]));
    // All pages of a turn are in one report, those of the IOMMU's tables in none.
    a.send(&mut guest, &to_b);
    b.send(&mut guest, &out);
    guest.poll();
    let pages = written(&mut guest, &b).unwrap();
    assert_eq!((pages.len(), &pages[..2]), (3, &[COMPLETIONS, RX][..]));
}

#[test]
fn a_log_is_the_adis_and_ends_with_a_reset() {
    let (mut guest, mut a, mut b) = pair();
    assert_eq!(start(&mut guest, &a), 0);
    assert_eq!(start(&mut guest, &b), 0);
    assert_eq!(start(&mut guest, &b), status::ERR_EBUSY);
    let pages = |guest: &Guest| guest.function.datapath().queues().translator.logged_pages();
    let each = PAGES.next_multiple_of(64);
    assert_eq!(pages(&guest), 2 * each);
    b.send(&mut guest, &frame(STRANGER, b.mac(), 1));
    guest.poll();
    assert_eq!(written(&mut guest, &a), Ok(vec![]));
    let reset = ResetAdi {
        adi_id: U16::new(b.created.id()),
        ..ResetAdi::default()
    };
    guest.ok(adi_op::RESET_ADI, reset.as_bytes());
    assert_eq!(written(&mut guest, &b), Err(status::ERR_ENXIO));
    assert_eq!(pages(&guest), each);
    b.up(&mut guest);
    b.post(&mut guest, 16);
    assert_eq!(start(&mut guest, &b), 0);
    // What was written before the reset is in no later log.
    assert_eq!(written(&mut guest, &b), Ok(vec![]));
    let to_b = frame(b.mac(), a.mac(), 1);
    a.send(&mut guest, &to_b);
    guest.poll();
    assert_eq!(b.recv(&guest), Some(to_b));
    assert_eq!(written(&mut guest, &b), Ok(vec![RX, DATA]));
    assert_eq!(written(&mut guest, &a), Ok(vec![COMPLETIONS]));
    // An update of the device ends it, too.
    guest.update();
    assert_eq!(written(&mut guest, &b), Err(status::ERR_ENXIO));
    assert_eq!(start(&mut guest, &b), 0);
    assert_eq!(written(&mut guest, &b), Ok(vec![]));
    // So does the end of the ADI.
    assert_eq!(guest.destroy(b.created.id()), 0);
    let again = AdiDriver::new(&mut guest, 300, &wanted(1));
    assert_eq!(written(&mut guest, &again), Err(status::ERR_ENXIO));
}

#[test]
fn a_write_that_faults_is_not_logged() {
    let (mut guest, mut a, _) = pair();
    let mut lost = AdiDriver::new(&mut guest, 300, &wanted(1));
    lost.post_at(&mut guest, 1, IOVA + LEN);
    assert_eq!(start(&mut guest, &lost), 0);
    a.send(&mut guest, &frame(lost.mac(), a.mac(), 1));
    guest.poll();
    assert_eq!(lost.fault(&mut guest, 0).address.get(), IOVA + LEN);
    assert_eq!(written(&mut guest, &lost), Ok(vec![]));
}
