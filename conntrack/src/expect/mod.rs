// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Expectations: connections that another one, their master, has announced
//! (`nf_conntrack_expect.c`).
//!
//! They are looked up when a connection is created, under a lock, if there are any at all.

mod index;
mod table;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use thiserror::Error;

use crate::bits::ExpectFlags;
use crate::helper::Helper;
use crate::table::ConnectionRef;
use crate::time::Time;
use crate::tuple::{to_bits, Direction, Endpoint, Family, Tuple};

pub(crate) use index::{Change, Limits};
pub(crate) use table::Expectations;

/// An expected connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Expectation {
    /// Its number, which no other expectation of the tracker has had.
    pub id: u64,
    /// The connection that announced it.
    pub master: ConnectionRef,
    /// The tuple of the master's original direction.
    pub master_tuple: Tuple,
    /// The zone's number.
    pub zone: u16,
    /// The tuple of the connection's first packet, where `mask` has ones.
    pub tuple: Tuple,
    /// The bits of the source that the connection must have. Its destination must be exact.
    pub mask: SourceMask,
    /// The time until which it is expected.
    pub deadline: Time,
    /// The class of the helper's expectations: they are limited in number by class.
    pub class: u8,
    /// Its properties.
    pub flags: ExpectFlags,
    /// The helper of the master.
    pub helper: Option<Helper>,
    /// The helper that the expected connection gets.
    pub assigned: Option<Helper>,
    /// Its translation, if its master is translated.
    pub nat: Option<ExpectNat>,
}

/// The bits of a source that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceMask {
    /// Those of the address.
    pub address: IpAddr,
    /// Those of the port, or call id.
    pub part: u16,
}

impl SourceMask {
    /// The mask of a family that compares the whole address, the part, both or nothing.
    pub fn new(family: Family, address: bool, part: bool) -> Self {
        let address = match (family, address) {
            (Family::V4, true) => Ipv4Addr::BROADCAST.into(),
            (Family::V4, false) => Ipv4Addr::UNSPECIFIED.into(),
            (Family::V6, true) => Ipv6Addr::from(u128::MAX).into(),
            (Family::V6, false) => Ipv6Addr::UNSPECIFIED.into(),
        };
        SourceMask {
            address,
            part: if part { u16::MAX } else { 0 },
        }
    }

    /// Reports whether two tuples' sources are the same in these bits.
    fn are_equal(self, a: &Tuple, b: &Tuple) -> bool {
        let address = (a.src_bits() ^ b.src_bits()) & to_bits(self.address);
        let part = (a.src().part ^ b.src().part) & self.part;
        address == 0 && part == 0
    }

    /// The bits that both masks have.
    fn common(self, other: SourceMask) -> SourceMask {
        let address = match (self.address, other.address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a & b).into(),
            (IpAddr::V6(a), IpAddr::V6(b)) => (a & b).into(),
            // Those of two families have no tuple in common.
            (a, _) => a,
        };
        SourceMask {
            address,
            part: self.part & other.part,
        }
    }
}

/// The translation of an expected connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectNat {
    /// The direction of the master in which the connection flows.
    pub direction: Direction,
    /// The address and the port or call id to which the connection is to go. Functions that take the
    /// address from the master have none: it is unspecified.
    pub target: Endpoint,
    /// The rule by which it is translated.
    pub function: ExpectFunction,
}

/// The rule by which an expected connection is translated (`struct nf_ct_helper_expectfn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExpectFunction {
    /// As its master, but to the target's port (`nf_nat_follow_master`).
    FollowMaster,
    /// To the target, with the master's source if it comes from there (`nf_nat_sip_expected`).
    Sip,
    /// As its master, with the target's call id (`pptp_nat_expected`).
    Pptp,
    /// As [`ExpectFunction::FollowMaster`], of calls from a gatekeeper (`ip_nat_q931_expect`).
    Q931,
    /// To the target, as a call that is forwarded (`ip_nat_callforwarding_expect`).
    CallForwarding,
}

impl ExpectFunction {
    /// All functions.
    pub const ALL: [Self; 3] = [Self::FollowMaster, Self::Sip, Self::Pptp];

    /// The name that ctnetlink shows; PPTP's has none.
    pub fn name(self) -> &'static str {
        match self {
            ExpectFunction::FollowMaster => "nat-follow-master",
            ExpectFunction::Sip => "sip",
            ExpectFunction::Pptp => "",
            ExpectFunction::Q931 => "Q.931",
            ExpectFunction::CallForwarding => "callforwarding",
        }
    }
}

impl Expectation {
    /// The time until it is expected no more.
    pub fn timeout(&self, now: Time) -> Duration {
        self.deadline.since(now)
    }

    /// Reports whether a connection's first packet fulfils it, if its destination does.
    fn has_source_of(&self, tuple: &Tuple) -> bool {
        self.mask.are_equal(&self.tuple, tuple)
    }

    /// Reports whether a packet could fulfil this one and another one of the same destination.
    fn clashes(&self, other: &Expectation) -> bool {
        self.mask
            .common(other.mask)
            .are_equal(&self.tuple, &other.tuple)
    }
}

/// The reason for which an expectation is not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum ExpectError {
    /// Another expectation has connections in common with it.
    #[error("another connection expects what a packet announces")]
    Busy,
    /// Another master has the same expectation. Only if this was asked for.
    #[error("another connection has announced the same connection before")]
    Known,
    /// There are too many.
    #[error("too many expectations for what a packet announces")]
    Full,
    /// The master is not there.
    #[error("expectation's master is not in the table")]
    NoMaster,
    /// Its tuple, mask, translation and master have addresses of two families.
    #[error("expectation's tuple, mask, translation and master are not of one address family")]
    Family,
}
