// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Zones: separate address spaces of one table.

use crate::tuple::Direction;

/// A zone and the directions to which it applies (`include/net/netfilter/nf_conntrack_zones.h`).
///
/// Equal tuples of different zones are different connections. A zone that applies to one direction
/// lets a connection's other direction be found in zone 0: for example, tenants with overlapping
/// addresses each have a zone in the original direction, and their translated replies share zone 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Zone {
    id: u16,
    directions: u8,
}

impl Zone {
    /// Zone 0 in both directions.
    pub const DEFAULT: Zone = Zone::new(0);

    /// Zone `id` in both directions.
    pub const fn new(id: u16) -> Self {
        Zone {
            id,
            directions: 0b11,
        }
    }

    /// Zone `id` in one direction, zone 0 in the other one.
    pub const fn in_direction(id: u16, direction: Direction) -> Self {
        Zone {
            id,
            directions: 1 << direction as u8,
        }
    }

    /// The number of the zone.
    pub const fn id(self) -> u16 {
        self.id
    }

    /// The zone in which tuples of `direction` are found: the zone's number, or 0.
    pub const fn id_in(self, direction: Direction) -> u16 {
        if self.directions & 1 << direction as u8 != 0 {
            self.id
        } else {
            0
        }
    }

    /// The only direction to which the zone applies, if there is one.
    pub const fn only_direction(self) -> Option<Direction> {
        match self.directions {
            0b01 => Some(Direction::Original),
            0b10 => Some(Direction::Reply),
            _ => None,
        }
    }

    /// The zone as a number: the directions above the id.
    pub(crate) const fn to_bits(self) -> u32 {
        self.id as u32 | (self.directions as u32) << 16
    }
}

impl Default for Zone {
    fn default() -> Self {
        Zone::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_applies_to_its_directions() {
        let both = Zone::new(5);
        assert_eq!(
            (
                both.id_in(Direction::Original),
                both.id_in(Direction::Reply)
            ),
            (5, 5)
        );
        let one = Zone::in_direction(5, Direction::Original);
        assert_eq!(
            (one.id_in(Direction::Original), one.id_in(Direction::Reply)),
            (5, 0)
        );
        assert_eq!(one.only_direction(), Some(Direction::Original));
        assert_eq!(both.only_direction(), None);
    }
}
