// SPDX-License-Identifier: Apache-2.0 OR MIT
//! PPTP (RFC 2637, `nf_conntrack_pptp.c`, `nf_nat_pptp.c`): the control connection of a client (PNS) to
//! a server (PAC) announces the call ids of a tunnel of GRE.

use serde::{Deserialize, Serialize};

use super::{Announced, Session};
use crate::expect::{ExpectFunction, ExpectNat};
use crate::stats::DropReason;
use crate::table::Keys;
use crate::tuple::{Direction, Endpoint, Protocol, Tuple};

/// The packet type of control messages.
const CONTROL: u16 = 1;
const COOKIE: [u8; 4] = [0x1a, 0x2b, 0x3c, 0x4d];
/// The length of the header of a control message, with its type.
const HEADER: usize = 12;
/// Offsets in what follows the header: the first call id, the peer's, and the result.
const CALL_ID: usize = 0;
const PEER_CALL_ID: usize = 2;
const RESULT: usize = 4;
/// The result of all requests that are granted.
const GRANTED: u8 = 1;

/// The state of the control session, in the order of Linux (`enum pptp_ctrlsess_state`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
enum Control {
    #[default]
    None,
    Failed,
    StopRequested,
    Requested,
    Confirmed,
}

/// The state of the call (`enum pptp_ctrlcall_state`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Call {
    #[default]
    None,
    OutRequested,
    OutConfirmed,
    InRequested,
    InReplied,
    InConfirmed,
    ClearRequested,
}

/// A control message (RFC 2637, 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    StartRequest,
    StartReply,
    StopRequest,
    StopReply,
    EchoRequest,
    EchoReply,
    OutRequest,
    OutReply,
    InRequest,
    InReply,
    InConnected,
    ClearRequest,
    Disconnected,
    WanError,
    SetLinkInfo,
}

impl Kind {
    /// All messages, from number 1 on, and the minimum length of what follows the header.
    const ALL: [(Kind, usize); 15] = [
        (Kind::StartRequest, 144),
        (Kind::StartReply, 144),
        (Kind::StopRequest, 4),
        (Kind::StopReply, 4),
        (Kind::EchoRequest, 0),
        (Kind::EchoReply, 0),
        (Kind::OutRequest, 156),
        (Kind::OutReply, 20),
        (Kind::InRequest, 208),
        (Kind::InReply, 12),
        (Kind::InConnected, 16),
        (Kind::ClearRequest, 4),
        (Kind::Disconnected, 136),
        (Kind::WanError, 28),
        (Kind::SetLinkInfo, 12),
    ];
}

/// A control message and what follows its header, which is as long as its kind demands.
#[derive(Clone, Copy, Debug)]
struct Message<'a> {
    kind: Kind,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The message at the beginning of a payload, if it is a known one, and whole.
    fn parse(payload: &'a [u8]) -> Option<Self> {
        let (header, body) = payload.split_at_checked(HEADER)?;
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        if word(2) != CONTROL || header[4..8] != COOKIE {
            return None;
        }
        let number = usize::from(word(8)).checked_sub(1)?;
        let &(kind, length) = Kind::ALL.get(number)?;
        (body.len() >= length).then_some(Message { kind, body })
    }

    fn word(&self, at: usize) -> u16 {
        match self.body.get(at..at + 2) {
            Some(&[high, low]) => u16::from_be_bytes([high, low]),
            _ => 0,
        }
    }

    fn octet(&self, at: usize) -> u8 {
        self.body.get(at).copied().unwrap_or_default()
    }
}

/// The state of a control connection (`struct nf_ct_pptp_master`, `struct nf_nat_pptp`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Pptp {
    control: Control,
    call: Call,
    /// The call ids of server and client, as the server knows them.
    pac: u16,
    pns: u16,
    /// The client's call id as the client knows it, if it is translated.
    inside_pns: u16,
}

impl Pptp {
    pub(super) fn read(&mut self, session: &mut Session<'_>) -> Result<(), DropReason> {
        if !session.is_established() {
            return Ok(());
        }
        let Some(message) = session.received().and_then(Message::parse) else {
            return Ok(());
        };
        let is_translated = session.is_translated();
        let changed = match session.packet.direction {
            Direction::Original => self
                .read_client(&message)
                .filter(|()| is_translated)
                .and_then(|()| self.translate_client(session, &message)),
            Direction::Reply => self
                .read_server(session, &message)
                .filter(|()| is_translated)
                .and_then(|()| self.translate_server(&message)),
        };
        if let Some((at, call_id)) = changed {
            let at = HEADER + at;
            session.replace(at..at + 2, &call_id.to_be_bytes());
        }
        Ok(())
    }

