// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ports that no source is translated to, since others listen on them: a node's services, its tunnels
//! (`ip_local_reserved_ports`, for translation).

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::tuple::Protocol;

/// The most ranges of ports.
pub const MAX_RESERVED: usize = 1024;
/// Ports of a protocol.
const PORTS: usize = 1 << 16;
const BITS: usize = u64::BITS as usize;
const WORDS: usize = PORTS / BITS;

/// A range of ports of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReservedRange {
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

/// The names of the protocols that have ports.
const NAMES: [(&str, Protocol); 3] = [
    ("tcp", Protocol::TCP),
    ("udp", Protocol::UDP),
    ("sctp", Protocol::SCTP),
];

/// `tcp:30000-32767`, or `udp:4789`.
impl FromStr for ReservedRange {
    type Err = InvalidReservation;

    fn from_str(text: &str) -> Result<Self, InvalidReservation> {
        let wrong = || InvalidReservation::Text(text.to_owned());
        let (name, ports) = text.split_once(':').ok_or_else(wrong)?;
        let protocol = NAMES.iter().find(|(known, _)| *known == name);
        let (_, protocol) = *protocol.ok_or_else(wrong)?;
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let port = |text: &str| text.parse().map_err(|_| wrong());
        let range = ReservedRange {
            protocol,
            first: port(first)?,
            last: port(last)?,
        };
        range.check()?;
        Ok(range)
    }
}

impl fmt::Display for ReservedRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &ReservedRange {
            protocol,
            first,
            last,
        } = self;
        match NAMES.iter().find(|(_, known)| *known == protocol) {
            Some((name, _)) => write!(f, "{name}:{first}")?,
            None => write!(f, "{}:{first}", protocol.0)?,
        }
        match first == last {
            true => Ok(()),
            false => write!(f, "-{last}"),
        }
    }
}

impl ReservedRange {
    fn check(&self) -> Result<(), InvalidReservation> {
        if !self.protocol.has_ports() {
            return Err(InvalidReservation::Protocol(self.protocol.0));
        }
        if self.first > self.last {
            return Err(InvalidReservation::Order(self.first, self.last));
        }
        Ok(())
    }
}

/// Reasons why ports cannot be reserved.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidReservation {
    /// The protocol has no ports.
    #[error("protocol {0} has no ports; TCP (6), UDP (17) and SCTP (132) have")]
    Protocol(u8),
    /// The first port is greater than the last.
    #[error("reserved ports {0} to {1}: the first is greater than the last")]
    Order(u16, u16),
    /// The text is no range.
    #[error(
        "`{0}` is no range of ports: PROTOCOL:PORT or PROTOCOL:FIRST-LAST, with tcp, udp or sctp"
    )]
    Text(String),
    /// There are too many ranges.
    #[error("{0} ranges of reserved ports; at most {MAX_RESERVED} are possible")]
    TooMany(usize),
}

/// Ports that no source is translated to ([`Tracker::set_reserved_ports`](crate::Tracker::set_reserved_ports)).
#[derive(Clone, Debug, Default)]
pub struct ReservedPorts {
    ranges: Vec<ReservedRange>,
    open: Vec<(Protocol, OpenPorts)>,
}

impl ReservedPorts {
    /// The ports of some ranges, which may overlap.
    ///
    /// # Errors
    ///
    /// An [`InvalidReservation`] for what is no range of ports, and for too many of them.
    pub fn new(ranges: Vec<ReservedRange>) -> Result<Self, InvalidReservation> {
        if ranges.len() > MAX_RESERVED {
            return Err(InvalidReservation::TooMany(ranges.len()));
        }
        ranges.iter().try_for_each(ReservedRange::check)?;
        let open = NAMES.into_iter().filter_map(|(_, protocol)| {
            let mut of_it = ranges.iter().filter(|r| r.protocol == protocol).peekable();
            of_it.peek()?;
            Some((protocol, OpenPorts::new(of_it)))
        });
        let open = open.collect();
        Ok(ReservedPorts { ranges, open })
    }

    /// The ranges that were given.
    pub fn ranges(&self) -> &[ReservedRange] {
        &self.ranges
    }

    /// Reports whether a port is reserved.
    pub fn contains(&self, protocol: Protocol, port: u16) -> bool {
        self.open(protocol).is_some_and(|open| !open.contains(port))
    }

    /// The ports of a protocol that are not reserved. Absent if all are open.
    pub(super) fn open(&self, protocol: Protocol) -> Option<&OpenPorts> {
        let found = self.open.iter().find(|(of, _)| *of == protocol);
        found.map(|(_, open)| open)
    }
}

