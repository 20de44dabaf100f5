// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sessions of helpers: any payloads of both sides.

use super::successor::successor;
use super::{nat, tracker, Octets, MAX_PACKETS};
use crate::checksum;
use crate::packet::tcp::flag::{ACK, SYN};
use crate::packet::Headers;
use crate::testing::{Flow, V4, V6};
use crate::{Commit, CtState, Cursor, Family, Helper, Input, Protocol, Time, Tracker};

/// Set in the first byte of an input: the connection is translated.
const TRANSLATED: u8 = 0x80;
/// Set in the first byte: the connection is of IPv6.
const V6_FLOW: u8 = 0x40;
/// Set in the first byte: the connection is one of TCP, if the helper is one for other protocols as
/// well.
const STREAM: u8 = 0x20;
/// Set in the first byte: beside the tracker is one that another takes the place of after each packet.
const REPLACED: u8 = 0x10;
/// Set in the first byte of a payload: the server sends it.
const FROM_SERVER: u8 = 1;

/// Runs a session of a helper: the first byte selects translation, family, protocol and successors; the
/// others are payloads with their sides and lengths.
pub fn fuzz_helper(helper: Helper, input: &[u8]) {
    let mut octets = Octets(input);
    let Some(choice) = octets.next() else {
        return;
    };
    let is_v4 = choice & V6_FLOW == 0;
    let mut flow = if is_v4 { V4 } else { V6 };
    // Those that the messages of SIP name.
    (flow.src_port, flow.dst_port) = (5060, 5060);
    let nat = (choice & TRANSLATED != 0).then(|| nat(is_v4));
    let commit = Commit {
        helper: Some(helper),
        nat,
        ..Commit::default()
    };
    let tracker = tracker();
    let now = Time::from_secs(1);
    let mut session = Session {
        tracker: &tracker,
        replaced: (choice & REPLACED != 0).then(self::tracker),
        commit,
        flow,
        seqs: [100, 900],
        now,
    };
    let applies_to = |protocol| helper.applies_to(protocol, Family::of(flow.src));
    let is_tcp = applies_to(Protocol::TCP) && (choice & STREAM != 0 || !applies_to(Protocol::UDP));
    if is_tcp {
        session.segment(0, SYN, b"");
        session.segment(1, SYN | ACK, b"");
        session.segment(0, ACK, b"");
    }
    for _ in 0..MAX_PACKETS {
        let (Some(side), Some(text)) = (octets.next(), octets.long_text()) else {
            break;
        };
        let side = usize::from(side & FROM_SERVER);
        if is_tcp {
            session.segment(side, ACK, text);
        } else {
            session.datagram(side, text);
        }
    }
    let (expected, _) = tracker.expectations(0, 1000, now);
    for one in expected {
        assert_eq!(one.helper, Some(helper));
        assert!(one.deadline > now);
    }
    while let (deleted, Some(_)) = tracker.flush(Cursor::default(), now) {
        assert!(deleted <= 256);
    }
    assert_eq!(tracker.expectation_count(), 0);
}

/// A connection of two sides.
struct Session<'a> {
    tracker: &'a Tracker,
    replaced: Option<Tracker>,
    commit: Commit,
    flow: Flow,
    seqs: [u32; 2],
    now: Time,
}

impl Session<'_> {
    /// The flow of a side's packets: the answers go to the translated source.
    fn flow(&self, side: usize) -> Flow {
        if side == 0 {
            return self.flow;
        }
        let mut flow = self.flow.reverse();
        if let Some((address, _)) = self.commit.nat.and_then(|nat| nat.source?.addresses()) {
            flow.dst = address;
        }
        flow
    }

    fn segment(&mut self, side: usize, flags: u8, text: &[u8]) {
        let packet = self
            .flow(side)
            .tcp(flags, self.seqs[side], self.seqs[1 - side], text);
        let control = u32::from(flags & SYN != 0);
        self.seqs[side] = self.seqs[side].wrapping_add(text.len() as u32 + control);
        self.pass(&packet);
    }

    fn datagram(&mut self, side: usize, text: &[u8]) {
        let packet = self.flow(side).udp(text);
        self.pass(&packet);
    }

    fn pass(&mut self, packet: &[u8]) {
        let result = self.pass_through(self.tracker, packet);
        if let Some(replaced) = &self.replaced {
            // Ports that are chosen at random differ, so nothing that follows from them is compared.
            assert_eq!(self.pass_through(replaced, packet), result);
            self.replaced = Some(successor(replaced, self.now));
        }
    }

    /// Passes a packet; returns its state, and the number of the connections and expectations then.
    fn pass_through(&self, tracker: &Tracker, packet: &[u8]) -> (CtState, usize, usize) {
        let input = Input::new(packet);
        let mut tracked = tracker.track(&input, self.now);
        let _ = tracker.commit(&mut tracked, &input, &self.commit, self.now);
        let mut buffer = packet.to_vec();
        if tracker.translate(&tracked, &mut buffer) != crate::Translation::Drop {
            assert_valid(&buffer);
        }
        (tracked.state(), tracker.len(), tracker.expectation_count())
    }
}

