// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The logs of what ADIs write: their messages, and their limits.

use std::sync::Arc;

use adit_uapi::virtchnl2::adi::{
    op as adi_op, AdiLogRange, AdiLogWord, NonFlexDestroyAdi, ReadAdiLog, ResetAdi, StartAdiLog,
    StopAdiLog, MAX_LOG_RANGES, MAX_LOG_WORDS,
};
use adit_uapi::virtchnl2::status::{
    ERR_EBUSY, ERR_EINVAL, ERR_ENOSPC, ERR_ENXIO, ERR_ERANGE, ERR_ESRCH,
};

use super::*;
use crate::ids::VportId;
use crate::memory::WriteLog;
use crate::testing::adi::{wanted, CreatedAdi};

/// The length of the mailbox's buffers in bytes.
const MAX_LEN: usize = adit_uapi::mailbox::MAX_BUF_LEN;

/// A driver with ADIs.
fn with_adis(count: u32) -> (Driver, Vec<CreatedAdi>) {
    let limits = AdiLimits {
        adis: count,
        pairs: count,
    };
    let profile = driver::profile(1, 1).with_adis(limits).unwrap();
    let dp = MockDataPlane::new(&profile, GuestMemory::new());
    let mut driver = Driver::with(profile, dp);
    let adis = (1..=count).map(|pasid| driver.create_adi(pasid, &wanted(1)));
    let adis = adis.collect();
    (driver, adis)
}

fn start(adi: u16, page_size: u64, ranges: &[(u64, u64)]) -> Vec<u8> {
    let header = StartAdiLog {
        adi_id: U16::new(adi),
        num_ranges: U16::new(ranges.len() as u16),
        page_size: U64::new(page_size),
        ..StartAdiLog::default()
    };
    let range = |&(iova, len): &(u64, u64)| AdiLogRange {
        iova: U64::new(iova),
        len: U64::new(len),
    };
    message(&header, &ranges.iter().map(range).collect::<Vec<_>>())
}

fn stop(adi: u16) -> StopAdiLog {
    StopAdiLog {
        adi_id: U16::new(adi),
        ..StopAdiLog::default()
    }
}

fn read(adi: u16, iova: u64, len: u64) -> ReadAdiLog {
    ReadAdiLog {
        adi_id: U16::new(adi),
        iova: U64::new(iova),
        len: U64::new(len),
        ..ReadAdiLog::default()
    }
}

impl Driver {
    /// Starts a log; returns the size of its pages.
    fn start_log(&mut self, adi: &CreatedAdi, page_size: u64, ranges: &[(u64, u64)]) -> u64 {
        self.ok(adi_op::START_ADI_LOG, &start(adi.id, page_size, ranges));
        let (started, rest) = self.answer::<StartAdiLog>();
        assert_eq!(
            (started.adi_id.get(), started.num_ranges.get()),
            (adi.id, 0)
        );
        assert!(rest.is_empty());
        started.page_size.get()
    }

    /// The words of one reply, and the rest of the range.
    fn read_log(&mut self, adi: &CreatedAdi, iova: u64, len: u64) -> (Vec<(u64, u64)>, (u64, u64)) {
        let message = read(adi.id, iova, len);
        self.ok(adi_op::READ_ADI_LOG, message.as_bytes());
        assert!(self.reply.len() <= MAX_LEN);
        let (head, rest) = self.answer::<ReadAdiLog>();
        assert_eq!(head.adi_id.get(), adi.id);
        let words = <[AdiLogWord]>::ref_from_bytes(rest).unwrap();
        assert_eq!(words.len(), usize::from(head.num_words.get()));
        let words = words.iter();
        let words = words.map(|word| (word.iova.get(), word.written.get()));
        (words.collect(), (head.iova.get(), head.len.get()))
    }

    fn log(&self, adi: &CreatedAdi) -> Option<Arc<WriteLog>> {
        self.dp.logs.get(&VportId(adi.vport)).cloned()
    }
}

