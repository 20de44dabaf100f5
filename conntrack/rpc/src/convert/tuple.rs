// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Addresses, tuples and zones.

use std::net::IpAddr;

use adit_conntrack::{Direction, Endpoint, Protocol, Tuple, Zone};

use super::{narrow, required, Malformed, Result};
use crate::proto;

pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

pub(super) fn address(field: &'static str, octets: &[u8]) -> Result<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return Ok(octets.into());
    }
    match <[u8; 16]>::try_from(octets) {
        Ok(octets) => Ok(octets.into()),
        Err(_) => Err(Malformed::new(
            field,
            format!("address of {} bytes; it has 4 or 16", octets.len()),
        )),
    }
}

pub(super) fn endpoint_message(endpoint: Endpoint) -> proto::Endpoint {
    proto::Endpoint {
        address: octets(endpoint.address),
        part: endpoint.part.into(),
    }
}

pub(super) fn endpoint(field: &'static str, message: &proto::Endpoint) -> Result<Endpoint> {
    Ok(Endpoint {
        address: address(field, &message.address)?,
        part: narrow(field, message.part)?,
    })
}

pub(super) fn tuple_message(tuple: &Tuple) -> proto::Tuple {
    proto::Tuple {
        src: Some(endpoint_message(tuple.src())),
        dst: Some(endpoint_message(tuple.dst())),
        protocol: tuple.protocol().0.into(),
    }
}

/// The tuple of a message in a field that is required.
pub(crate) fn tuple(field: &'static str, message: Option<&proto::Tuple>) -> Result<Tuple> {
    let message = required(field, message)?;
    let end = |end: &Option<proto::Endpoint>| endpoint(field, required(field, end.as_ref())?);
    let protocol = Protocol(narrow(field, message.protocol)?);
    Tuple::new(protocol, end(&message.src)?, end(&message.dst)?)
        .map_err(|mixed| Malformed::new(field, mixed.to_string()))
}

pub(super) fn direction_message(direction: Option<Direction>) -> i32 {
    let message = match direction {
        None => proto::Direction::Unspecified,
        Some(Direction::Original) => proto::Direction::Original,
        Some(Direction::Reply) => proto::Direction::Reply,
    };
    message.into()
}

pub(super) fn direction(field: &'static str, message: i32) -> Result<Option<Direction>> {
    match proto::Direction::try_from(message) {
        Ok(proto::Direction::Unspecified) => Ok(None),
        Ok(proto::Direction::Original) => Ok(Some(Direction::Original)),
        Ok(proto::Direction::Reply) => Ok(Some(Direction::Reply)),
        Err(_) => Err(Malformed::new(field, format!("{message} is no direction"))),
    }
}

pub(super) fn zone_message(zone: Zone) -> proto::Zone {
    proto::Zone {
        id: zone.id().into(),
        direction: direction_message(zone.only_direction()),
    }
}

/// The zone of a message; 0 if there is none.
pub(crate) fn zone(message: Option<&proto::Zone>) -> Result<Zone> {
    let Some(message) = message else {
        return Ok(Zone::DEFAULT);
    };
    let id = narrow("zone", message.id)?;
    Ok(match direction("zone", message.direction)? {
        None => Zone::new(id),
        Some(direction) => Zone::in_direction(id, direction),
    })
}
