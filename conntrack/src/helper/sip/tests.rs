// SPDX-License-Identifier: Apache-2.0 OR MIT
use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::header::{
    address_parameter, number_parameter, request_uri, uri_of, Cursor, Header, NumberParameter,
    TooManyValues,
};
use super::sdp::{connection, find, medium, Line, Medium};
use crate::bits::{CtState, ExpectFlags, Status};
use crate::expect::Expectation;
use crate::helper::Helper;
use crate::nat::{Nat, NatRange, Translation};
use crate::packet::tcp::flag::{ACK, SYN};
use crate::testing::{Flow, V4};
use crate::tracker::{Commit, Input, Tracker};
use crate::tuple::Family;
use crate::{Seed, Settings, Time};

const NOW: Time = Time::from_secs(1000);
const CLIENT: &str = "10.0.0.1";
/// The address to which the client's is translated.
const OUTSIDE: [u8; 4] = [192, 0, 2, 9];
/// A signalling connection: both ends use the default port.
const SIGNALLING: Flow = Flow {
    src_port: 5060,
    dst_port: 5060,
    ..V4
};

fn description(address: &str, port: u16) -> String {
    format!(
        "v=0\r\no=me 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0\r\n"
    )
}

fn message(start: &str, cseq: &str, contact: &str, body: &str) -> Vec<u8> {
    format!(
        "{start}\r\nVia: SIP/2.0/UDP {contact}:5060;branch=z\r\nFrom: <sip:me@{contact}>\r\n\
         To: <sip:you@10.0.0.2>\r\nCall-ID: 1\r\nCSeq: {cseq}\r\n\
         Contact: <sip:me@{contact}:5060>;expires=600\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn invite(body: &str) -> Vec<u8> {
    message("INVITE sip:you@10.0.0.2 SIP/2.0", "1 INVITE", CLIENT, body)
}

fn register() -> Vec<u8> {
    message("REGISTER sip:10.0.0.2 SIP/2.0", "7 REGISTER", CLIENT, "")
}

struct Bench {
    tracker: Tracker,
    commit: Commit,
}

impl Bench {
    fn new(is_translated: bool) -> Self {
        let nat = Nat {
            source: Some(NatRange::to_address(OUTSIDE.into())),
            destination: None,
        };
        Bench {
            tracker: Tracker::new(64, Seed::new([6; 16]), Settings::default()),
            commit: Commit {
                helper: Some(Helper::Sip),
                nat: is_translated.then_some(nat),
                ..Commit::default()
            },
        }
    }

    /// Passes a packet. Returns its state and what leaves; nothing if it is dropped.
    fn pass(&self, packet: &[u8], commit: &Commit) -> Option<(CtState, Vec<u8>)> {
        let input = Input::new(packet);
        let mut tracked = self.tracker.track(&input, NOW);
        self.tracker
            .commit(&mut tracked, &input, commit, NOW)
            .unwrap();
        let mut octets = packet.to_vec();
        let translation = self.tracker.translate(&tracked, &mut octets);
        let passes = !tracked.must_drop() && translation != Translation::Drop;
        passes.then(|| (tracked.state(), octets))
    }

    /// Sends a message, and returns the text that leaves.
    fn send(&self, flow: Flow, message: &[u8]) -> Option<String> {
        let (_, packet) = self.pass(&flow.udp(message), &self.commit)?;
        Some(String::from_utf8(packet[28..].to_vec()).unwrap())
    }

    fn expected(&self) -> Vec<Expectation> {
        self.tracker.expectations(0, 100, NOW).0
    }

    fn ports(&self) -> Vec<u16> {
        let all = self.expected();
        all.iter().map(|one| one.tuple.dst().part).collect()
    }
}

#[test]
fn streams_of_a_call_are_expected_until_it_ends() {
    let bench = Bench::new(false);
    let request = invite(&description(CLIENT, 4001));
    assert!(bench.send(SIGNALLING, &request).is_some());
    // Data at the even port, control at the next one.
    assert_eq!(bench.ports(), [4000, 4001]);
    assert!(bench
        .expected()
        .iter()
        .all(|one| one.class == Medium::Audio as u8));
    let answer = message(
        "SIP/2.0 200 OK",
        "1 INVITE",
        CLIENT,
        &description("10.0.0.2", 5000),
    );
    assert!(bench.send(SIGNALLING.reverse(), &answer).is_some());
    assert_eq!(bench.ports(), [4000, 4001, 5000, 5001]);
    let stream = Flow {
        src_port: 5000,
        dst_port: 4000,
        ..SIGNALLING.reverse()
    };
    let (state, _) = bench
        .pass(&stream.udp(b"data"), &Commit::default())
        .unwrap();
    assert!(state.contains(CtState::NEW | CtState::RELATED));
    assert_eq!(bench.ports(), [4001, 5000, 5001]);
    let end = message("BYE sip:you@10.0.0.2 SIP/2.0", "2 BYE", CLIENT, "");
    assert!(bench.send(SIGNALLING, &end).is_some());
    assert!(bench.expected().is_empty());
}

#[test]
fn streams_of_others_are_not_expected() {
    let bench = Bench::new(false);
    assert!(bench
        .send(SIGNALLING, &invite(&description("10.0.0.7", 4000)))
        .is_some());
    assert!(bench.expected().is_empty());
    // A port below 1024 is no stream's.
    assert!(bench
        .send(SIGNALLING, &invite(&description(CLIENT, 80)))
        .is_none());
    let statistics = bench.tracker.statistics();
    assert_eq!(statistics.drop_by_reason.values().sum::<u64>(), 1);
}

#[test]
fn a_registered_client_is_called() {
    let bench = Bench::new(false);
    bench.send(SIGNALLING, &register());
    let [one] = &bench.expected()[..] else {
        panic!("{:?}", bench.expected())
    };
    assert_eq!(one.flags, ExpectFlags::PERMANENT | ExpectFlags::INACTIVE);
    assert_eq!(one.assigned, Some(Helper::Sip));
    let accepted = message("SIP/2.0 200 OK", "7 REGISTER", CLIENT, "");
    bench.send(SIGNALLING.reverse(), &accepted);
    let one = &bench.expected()[0];
    assert_eq!(one.flags, ExpectFlags::PERMANENT);
    assert_eq!(one.timeout(NOW), Duration::from_secs(600));
    let call = Flow {
        src_port: 7000,
        ..SIGNALLING.reverse()
    };
    let (state, _) = bench.pass(&call.udp(b"hello"), &Commit::default()).unwrap();
    assert!(state.contains(CtState::NEW | CtState::RELATED));
    assert_eq!(bench.expected().len(), 1);
    // A registration that is refused ends it.
    bench.send(SIGNALLING, &register());
    let refused = message("SIP/2.0 403 Forbidden", "7 REGISTER", CLIENT, "");
    bench.send(SIGNALLING.reverse(), &refused);
    assert!(bench.expected().is_empty());
}

#[test]
fn messages_are_translated() {
    let bench = Bench::new(true);
    let text = bench
        .send(SIGNALLING, &invite(&description(CLIENT, 4000)))
        .unwrap();
    assert!(!text.contains(CLIENT), "{text}");
    let outside = IpAddr::from(OUTSIDE).to_string();
    assert!(text.contains(&format!("Contact: <sip:me@{outside}:5060>")));
    assert!(text.contains(&format!("c=IN IP4 {outside}\r\n")));
    let (headers, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(headers.ends_with(&format!("Content-Length: {}", body.len())));
    // The stream to the translated address gets to the client.
    let stream = Flow {
        src: V4.dst,
        src_port: 5000,
        dst: OUTSIDE.into(),
        dst_port: 4000,
    };
    let (state, packet) = bench
        .pass(&stream.udp(b"data"), &Commit::default())
        .unwrap();
    assert!(state.contains(CtState::RELATED | CtState::DST_NAT));
    let inside = Flow {
        dst: V4.src,
        ..stream
    };
    assert_eq!(packet, inside.udp(b"data"));
}

#[test]
fn messages_of_a_segment_are_translated() {
    let bench = Bench::new(true);
    let commit = &bench.commit;
    let mut server = SIGNALLING.reverse();
    server.dst = OUTSIDE.into();
    bench
        .pass(&SIGNALLING.tcp(SYN, 99, 0, &[]), commit)
        .unwrap();
    bench
        .pass(&server.tcp(SYN | ACK, 499, 100, &[]), commit)
        .unwrap();
    bench
        .pass(&SIGNALLING.tcp(ACK, 100, 500, &[]), commit)
        .unwrap();
    let two = [register(), invite(&description(CLIENT, 4000))].concat();
    let (_, packet) = bench
        .pass(&SIGNALLING.tcp(ACK, 100, 500, &two), commit)
        .unwrap();
    let text = String::from_utf8(packet[40..].to_vec()).unwrap();
    // From and Contact of both.
    assert_eq!(text.matches("sip:me@192.0.2.9:5060").count(), 4);
    let longer = text.len() as i32 - two.len() as i32;
    let connection = bench.tracker.dump(Default::default(), 1, NOW).0.remove(0);
    assert!(connection.status.contains(Status::SEQ_ADJUST));
    assert_eq!(connection.adjustments.unwrap()[0].after, longer);
    assert_eq!(connection.timeout, super::TIMEOUT);
    // A message whose end is missing is not read.
    let part = &two[..two.len() - 1];
    assert_eq!(super::message_length(&part[register().len()..]), None);
}

/// A telephone that sends from one port and receives at another one gets the answer there.
#[test]
fn answers_go_to_the_port_of_via() {
    let bench = Bench::new(true);
    let phone = Flow {
        src_port: 50_000,
        ..SIGNALLING
    };
    assert!(bench.send(phone, &invite("")).is_some());
    let server = Flow {
        dst: OUTSIDE.into(),
        ..phone.reverse()
    };
    let answer = message("SIP/2.0 200 OK", "1 INVITE", "192.0.2.9", "");
    let (_, packet) = bench.pass(&server.udp(&answer), &bench.commit).unwrap();
    assert_eq!(packet[22..24], 5060u16.to_be_bytes());
    let text = packet[28..].to_vec();
    let inside = Flow {
        dst: V4.src,
        dst_port: 5060,
        ..server
    };
    assert_eq!(packet, inside.udp(&text));
}

#[test]
fn values_of_headers() {
    let text =
        b"INVITE sip:a@10.0.0.2:5070;x SIP/2.0\r\nm : <sip:b@10.0.0.3>,\r\n <sip:10.0.0.4:1>\
        , y <sip:c@10.0.0.4:1024>\r\nContact: sip:d@10.0.0.5 \r\nVia: SIP/2.0/UDP 10.0.0.6;\
        maddr=10.0.0.7;rport=9;received=10.0.0.8 \r\n";
    let request = request_uri(text, Family::V4).unwrap();
    assert_eq!(
        (request.endpoint.part, &text[request.range]),
        (5070, &b"10.0.0.2:5070"[..])
    );
    let mut cursor = Cursor::new();
    let mut contacts = Vec::new();
    while let Some(uri) = cursor.next(text, Family::V4, Header::Contact).unwrap() {
        contacts.push((uri.endpoint.address.to_string(), uri.endpoint.part));
    }
    let expected = [("10.0.0.3", 5060), ("10.0.0.4", 1024), ("10.0.0.5", 5060)];
    assert_eq!(
        contacts,
        expected.map(|(host, port)| (host.to_owned(), port))
    );
    let via = uri_of(text, Family::V4, Header::Via(crate::Protocol::UDP)).unwrap();
    assert_eq!(via.endpoint.address, IpAddr::from([10, 0, 0, 6]));
    let end = via.range.end;
    let maddr = address_parameter(text, end, b"maddr=", Family::V4, true).unwrap();
    assert_eq!(&text[maddr.1], b"10.0.0.7");
    let rport = number_parameter(text, end, b"rport=");
    assert!(matches!(rport, NumberParameter::Found(9, _)), "{rport:?}");
    assert_eq!(
        number_parameter(text, end, b"expires="),
        NumberParameter::Absent
    );
    assert_eq!(
        number_parameter(text, end, b"maddr=10.0.0.7;rport"),
        NumberParameter::Invalid
    );
    assert_eq!(request_uri(b"INVITE\r\nsip:a@10.0.0.2;", Family::V4), None);
}

/// A packet in which too much is to be replaced is dropped.
#[test]
fn replacements_are_limited() {
    let bench = Bench::new(true);
    let line = format!("Contact: <sip:me@{CLIENT}:5060>\r\n");
    let text = |count| format!("OPTIONS sip:x SIP/2.0\r\n{}\r\n", line.repeat(count));
    let passed = bench.send(SIGNALLING, text(256).as_bytes()).unwrap();
    assert_eq!(passed.matches("sip:me@192.0.2.9:5060").count(), 256);
    assert_eq!(bench.send(SIGNALLING, text(257).as_bytes()), None);
}

#[test]
fn lists_of_values_are_limited() {
    let mut text = b"REGISTER sip:x SIP/2.0\r\nContact: ".to_vec();
    text.extend(b"<sip:10.0.0.1>, ".repeat(70));
    let mut cursor = Cursor::new();
    let mut next = || cursor.next(&text, Family::V4, Header::Contact);
    let count = std::iter::from_fn(|| next().ok().flatten()).count();
    assert_eq!(count, 65);
    assert_eq!(next(), Err(TooManyValues));
}

#[test]
fn lines_of_descriptions() {
    let text = b"\r\n\r\nv=0\r\no=x 1 1 IN IP4 10.0.0.1\r\nm=data 1\r\nm=image 4000 x\r\nc=IN IP4 10.0.0.2 \r\n";
    let version = find(text, 0, Family::V4, Line::Version, None).unwrap();
    assert_eq!(connection(text, version.start, Family::V4), None);
    let owner = find(
        text,
        version.start,
        Family::V4,
        Line::Owner,
        Some(Line::Media),
    )
    .unwrap();
    assert_eq!(&text[owner], b"10.0.0.1");
    let data = find(text, 0, Family::V4, Line::Media, None).unwrap();
    assert_eq!(medium(text, &data), None);
    let image = find(text, data.end, Family::V4, Line::Media, None).unwrap();
    let (kind, port) = medium(text, &image).unwrap();
    assert_eq!((kind, &text[port.clone()]), (Medium::Image, &b"4000"[..]));
    let address = connection(text, port.start, Family::V4);
    assert_eq!(address, Some(IpAddr::from([10, 0, 0, 2])));
}

proptest! {
    #[test]
    fn no_octets_panic(
        start in "(INVITE|REGISTER|SIP/2.0 200) sip:[a-z@0-9:.]{0,20}\r\n",
        lines in proptest::collection::vec(
            "(Via|v|Contact|m|From|CSeq|Content-Length|Expires|v=0|c=IN IP4|m=audio)[:=]? ?[UDP siptcp:<>@0-9.,;=\r\n]{0,30}\r\n",
            0..12,
        ),
        is_translated in any::<bool>(),
    ) {
        let bench = Bench::new(is_translated);
        let text = [start, lines.concat()].concat();
        bench.send(SIGNALLING, text.as_bytes());
        bench.send(SIGNALLING.reverse(), text.as_bytes());
        prop_assert!(bench.expected().len() <= 11);
    }
}