#[test]
fn what_an_adi_writes_is_read_once() {
    let (mut driver, adis) = with_adis(2);
    let [adi, other] = &adis[..] else {
        unreachable!()
    };
    let ranges = [(0x1_0000, 0x10_0000), (0x4000_0000, 0x1000)];
    assert_eq!(driver.start_log(adi, 0x1000, &ranges), 0x1000);
    driver.start_log(other, 0x1000, &[(0, 0x8000_0000)]);
    let log = driver.log(adi).unwrap();
    // Two words, a page outside of the ranges, one in the other range.
    for page in [0x1_0000, 0x1_2000, 0x5_0000, 0x20_0000, 0x4000_0000] {
        log.mark(page, 1);
    }
    let words = [(0x1_0000, 0b101), (0x5_0000, 1), (0x4000_0000, 1)];
    let part = driver.read_log(adi, 0x1_2000, 0x1000);
    assert_eq!(part, (vec![(0x1_0000, 0b100)], (0x1_3000, 0)));
    let all = driver.read_log(adi, 0, 0x8000_0000);
    let mut rest = words;
    rest[0].1 = 0b001;
    assert_eq!(all, (rest.into(), (0x8000_0000, 0)));
    assert_eq!(driver.read_log(adi, 0, 0x8000_0000).0, []);
    // Nothing of it is the other's.
    assert_eq!(driver.read_log(other, 0, 0x8000_0000).0, []);
    // A page of which only a part is asked for is not cleared.
    log.mark(0x1_1000, 1);
    for _ in 0..2 {
        assert_eq!(driver.read_log(adi, 0x1_1000, 0x800).0, [(0x1_0000, 0b10)]);
    }
}

#[test]
fn more_than_a_message_has_room_for_comes_in_several() {
    let (mut driver, adis) = with_adis(1);
    let words = 2 * u64::from(MAX_LOG_WORDS) + 3;
    // Each word has 64 pages of 4 KiB, and the last one is another range's.
    let word = 64 << 12;
    let ranges = [(0, (words - 1) * word), (words * word, word)];
    driver.start_log(&adis[0], 0x1000, &ranges);
    let log = driver.log(&adis[0]).unwrap();
    log.mark(0, ((words + 1) * word) as usize);
    let (mut found, mut next, mut replies) = (Vec::new(), (0, 2 * words * word), 0);
    while next.1 != 0 {
        let (some, rest) = driver.read_log(&adis[0], next.0, next.1);
        assert_eq!(rest.0 + rest.1, 2 * words * word);
        found.extend(some);
        (next, replies) = (rest, replies + 1);
    }
    assert_eq!(replies, 3);
    let written = (0..=words).filter(|&n| n != words - 1);
    let want: Vec<_> = written.map(|n| (n * word, u64::MAX)).collect();
    assert_eq!(found, want);
    assert_eq!(driver.read_log(&adis[0], 0, 2 * words * word).0, []);
}

#[test]
fn a_log_ends_with_a_reset_and_with_its_adi() {
    let (mut driver, adis) = with_adis(1);
    let adi = &adis[0];
    let reading = read(adi.id, 0, 0x1000);
    let none = |driver: &mut Driver| {
        assert!(driver.log(adi).is_none());
        let refused = driver.send(adi_op::READ_ADI_LOG, reading.as_bytes());
        assert_eq!(refused, ERR_ENXIO);
    };
    none(&mut driver);
    driver.ok(adi_op::STOP_ADI_LOG, stop(adi.id).as_bytes());
    for end in 0..3 {
        driver.start_log(adi, 0x1000, &[(0, 0x1000)]);
        assert!(driver.log(adi).is_some());
        match end {
            0 => driver.ok(adi_op::STOP_ADI_LOG, stop(adi.id).as_bytes()),
            1 => {
                let reset = ResetAdi {
                    adi_id: U16::new(adi.id),
                    ..ResetAdi::default()
                };
                driver.ok(adi_op::RESET_ADI, reset.as_bytes())
            }
            _ => {
                let message = NonFlexDestroyAdi {
                    adi_id: U16::new(adi.id),
                    ..NonFlexDestroyAdi::default()
                };
                driver.ok(op::NON_FLEX_DESTROY_ADI, message.as_bytes());
                assert_eq!(driver.create_adi(1, &wanted(1)).id, adi.id);
                &[]
            }
        };
        none(&mut driver);
    }
}

