// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Digests, and clients that do or do not take them.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use adit_p4runtime::proto::v1::{
    self, entity::Entity as E, p4_data::Data, stream_error::Details,
    stream_message_request::Update as Said, stream_message_response::Update as Heard, update::Type,
};
use tonic::Code;

use crate::common::{claim, frame, insert, nic, update, Nic, Peer};

const MINUTES: i64 = 600_000_000_000;

/// Enables the digest of each new station, one per list.
fn learn(nic: &Nic, primary: &mut Peer, ack_timeout_ns: i64) {
    let preamble = nic.info.digests[0].preamble.as_ref().expect("an id");
    let config = v1::digest_entry::Config {
        max_timeout_ns: 0,
        max_list_size: 1,
        ack_timeout_ns,
    };
    let entry = v1::DigestEntry {
        digest_id: preamble.id,
        config: Some(config),
    };
    let learn = v1::TableEntry {
        table_id: nic.table("rules"),
        action: Some(crate::common::direct(nic.action("learn", &[]))),
        priority: 1,
        ..Default::default()
    };
    primary
        .write(vec![
            update(Type::Insert, E::DigestEntry(entry)),
            insert(learn),
        ])
        .expect("a digest and who makes it");
}

/// Returns the station of the next digest.
fn station(client: &mut Peer) -> Vec<u8> {
    let Heard::Digest(list) = client.hear() else {
        panic!("no digest");
    };
    match &list.data[..] {
        [v1::P4Data {
            data: Some(Data::Struct(data)),
        }] => match &data.members[0].data {
            Some(Data::Bitstring(address)) => address.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn digests_are_sent_until_they_are_acknowledged() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let preamble = nic.info.digests[0].preamble.as_ref().expect("an id");
    learn(&nic, &mut primary, 1_000_000_000);
    let mut learnt = |src: u64| {
        nic.process(0x1F0, &frame(1, src));
        match primary.hear() {
            Heard::Digest(list) => {
                assert_eq!(list.digest_id, preamble.id);
                let [v1::P4Data {
                    data: Some(Data::Struct(data)),
                }] = &list.data[..]
                else {
                    panic!("{list:?}");
                };
                let members = data.members.iter().map(|m| m.data.clone());
                let expected = [vec![src as u8], vec![1, 0xF0]].map(Data::Bitstring);
                assert_eq!(members.collect::<Vec<_>>(), expected.map(Some));
                list.list_id
            }
            other => panic!("{other:?}"),
        }
    };
    let first = learnt(1);
    // The same data is not sent again, other data is.
    nic.process(0x1F0, &frame(1, 1));
    let second = learnt(2);
    assert!(second > first);
    let ack = v1::DigestListAck {
        digest_id: preamble.id,
        list_id: second,
    };
    primary.say(Said::DigestAck(ack));
    // The answer to what is said next shows that it was heard.
    primary.say(claim("", Some(1)));
    assert_eq!(primary.arbitrated(), (0, Some(1)));
    let mut learnt = |src: u64| {
        nic.process(0x1F0, &frame(1, src));
        match primary.hear() {
            Heard::Digest(list) => list.list_id,
            other => panic!("{other:?}"),
        }
    };
    assert!(learnt(2) > second, "it was acknowledged");
    // The first one was not acknowledged: it is reported again after the timeout.
    nic.path.clock.store(2_000_000_000, Relaxed);
    std::thread::scope(|scope| {
        let heard = scope.spawn(|| station(&mut primary));
        // The server looks at the clock now and then.
        while !heard.is_finished() {
            nic.process(0x1F0, &frame(1, 1));
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(heard.join().expect("a digest"), [1]);
    });
}

#[test]
fn a_digest_that_no_client_was_there_for_waits_for_the_next() {
    let nic = nic();
    let mut first = Peer::primary(&nic, "", 1);
    learn(&nic, &mut first, MINUTES);
    drop(first);
    std::thread::sleep(Duration::from_millis(50));
    nic.process(0x1F0, &frame(1, 7));
    std::thread::sleep(Duration::from_millis(50));
    let mut second = Peer::primary(&nic, "", 2);
    nic.process(0x1F0, &frame(1, 7));
    assert_eq!(station(&mut second), [7]);
    // Only once: the next one is of another station.
    nic.process(0x1F0, &frame(1, 8));
    assert_eq!(station(&mut second), [8]);
}

#[test]
fn a_digest_whose_client_left_without_an_ack_is_sent_to_the_next() {
    let nic = nic();
    let mut first = Peer::primary(&nic, "", 1);
    learn(&nic, &mut first, MINUTES);
    nic.process(0x1F0, &frame(1, 7));
    assert_eq!(station(&mut first), [7]);
    drop(first);
    let mut second = Peer::primary(&nic, "", 2);
    assert_eq!(station(&mut second), [7]);
}

/// Fills a client's stream with digests that it does not read; returns their number.
fn fill(nic: &Nic) -> u64 {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut src = 1000;
    // The stream takes some, the connection more; the queue is bounded.
    loop {
        for _ in 0..1000 {
            src += 1;
            nic.process(0x1F0, &frame(1, src));
        }
        std::thread::sleep(Duration::from_millis(15));
        let counts = nic.listening.counters().counts().undelivered;
        if counts.iter().any(|(kind, n)| *kind == "digest" && *n > 0) {
            return src - 1000;
        }
        assert!(Instant::now() < deadline, "{counts:?}");
    }
}

#[test]
fn digests_for_a_client_that_does_not_read_wait_and_what_is_lost_is_counted() {
    let nic = nic();
    let mut deaf = Peer::primary(&nic, "", 1);
    learn(&nic, &mut deaf, MINUTES);
    let sent = fill(&nic);
    assert!(sent > 4096);
    // Data for which there was no space is reported again by the next packet, to the current
    // primaries.
    let mut second = Peer::primary(&nic, "", 2);
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut last = Vec::new();
    let wanted = (1000 + sent).to_be_bytes();
    let wanted = adit_p4runtime::bytes::shortest(&wanted);
    while last != wanted {
        nic.process(0x1F0, &frame(1, 1000 + sent));
        last = station(&mut second);
        assert!(Instant::now() < deadline);
    }
}

#[test]
fn acks_of_what_was_never_sent_are_answered() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    learn(&nic, &mut primary, MINUTES);
    nic.process(0x1F0, &frame(1, 7));
    let Heard::Digest(list) = primary.hear() else {
        panic!("no digest");
    };
    let ack = |digest_id, list_id| v1::DigestListAck { digest_id, list_id };
    for (ack, why) in [
        (ack(99, list.list_id), "digest 99 does not exist; digests: "),
        (ack(list.digest_id, 77), "list_id 77 of digest `"),
    ] {
        primary.say(Said::DigestAck(ack));
        match primary.hear() {
            Heard::Error(error) => {
                assert_eq!(error.canonical_code, Code::InvalidArgument as i32);
                assert!(error.message.starts_with(why), "{}", error.message);
                let with = v1::DigestListAckError {
                    digest_list_ack: Some(ack),
                };
                assert_eq!(error.details, Some(Details::DigestListAck(with)));
            }
            other => panic!("{other:?}"),
        }
    }
    // A repeated acknowledgement, as after a timeout, is not an error.
    for _ in 0..2 {
        primary.say(Said::DigestAck(ack(list.digest_id, list.list_id)));
    }
    nic.process(0x1F0, &frame(1, 8));
    assert_eq!(station(&mut primary), [8]);
}
