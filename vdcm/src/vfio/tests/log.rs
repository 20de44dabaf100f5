// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The log of what an ADI writes, which its NIC keeps.

use adit_uapi::virtchnl2::adi::{AdiLogRange, AdiLogWord, ReadAdiLog, StartAdiLog};

use super::*;

/// The log of a NIC, with pages of 4 KiB.
#[derive(Default)]
pub(super) struct NicLog {
    runs: bool,
    /// Words that were written.
    words: Vec<(u64, u64)>,
}

/// Executes a message about the log.
pub(super) fn request(
    log: &mut Option<NicLog>,
    calls: &mut Vec<String>,
    opcode: u32,
    payload: &[u8],
) -> Result<Vec<u8>, Error> {
    let refused = |errno: Errno| {
        let source = errno.into();
        Err(Error::Refused { opcode, source })
    };
    let Some(log) = log else {
        return refused(Errno::OPNOTSUPP);
    };
    match opcode {
        adi_op::START_ADI_LOG => {
            if std::mem::replace(&mut log.runs, true) {
                return refused(Errno::BUSY);
            }
            log.words.clear();
            let (head, ranges) = StartAdiLog::read_from_prefix(payload).unwrap();
            let ranges = <[AdiLogRange]>::ref_from_bytes(ranges).unwrap();
            let ranges = ranges.iter().map(|it| (it.iova.get(), it.len.get()));
            let ranges: Vec<_> = ranges.collect();
            calls.push(format!("start {:#x} {ranges:x?}", head.page_size));
            Ok(head.as_bytes().to_vec())
        }
        adi_op::STOP_ADI_LOG => {
            calls.push(if log.runs { "stop" } else { "stop nothing" }.into());
            log.runs = false;
            Ok(Vec::new())
        }
        _ => {
            if !log.runs {
                return refused(Errno::NXIO);
            }
            let (mut head, _) = ReadAdiLog::read_from_prefix(payload).unwrap();
            let range = head.iova.get()..head.iova.get() + head.len.get();
            calls.push(format!("read {range:x?}"));
            // One word at a time.
            let at = log.words.iter().position(|word| range.contains(&word.0));
            let word = at.map(|at| log.words.remove(at));
            let next = word.map_or(range.end, |(iova, _)| iova + (64 << 12));
            let next = next.min(range.end);
            head.num_words.set(word.is_some().into());
            head.page_shift.set(12);
            head.iova.set(next);
            head.len.set(range.end - next);
            let mut reply = head.as_bytes().to_vec();
            if let Some((iova, written)) = word {
                let (iova, written) = (U64::new(iova), U64::new(written));
                reply.extend_from_slice(AdiLogWord { iova, written }.as_bytes());
            }
            Ok(reply)
        }
    }
}

/// An ADI whose NIC has logs.
fn logging() -> (VfioAdi, Fake) {
    let (adi, fake) = open();
    fake.calls();
    fake.record.lock().unwrap().log = Some(NicLog::default());
    (adi, fake)
}

fn range(iova: u64, len: u64) -> IovaRange {
    IovaRange::new(iova, len).unwrap()
}

fn device_log(ranges: &[IovaRange]) -> Arc<WriteLog> {
    Arc::new(WriteLog::new(0x1000, ranges).unwrap())
}

impl Fake {
    fn writes(&self, words: &[(u64, u64)]) {
        let mut record = self.record.lock().unwrap();
        record.log.as_mut().unwrap().words = words.to_vec();
    }

    /// Ends the log, as a NIC does that is updated.
    fn forgets(&self) {
        self.record.lock().unwrap().log.as_mut().unwrap().runs = false;
    }
}

fn taken(log: &WriteLog) -> Vec<(u64, u64)> {
    let mut pages = Vec::new();
    log.take(range(0, 1 << 40), |iova, len| pages.push((iova, len)));
    pages
}

#[test]
fn what_the_nic_has_logged_is_in_the_devices_log() {
    let (mut adi, fake) = logging();
    // The ADI's addresses end at 4 GiB.
    let ranges = [range(0x1000, 0x10_0000), range(0xF000_0000, 1 << 32)];
    let log = device_log(&ranges);
    assert!(adi.log_writes(Some(log.clone())));
    let start = "start 0x1000 [(1000, 100000), (f0000000, 10000000)]";
    assert_eq!(fake.calls(), ["stop nothing", start]);
    fake.writes(&[(0x1000, 0b1011), (0x5_1000, 1), (0xF000_0000, 1)]);
    adi.collect_writes(range(0, 0x2_0000));
    assert_eq!(fake.calls(), ["read 1000..20000"]);
    assert_eq!(taken(&log), [0x1000, 0x2000, 0x4000].map(|it| (it, 0x1000)));
    adi.collect_writes(range(0, 1 << 40));
    let reads = [
        "read 1000..101000",
        "read 91000..101000",
        "read f0000000..100000000",
        "read f0040000..100000000",
    ];
    assert_eq!(fake.calls(), reads);
    assert_eq!(taken(&log), [0x5_1000, 0xF000_0000].map(|it| (it, 0x1000)));
    adi.collect_writes(range(0, 1 << 40));
    assert_eq!(taken(&log), []);
    fake.calls();
    adi.log_writes(None);
    assert_eq!(fake.calls(), ["stop"]);
    drop(adi);
    assert_eq!(taken(&log), []);
    assert_eq!(fake.calls(), [""; 0]);
}