    /// Follows a message of the client. Absent if it does not fit the state (`pptp_outbound_pkt`).
    fn read_client(&mut self, message: &Message<'_>) -> Option<()> {
        let is_valid = match message.kind {
            Kind::StartRequest => {
                let is_first = self.control == Control::None;
                if is_first {
                    self.control = Control::Requested;
                }
                is_first
            }
            Kind::StopRequest => {
                self.control = Control::StopRequested;
                true
            }
            Kind::OutRequest if self.control == Control::Confirmed => {
                self.call = Call::OutRequested;
                self.pns = message.word(CALL_ID);
                true
            }
            Kind::InReply
                if matches!(self.call, Call::InRequested | Call::InReplied)
                    && self.pac == message.word(PEER_CALL_ID) =>
            {
                self.call = Call::None;
                if message.octet(RESULT) == GRANTED {
                    self.call = Call::InReplied;
                    self.pns = message.word(CALL_ID);
                }
                true
            }
            Kind::ClearRequest if self.control == Control::Confirmed => {
                self.call = Call::ClearRequested;
                true
            }
            Kind::SetLinkInfo | Kind::EchoRequest | Kind::EchoReply => true,
            Kind::OutRequest
            | Kind::InReply
            | Kind::ClearRequest
            | Kind::StartReply
            | Kind::StopReply
            | Kind::OutReply
            | Kind::InRequest
            | Kind::InConnected
            | Kind::Disconnected
            | Kind::WanError => false,
        };
        is_valid.then_some(())
    }

    /// Follows a message of the server, and expects the tunnel. Absent if it does not fit the state
    /// (`pptp_inbound_pkt`).
    fn read_server(&mut self, session: &mut Session<'_>, message: &Message<'_>) -> Option<()> {
        let is_confirmed = self.control == Control::Confirmed;
        let is_valid = match message.kind {
            Kind::StartReply if self.control >= Control::Requested => {
                self.control = if message.octet(2) == GRANTED {
                    Control::Confirmed
                } else {
                    Control::Failed
                };
                true
            }
            Kind::StopReply if self.control <= Control::StopRequested => {
                self.control = if message.octet(0) == GRANTED {
                    Control::None
                } else {
                    Control::Failed
                };
                true
            }
            Kind::OutReply
                if is_confirmed
                    && matches!(self.call, Call::OutRequested | Call::OutConfirmed)
                    && self.pns == message.word(PEER_CALL_ID) =>
            {
                self.call = Call::None;
                if message.octet(RESULT) == GRANTED {
                    self.call = Call::OutConfirmed;
                    self.pac = message.word(CALL_ID);
                    self.expect_tunnel(session);
                }
                true
            }
            Kind::InRequest if is_confirmed => {
                self.call = Call::InRequested;
                self.pac = message.word(CALL_ID);
                true
            }
            Kind::InConnected
                if is_confirmed
                    && matches!(self.call, Call::InReplied | Call::InConfirmed)
                    && self.pns == message.word(CALL_ID) =>
            {
                self.call = Call::InConfirmed;
                self.expect_tunnel(session);
                true
            }
            Kind::Disconnected => {
                self.call = Call::None;
                session.tracker.gre_keys.remove(session.packet.connection);
                session.ended.extend(self.tunnels(session.packet.keys));
                true
            }
            Kind::WanError | Kind::SetLinkInfo | Kind::EchoRequest | Kind::EchoReply => true,
            Kind::StartReply
            | Kind::StopReply
            | Kind::OutReply
            | Kind::InRequest
            | Kind::InConnected
            | Kind::StartRequest
            | Kind::StopRequest
            | Kind::OutRequest
            | Kind::InReply
            | Kind::ClearRequest => false,
        };
        is_valid.then_some(())
    }

    /// The client's call id in a message of a translated client: the offset, and its new value. It
    /// becomes the translated port of the control connection, which no other client behind the same
    /// address has.
    fn translate_client(
        &mut self,
        session: &Session<'_>,
        message: &Message<'_>,
    ) -> Option<(usize, u16)> {
        match message.kind {
            Kind::OutRequest => {
                self.inside_pns = self.pns;
                self.pns = session.other().dst().part;
            }
            Kind::InReply | Kind::ClearRequest => {}
            _ => return None,
        }
        Some((CALL_ID, self.pns))
    }

