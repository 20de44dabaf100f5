// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Registrations: calls to a registered client have the address that it has announced.

use std::time::Duration;

use super::header::{self, number_of, parameter, uri_of, Cursor, Header, NumberParameter};
use super::message::Message;
use super::scan::starts_with;
use super::{nat, Sip, SIGNALLING};
use crate::bits::{ExpectFlags, Status};
use crate::expect::Expectation;
use crate::helper::{Announced, Helper};
use crate::stats::DropReason;
use crate::tuple::Protocol;

/// The seconds of a registration: those of the value whose parameters begin at `from`, or else the
/// header's.
fn expires(text: &[u8], from: usize) -> Result<u32, DropReason> {
    match header::number_parameter(text, from, b"expires=") {
        NumberParameter::Found(seconds, _) => Ok(seconds),
        NumberParameter::Invalid => Err(DropReason::Message),
        NumberParameter::Absent => Ok(number_of(text, Header::Expires).map_or(0, |it| it.0)),
    }
}

/// Reports whether an address is of the transport that the message has come over
/// (`ct_sip_parse_transport`).
fn is_of_transport(text: &[u8], from: usize, protocol: Protocol) -> bool {
    let transports: [(&[u8], Protocol); 2] = [(b"TCP", Protocol::TCP), (b"UDP", Protocol::UDP)];
    parameter(text, from, b"transport=").is_none_or(|text| {
        let found = transports.iter().find(|(name, _)| starts_with(text, name));
        found.is_some_and(|&(_, named)| named == protocol)
    })
}

/// Expects calls to the address that a client registers, once the registrar has accepted it
/// (`process_register_request`).
pub(super) fn request(
    sip: &mut Sip,
    message: &mut Message<'_, '_>,
    cseq: u32,
) -> Result<(), DropReason> {
    // Expected connections do not register again.
    if message.session.packet.status.contains(Status::EXPECTED) {
        return Ok(());
    }
    let text = message.text();
    let Some(contact) = uri_of(text, message.family(), Header::Contact) else {
        return Ok(());
    };
    let (this, other) = (message.session.this(), message.session.other());
    let protocol = this.protocol();
    // Registrations for others are not followed.
    if contact.endpoint.address != this.src().address
        || !is_of_transport(text, contact.range.end, protocol)
    {
        return Ok(());
    }
    if expires(text, contact.range.end)? > 0 {
        // Calls come from the registrar (`sip_direct_signalling`).
        let caller = Some(other.src().address);
        let mut announced = Announced::new(protocol, caller, contact.endpoint);
        announced.class = SIGNALLING;
        announced.assigned = Some(Helper::Sip);
        announced.flags = ExpectFlags::PERMANENT | ExpectFlags::INACTIVE;
        if message.session.is_translated() {
            nat::expect(sip, message, announced, contact)?;
        } else {
            message
                .session
                .expect(&announced)
                .map_err(DropReason::Expectation)?;
        }
    }
    sip.register_cseq = cseq;
    Ok(())
}

/// Activates the expectation of a registration that the registrar has accepted, or removes it
/// (`process_register_response`).
pub(super) fn response(
    sip: &Sip,
    message: &mut Message<'_, '_>,
    cseq: u32,
    code: u32,
) -> Result<(), DropReason> {
    if sip.register_cseq != cseq || (100..200).contains(&code) {
        return Ok(());
    }
    if !(200..300).contains(&code) || !activate(message)? {
        message.session.forget(1, |one| one.class == SIGNALLING);
    }
    Ok(())
}

/// Activates the expectation of the first address of an answer that is expected. Returns whether there
/// is one.
fn activate(message: &Message<'_, '_>) -> Result<bool, DropReason> {
    let (family, protocol) = (message.family(), message.session.packet.protocol());
    let own = message.session.this().dst().address;
    let text = message.text();
    let mut contacts = Cursor::new();
    loop {
        let contact = contacts
            .next(text, family, Header::Contact)
            .map_err(|_| DropReason::Message)?;
        let Some(contact) = contact else {
            return Ok(false);
        };
        let end = contact.range.end;
        if contact.endpoint.address != own || !is_of_transport(text, end, protocol) {
            continue;
        }
        let timeout = Duration::from_secs(expires(text, end)?.into());
        if timeout.is_zero() {
            return Ok(false);
        }
        let is_registered = |one: &Expectation| {
            one.class == SIGNALLING
                && one.tuple.protocol() == protocol
                && one.tuple.dst() == contact.endpoint
        };
        if message.session.activate(timeout, is_registered) {
            return Ok(true);
        }
    }
}