/// Checks a packet that a helper may have written: its lengths and checksums.
fn assert_valid(packet: &[u8]) {
    let headers = match Headers::parse(packet) {
        Ok(headers) => headers,
        Err(error) => panic!("packet after translation: {error}"),
    };
    assert_eq!(headers.end, packet.len());
    let message = headers.message(packet);
    let addresses = headers.addresses(packet);
    assert!(checksum::is_valid(
        headers.family,
        addresses,
        headers.protocol,
        message
    ));
}

/// Payloads, and the sides that send them.
type Texts = Vec<(u8, Vec<u8>)>;

/// The inputs with which [`fuzz_helper`] starts: announcements, translated and not.
pub fn helper_corpus(helper: Helper) -> Vec<Vec<u8>> {
    let texts: Texts = match helper {
        Helper::Ftp => lines(&[
            (1, b"220 hello\r\n"),
            (0, b"USER me\r\n"),
            (0, b"PORT 10,0,0,1,4,1\r\n"),
            (1, b"227 Passive (10,0,0,2,4,1).\r\n"),
            (1, b"229 Extended (|||1025|)\r\n"),
        ]),
        Helper::Tftp => lines(&[(0, b"\0\x01file\0octet\0")]),
        Helper::Irc => lines(&[(
            0,
            b"PRIVMSG you :\x01DCC SEND file 167772161 1025 9\x01\r\n",
        )]),
        Helper::Sip => lines(&[
            (
                0,
                b"REGISTER sip:10.0.0.2 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;rport\r\n\
                From: <sip:a@10.0.0.1>\r\nTo: <sip:a@10.0.0.1>\r\nCSeq: 1 REGISTER\r\n\
                Contact: <sip:a@10.0.0.1:5060>;expires=60, <sip:b@10.0.0.1>\r\n\
                Content-Length: 0\r\n\r\n",
            ),
            (
                1,
                b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;received=10.0.0.1;rport=5060\r\n\
                CSeq: 1 REGISTER\r\nContact: <sip:a@10.0.0.1:5060>;expires=60\r\n\
                Content-Length: 0\r\n\r\n",
            ),
            (
                0,
                b"INVITE sip:b@10.0.0.2 SIP/2.0\r\nv: SIP/2.0/TCP 10.0.0.1:5060;maddr=10.0.0.1\r\n\
                CSeq: 2 INVITE\r\nm: <sip:a@10.0.0.1:5060>\r\nl: 121\r\n\r\n\
                v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n\
                m=audio 4000 RTP/AVP 0\r\nm=video 4002 x\r\nc=IN IP4 10.0.0.1\r\n",
            ),
            (0, b"BYE sip:b@10.0.0.2 SIP/2.0\r\nCSeq: 3 BYE\r\n\r\n"),
        ]),
        Helper::Pptp => crate::helper::pptp_session(),
        Helper::Ras | Helper::Q931 | Helper::H245 => h323(helper),
    };
    [0, TRANSLATED, STREAM, STREAM | TRANSLATED]
        .into_iter()
        .flat_map(|choice| [choice, choice | REPLACED])
        .map(|choice| {
            let mut input = vec![choice];
            for (side, text) in &texts {
                input.push(*side);
                input.extend((text.len() as u16).to_be_bytes());
                input.extend(text);
            }
            input
        })
        .collect()
}

fn lines(lines: &[(u8, &[u8])]) -> Texts {
    let lines = lines.iter().map(|(side, text)| (*side, text.to_vec()));
    lines.collect()
}

/// Messages of a helper of H.323 between the ends of [`V4`], and from its server to another host.
fn h323(helper: Helper) -> Texts {
    use crate::helper::h323_writer as write;
    let at = |flow: Flow, port| std::net::SocketAddr::new(flow.src, port);
    let (client, server) = (at(V4, 5060), at(V4.reverse(), 5060));
    let (calls, media, control) = (at(V4, 1720), at(V4, 5000), at(V4, 5001));
    let channels = [
        write::open_channel(Some(media), control),
        write::open_channel(None, at(V4.reverse(), 6001)),
        write::acknowledge(media, control),
        write::other_request(),
    ];
    let parties = write::Parties {
        h245: Some(at(V4, 3000)),
        called: Some(server),
        calling: Some(client),
    };
    let fast = [write::fast_channel(Some(media), control)];
    match helper {
        Helper::Ras => vec![
            (0, write::gatekeeper_request(client)),
            (1, write::gatekeeper_confirm(at(V4.reverse(), 1719))),
            (0, write::register(&[calls], &[client], Some(60))),
            (1, write::registered(&[calls], Some(90))),
            (0, write::admit(Some(calls), Some(calls))),
            (1, write::admitted(at(V4.reverse(), 1720))),
            (1, write::located(at(V4.reverse(), 1720), server)),
            (0, write::status(client, &[calls])),
            (0, write::unregister(&[calls])),
        ],
        Helper::Q931 => vec![
            (0, write::setup(parties, &fast, &channels[..1])),
            (1, write::connect(at(V4.reverse(), 3001))),
            (1, write::facility(Some(at(V4, 1730)), None)),
            (0, write::facility(None, Some(at(V4, 3002)))),
        ],
        _ => channels.iter().map(|one| (0, write::tpkt(one))).collect(),
    }
}
