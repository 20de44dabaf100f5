// SPDX-License-Identifier: Apache-2.0 OR MIT

use std::os::unix::net::UnixDatagram;

use tempfile::{tempdir, TempDir};

use super::*;
use crate::wire::TxDrop;

fn send(port: &mut Unix, frame: &[u8]) -> Result<(), SendError> {
    port.send(&[IoSlice::new(frame)], &FrameMeta::default())
}

fn recv(port: &mut Unix) -> Option<Vec<u8>> {
    let mut buf = vec![0; crate::wire::MAX_FRAME_LEN];
    let received = port.recv(&mut buf).unwrap()?;
    buf.truncate(received.len);
    Some(buf)
}

fn paths() -> (TempDir, PathBuf, PathBuf) {
    let dir = tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    (dir, a, b)
}

#[test]
fn two_ports_on_one_path_are_connected() {
    let (_dir, path, _) = paths();
    let mut first = Unix::open_either_end(&path).unwrap();
    let mut second = Unix::open_either_end(&path).unwrap();
    assert!(matches!(
        Unix::open_either_end(&path),
        Err(UnixError::BothEnds(_))
    ));
    send(&mut first, &[1; 60]).unwrap();
    send(&mut second, &[2; 9018]).unwrap();
    assert_eq!(recv(&mut second), Some(vec![1; 60]));
    assert_eq!(recv(&mut first), Some(vec![2; 9018]));
    assert_eq!(recv(&mut first), None);
    drop(first);
    assert!(matches!(send(&mut second, &[1; 60]), Err(SendError::Down)));
    let mut again = Unix::open_either_end(&path).unwrap();
    assert_eq!(again.local(), path);
    send(&mut second, &[3; 60]).unwrap();
    assert_eq!(recv(&mut again), Some(vec![3; 60]));
}

#[test]
fn the_link_follows_whoever_receives_at_the_other_end() {
    let (_dir, a, b) = paths();
    let mut port = Unix::open(&a, &b).unwrap();
    assert!(port.is_unwatched());
    assert!(!port.link().up, "no receiver is bound yet");
    assert_eq!(
        port.down_reason(),
        Some("no process receives at the other end")
    );
    let peer = UnixDatagram::bind(&b).unwrap();
    assert!(port.link().up);
    assert_eq!(port.down_reason(), None);
    // A peer that exits leaves its socket file.
    drop(peer);
    assert!(!port.link().up);
    assert!(matches!(send(&mut port, &[1; 60]), Err(SendError::Down)));
    fs::remove_file(&b).unwrap();
    let peer = UnixDatagram::bind(&b).unwrap();
    assert!(port.link().up, "it is back");
    send(&mut port, &[2; 60]).unwrap();
    let mut buf = [0; 100];
    assert_eq!(peer.recv(&mut buf).unwrap(), 60);
}

#[test]
fn a_socket_file_that_was_removed_is_made_again() {
    let (_dir, a, b) = paths();
    let mut port = Unix::open(&a, &b).unwrap();
    let peer = UnixDatagram::bind(&b).unwrap();
    fs::remove_file(&a).unwrap();
    assert!(peer.send_to(&[1; 60], &a).is_err());
    let generation = port.generation();
    assert!(port.link().up);
    assert_ne!(port.generation(), generation, "its descriptor is another");
    peer.send_to(&[2; 60], &a).unwrap();
    assert_eq!(recv(&mut port), Some(vec![2; 60]));

    // Another process's socket is not removed.
    fs::remove_file(&a).unwrap();
    let other = UnixDatagram::bind(&a).unwrap();
    assert!(!port.link().up);
    assert!(
        port.down_reason().unwrap().contains("in use"),
        "{:?}",
        port.down_reason()
    );
    drop(port);
    peer.send_to(&[3; 60], &a).unwrap();
    assert_eq!(other.recv(&mut [0; 100]).unwrap(), 60);
}

