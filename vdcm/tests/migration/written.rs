// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The log of written pages: exact while a device of a NIC in the daemon runs.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use adit_uapi::virtchnl2::{op, VersionInfo, VERSION_MAJOR_2, VERSION_MINOR_0};
use zerocopy::little_endian::U32;
use zerocopy::IntoBytes;

use super::*;

const PAGE: u64 = 4096;

/// The numbers of the pages that are different.
fn different(one: &[u8], other: &[u8]) -> BTreeSet<u64> {
    let pages = one.chunks(PAGE as usize).zip(other.chunks(PAGE as usize));
    let pages = (0..).zip(pages);
    pages
        .filter_map(|(page, (one, other))| (one != other).then_some(page))
        .collect()
}

impl Driver {
    /// The pages that the device has written since the last report.
    fn written(&mut self) -> BTreeSet<u64> {
        self.vf.device.written(&self.vf.memory).unwrap()
    }

    /// The pages that have changed since then, without those that the driver has written.
    fn changed(&mut self, before: &[u8]) -> BTreeSet<u64> {
        let changed = different(before, &self.vf.memory.image().unwrap());
        &changed - &self.vf.memory.touched()
    }
}

#[test]
fn a_report_has_the_pages_that_were_written_and_no_other() {
    let mut daemon = Daemon::start();
    let mut driver = Driver::start(&daemon.create().socket);
    driver.exchange(&daemon);
    driver.vf.device.start_log(&driver.vf.memory).unwrap();
    assert_eq!(driver.written(), [].into());

    // A received frame: its buffer and its descriptor.
    for number in 1000..1100 {
        driver.vf.memory.touched();
        let before = driver.vf.memory.image().unwrap();
        daemon.send(number);
        let mut written = BTreeSet::new();
        wait("a frame", || {
            written.append(&mut driver.written());
            written.len() >= 2
        });
        assert_eq!(written, driver.changed(&before));
        assert_eq!(written.len(), 2, "{written:?}");
        assert_eq!(driver.receive(), number);
        assert_eq!(driver.written(), [].into());
    }
    // A sent one: its completion.
    driver.vf.memory.touched();
    let before = driver.vf.memory.image().unwrap();
    driver.send(7);
    assert_eq!(daemon.received(), 7);
    driver.pair.settle(&mut driver.vf).unwrap();
    let written = driver.written();
    assert_eq!(written, driver.changed(&before));
    assert_eq!(written.len(), 1, "{written:?}");
    // A message: its descriptor, that of the reply, and the reply.
    let before = driver.vf.memory.image().unwrap();
    driver.vf.memory.touched();
    let version = VersionInfo {
        major: U32::new(VERSION_MAJOR_2),
        minor: U32::new(VERSION_MINOR_0),
    };
    driver.vf.ok(op::VERSION, version.as_bytes()).unwrap();
    let written = driver.written();
    let touched = driver.vf.memory.touched();
    let changed = different(&before, &driver.vf.memory.image().unwrap());
    assert!(&written - &touched == &changed - &touched, "{written:?}");
    assert!(written.len() == 3 && written.contains(&0), "{written:?}");
    // An idle device.
    assert_eq!(driver.written(), [].into());
    driver.vf.device.stop_log().unwrap();
}

/// Ends the frames from the wire, also when the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn memory_is_followed_by_reported_pages_alone_while_frames_pass() {
    const ROUNDS: usize = 200;
    let mut daemon = Daemon::start();
    let mut driver = Driver::start(&daemon.create().socket);
    driver.exchange(&daemon);
    let wire = daemon.wire.try_clone().unwrap();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ends = Ends(&ended);
        scope.spawn(|| {
            wire.set_write_timeout(Some(TIMEOUT)).unwrap();
            for number in (0..u16::MAX).cycle() {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                wire.send(&frame(MAC, STATION, number)).unwrap();
            }
        });
        let copy = driver.vf.memory.alike().unwrap();
        let all = driver.vf.memory.pages();
        driver.vf.device.start_log(&driver.vf.memory).unwrap();
        driver.vf.memory.touched();
        driver.vf.memory.copy(&all, &copy).unwrap();
        let follow = |driver: &mut Driver| {
            let mut pages = driver.written();
            pages.append(&mut driver.vf.memory.touched());
            driver.vf.memory.copy(&pages, &copy).unwrap();
            pages.len()
        };
        let (mut received, mut copied) = (0, 0);
        for number in 0..ROUNDS {
            driver.send(number as u16);
            assert_eq!(daemon.received(), number as u16);
            driver.pair.settle(&mut driver.vf).unwrap();
            copied += follow(&mut driver);
            while driver.pair.receive(&mut driver.vf).unwrap().is_some() {
                received += 1;
            }
        }
        assert!(received > 0, "no frame was received");
        assert!(copied < ROUNDS * all.len() / 2, "{copied} pages");
        driver.vf.device.enter(Stop).unwrap();
        drop(ends);
        follow(&mut driver);
        let (one, other) = (driver.vf.memory.image(), copy.image());
        let missing = different(&one.unwrap(), &other.unwrap());
        assert_eq!(missing, [].into(), "{received} frames received");
    });
}
