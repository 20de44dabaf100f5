// SPDX-License-Identifier: Apache-2.0 OR MIT
//! TFTP (RFC 1350, `nf_conntrack_tftp.c`): the server answers a request from another port.

use super::{Announced, Finding, Packet, TIMEOUT};
use crate::expect::Follow;
use crate::tuple::{Direction, Protocol};

const UDP_HEADER: usize = 8;
const READ_REQUEST: u16 = 1;
const WRITE_REQUEST: u16 = 2;

pub(super) fn read(packet: &Packet<'_>) -> Finding {
    let Some(&[high, low]) = packet.message.get(UDP_HEADER..UDP_HEADER + 2) else {
        return Finding::Nothing;
    };
    if !matches!(
        u16::from_be_bytes([high, low]),
        READ_REQUEST | WRITE_REQUEST
    ) {
        return Finding::Nothing;
    }
    let reply = packet.keys.tuple(Direction::Reply);
    let original = packet.keys.tuple(Direction::Original);
    Finding::Expect(Announced {
        protocol: Protocol::UDP,
        src: reply.src().address,
        dst: reply.dst(),
        timeout: TIMEOUT,
        follow: packet.is_translated.then(|| Follow {
            direction: Direction::Reply,
            port: original.src().part,
        }),
    })
}
