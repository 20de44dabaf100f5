// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Messages on streams: arbitration, packets, notifications.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use adit_p4runtime::proto::v1::{
    self, entity::Entity as E, stream_error::Details, stream_message_request::Update as Said,
    stream_message_response::Update as Heard, update::Type,
};
use tonic::Code;

use crate::common::{claim, frame, insert, nic, update, Peer};

const ALREADY_EXISTS: i32 = Code::AlreadyExists as i32;
const NOT_FOUND: i32 = Code::NotFound as i32;

#[test]
fn a_backup_takes_over_when_the_primary_goes() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 5);
    let mut backup = Peer::connect(&nic);
    backup.open().expect("a stream");
    backup.say(claim("", Some(4)));
    assert_eq!(backup.arbitrated(), (ALREADY_EXISTS, Some(5)));
    backup.election = 4;
    let entry = nic.station(1, "drop", &[]);
    let error = backup.write(vec![insert(entry.clone())]).unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);
    let why = "election_id 4 is below 5, the highest that role \"\" has seen";
    assert_eq!(error.message(), why);
    primary.write(vec![insert(entry.clone())]).expect("it may");
    // Any client may read.
    assert_eq!(backup.entries().len(), 1);
    drop(primary);
    // The id of the previous primary, since there is none now.
    assert_eq!(backup.arbitrated(), (NOT_FOUND, Some(5)));
    assert!(backup.write(vec![]).is_err());
    backup.say(claim("", Some(6)));
    backup.election = 6;
    assert_eq!(backup.arbitrated(), (0, Some(6)));
    let gone = update(Type::Delete, E::TableEntry(entry));
    backup.write(vec![gone]).expect("it is the primary");
}

#[test]
fn a_higher_id_takes_the_place_and_an_id_is_one_clients() {
    let nic = nic();
    let mut first = Peer::primary(&nic, "", 1);
    let mut second = Peer::primary(&nic, "", 2);
    assert_eq!(first.arbitrated(), (ALREADY_EXISTS, Some(2)));
    assert!(first.write(vec![]).is_err());
    second.write(vec![]).expect("it may");
    // If the primary steps back, there is none.
    second.say(claim("", Some(1)));
    let error = second.heard().unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().contains("Election id 1 already used"));
    assert_eq!(first.arbitrated(), (NOT_FOUND, Some(2)));
}

#[test]
fn each_role_has_its_primary() {
    let nic = nic();
    let mut a = Peer::primary(&nic, "a", 7);
    let mut b = Peer::primary(&nic, "b", 7);
    a.write(vec![insert(nic.station(1, "drop", &[]))])
        .expect("it may");
    b.write(vec![insert(nic.station(2, "drop", &[]))])
        .expect("it may");
    a.role = "b".to_owned();
    a.election = 6;
    let error = a.write(vec![]).unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);
    a.say(claim("b", Some(9)));
    let error = a.heard().unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(error.message().contains("has role \"a\""), "{error}");
    b.write(vec![]).expect("nothing has changed for it");
}

fn packet_out(nic: &crate::common::Nic, port: &[u8]) -> v1::PacketOut {
    let mut headers = nic.info.controller_packet_metadata.iter();
    let header = headers.find(|h| h.preamble.as_ref().is_some_and(|p| p.name == "packet_out"));
    let fields = &header.expect("a header").metadata;
    let values = [port, &[0]];
    v1::PacketOut {
        payload: frame(1, 2),
        metadata: fields
            .iter()
            .zip(values)
            .map(|(field, value)| v1::PacketMetadata {
                metadata_id: field.id,
                value: value.to_vec(),
            })
            .collect(),
    }
}