#[test]
fn an_adi_without_a_log_is_left_alone() {
    let (mut adi, fake) = open();
    fake.calls();
    let log = device_log(&[range(0, 0x10_0000)]);
    // Its NIC has none.
    assert!(!adi.log_writes(Some(log.clone())));
    adi.collect_writes(range(0, 0x10_0000));
    adi.log_writes(None);
    drop(adi);
    assert!(fake.calls().is_empty() && taken(&log).is_empty());
    // It is another process's.
    let fake = Fake::new(7);
    fake.record.lock().unwrap().log = Some(NicLog::default());
    let mut held = left(&fake).unwrap();
    assert!(!held.log_writes(Some(log)));
    assert_eq!(fake.calls(), [""; 0]);
}

#[test]
fn the_log_of_a_predecessor_ends_when_its_adi_is_taken_over() {
    let fake = Fake::new(7);
    let runs = NicLog {
        runs: true,
        ..NicLog::default()
    };
    fake.record.lock().unwrap().log = Some(runs);
    let mut adi = left(&fake).unwrap();
    let log = device_log(&[range(0x1000, 0x3000)]);
    // The relay repeats the start of the client's log while the ADI is the predecessor's.
    assert!(!adi.log_writes(Some(log.clone())));
    adi.log_writes(None);
    assert_eq!(fake.calls(), [""; 0]);
    adi.take_over();
    assert_eq!(fake.calls(), ["stop"]);
    // The client's next one.
    assert!(adi.log_writes(Some(log.clone())));
    assert_eq!(
        fake.calls(),
        ["stop nothing", "start 0x1000 [(1000, 3000)]"]
    );
    fake.writes(&[(0x1000, 0b10)]);
    adi.collect_writes(range(0, 0x10_0000));
    assert_eq!(taken(&log), [(0x2000, 0x1000)]);
    fake.calls();
    // It is this process's: its log stays when the device goes on once more.
    adi.take_over();
    assert_eq!(fake.calls(), [""; 0]);
}

#[test]
fn all_pages_are_written_when_the_nic_has_lost_its_log() {
    let (mut adi, fake) = logging();
    let log = device_log(&[range(0x1000, 0x3000)]);
    let all = [0x1000, 0x2000, 0x3000].map(|it| (it, 0x1000));
    assert!(adi.log_writes(Some(log.clone())));
    fake.forgets();
    fake.calls();
    adi.collect_writes(range(0x1000, 0x1000));
    assert_eq!(taken(&log), all);
    let start = "start 0x1000 [(1000, 3000)]";
    assert_eq!(fake.calls(), ["stop nothing", start]);
    fake.writes(&[(0x1000, 0b10)]);
    adi.collect_writes(range(0, 0x10_0000));
    assert_eq!(taken(&log), [(0x2000, 0x1000)]);
    // A reply that was lost may have had anything.
    fake.fail(adi_op::READ_ADI_LOG, Errno::INTR, 1);
    adi.collect_writes(range(0x3000, 0x1000));
    assert_eq!(taken(&log), all);
    adi.collect_writes(range(0, 0x10_0000));
    assert_eq!(taken(&log), []);
    // An ADI that is closed cannot be asked for the last time.
    drop(adi);
    assert_eq!(taken(&log), all);
}

#[test]
fn what_was_written_before_a_reset_is_reported() {
    let (mut adi, fake) = logging();
    let log = device_log(&[range(0x1000, 0x3000)]);
    assert!(adi.log_writes(Some(log.clone())));
    let suspend = format!("message {}", adi_op::SUSPEND_ADI);
    let reset = format!("message {}", adi_op::RESET_ADI);
    for by_message in [true, false] {
        fake.calls();
        fake.writes(&[(0x1000, 0b1)]);
        match by_message {
            true => adi.reset().unwrap(),
            false => adi.revoke_pages().unwrap(),
        }
        let mut want = vec![
            &suspend[..],
            "read 1000..4000",
            if by_message { &reset } else { "reset" },
            "stop",
            "start 0x1000 [(1000, 3000)]",
            "doorbells [0, 0, 1, 0]",
        ];
        if !by_message {
            want.push("give 1.0 1.1 1.2 1.3 1.4 1.5 2.0 2.1");
        }
        assert_eq!(fake.calls(), want);
        adi.collect_writes(range(0x1000, 0x3000));
        assert_eq!(taken(&log), [(0x1000, 0x1000)]);
    }
    // It is not known if the ADI cannot be suspended: it may write until it is reset.
    fake.fail(adi_op::SUSPEND_ADI, Errno::ACCESS, 1);
    adi.reset().unwrap();
    assert_eq!(taken(&log).len(), 3);
    fake.writes(&[(0x1000, 0b10)]);
    adi.collect_writes(range(0x1000, 0x3000));
    assert_eq!(taken(&log), [(0x2000, 0x1000)]);
}
