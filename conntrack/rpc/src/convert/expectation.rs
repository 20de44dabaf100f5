// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Expectations.

use std::time::Duration;

use adit_conntrack::{
    ConnectionRef, Direction, ExpectFlags, ExpectFunction, ExpectNat, Expectation, Family,
    NewExpectation, SourceMask, Time,
};

use super::connection::{helper, helper_name, nanoseconds};
use super::tuple::{
    direction, direction_message, endpoint, endpoint_message, octets, tuple, tuple_message,
};
use super::{narrow, required, Malformed, Result};
use crate::proto;

/// The message of an expectation.
pub(crate) fn expectation_message(expectation: &Expectation, now: Time) -> proto::Expectation {
    let nat = expectation.nat.as_ref();
    proto::Expectation {
        id: expectation.id,
        master: expectation.master.to_bits(),
        master_tuple: Some(tuple_message(&expectation.master_tuple)),
        zone: expectation.zone.into(),
        tuple: Some(tuple_message(&expectation.tuple)),
        mask: Some(proto::Endpoint {
            address: octets(expectation.mask.address),
            part: expectation.mask.part.into(),
        }),
        timeout_ns: nanoseconds(expectation.timeout(now)),
        class: expectation.class.into(),
        flags: expectation.flags.bits().into(),
        helper: helper_name(expectation.helper),
        assigned: helper_name(expectation.assigned),
        nat: nat.map(|nat| proto::ExpectNat {
            direction: direction_message(Some(nat.direction)),
            target: Some(endpoint_message(nat.target)),
        }),
        function: nat.map_or_else(String::new, |nat| nat.function.name().to_owned()),
    }
}

/// The expectation of `master` that a message describes.
pub(crate) fn new_expectation(
    message: &proto::Expectation,
    master: ConnectionRef,
) -> Result<NewExpectation> {
    let tuple = tuple("expectation.tuple", message.tuple.as_ref())?;
    let mask = endpoint(
        "expectation.mask",
        required("expectation.mask", message.mask.as_ref())?,
    )?;
    if Family::of(mask.address) != tuple.family() {
        let problem = format!("{} is not of the tuple's address family", mask.address);
        return Err(Malformed::new("expectation.mask", problem));
    }
    let nat = match &message.nat {
        None => None,
        Some(nat) => {
            let target = required("expectation.nat.target", nat.target.as_ref())?;
            let towards = direction("expectation.nat.direction", nat.direction)?;
            Some(ExpectNat {
                direction: towards.unwrap_or(Direction::Original),
                target: endpoint("expectation.nat.target", target)?,
                function: ExpectFunction::FollowMaster,
            })
        }
    };
    Ok(NewExpectation {
        master,
        tuple,
        mask: SourceMask {
            address: mask.address,
            part: mask.part,
        },
        timeout: Duration::from_nanos(message.timeout_ns),
        class: narrow("expectation.class", message.class)?,
        flags: ExpectFlags::from_bits(narrow("expectation.flags", message.flags)?),
        assigned: helper("expectation.assigned", &message.assigned)?,
        nat,
    })
}