    /// As [`Pptp::translate_client`], in a message to the client.
    fn translate_server(&self, message: &Message<'_>) -> Option<(usize, u16)> {
        let at = match message.kind {
            Kind::OutReply => PEER_CALL_ID,
            // The disconnected call is named by the server's id, but Linux writes the client's.
            Kind::InConnected | Kind::WanError | Kind::Disconnected | Kind::SetLinkInfo => CALL_ID,
            _ => return None,
        };
        Some((at, self.inside_pns))
    }

    /// Expects the tunnel in both directions. Whichever is first removes the other expectation
    /// (`exp_gre`).
    fn expect_tunnel(&mut self, session: &mut Session<'_>) {
        let is_translated = session.is_translated();
        let inside_pns = if is_translated {
            self.inside_pns
        } else {
            self.pns
        };
        let announced = |direction: Direction, src_part, dst_part, target| {
            let tuple = session.packet.keys.tuple(direction);
            let dst = Endpoint {
                part: dst_part,
                ..tuple.dst()
            };
            let src = Some(tuple.src().address);
            let mut announced = Announced::new(Protocol::GRE, src, dst).with_src_part(src_part);
            announced.nat = is_translated.then(|| ExpectNat {
                direction,
                target: Endpoint {
                    part: target,
                    ..Tuple::to(Protocol::GRE, dst).src()
                },
                function: ExpectFunction::Pptp,
            });
            announced
        };
        let both = [
            announced(Direction::Original, inside_pns, self.pac, self.pns),
            announced(Direction::Reply, self.pac, self.pns, inside_pns),
        ];
        let Ok(original) = session.expect(&both[0]) else {
            return;
        };
        let reply = session.expect(&both[1]);
        let owner = session.packet.connection;
        let zone = session.packet.keys.zone().id();
        let tuples = both.map(|one| one.tuple());
        let is_added = reply.is_ok() && session.tracker.gre_keys.add(owner, zone, tuples);
        if !is_added {
            for id in [Some(original), reply.ok()].into_iter().flatten() {
                session.tracker.remove_expectation(id);
            }
        }
    }

    /// The tuples of the tunnel in both directions, which end with the control connection
    /// (`gre_pptp_destroy_siblings`).
    pub(crate) fn tunnels(&self, keys: &Keys) -> [Tuple; 2] {
        let tunnel = |direction, src_part, dst_part| {
            let tuple = keys.tuple(direction);
            let dst = Endpoint {
                part: dst_part,
                ..tuple.dst()
            };
            Tuple::to(Protocol::GRE, dst).with_src(Endpoint {
                part: src_part,
                ..tuple.src()
            })
        };
        [
            tunnel(Direction::Original, self.pns, self.pac),
            tunnel(Direction::Reply, self.pac, self.pns),
        ]
    }
}

/// A control message whose body begins with these bytes, for tests.
#[cfg(any(test, feature = "fuzzing"))]
fn message(kind: Kind, start: &[u8]) -> Vec<u8> {
    let mut all = Kind::ALL.iter().zip(1u16..);
    let found = all.find(|((it, _), _)| *it == kind);
    let (length, number) = found.map_or((0, 0), |((_, length), number)| (*length, number));
    let mut message = vec![0, (HEADER + length) as u8, 0, 1];
    message.extend(COOKIE);
    message.extend(number.to_be_bytes());
    message.extend([0, 0]);
    message.extend(start);
    message.resize(HEADER + length, 0);
    message
}

/// The payloads of a session, and the sides that send them: 0 is the client.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn session() -> Vec<(u8, Vec<u8>)> {
    vec![
        (0, message(Kind::StartRequest, &[])),
        (1, message(Kind::StartReply, &[1, 0, GRANTED])),
        (0, message(Kind::OutRequest, &[1, 1])),
        (1, message(Kind::OutReply, &[2, 2, 1, 1, GRANTED])),
        (1, message(Kind::InRequest, &[2, 2])),
        (0, message(Kind::InReply, &[1, 1, 2, 2, GRANTED])),
        (1, message(Kind::InConnected, &[1, 1])),
        (1, message(Kind::Disconnected, &[2, 2])),
    ]
}

#[cfg(test)]
mod tests;
