// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Filters.

use std::net::IpAddr;

use adit_conntrack::{Family, Filter, Protocol, Status, TcpState, TupleFilter};

use super::tuple::{address, direction};
use super::{label, narrow, Malformed, Result};
use crate::proto;

const ADDRESS: &str = "filter.address";

/// The bits of a mark or filter: the value and its mask.
pub(super) fn mark(message: &proto::Mark) -> (u32, u32) {
    (message.value, message.mask.unwrap_or(u32::MAX))
}

/// The state of TCP with a number.
pub(super) fn tcp_state(number: u32) -> Result<TcpState> {
    let mut states = TcpState::ALL.into_iter();
    let found = states.find(|&state| state as u32 == number);
    found.ok_or_else(|| {
        Malformed::new(
            "tcp.state",
            format!("{number} is no state of TCP: 0 (NONE) to 9 (SYN_SENT2)"),
        )
    })
}

fn address_filter(message: Option<&proto::AddressFilter>) -> Result<Option<(IpAddr, IpAddr)>> {
    let Some(message) = message else {
        return Ok(None);
    };
    let wanted = address(ADDRESS, &message.address)?;
    let mask = match (&message.mask[..], wanted) {
        ([], IpAddr::V4(_)) => [0xFF; 4].into(),
        ([], IpAddr::V6(_)) => [0xFF; 16].into(),
        (mask, _) => address(ADDRESS, mask)?,
    };
    if Family::of(mask) != Family::of(wanted) {
        return Err(Malformed::new(
            ADDRESS,
            format!("mask {mask} is not of the address family of {wanted}"),
        ));
    }
    Ok(Some((wanted, mask)))
}

fn tuple_filter(message: Option<&proto::TupleFilter>) -> Result<TupleFilter> {
    let Some(message) = message else {
        return Ok(TupleFilter::default());
    };
    let part = |part: Option<u32>| part.map(|part| narrow("filter.part", part)).transpose();
    Ok(TupleFilter {
        src: address_filter(message.src.as_ref())?,
        dst: address_filter(message.dst.as_ref())?,
        src_part: part(message.src_part)?,
        dst_part: part(message.dst_part)?,
    })
}

/// The filter of a message, and the number of the only connection that may pass; without a message,
/// everything passes.
pub(crate) fn filter_and_id(message: Option<&proto::Filter>) -> Result<(Filter, Option<u64>)> {
    Ok((filter(message)?, message.and_then(|message| message.id)))
}

/// The values of a filter.
pub(super) fn filter(message: Option<&proto::Filter>) -> Result<Filter> {
    let Some(message) = message else {
        return Ok(Filter::default());
    };
    let family = match proto::Family::try_from(message.family) {
        Ok(proto::Family::Unspecified) => None,
        Ok(proto::Family::Ipv4) => Some(Family::V4),
        Ok(proto::Family::Ipv6) => Some(Family::V6),
        Err(_) => {
            let problem = format!("{} is no address family", message.family);
            return Err(Malformed::new("filter.family", problem));
        }
    };
    let protocol = message.protocol;
    let protocol = protocol.map(|number| narrow("filter.protocol", number));
    let (mut zone, mut zone_of) = (None, None);
    if let Some(wanted) = &message.zone {
        let id = narrow("filter.zone", wanted.id)?;
        match direction("filter.zone", wanted.direction)? {
            None => zone = Some(id),
            Some(direction) => zone_of = Some((direction, id)),
        }
    }
    Ok(Filter {
        family,
        protocol: protocol.transpose()?.map(Protocol),
        zone,
        zone_of,
        mark: message.mark.as_ref().map(mark),
        status: (
            Status::from_bits(message.status_set),
            Status::from_bits(message.status_clear),
        ),
        label: label("filter.label", &message.label)?,
        tcp_state: message.tcp_state.map(tcp_state).transpose()?,
        tuples: [
            tuple_filter(message.original.as_ref())?,
            tuple_filter(message.reply.as_ref())?,
        ],
    })
}
