// SPDX-License-Identifier: Apache-2.0 OR MIT
//! SIP (RFC 3261, `nf_conntrack_sip.c`, `nf_nat_sip.c`): calls to a client that has registered, and
//! the streams that both ends of a call describe.
//!
//! As Linux does by default, calls are expected from the registrar only, and streams between the ends
//! of the signalling connection only.

mod header;
mod media;
mod message;
mod nat;
mod register;
mod scan;
mod sdp;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Session;
use crate::stats::DropReason;
use crate::tuple::Protocol;
use header::{number_of, uri_of, Header};
use message::Message;
use scan::{number, starts_with};

/// The timeout of a signalling connection (`sip_timeout`).
const TIMEOUT: Duration = Duration::from_secs(3600);
/// The class of expected signalling connections; those of media follow.
pub(crate) const SIGNALLING: u8 = 0;
/// The beginning of a response.
const VERSION: &[u8] = b"SIP/2.0 ";
/// The minimum length of a message: `SIP/2.0 200`.
const MIN_LENGTH: usize = 11;
const END_OF_HEADERS: &[u8] = b"\r\n\r\n";

/// The state of a signalling connection (`struct nf_ct_sip_master`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Sip {
    register_cseq: u32,
    invite_cseq: u32,
    /// The port at which the sender of requests receives answers, if it is another one than it sends
    /// from.
    answered_port: Option<u16>,
}

/// The methods that are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Invite,
    Update,
    Ack,
    Prack,
    Bye,
    Register,
}

impl Method {
    const ALL: [(&'static [u8], Method); 6] = [
        (b"INVITE", Method::Invite),
        (b"UPDATE", Method::Update),
        (b"ACK", Method::Ack),
        (b"PRACK", Method::Prack),
        (b"BYE", Method::Bye),
        (b"REGISTER", Method::Register),
    ];

    /// The method of a request line.
    fn of_request(text: &[u8]) -> Option<Self> {
        let is_method = |name: &[u8]| {
            let rest = text.get(name.len()..).unwrap_or_default();
            starts_with(text, name)
                && matches!(rest, [b' ', next, ..] if next.is_ascii_alphabetic())
        };
        let found = Method::ALL.iter().find(|(name, _)| is_method(name));
        found.map(|&(_, method)| method)
    }

    /// The method whose responses are followed, in the text behind a sequence number.
    fn of_response(text: &[u8]) -> Option<Self> {
        let mut named = Method::ALL
            .iter()
            .filter(|(name, _)| starts_with(text, name));
        let found = named.find(|(_, method)| !matches!(method, Method::Ack | Method::Bye));
        found.map(|&(_, method)| method)
    }
}

impl Sip {
    pub(super) fn read(&mut self, session: &mut Session<'_>) -> Result<(), DropReason> {
        match session.packet.protocol() {
            Protocol::TCP => self.read_stream(session),
            _ => self.read_datagram(session),
        }
    }

    fn read_datagram(&mut self, session: &mut Session<'_>) -> Result<(), DropReason> {
        let Some(payload) = session.received() else {
            return Ok(());
        };
        session.timeout = Some(TIMEOUT);
        if payload.len() < MIN_LENGTH {
            return Ok(());
        }
        let whole = 0..payload.len();
        self.read_message(&mut Message::new(session, whole))
    }

    /// Reads the messages of a segment. One that goes on in the next segment is not followed
    /// (`sip_help_tcp`).
    fn read_stream(&mut self, session: &mut Session<'_>) -> Result<(), DropReason> {
        if !session.is_established() || session.received().is_none() {
            return Ok(());
        }
        session.timeout = Some(TIMEOUT);
        let mut start = 0;
        while session.text().len() - start >= MIN_LENGTH {
            let Some(length) = message_length(&session.text()[start..]) else {
                break;
            };
            let mut message = Message::new(session, start..start + length);
            self.read_message(&mut message)?;
            start = message.end();
        }
        Ok(())
    }

    /// `process_sip_msg`.
    fn read_message(&mut self, message: &mut Message<'_, '_>) -> Result<(), DropReason> {
        if starts_with(message.text(), VERSION) {
            self.read_response(message)?;
        } else {
            self.read_request(message)?;
        }
        if message.session.is_translated() {
            nat::translate(self, message)?;
        }
        Ok(())
    }

    /// `process_sip_request`.
    fn read_request(&mut self, message: &mut Message<'_, '_>) -> Result<(), DropReason> {
        let text = message.text();
        let src = message.session.this().src();
        // Some telephones send from any port, and wait at the one in the Via header.
        let via = uri_of(text, message.family(), Header::Via(Protocol::UDP));
        if let Some(via) = via.map(|via| via.endpoint) {
            if via.address == src.address && via.part != src.part {
                self.answered_port = Some(via.part);
            }
        }
        let Some(method) = Method::of_request(text) else {
            return Ok(());
        };
        let (cseq, _) = number_of(text, Header::CSeq).ok_or(DropReason::Message)?;
        match method {
            Method::Invite => {
                forget_streams(message);
                media::expect(message)?;
                self.invite_cseq = cseq;
                Ok(())
            }
            Method::Update | Method::Ack | Method::Prack => media::expect(message),
            Method::Bye => {
                forget_streams(message);
                Ok(())
            }
            Method::Register => register::request(self, message, cseq),
        }
    }

    /// `process_sip_response`.
    fn read_response(&mut self, message: &mut Message<'_, '_>) -> Result<(), DropReason> {
        let text = message.text();
        let code = text.get(VERSION.len()..).and_then(number);
        let (code, _) = code
            .filter(|&(code, _)| code != 0)
            .ok_or(DropReason::Message)?;
        let (cseq, place) = number_of(text, Header::CSeq).ok_or(DropReason::Message)?;
        // A blank is between number and method.
        let method = text.get(place.end + 1..).and_then(Method::of_response);
        match method {
            Some(Method::Register) => register::response(self, message, cseq, code),
            Some(_) if (100..300).contains(&code) => media::expect(message),
            Some(_) => {
                if self.invite_cseq == cseq {
                    forget_streams(message);
                }
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// Removes the expectations of the streams that a call has announced.
fn forget_streams(message: &mut Message<'_, '_>) {
    message
        .session
        .forget(usize::MAX, |one| one.class != SIGNALLING);
}

/// The length of the message at the beginning of a text: its headers and what Content-Length says.
/// Absent if it is not whole.
fn message_length(text: &[u8]) -> Option<usize> {
    let (content, place) = number_of(text, Header::ContentLength)?;
    let behind = &text[place.end..];
    let mut windows = behind.windows(END_OF_HEADERS.len());
    let end = windows.position(|window| window == END_OF_HEADERS)?;
    let length = (place.end + end + END_OF_HEADERS.len()).checked_add(content as usize)?;
    (length <= text.len()).then_some(length)
}