/// Duplicates of the lifelines that a port has reported.
fn reported(port: &mut Unix) -> std::sync::mpsc::Receiver<OwnedFd> {
    let (sender, receiver) = std::sync::mpsc::channel();
    port.report_lifelines(LifelineReports::new(move |fd| {
        sender.send(fd.try_clone_to_owned().unwrap()).unwrap();
    }));
    receiver
}

#[test]
fn a_socket_that_was_made_again_is_the_lifeline() {
    let (_dir, a, b) = paths();
    let mut port = Unix::open(&a, &b).unwrap();
    let lifelines = reported(&mut port);
    let peer = UnixDatagram::bind(&b).unwrap();
    assert!(port.link().up);
    assert!(
        lifelines.try_recv().is_err(),
        "it is the one from the beginning"
    );
    fs::remove_file(&a).unwrap();
    assert!(port.link().up);
    let lifeline = lifelines.try_recv().unwrap();
    let mut next = Unix::adopt(lifeline, "next", [&a, &b]).unwrap().unwrap();
    // The process of the first port ends without removing anything.
    std::mem::forget(port);
    next.claim();
    assert!(next.link().up);
    peer.send_to(&[1; 60], &a).unwrap();
    assert_eq!(recv(&mut next), Some(vec![1; 60]));
    drop(next);
    assert!(!a.exists());
}

#[test]
fn a_socket_that_was_made_again_and_not_reported_is_made_once_more() {
    let (_dir, a, b) = paths();
    let port = Unix::open(&a, &b).unwrap();
    let lifeline = port.lifeline().unwrap().try_clone_to_owned().unwrap();
    let peer = UnixDatagram::bind(&b).unwrap();
    // Its process makes it again, and dies: nobody has the new socket.
    std::mem::forget(port);
    fs::remove_file(&a).unwrap();
    drop(UnixDatagram::bind(&a).unwrap());
    let mut next = Unix::adopt(lifeline, "next", [&a, &b]).unwrap().unwrap();
    assert!(next.link().up && peer.send_to(&[1; 60], &a).is_err());
    next.claim();
    assert!(next.link().up);
    peer.send_to(&[2; 60], &a).unwrap();
    assert_eq!(recv(&mut next), Some(vec![2; 60]));
}

#[test]
fn a_port_that_was_released_leaves_the_socket_to_the_next_process() {
    let (_dir, a, b) = paths();
    let mut port = Unix::open(&a, &b).unwrap();
    let lifeline = port.lifeline().unwrap().try_clone_to_owned().unwrap();
    let peer = UnixDatagram::bind(&b).unwrap();
    port.release();
    drop(port);
    let mut next = Unix::adopt(lifeline, "next", [&a, &b]).unwrap().unwrap();
    next.claim();
    peer.send_to(&[3; 60], &a).unwrap();
    assert_eq!(recv(&mut next), Some(vec![3; 60]));
    // A successor that fails leaves the port to the process of before.
    next.release();
    next.claim();
    drop(next);
    assert!(!a.exists());
}

#[test]
fn a_port_that_was_not_claimed_leaves_the_socket_to_its_owner() {
    let (_dir, a, b) = paths();
    let mut port = Unix::open(&a, &b).unwrap();
    let peer = UnixDatagram::bind(&b).unwrap();
    let adopt = |port: &Unix| {
        let lifeline = port.lifeline().unwrap().try_clone_to_owned().unwrap();
        Unix::adopt(lifeline, "next", [&a, &b]).unwrap().unwrap()
    };
    let mut next = adopt(&port);
    assert!(next.link().up);
    drop(next);
    peer.send_to(&[1; 60], &a).unwrap();
    assert_eq!(recv(&mut port), Some(vec![1; 60]));
    // Nor does it make it again.
    next = adopt(&port);
    fs::remove_file(&a).unwrap();
    assert!(next.link().up);
    assert!(!a.exists());
    drop(next);
    assert!(port.link().up && a.exists());
}

