// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of clients that send wrong message lengths, messages in the wrong order, or incomplete
//! messages, on a real socket: each receives the appropriate errno, and the next client is served.

mod common;

use std::io::Write;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use adit_vfio_user::fuzzing::{message, HELLO};
use adit_vfio_user::header::{Command, Header};
use adit_vfio_user::testing::{BAR0_SIZE, BROKEN};
use adit_vfio_user::{wire, Config, Errno, Reason};
use common::{eventfd, read, Running};
use zerocopy::IntoBytes;

/// A header with any size and flags, followed by `payload`.
fn raw(command: u16, size: u32, flags: u32, payload: &[u8]) -> Vec<u8> {
    [
        Header {
            id: 1,
            command,
            size,
            flags,
            error: 0,
        }
        .as_bytes(),
        payload,
    ]
    .concat()
}

fn access(region: u32, offset: u64, count: u32) -> wire::RegionAccess {
    wire::RegionAccess {
        offset,
        region,
        count,
    }
}

#[test]
fn headers_that_lose_the_stream_end_the_connection() {
    let server = Running::start();
    for size in [0, 15, 16 + (2 << 20), u32::MAX] {
        let mut client = server.client();
        client.send(&raw(Command::RegionRead as u16, size, 0, &[]));
        assert_eq!(client.reply(), Err(Errno::MSGSIZE), "size {size}");
        assert!(client.is_closed());
    }
    assert_eq!(server.stats.refused(Reason::Framing), 4);
    assert!(server.client().is_served());
}

#[test]
fn a_message_cut_short_ends_only_its_client() {
    let server = Running::start();
    let whole = message(1, Command::RegionWrite, 0, access(0, 0, 64).as_bytes());
    for len in [1, 15, 16, 20, 31] {
        let client = server.client();
        client.send(&whole[..len]);
        client.stream.shutdown(Shutdown::Write).unwrap();
    }
    assert!(server.client().is_served());
}

#[test]
fn a_message_that_never_ends_is_given_up() {
    let server = Running::start();
    for part in [
        &raw(9, 32, 0, &[])[..7],
        &raw(9, 32, 0, &[0; 3]),
        &raw(99, 4000, 0, &[0; 9]),
    ] {
        let mut client = server.client();
        client.send(part);
        assert!(client.is_closed());
    }
    // A byte now and then does not extend a message's timeout. In that time come fewer than a header has.
    let mut client = server.client();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) && client.stream.write(&[0]).is_ok() {
        std::thread::sleep(Duration::from_millis(150));
    }
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "a trickle was waited for"
    );
    assert!(client.is_closed());
    assert!(server.client().is_served());
}

#[test]
fn stopping_waits_for_nobody() {
    let slow = Config {
        message_timeout: Duration::from_secs(3600),
        ..Config::default()
    };
    let idle = Running::with_config(slow.clone());
    idle.stop();
    let silent = Running::with_config(slow.clone());
    let _client = silent.connect();
    silent.stop();
    let stalled = Running::with_config(slow.clone());
    let client = stalled.client();
    client.send(&raw(9, 32, 0, &[0; 3]));
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(stalled.stop().clients, 1);
    // A client that sends requests and never reads the replies.
    let deaf = Running::with_config(slow);
    let client = deaf.client();
    client.stream.set_nonblocking(true).unwrap();
    let ask = message(
        1,
        Command::RegionRead,
        0,
        access(0, 0, BAR0_SIZE as u32).as_bytes(),
    );
    for _ in 0..500 {
        if (&client.stream).write_all(&ask).is_err() {
            break;
        }
    }
    std::thread::sleep(Duration::from_millis(100));
    deaf.stop();
}

#[test]
fn a_client_that_never_stops_talking_can_be_stopped() {
    let server = Running::start();
    let client = server.client();
    let stream = client.stream.try_clone().unwrap();
    let talk = std::thread::spawn(move || {
        let write = [access(0, 0, 1).as_bytes(), &[1]].concat();
        let posted = message(1, Command::RegionWrite, Header::NO_REPLY, &write).repeat(64);
        while (&stream).write_all(&posted).is_ok() {}
    });
    std::thread::sleep(Duration::from_millis(50));
    server.stop();
    drop(client);
    talk.join().unwrap();
}

