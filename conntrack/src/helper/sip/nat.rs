// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Messages of translated connections: the addresses in them are those that the receiver can reach
//! (`nf_nat_sip.c`).

use std::net::IpAddr;
use std::ops::Range;

use super::header::{
    address_parameter, number_parameter, request_uri, uri_of, Cursor, Header, NumberParameter, Uri,
};
use super::message::Message;
use super::scan::{starts_with, MIN_PORT};
use super::sdp::{self, Line};
use super::Sip;
use crate::expect::{ExpectFunction, ExpectNat};
use crate::helper::Announced;
use crate::stats::DropReason;
use crate::tuple::{Direction, Endpoint, Protocol};

fn endpoint_text(endpoint: Endpoint) -> String {
    let Endpoint { address, part } = endpoint;
    match address {
        IpAddr::V4(address) => format!("{address}:{part}"),
        IpAddr::V6(address) => format!("[{address}]:{part}"),
    }
}

fn host_text(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// Translates an address if it is one of the connection's (`map_addr`). Returns its end.
fn map(sip: &Sip, message: &mut Message<'_, '_>, uri: &Uri) -> Result<usize, DropReason> {
    let (this, other) = (message.session.this(), message.session.other());
    let new = if uri.endpoint == this.src() {
        other.dst()
    } else if uri.endpoint == this.dst() {
        let src = other.src();
        Endpoint {
            part: sip.answered_port.unwrap_or(src.part),
            ..src
        }
    } else {
        return Ok(uri.range.end);
    };
    if new == uri.endpoint {
        return Ok(uri.range.end);
    }
    message.replace(uri.range.clone(), &endpoint_text(new))
}

/// Translates the headers of a message (`nf_nat_sip`).
pub(super) fn translate(sip: &Sip, message: &mut Message<'_, '_>) -> Result<(), DropReason> {
    let family = message.family();
    let is_request = !starts_with(message.text(), b"SIP/2.0");
    if is_request {
        if let Some(uri) = request_uri(message.text(), family) {
            map(sip, message, &uri)?;
        }
    }
    translate_via(sip, message, is_request)?;
    let mut contacts = Cursor::new();
    while let Some(uri) = contacts
        .next(message.text(), family, Header::Contact)
        .map_err(|_| DropReason::Message)?
    {
        contacts.move_to(map(sip, message, &uri)?);
    }
    for header in [Header::From, Header::To] {
        if let Some(uri) = uri_of(message.text(), family, header) {
            map(sip, message, &uri)?;
        }
    }
    // The sender of the request waits at another port than it has sent from.
    if let (Direction::Reply, Some(port)) = (message.session.packet.direction, sip.answered_port) {
        if message.session.packet.protocol() != Protocol::UDP {
            return Err(DropReason::Message);
        }
        message.session.port = Some(port);
    }
    Ok(())
}

/// Translates the topmost Via header and its parameters, if it is of this connection.
fn translate_via(
    sip: &Sip,
    message: &mut Message<'_, '_>,
    is_request: bool,
) -> Result<(), DropReason> {
    let family = message.family();
    let (this, other) = (message.session.this(), message.session.other());
    let Some(via) = uri_of(message.text(), family, Header::Via(this.protocol())) else {
        return Ok(());
    };
    let own = if is_request { this.src() } else { this.dst() };
    if via.endpoint != own {
        return Ok(());
    }
    let end = map(sip, message, &via)?;
    // The address for the answer (RFC 3261, 18.1.1).
    if let Some((address, range)) = address_parameter(message.text(), end, b"maddr=", family, true)
    {
        if address == this.src().address && address != other.dst().address {
            message.replace(range, &host_text(other.dst().address))?;
        }
    }
    // The address from which the request has come.
    let received = address_parameter(message.text(), end, b"received=", family, false);
    if let Some((address, range)) = received {
        if address == this.dst().address && address != other.src().address {
            message.replace(range, &other.src().address.to_string())?;
        }
    }
    // The port from which it has come (RFC 3581).
    let rport = number_parameter(message.text(), end, b"rport=");
    if let NumberParameter::Found(port, range) = rport {
        let is_own = port >= MIN_PORT && port == u32::from(this.dst().part);
        if is_own && port != u32::from(other.src().part) {
            message.replace(range, &other.src().part.to_string())?;
        }
    }
    Ok(())
}

/// The address at which the sender of a message is reached from the other end. A sender that is not
/// translated is reached at the address that it announces.
fn reached_at(message: &Message<'_, '_>, announced: IpAddr) -> IpAddr {
    let (this, other) = (message.session.this(), message.session.other());
    if this.src().address == other.dst().address {
        announced
    } else {
        other.dst().address
    }
}

/// Gives an expected connection the address at which the other end is to reach `announced.dst`.
fn translate_announced(message: &Message<'_, '_>, announced: &mut Announced) {
    announced.nat = Some(ExpectNat {
        direction: message.session.packet.direction.opposite(),
        target: announced.dst,
        function: ExpectFunction::Sip,
    });
    announced.dst.address = reached_at(message, announced.dst.address);
}

/// Expects a signalling connection, and writes the address for it into the message
/// (`nf_nat_sip_expect`).
pub(super) fn expect(
    sip: &Sip,
    message: &mut Message<'_, '_>,
    mut announced: Announced,
    contact: Uri,
) -> Result<(), DropReason> {
    let (this, other) = (message.session.this(), message.session.other());
    translate_announced(message, &mut announced);
    // The port from which the connection comes is translated like the connection.
    if contact.endpoint.part == sip.answered_port.unwrap_or(this.src().part) {
        announced.dst.part = other.dst().part;
    }
    message
        .session
        .expect_free_port(&mut announced)
        .map_err(DropReason::Expectation)?;
    if announced.dst != contact.endpoint {
        // Without space, the packet is dropped: its expectation is replaced when it comes again.
        message.replace(contact.range, &endpoint_text(announced.dst))?;
    }
    Ok(())
}

/// Expects the streams of a medium at the first two ports that are free, and writes the port into the
/// message. Returns the address at which they are expected (`nf_nat_sdp_media`).
pub(super) fn expect_streams(
    message: &mut Message<'_, '_>,
    mut streams: [Announced; 2],
    port_at: Range<usize>,
) -> Result<IpAddr, DropReason> {
    for stream in &mut streams {
        translate_announced(message, stream);
    }
    let first = streams[0].dst.part;
    let expected = message.session.expect_free_pair(&mut streams);
    let (port, ids) = expected.map_err(DropReason::Expectation)?;
    if port != first {
        write_port(message, port_at, port).inspect_err(|_| {
            for id in ids {
                message.session.tracker.remove_expectation(id);
            }
        })?;
    }
    Ok(streams[0].dst.address)
}

/// Writes the port of a medium (`nf_nat_sdp_port`).
pub(super) fn write_port(
    message: &mut Message<'_, '_>,
    at: Range<usize>,
    port: u16,
) -> Result<(), DropReason> {
    message.replace(at, &port.to_string())?;
    message.update_content_length()
}

/// Writes an address into the first line of a kind before the next medium. Returns whether there is
/// one.
fn write_address(
    message: &mut Message<'_, '_>,
    from: usize,
    line: Line,
    address: IpAddr,
) -> Result<bool, DropReason> {
    let found = sdp::find(
        message.text(),
        from,
        message.family(),
        line,
        Some(Line::Media),
    );
    let Some(range) = found else {
        return Ok(false);
    };
    message.replace(range, &address.to_string())?;
    Ok(true)
}

/// Writes the address of a medium's own line (`nf_nat_sdp_addr`).
pub(super) fn write_connection(
    message: &mut Message<'_, '_>,
    from: usize,
    address: IpAddr,
) -> Result<(), DropReason> {
    if !write_address(message, from, Line::Connection, address)? {
        return Err(DropReason::Message);
    }
    message.update_content_length()
}

/// Writes the address of a session: its owner's, and the one for media without their own
/// (`nf_nat_sdp_session`).
pub(super) fn write_session(
    message: &mut Message<'_, '_>,
    from: usize,
    address: IpAddr,
) -> Result<(), DropReason> {
    if !write_address(message, from, Line::Owner, address)? {
        return Err(DropReason::Message);
    }
    write_address(message, from, Line::Connection, address)?;
    message.update_content_length()
}