#[test]
fn talks_to_any_datagram_socket() {
    let (_dir, a, b) = paths();
    let mut port = Unix::open(&a, &b).unwrap();
    assert!(
        matches!(send(&mut port, &[0; 60]), Err(SendError::Down)),
        "no receiver is bound yet"
    );
    assert_eq!(port.counters().tx_dropped(TxDrop::Down), 1);
    let peer = UnixDatagram::bind(&b).unwrap();
    let pieces = [IoSlice::new(&[1; 14]), IoSlice::new(&[2; 46])];
    port.send(&pieces, &FrameMeta::default()).unwrap();
    let mut buf = [0; 100];
    assert_eq!(peer.recv(&mut buf).unwrap(), 60);
    assert_eq!((buf[13], buf[14]), (1, 2));
    peer.send_to(&[7; 64], &a).unwrap();
    assert_eq!(recv(&mut port), Some(vec![7; 64]));
}

#[test]
fn frames_that_do_not_fit_are_counted() {
    let (_dir, a, b) = paths();
    let mut port = Unix::open(&a, &b).unwrap();
    let peer = UnixDatagram::unbound().unwrap();
    peer.send_to(&[0; 13], &a).unwrap();
    peer.send_to(&[], &a).unwrap();
    peer.send_to(&[0; 101], &a).unwrap();
    peer.send_to(&[0; 100], &a).unwrap();
    let mut buf = [0; 100];
    assert!(matches!(
        port.recv(&mut buf),
        Err(RecvError::Dropped(RxDrop::Runt))
    ));
    assert!(matches!(
        port.recv(&mut buf),
        Err(RecvError::Dropped(RxDrop::Runt))
    ));
    assert!(matches!(
        port.recv(&mut buf),
        Err(RecvError::Dropped(RxDrop::TooBig))
    ));
    assert_eq!(port.recv(&mut buf).unwrap().unwrap().len, 100);
    assert_eq!(port.counters().rx_dropped_total(), 3);

    let partial = FrameMeta {
        checksum: Checksum::Partial {
            start: 34,
            offset: 6,
        },
        gso: None,
    };
    let refused = port.send(&[IoSlice::new(&[0; 60])], &partial);
    assert!(matches!(refused, Err(SendError::Refused)));
}

#[test]
fn a_full_wire_keeps_the_frame_with_the_caller() {
    let (_dir, a, b) = paths();
    let mut port = Unix::open(&a, &b).unwrap();
    let mut peer = Unix::open(&b, &a).unwrap();
    let sent = (0..100_000)
        .take_while(|_| send(&mut port, &[0; 60]).is_ok())
        .count();
    assert!(matches!(send(&mut port, &[0; 60]), Err(SendError::Full)));
    assert_eq!(port.counters().tx_backpressure, 2);
    assert_eq!(port.counters().tx_dropped_total(), 0);
    recv(&mut peer).unwrap();
    send(&mut port, &[0; 60]).unwrap();
    assert_eq!(port.counters().tx_frames, sent as u64 + 1);
}

#[test]
fn only_dead_sockets_are_replaced() {
    let (_dir, a, b) = paths();
    // A socket whose owner exited without removing it.
    drop(UnixDatagram::bind(&a).unwrap());
    let port = Unix::open(&a, &b).unwrap();
    assert!(matches!(Unix::open(&a, &b), Err(UnixError::InUse(path)) if path == a));
    // The path was taken over: its new file must not be removed by the port.
    fs::remove_file(&a).unwrap();
    fs::write(&a, "not a socket").unwrap();
    drop(port);
    assert!(matches!(Unix::open(&a, &b), Err(UnixError::NotSocket(_))));
    assert_eq!(fs::read_to_string(&a).unwrap(), "not a socket");
    let long = a.with_file_name("x".repeat(200));
    assert!(matches!(Unix::open(&long, &b), Err(UnixError::Path(_))));
}
