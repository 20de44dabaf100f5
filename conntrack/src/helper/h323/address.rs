// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Transport addresses in messages, and where they are.

use std::net::IpAddr;

use super::per::{Chosen, Reader, Result, Shape};
use super::shapes::{IPX, NON_STANDARD, NSAP, SOURCE_ROUTE, SOURCE_ROUTE_245};
use crate::tuple::{Endpoint, Family};

/// An address with a port that a message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// Its place in the payload. The port follows the address.
    pub(super) at: usize,
    /// The number of octets of the IP address.
    length: usize,
}

impl Address {
    /// An IP address of 4 or 16 octets with a port, at which a reader is.
    pub(super) fn read(reader: &mut Reader<'_>, length: usize) -> Result<Self> {
        let at = reader.octets(length)?.start;
        reader.octets(2)?;
        Ok(Address { at, length })
    }

    /// The address in a payload, if it is one of the family.
    pub(super) fn endpoint(self, payload: &[u8], family: Family) -> Option<Endpoint> {
        let octets = payload.get(self.at..self.at + self.length)?;
        let address = match (family, self.length) {
            (Family::V4, 4) => IpAddr::from(<[u8; 4]>::try_from(octets).ok()?),
            (Family::V6, 16) => IpAddr::from(<[u8; 16]>::try_from(octets).ok()?),
            _ => return None,
        };
        let port = payload.get(self.at + self.length..self.at + self.length + 2)?;
        Some(Endpoint {
            address,
            part: u16::from_be_bytes(port.try_into().ok()?),
        })
    }
}

/// Reads a TransportAddress of H.225; absent if it is no address of IP.
pub(super) fn h225(reader: &mut Reader<'_>) -> Result<Option<Address>> {
    let Chosen::Root(kind) = reader.choice(7)? else {
        return Ok(None);
    };
    match kind {
        0 => return Address::read(reader, 4).map(Some),
        1 => reader.skip(&SOURCE_ROUTE)?,
        2 => reader.skip(&Shape::Sequence(false, IPX))?,
        3 => return extensible(reader, 16).map(Some),
        4 => reader.skip(&Shape::Octets(16))?,
        5 => reader.skip(&NSAP)?,
        _ => reader.skip(&NON_STANDARD)?,
    }
    Ok(None)
}

/// An address in a SEQUENCE with additions.
fn extensible(reader: &mut Reader<'_>, length: usize) -> Result<Address> {
    let (has_additions, _) = reader.sequence(0)?;
    let address = Address::read(reader, length)?;
    if has_additions {
        reader.additions(|_, _| Ok(()))?;
    }
    Ok(address)
}

/// Reads a TransportAddress of H.245; absent if it is no unicast address of IP.
pub(super) fn h245(reader: &mut Reader<'_>) -> Result<Option<Address>> {
    let Chosen::Root(kind) = reader.choice(2)? else {
        return Ok(None);
    };
    if kind == 1 {
        multicast(reader)?;
        return Ok(None);
    }
    let Chosen::Root(kind) = reader.choice(5)? else {
        return Ok(None);
    };
    match kind {
        0 => return extensible(reader, 4).map(Some),
        1 => reader.skip(&Shape::Sequence(true, IPX))?,
        2 => return extensible(reader, 16).map(Some),
        3 => reader.skip(&Shape::Octets(16))?,
        _ => reader.skip(&SOURCE_ROUTE_245)?,
    }
    Ok(None)
}

fn multicast(reader: &mut Reader<'_>) -> Result<()> {
    match reader.choice(2)? {
        Chosen::Root(kind) => extensible(reader, if kind == 0 { 4 } else { 16 }).map(|_| ()),
        Chosen::Added(..) => Ok(()),
    }
}