/// The ports that are not reserved, as bits with the number of those below each word.
#[derive(Clone, Debug)]
pub(super) struct OpenPorts {
    bits: Box<[u64]>,
    below: Box<[u32]>,
}

impl OpenPorts {
    fn new<'a>(reserved: impl Iterator<Item = &'a ReservedRange>) -> Self {
        let mut bits = vec![u64::MAX; WORDS];
        for range in reserved {
            for port in usize::from(range.first)..=usize::from(range.last) {
                bits[port / BITS] &= !(1 << (port % BITS));
            }
        }
        let mut sum = 0;
        let below = bits.iter().map(|word| {
            let below = sum;
            sum += word.count_ones();
            below
        });
        let below = below.collect();
        OpenPorts {
            bits: bits.into(),
            below,
        }
    }

    fn contains(&self, port: u16) -> bool {
        let port = usize::from(port);
        self.bits[port / BITS] >> (port % BITS) & 1 != 0
    }

    /// The number of open ports below `port`, which may be one above the last port.
    fn rank(&self, port: u32) -> u32 {
        let (word, bit) = (port as usize / BITS, port as usize % BITS);
        match self.bits.get(word) {
            Some(bits) => self.below[word] + (bits & ((1 << bit) - 1)).count_ones(),
            None => self.below[WORDS - 1] + self.bits[WORDS - 1].count_ones(),
        }
    }

    /// The number of open ports among `size` from `min` on.
    pub(super) fn count(&self, min: u32, size: u32) -> u32 {
        self.rank(min + size) - self.rank(min)
    }

    /// Open port `n` from `min` on. It exists if `n` is below [`OpenPorts::count`].
    pub(super) fn nth(&self, min: u32, n: u32) -> u32 {
        let wanted = self.rank(min) + n;
        let word = self.below.partition_point(|&below| below <= wanted) - 1;
        let mut bits = self.bits[word];
        for _ in self.below[word]..wanted {
            bits &= bits.wrapping_sub(1);
        }
        (word * BITS) as u32 + bits.trailing_zeros()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(first: u16, last: u16) -> ReservedRange {
        ReservedRange {
            protocol: Protocol::UDP,
            first,
            last,
        }
    }

    proptest! {
        #[test]
        fn open_ports_are_counted_and_found(
            ranges in proptest::collection::vec((any::<u16>(), 0u16..3000), 0..8),
            min in any::<u16>(), size in 1u32..70_000, pick in any::<u32>(),
        ) {
            let ranges = ranges.iter().map(|&(first, more)| range(first, first.saturating_add(more)));
            let ports = ReservedPorts::new(ranges.chain([range(5, 5)]).collect()).unwrap();
            let is_open = |port: &u32| !ports.contains(Protocol::UDP, *port as u16);
            let min = u32::from(min);
            let size = size.min(65_536 - min);
            let expected: Vec<_> = (min..min + size).filter(is_open).collect();
            let open = ports.open(Protocol::UDP).unwrap();
            prop_assert_eq!(open.count(min, size) as usize, expected.len());
            if !expected.is_empty() {
                let n = pick as usize % expected.len();
                prop_assert_eq!(open.nth(min, n as u32), expected[n]);
            }
            prop_assert!(ports.open(Protocol::TCP).is_none());
        }
    }

    #[test]
    fn ranges_are_read_and_written() {
        for text in ["tcp:30000-32767", "udp:4789", "sctp:0-65535"] {
            let range: ReservedRange = text.parse().unwrap();
            assert_eq!(range.to_string(), text);
        }
        for text in [
            "",
            "tcp",
            "tcp:",
            "icmp:1",
            "tcp:1-",
            "tcp:65536",
            "udp:1-2-3",
            "6:1",
        ] {
            let error = text.parse::<ReservedRange>().unwrap_err();
            assert_eq!(error, InvalidReservation::Text(text.to_owned()));
        }
        let error = "tcp:9-8".parse::<ReservedRange>().unwrap_err();
        assert_eq!(error, InvalidReservation::Order(9, 8));
    }

    #[test]
    fn wrong_ranges_are_refused() {
        let error = |range| ReservedPorts::new(vec![range]).unwrap_err();
        assert_eq!(error(range(6, 5)), InvalidReservation::Order(6, 5));
        let icmp = ReservedRange {
            protocol: Protocol::ICMP,
            ..range(1, 2)
        };
        assert_eq!(error(icmp), InvalidReservation::Protocol(1));
        let many = vec![range(1, 1); MAX_RESERVED + 1];
        let error = ReservedPorts::new(many).unwrap_err();
        assert_eq!(error, InvalidReservation::TooMany(MAX_RESERVED + 1));
    }
}
