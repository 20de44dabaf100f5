// SPDX-License-Identifier: Apache-2.0 OR MIT

use std::time::Duration;

use proptest::prelude::*;
use tempfile::{tempdir, TempDir};

use super::*;
use crate::wire::MAX_FRAME_LEN;

fn file(bytes: &[u8]) -> (TempDir, PathBuf) {
    let dir = tempdir().unwrap();
    let path = dir.path().join("in.pcap");
    fs::write(&path, bytes).unwrap();
    (dir, path)
}

/// A capture with timestamps in microseconds: (microseconds, captured bytes, original length) for
/// each record.
fn recording(big_endian: bool, records: &[(u32, &[u8], usize)]) -> Vec<u8> {
    let order = |n: u32| {
        if big_endian {
            n.to_be_bytes()
        } else {
            n.to_le_bytes()
        }
    };
    let half = |n: u16| {
        if big_endian {
            n.to_be_bytes()
        } else {
            n.to_le_bytes()
        }
    };
    let mut bytes = order(0xa1b2_c3d4).to_vec();
    bytes.extend([half(2), half(4)].concat());
    bytes.extend([0, 0, 65535, 1].map(order).concat());
    for (at, data, original) in records {
        bytes.extend(
            [10, *at, data.len() as u32, *original as u32]
                .map(order)
                .concat(),
        );
        bytes.extend(*data);
    }
    bytes
}

/// A file that cannot grow, as on a full disk.
fn full() -> File {
    use rustix::fs::{fcntl_add_seals, memfd_create, MemfdFlags, SealFlags};
    let file = memfd_create("full", MemfdFlags::ALLOW_SEALING).unwrap();
    let recorder = Recorder::new(File::from(file.try_clone().unwrap()));
    drop(recorder.unwrap());
    fcntl_add_seals(&file, SealFlags::GROW).unwrap();
    File::from(file)
}

#[test]
fn a_recording_that_cannot_go_on_takes_the_link_down_until_it_can() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("a.pcap");
    let mut port = Pcap::open(None, Some(&path), Speed::Max).unwrap();
    let send = |port: &mut Pcap| port.send(&[IoSlice::new(&[1; 60])], &FrameMeta::default());
    send(&mut port).unwrap();
    assert!(port.link().up && port.is_unwatched());
    let roomy = port.recorder.replace(Recorder::resumed(full()));
    assert!(matches!(send(&mut port), Err(SendError::Io(_))));
    assert!(!port.link().up);
    let down_reason = port.down_reason().unwrap();
    assert!(
        down_reason.starts_with("sent frames cannot be recorded: "),
        "{down_reason}"
    );
    assert!(matches!(send(&mut port), Err(SendError::Down)));
    assert!(!port.link().up, "it is still full");
    let counters = port.counters();
    assert_eq!(counters.tx_dropped(crate::wire::TxDrop::Io), 1);
    assert_eq!(counters.tx_dropped(crate::wire::TxDrop::Down), 1);
    port.recorder = roomy;
    assert!(port.link().up);
    send(&mut port).unwrap();
    let replayed = replay(&path, Speed::Max);
    drop((port, replayed));
    assert_eq!(fs::metadata(&path).unwrap().len(), 24 + 2 * (16 + 60));
}

fn replay(path: &Path, speed: Speed) -> Pcap {
    Pcap::open(Some(path), None, speed).unwrap()
}

#[test]
fn what_was_recorded_is_replayed() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("a.pcap");
    let mut recorder = Pcap::open(None, Some(&path), Speed::Max).unwrap();
    let frames: Vec<Vec<u8>> = [14, 60, 9018, MAX_FRAME_LEN]
        .into_iter()
        .map(|len| vec![len as u8; len])
        .collect();
    for frame in &frames {
        let (head, tail) = frame.split_at(7);
        let pieces = [IoSlice::new(head), IoSlice::new(tail)];
        recorder.send(&pieces, &FrameMeta::default()).unwrap();
    }
    assert_eq!(recorder.counters().tx_frames, 4);
    // Nothing is buffered: the capture is complete while the port is open.
    let mut port = replay(&path, Speed::Max);
    let mut buf = vec![0; MAX_FRAME_LEN];
    for frame in &frames {
        let received = port.recv(&mut buf).unwrap().unwrap();
        assert_eq!(&buf[..received.len], frame);
    }
    assert_eq!(port.recv(&mut buf).unwrap(), None);
    assert_eq!(port.next_due(), None);
    let bytes = fs::read(&path).unwrap();
    assert_eq!(
        bytes[..8],
        [0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0],
        "nanoseconds, version 2.4"
    );
}