#[test]
fn a_silent_client_does_not_keep_others_out() {
    let server = Running::start();
    let mut silent = server.connect();
    assert!(server.client().is_served());
    assert!(silent.is_closed());
}

#[test]
fn a_version_comes_first_and_once() {
    let server = Running::start();
    let hello = |major: u16| [major.as_bytes(), &HELLO[2..]].concat();
    for (first, errno) in [
        (
            message(1, Command::DeviceGetInfo, 0, &[0; 16]),
            Errno::INVAL,
        ),
        (
            message(1, Command::Version, 0, &hello(1)),
            Errno::PROTONOSUPPORT,
        ),
        (message(1, Command::Version, 0, &[0; 3]), Errno::INVAL),
        (
            message(1, Command::Version, 0, b"\0\0\x01\0{\"capabilities\":"),
            Errno::INVAL,
        ),
        (
            message(1, Command::Version, 0, b"\0\0\x01\0{\"capabilities\":7}\0"),
            Errno::INVAL,
        ),
        (message(1, Command::Version, 0, &[b'['; 8000]), Errno::INVAL),
        (raw(77, 16, 0, &[]), Errno::NOTSUP),
    ] {
        let mut client = server.connect();
        client.send(&first);
        assert_eq!(client.reply(), Err(errno));
        assert!(client.is_closed());
    }
    let mut client = server.client();
    assert_eq!(client.request(Command::Version, HELLO), Err(Errno::INVAL));
    assert!(client.is_served());
    drop(client);
    assert_eq!(server.stop().clients, 1);
}

#[test]
fn newer_minor_versions_are_talked_down() {
    let server = Running::start();
    for (theirs, agreed) in [(0, 0), (1, 1), (9, 1)] {
        let mut client = server.connect();
        let reply = client
            .request(Command::Version, &[0, 0, theirs, 0])
            .unwrap();
        assert_eq!(
            read::<wire::Version>(&reply),
            wire::Version {
                major: 0,
                minor: agreed
            }
        );
        assert_eq!(reply[4..], *b"{\"capabilities\":{}}\0");
    }
}

#[test]
fn what_is_not_supported_is_read_and_refused() {
    let server = Running::start();
    let mut client = server.client();
    let fd = eventfd();
    for command in (0..40).filter(|n| ![1, 2, 3, 4, 5, 7, 8, 9, 10, 13, 15].contains(n)) {
        let payload = vec![0xff; 9000];
        client.send_with_fds(&raw(command, 16 + 9000, 0, &payload), &[fd.as_fd()]);
        assert_eq!(client.reply(), Err(Errno::NOTSUP), "command {command}");
    }
    assert!(client.is_served());
    assert_eq!(server.stats.fds_closed(), 29);
    assert_eq!(server.stats.refused(Reason::Unsupported), 29);
}

#[test]
fn replies_are_ignored_and_other_types_refused() {
    let server = Running::start();
    let mut client = server.client();
    client.send(&raw(9, 32, Header::TYPE_REPLY, access(0, 0, 4).as_bytes()));
    assert!(client.is_served());
    assert_eq!(server.stats.stray_replies(), 1);
    client.send(&raw(9, 32, 2, access(0, 0, 4).as_bytes()));
    assert_eq!(client.reply(), Err(Errno::INVAL));
    assert!(client.is_served());
}

#[test]
fn no_reply_means_none_even_for_errors() {
    let server = Running::start();
    let mut client = server.client();
    for region in [0, 99, BROKEN] {
        let bytes = access(region, 0, 4);
        client.send(&raw(9, 32, Header::NO_REPLY, bytes.as_bytes()));
    }
    client.send(&raw(50, 20, Header::NO_REPLY, &[0; 4]));
    assert!(
        client.is_served(),
        "the first reply answers the first message that wants one"
    );
    assert_eq!(server.stats.refused(Reason::Device), 1);
}
