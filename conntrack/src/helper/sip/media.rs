// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The streams that a session description announces: of each medium one of data, and one of control
//! at the next port (`process_sdp`, `set_expected_rtp_rtcp`).

use std::net::IpAddr;
use std::ops::Range;

use super::message::Message;
use super::nat;
use super::scan::{number, MIN_PORT};
use super::sdp::{self, Line, Medium};
use crate::expect::ExpectError;
use crate::helper::Announced;
use crate::stats::DropReason;
use crate::tuple::{Endpoint, Protocol, Tuple};

/// The maximum number of media of a message that are tracked.
const MAX_MEDIA: usize = 3;

/// Expects the streams that a message announces.
pub(super) fn expect(message: &mut Message<'_, '_>) -> Result<(), DropReason> {
    let family = message.family();
    let Some(version) = sdp::find(message.text(), 0, family, Line::Version, None) else {
        return Ok(());
    };
    let of_session = sdp::connection(message.text(), version.start, family);
    let mut address = of_session;
    let mut at = version.start;
    let mut followed = 0;
    while followed < MAX_MEDIA {
        let text = message.text();
        let Some(line) = sdp::find(text, at, family, Line::Media, None) else {
            break;
        };
        let Some((medium, port_at)) = sdp::medium(text, &line) else {
            at = line.end;
            continue;
        };
        at = port_at.start;
        // Port 0 is that of an inactive stream.
        let Some((port, _)) = number(&text[at..]).filter(|&(port, _)| port != 0) else {
            continue;
        };
        let port = u16::try_from(port).map_err(|_| DropReason::Message)?;
        if u32::from(port) < MIN_PORT {
            return Err(DropReason::Message);
        }
        let of_medium = sdp::connection(text, at, family);
        let mut media_address = of_medium.or(of_session).ok_or(DropReason::Message)?;
        expect_streams(message, &mut media_address, port, medium, port_at)?;
        address = Some(media_address);
        if of_medium.is_some() && message.session.is_translated() {
            nat::write_connection(message, at, media_address)?;
        }
        followed += 1;
    }
    match address {
        Some(address) if message.session.is_translated() => {
            nat::write_session(message, version.start, address)
        }
        _ => Ok(()),
    }
}

/// Expects both streams of a medium at `address`, which becomes the translated one.
fn expect_streams(
    message: &mut Message<'_, '_>,
    address: &mut IpAddr,
    port: u16,
    medium: Medium,
    port_at: Range<usize>,
) -> Result<(), DropReason> {
    let (this, other) = (message.session.this(), message.session.other());
    // Streams go between the ends of the signalling connection (`sip_direct_media`).
    if *address != this.src().address {
        return Ok(());
    }
    let src = other.src().address;
    let mut dst = Endpoint {
        address: *address,
        part: port,
    };
    let is_translated = message.session.is_translated();
    let mut is_direct = false;
    let is_known = loop {
        let Some(known) = known_stream(message, src, dst, medium) else {
            break false;
        };
        // What another client behind the same translation has announced can be reached directly.
        match known {
            Some(target) if is_translated && !is_direct => {
                dst = target;
                *address = target.address;
                is_direct = true;
            }
            _ => break true,
        }
    };
    let even = dst.part & !1;
    if is_direct {
        nat::write_port(message, port_at.clone(), even)?;
    }
    if is_known {
        return Ok(());
    }
    let streams = [even, even + 1].map(|part| {
        let mut stream = Announced::new(Protocol::UDP, Some(src), Endpoint { part, ..dst });
        stream.class = medium as u8;
        stream.finds_known = true;
        stream
    });
    if is_translated && !is_direct {
        *address = nat::expect_streams(message, streams, port_at)?;
        return Ok(());
    }
    let [data, control] = streams;
    let first = message.session.expect(&data);
    // Known streams are those of another call with the same description.
    if !matches!(first, Ok(_) | Err(ExpectError::Known)) {
        return first.map(|_| ()).map_err(DropReason::Expectation);
    }
    match message.session.expect(&control) {
        Ok(_) | Err(ExpectError::Known) => Ok(()),
        Err(error) => {
            if let Ok(id) = first {
                message.session.tracker.remove_expectation(id);
            }
            Err(DropReason::Expectation(error))
        }
    }
}

/// The expectation of another call for a stream, if there is one: the address to which it is
/// translated, if it is.
fn known_stream(
    message: &Message<'_, '_>,
    src: IpAddr,
    dst: Endpoint,
    medium: Medium,
) -> Option<Option<Endpoint>> {
    let to = Tuple::to(Protocol::UDP, dst);
    let tuple = to.with_src(Endpoint {
        address: src,
        part: 0,
    });
    let known = message.session.find_expected(&tuple).filter(|one| {
        one.master != message.session.packet.connection
            && one.helper == Some(message.session.helper)
            && one.class == medium as u8
    })?;
    let target = known.nat.map(|nat| nat.target);
    Some(target.filter(|&target| target != known.tuple.dst()))
}
