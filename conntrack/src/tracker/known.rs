// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The connection of a packet for who only watches: nothing changes.

use super::icmp_error::quote_offset;
use super::{Input, Tracker};
use crate::time::Time;
use crate::tuple::{Direction, Tuple};

/// The connection of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The tuple of the connection's first packet.
    pub original: Tuple,
    /// The packet's direction.
    pub direction: Direction,
    /// Set if the packet is an ICMP error about the connection.
    pub is_error: bool,
}

impl Tracker {
    /// Finds the connection of a packet, or the one that an ICMP error is about, and changes neither.
    /// Checksums are not verified. Absent also for fragments.
    pub fn known(&self, input: &Input<'_>, now: Time) -> Option<Known> {
        let prepared = self.prepare_at_once(input);
        let headers = prepared.headers()?;
        if headers.fragment.is_some_and(|it| !it.is_whole()) {
            return None;
        }
        if let Some(offset) = quote_offset(headers, input.packet).ok()? {
            let (_, direction, keys) = self.quoted(headers, input, offset, now)?;
            return Some(Known {
                original: keys.tuple(Direction::Original),
                direction,
                is_error: true,
            });
        }
        let tuple = headers.tuple(input.packet).ok()?;
        let tuple = self.gre_keys.complete(tuple, input.zone.id());
        let (connection, direction) = self.find(&tuple, input.zone, now)?;
        Some(Known {
            original: self.table.keys(connection)?.tuple(Direction::Original),
            direction,
            is_error: false,
        })
    }
}