#[test]
fn frames_keep_their_distances() {
    for big_endian in [false, true] {
        let frame = [0; 60];
        let at = |us| (us, &frame[..], 60);
        // The third frame has an earlier time, and so is due with the second.
        let (_dir, path) = file(&recording(
            big_endian,
            &[at(500), at(2500), at(400), at(4500)],
        ));
        for (speed, factor) in [(Speed::Times(1.0), 1), (Speed::Times(2.0), 2)] {
            let mut port = replay(&path, speed);
            let mut buf = [0; 60];
            assert!(
                port.next_due().unwrap() <= Instant::now(),
                "the start is not waited for"
            );
            let start = Instant::now() + Duration::from_secs(1);
            let mut recv = |us: u64| {
                let now = start + Duration::from_micros(us / factor);
                port.recv_at(now, &mut buf).unwrap().is_some()
            };
            assert!(recv(0) && !recv(1998));
            assert!(recv(2000) && recv(2000) && !recv(2000));
            assert!(!recv(3998) && recv(4000) && !recv(1_000_000));
        }
    }
}

#[test]
fn frames_that_do_not_fit_are_counted() {
    let (whole, runt) = ([0; 60], [0; 13]);
    let records: [(u32, &[u8], usize); 4] = [
        (0, &runt, 13),
        (0, &whole, 61),
        (0, &whole, 60),
        (0, &whole[..14], 14),
    ];
    let (_dir, path) = file(&recording(false, &records));
    let mut port = replay(&path, Speed::Max);
    let mut buf = [0; 59];
    for reason in [RxDrop::Runt, RxDrop::Truncated, RxDrop::TooBig] {
        let dropped = port.recv(&mut buf);
        assert!(matches!(dropped, Err(RecvError::Dropped(found)) if found == reason));
        assert_eq!(port.counters().rx_dropped(reason), 1);
    }
    assert_eq!(port.recv(&mut buf).unwrap().unwrap().len, 14);
}

#[test]
fn a_malformed_file_ends_the_replay() {
    let good = recording(false, &[(0, &[0; 60], 60)]);
    let absurd = [&good[..], &[0; 8], &[0xff; 8], &[0; 1 << 20]].concat();
    for bytes in [
        &good[..good.len() - 1],
        &[&good[..], &[0; 15]].concat(),
        &absurd,
    ] {
        let (_dir, path) = file(bytes);
        let mut port = replay(&path, Speed::Max);
        let mut buf = [0; 100];
        let mut outcome = port.recv(&mut buf);
        if let Ok(Some(_)) = outcome {
            assert!(port.next_due().is_some());
            outcome = port.recv(&mut buf);
        }
        assert!(matches!(outcome, Err(RecvError::Io(_))), "{outcome:?}");
        assert!(port.recv(&mut buf).unwrap().is_none());
        assert_eq!(port.next_due(), None);
    }
}

#[test]
fn files_that_will_not_do_are_named() {
    let dir = tempdir().unwrap();
    let open = |bytes: &[u8]| {
        let path = dir.path().join("x.pcap");
        fs::write(&path, bytes).unwrap();
        Pcap::open(Some(&path), None, Speed::Max).err().unwrap()
    };
    assert!(matches!(open(b""), PcapError::Format(_)));
    assert!(matches!(
        open(b"no recording at all, whatever it says"),
        PcapError::Format(_)
    ));
    let mut not_ethernet = recording(false, &[]);
    not_ethernet[20] = 101;
    assert!(matches!(
        open(&not_ethernet),
        PcapError::LinkType { link_type: 101, .. }
    ));
    let path = dir.path().join("x.pcap");
    let same = Pcap::open(Some(&path), Some(&path), Speed::Max);
    assert!(matches!(same, Err(PcapError::SameFile(_))));
    assert!(
        fs::metadata(&path).unwrap().len() > 0,
        "the recording is still there"
    );
    let folder = Pcap::open(None, Some(dir.path()), Speed::Max);
    assert!(matches!(folder, Err(PcapError::NotRegular(_))));
    let missing = Pcap::open(Some(&dir.path().join("missing")), None, Speed::Max);
    assert!(matches!(missing, Err(PcapError::Open { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn hostile_files_end(
        tail in proptest::collection::vec(any::<u8>(), 0..400),
        big_endian: bool,
        lens in proptest::collection::vec(0u32..80, 0..6),
    ) {
        let mut bytes = recording(big_endian, &[]);
        for len in lens {
            let order = |n: u32| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
            bytes.extend([u32::MAX - len, u32::MAX, len, len].map(order).concat());
            bytes.extend(vec![0; len as usize]);
        }
        bytes.extend(tail);
        let (_dir, path) = file(&bytes);
        let mut port = replay(&path, Speed::Max);
        let mut buf = [0; 100];
        let mut calls = 0;
        while port.next_due().is_some() {
            let _ = port.recv(&mut buf);
            calls += 1;
            prop_assert!(calls <= bytes.len(), "the replay goes on for ever");
        }
    }
}
