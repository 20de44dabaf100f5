// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `p4/conntrack.p4` between a driver and a wire.

use std::path::Path;

use adit_conntrack::Tracker;
use adit_p4_frontend::Options;
use adit_pipeline::checksum::verify::{verify, Check};
use adit_uapi::desc::tx_flex::sched_cmd;

use super::transmit::unfinished;
use super::*;
use crate::connections::tracker;
use crate::program::Program;

/// The virtual port's, the peer's, and the address to which the former is translated.
pub(super) const INSIDE: [u8; 4] = [10, 0, 0, 1];
pub(super) const OUTSIDE: [u8; 4] = [192, 0, 2, 1];
pub(super) const PUBLIC: [u8; 4] = [198, 51, 100, 77];
const SYN: u8 = 2;
const ACK: u8 = 0x10;

/// The program, which translates the driver's addresses and follows its FTP connections.
fn program(tracker: &Arc<Tracker>) -> Program {
    let define = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let options = Options {
        defines: vec![
            define("CONNECTIONS", "64"),
            define(
                "TRANSLATION_ENTRIES",
                "(_, _, 0x0a000001 &&& 0xffffffff, _, _, _): masquerade(0xc633644d, 0xc633644d);",
            ),
            define(
                "SERVICE_ENTRIES",
                "(_, _, _, PROTO_TCP, _, 21 .. 21): follow(ConntrackHelper_t.FTP);",
            ),
        ],
        ..Options::default()
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../p4/conntrack.p4");
    let engine = Program::engine_of_file(&path, &options).unwrap();
    engine.set_tracker(tracker.clone()).unwrap();
    Program::new(&engine)
}

/// A driver behind the program.
pub(super) fn tracked(tracker: &Arc<Tracker>) -> Driver {
    let mut driver = Driver::new(Setup::default());
    driver.dp.set_program(program(tracker));
    driver.post(0, LEN - 1);
    driver.post(1, LEN - 1);
    driver
}

/// A TCP segment, with valid checksums: addresses, ports, flags and numbers.
fn segment(ends: [([u8; 4], u16); 2], flags: u8, numbers: [u32; 2], payload: &[u8]) -> Vec<u8> {
    let mut f = tcp(ends[0].1, payload.len());
    f[26..30].copy_from_slice(&ends[0].0);
    f[30..34].copy_from_slice(&ends[1].0);
    f[36..38].copy_from_slice(&ends[1].1.to_be_bytes());
    f[38..46].copy_from_slice(&numbers.map(u32::to_be_bytes).concat());
    f[47] = flags;
    f[TCP_HEADERS..].copy_from_slice(payload);
    f[50..52].fill(0);
    finish(&mut f);
    f
}

fn is_right(frame: &[u8]) -> bool {
    let parsed = Parsed::new(frame, frame.len()).unwrap();
    let verdict = verify(&parsed, &[frame]);
    (verdict.ip, verdict.l4) == (Check::Ok, Check::Ok)
}

/// Sends a frame of which the checksum is left to the device; returns what reaches the wire.
fn there(driver: &mut Driver, frame: &[u8]) -> Vec<u8> {
    driver.send(&unfinished(frame.to_vec()), None, sched_cmd::CS_EN, 0);
    driver.poll();
    let (made, meta) = driver.far.recv().unwrap();
    assert_eq!(meta, plain());
    assert!(is_right(&made), "{made:x?}");
    made
}

/// Returns what reaches the driver of a frame from the wire.
fn back(driver: &mut Driver, frame: &[u8]) -> Option<Vec<u8>> {
    driver.far.send(frame, plain());
    driver.poll();
    let got = driver.recv(0).or_else(|| driver.recv(1))?;
    assert!(is_right(&got.frame), "{:x?}", got.frame);
    Some(got.frame)
}

#[test]
fn connections_are_translated_and_others_refused() {
    let mut driver = tracked(&tracker(64).unwrap());
    let driver = &mut driver;
    let (inside, outside, public) = ((INSIDE, 1000), (OUTSIDE, 80), (PUBLIC, 1000));
    let syn = |from| segment([from, outside], SYN, [7, 0], &[]);
    assert_eq!(there(driver, &syn(inside)), syn(public));
    let answer = |to| segment([outside, to], SYN | ACK, [9, 8], &[]);
    assert_eq!(back(driver, &answer(public)), Some(answer(inside)));
    let data = |from| segment([from, outside], ACK, [8, 10], b"some data");
    assert_eq!(there(driver, &data(inside)), data(public));
    let stranger = segment([(OUTSIDE, 81), inside], SYN, [1, 0], &[]);
    assert_eq!(back(driver, &stranger), None);
    assert_eq!(driver.dropped(DropReason::Program), (1, 0));
}

#[test]
fn a_rewritten_payload_has_a_whole_checksum() {
    let mut driver = tracked(&tracker(64).unwrap());
    let driver = &mut driver;
    let (inside, outside, public) = ((INSIDE, 1000), (OUTSIDE, 21), (PUBLIC, 1000));
    there(driver, &segment([inside, outside], SYN, [7, 0], &[]));
    let answer = segment([outside, public], SYN | ACK, [9, 8], &[]);
    assert!(back(driver, &answer).is_some());
    // A helper reads lines whose beginning it knows.
    let user = segment([inside, outside], ACK, [8, 10], b"USER a\r\n");
    there(driver, &user);
    let line = |from, line: &[u8]| segment([from, outside], ACK, [16, 10], line);
    let announcement = line(inside, b"PORT 10,0,0,1,4,1\r\n");
    let wanted = line(public, b"PORT 198,51,100,77,4,1\r\n");
    assert_eq!(there(driver, &announcement), wanted);
    // The server opens the connection that was announced.
    let opens = |to| segment([(OUTSIDE, 20), (to, 1025)], SYN, [1, 0], &[]);
    assert_eq!(back(driver, &opens(PUBLIC)), Some(opens(INSIDE)));
}

#[test]
fn connections_outlast_the_program() {
    let tracker = tracker(64).unwrap();
    let mut driver = tracked(&tracker);
    let driver = &mut driver;
    let (inside, outside, public) = ((INSIDE, 1000), (OUTSIDE, 80), (PUBLIC, 1000));
    there(driver, &segment([inside, outside], SYN, [7, 0], &[]));
    assert_eq!(tracker.len(), 1);
    driver.dp.set_program(program(&tracker));
    let answer = |to| segment([outside, to], SYN | ACK, [9, 8], &[]);
    assert_eq!(back(driver, &answer(public)), Some(answer(inside)));
}
