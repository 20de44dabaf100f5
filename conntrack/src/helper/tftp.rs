// SPDX-License-Identifier: Apache-2.0 OR MIT
//! TFTP (RFC 1350, `nf_conntrack_tftp.c`): the server answers a request from another port.

use super::{Announced, Session};
use crate::expect::ExpectNat;
use crate::stats::DropReason;
use crate::tuple::{Direction, Protocol};

const READ_REQUEST: u16 = 1;
const WRITE_REQUEST: u16 = 2;

pub(super) fn read(session: &mut Session<'_>) -> Result<(), DropReason> {
    let Some(&[high, low, ..]) = session.received() else {
        return Ok(());
    };
    if !matches!(
        u16::from_be_bytes([high, low]),
        READ_REQUEST | WRITE_REQUEST
    ) {
        return Ok(());
    }
    let reply = session.packet.keys.tuple(Direction::Reply);
    let original = session.packet.keys.tuple(Direction::Original);
    let mut announced = Announced::new(Protocol::UDP, Some(reply.src().address), reply.dst());
    if session.is_translated() {
        announced.nat = Some(ExpectNat {
            direction: Direction::Reply,
            ..session.follow_master(original.src().part)
        });
    }
    session
        .expect(&announced)
        .map_err(DropReason::Expectation)?;
    Ok(())
}