#[test]
fn packets_go_out_and_come_in() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let out = packet_out(&nic, &[1, 0x23]);
    primary.say(Said::Packet(out.clone()));
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let packet = loop {
        if let Some(packet) = nic.engine().packets_out().take() {
            break packet;
        }
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(nic.process(510, &packet.data), [(0x123, frame(1, 2))]);

    let punted = nic.station(9, "punt", &[&[0x55]]);
    primary.write(vec![insert(punted)]).expect("an entry");
    assert_eq!(nic.process(0x101, &frame(9, 2)), []);
    match primary.hear() {
        Heard::Packet(packet) => {
            assert_eq!(packet.payload, frame(9, 2));
            let values: Vec<_> = packet.metadata.iter().map(|m| &m.value[..]).collect();
            assert_eq!(values, [&[1, 1][..], &[0x55]]);
        }
        other => panic!("{other:?}"),
    }

    // An error in a packet is reported on the stream, which stays open.
    for (bad, code, why) in [
        (
            packet_out(&nic, &[2, 0]),
            Code::OutOfRange,
            "`port`: the value 0x0200 does not fit into 9 bits",
        ),
        (
            v1::PacketOut {
                metadata: vec![],
                ..out.clone()
            },
            Code::InvalidArgument,
            "metadata `port` (1) of packet_out is missing",
        ),
        (
            v1::PacketOut {
                payload: vec![0; 70_000],
                ..out.clone()
            },
            Code::InvalidArgument,
            "65536 are the most",
        ),
    ] {
        primary.say(Said::Packet(bad.clone()));
        match primary.hear() {
            Heard::Error(error) => {
                assert!(error.message.contains(why), "{}", error.message);
                assert_eq!(error.canonical_code, code as i32);
                let with = v1::PacketOutError {
                    packet_out: Some(bad),
                };
                assert_eq!(error.details, Some(Details::PacketOut(with)));
            }
            other => panic!("{other:?}"),
        }
    }
    let mut backup = Peer::connect(&nic);
    backup.open().expect("a stream");
    backup.say(Said::Packet(out));
    match backup.hear() {
        Heard::Error(error) => {
            assert_eq!(error.canonical_code, Code::PermissionDenied as i32);
            // The packet is not sent back: any client may send any number of them.
            let without = v1::PacketOutError { packet_out: None };
            assert_eq!(error.details, Some(Details::PacketOut(without)));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(nic.engine().packets_out().waiting(), 0);
}

#[test]
fn entries_that_become_idle_are_told() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let entry = v1::TableEntry {
        idle_timeout_ns: 1_000_000_000,
        ..nic.station(7, "drop", &[])
    };
    primary.write(vec![insert(entry.clone())]).expect("it may");
    nic.engine().expire(500_000_000);
    nic.path.clock.store(3_000_000_000, Relaxed);
    nic.engine().expire(3_000_000_000);
    match primary.hear() {
        Heard::IdleTimeoutNotification(told) => {
            let [idle] = &told.table_entry[..] else {
                panic!("{told:?}");
            };
            assert_eq!(idle.r#match, entry.r#match);
            assert_eq!(idle.idle_timeout_ns, 1_000_000_000);
        }
        other => panic!("{other:?}"),
    }
    let wanted = v1::TableEntry {
        table_id: entry.table_id,
        time_since_last_hit: Some(v1::table_entry::IdleTimeout::default()),
        ..Default::default()
    };
    match &primary.read(E::TableEntry(wanted))[..] {
        [E::TableEntry(entry)] => {
            let since = entry.time_since_last_hit.expect("a time");
            assert_eq!(since.elapsed_ns, 3_000_000_000);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn entries_that_become_idle_wait_for_a_client() {
    let nic = nic();
    let mut first = Peer::primary(&nic, "", 1);
    let entry = v1::TableEntry {
        idle_timeout_ns: 1_000_000_000,
        ..nic.station(7, "drop", &[])
    };
    first.write(vec![insert(entry.clone())]).expect("it may");
    drop(first);
    nic.path.clock.store(3_000_000_000, Relaxed);
    nic.engine().expire(3_000_000_000);
    // The server takes turns without a client.
    std::thread::sleep(Duration::from_millis(100));
    let mut second = Peer::primary(&nic, "", 2);
    match second.hear() {
        Heard::IdleTimeoutNotification(idle) => {
            assert_eq!(idle.table_entry[0].r#match, entry.r#match);
        }
        other => panic!("{other:?}"),
    }
    let counts = nic.listening.counters().counts().undelivered;
    assert!(counts.iter().all(|(_, n)| *n == 0), "{counts:?}");
}

#[test]
fn packets_in_without_a_client_are_counted() {
    let nic = nic();
    let mut first = Peer::primary(&nic, "", 1);
    let punted = nic.station(9, "punt", &[&[0x55]]);
    first.write(vec![insert(punted)]).expect("an entry");
    drop(first);
    let undelivered = || {
        let counts = nic.listening.counters().counts().undelivered;
        let packets = counts.iter().find(|(kind, _)| *kind == "packet_in");
        packets.expect("a count of packets").1
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let wait = || {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    };
    // Until the server has noticed that the client has left.
    while undelivered() == 0 {
        nic.process(0x101, &frame(9, 2));
        wait();
    }
    let before = undelivered();
    for _ in 0..10 {
        nic.process(0x101, &frame(9, 2));
    }
    while undelivered() < before + 10 {
        wait();
    }
}