#[test]
fn impossible_logs_are_refused_and_change_nothing() {
    let (mut driver, adis) = with_adis(1);
    let id = adis[0].id;
    let one = [(0x1000, 0x1000)];
    let mut refused = |want, payload: &[u8]| {
        let status = driver.send(adi_op::START_ADI_LOG, payload);
        assert_eq!(status, want, "{payload:?}");
        assert!(driver.dp.logs.is_empty());
    };
    for page_size in [0, 1, 0x800, 0x1800, u64::MAX] {
        refused(ERR_EINVAL, &start(id, page_size, &one));
    }
    let ranges: [&[(u64, u64)]; 8] = [
        &[],
        &[(0x1000, 0)],
        &[(0x800, 0x1000)],
        &[(0x1000, 0x800)],
        &[(u64::MAX - 0xFFF, 0x1000)],
        &[(0x1000, 0x2000), (0x2000, 0x1000)],
        &[(0x1000, 0x1000), (0x1000, 0x1000)],
        &[(0x4000, 0x1000), (0x1000, 0x1000)],
    ];
    for ranges in ranges {
        refused(ERR_EINVAL, &start(id, 0x1000, ranges));
    }
    refused(ERR_EINVAL, &start(id, 0x2000, &one));
    let whole = start(id, 0x1000, &one);
    refused(ERR_EINVAL, &whole[..whole.len() - 1]);
    refused(ERR_EINVAL, &whole[..StartAdiLog::LEN - 1]);
    let mut many = whole.clone();
    many[2..4].copy_from_slice(&(MAX_LOG_RANGES + 1).to_le_bytes());
    refused(ERR_ERANGE, &many);
    refused(ERR_ENXIO, &start(id + 1, 0x1000, &one));

    let most = (0..u64::from(MAX_LOG_RANGES)).map(|n| (n << 13, 0x1000));
    let most = start(id, 0x1000, &most.collect::<Vec<_>>());
    assert!(most.len() <= MAX_LEN);
    driver.ok(adi_op::START_ADI_LOG, &most);
    let log = driver.log(&adis[0]).unwrap();
    let twice = driver.send(adi_op::START_ADI_LOG, &whole);
    assert_eq!(twice, ERR_EBUSY);
    assert!(Arc::ptr_eq(&log, &driver.log(&adis[0]).unwrap()));
    for (iova, len) in [(0, 0), (1, u64::MAX)] {
        let message = read(id, iova, len);
        let status = driver.send(adi_op::READ_ADI_LOG, message.as_bytes());
        assert_eq!(status, ERR_EINVAL);
    }
    for opcode in [adi_op::STOP_ADI_LOG, adi_op::READ_ADI_LOG] {
        assert_eq!(driver.send(opcode, &[0]), ERR_EINVAL);
        let other = read(id + 1, 0, 0x1000);
        assert_eq!(driver.send(opcode, other.as_bytes()), ERR_ENXIO);
    }
    // A function without ADIs does not know them.
    let mut none = Driver::new(1, 1);
    assert_eq!(none.send(adi_op::START_ADI_LOG, &whole), ERR_ESRCH);
}

#[test]
fn the_memory_of_logs_is_bounded() {
    let (mut driver, adis) = with_adis(66);
    let most = MAX_ADI_LOG_PAGES << 12;
    // The pages of a larger log are larger.
    assert_eq!(driver.start_log(&adis[0], 0x1000, &[(0, 2 * most)]), 0x2000);
    for adi in &adis[1..64] {
        assert_eq!(driver.start_log(adi, 0x1000, &[(0, most)]), 0x1000);
    }
    let message = start(adis[64].id, 0x1000, &[(0, 0x1000)]);
    let status = driver.send(adi_op::START_ADI_LOG, &message);
    assert_eq!(status, ERR_ENOSPC);
    driver.ok(adi_op::STOP_ADI_LOG, stop(adis[9].id).as_bytes());
    assert_eq!(driver.start_log(&adis[64], 0x1000, &[(0, most)]), 0x1000);
}
