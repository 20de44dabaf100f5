// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fragments: kept until their datagram is complete, then tracked and translated as one packet.
//!
//! As in Linux (`nf_defrag_ipv4.c`, `nf_conntrack_reasm.c`) the tracker sees whole datagrams only.
//! What leaves are the fragments that came, in the order of their offsets and with their own
//! headers, with the payload and addresses that the datagram has after translation.

mod datagram;
mod shares;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

pub use datagram::Datagram;
pub use shares::Share;

use shares::Holders;

use crate::checksum::Sum;
use crate::packet::{fragment_start, Headers, Malformed};
use crate::time::Time;
use crate::tuple::{Family, Protocol};
use crate::zone::Zone;

/// The largest payload of a datagram.
const MAX_PAYLOAD: usize = 65535;

/// The limits of incomplete datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentLimits {
    /// The most incomplete datagrams.
    pub datagrams: usize,
    /// The most bytes of kept fragments.
    pub bytes: usize,
    /// The share of the fragments of one [`Origin::port`].
    pub of_port: Share,
    /// The share of the fragments of one source address behind a port.
    pub of_source: Share,
    /// The most fragments of a datagram.
    pub fragments: usize,
    /// The time that a datagram of IPv4 may remain incomplete (`ipfrag_time`).
    pub timeout_v4: Duration,
    /// The time that a datagram of IPv6 may remain incomplete (`nf_conntrack_frag6_timeout`).
    pub timeout_v6: Duration,
}

impl Default for FragmentLimits {
    fn default() -> Self {
        FragmentLimits {
            datagrams: 4096,
            bytes: 4 << 20,
            of_port: Share {
                datagrams: 3072,
                bytes: 3 << 20,
            },
            of_source: Share {
                datagrams: 512,
                bytes: 512 << 10,
            },
            fragments: 128,
            timeout_v4: Duration::from_secs(30),
            timeout_v6: Duration::from_secs(60),
        }
    }
}

/// Counters of fragments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FragmentStatistics {
    /// Datagrams that became complete.
    pub complete: u64,
    /// Datagrams whose time has passed.
    pub timed_out: u64,
    /// Incomplete datagrams that made place for others, the oldest first.
    pub evicted: u64,
    /// The oldest datagrams of ports that had more than their share.
    pub evicted_of_port: u64,
    /// The oldest datagrams of sources that had more than their share.
    pub evicted_of_source: u64,
    /// Incomplete datagrams that were removed ([`Fragments::discard`], [`Fragments::clear`]).
    pub discarded: u64,
    /// Datagrams with fragments that overlap or contradict each other.
    pub inconsistent: u64,
    /// Datagrams with too many fragments.
    pub too_many: u64,
    /// Fragments that came twice.
    pub duplicate: u64,
    /// Fragments with a malformed header or length, and datagrams that are too long with the
    /// headers of their first fragment.
    pub malformed: u64,
}

impl FragmentStatistics {
    /// The counters, with the names that metrics have.
    pub fn named(&self) -> [(&'static str, u64); 10] {
        [
            ("complete", self.complete),
            ("timed_out", self.timed_out),
            ("evicted", self.evicted),
            ("evicted_of_port", self.evicted_of_port),
            ("evicted_of_source", self.evicted_of_source),
            ("discarded", self.discarded),
            ("inconsistent", self.inconsistent),
            ("too_many", self.too_many),
            ("duplicate", self.duplicate),
            ("malformed", self.malformed),
        ]
    }
}

/// The origin of fragments. Those of different origins do not mix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The port, which has a share of the store.
    pub port: u32,
    /// The network behind it, such as a VLAN or a zone.
    pub network: u32,
}

/// The result of [`Fragments::insert`].
#[derive(Debug)]
pub enum Reassembly {
    /// The packet is not a fragment: it is to be tracked as it is.
    Whole,
    /// The fragment is kept, or was dropped: there is nothing to do.
    Kept,
    /// The datagram is complete.
    Complete(Datagram),
}

/// The key that the fragments of a datagram have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    origin: Origin,
    family: Family,
    /// Of IPv4 only.
    protocol: u8,
    id: u32,
    addresses: [u8; 32],
}

impl Key {
    /// The port and the source address.
    fn source(&self) -> (u32, [u8; 16]) {
        let mut source = [0; 16];
        let length = match self.family {
            Family::V4 => 4,
            Family::V6 => 16,
        };
        source[..length].copy_from_slice(&self.addresses[..length]);
        (self.origin.port, source)
    }
}

/// A fragment: the bytes before its payload, and the payload.
#[derive(Debug)]
struct Fragment {
    header: Vec<u8>,
    offset: usize,
    payload: Vec<u8>,
}

impl Fragment {
    fn end(&self) -> usize {
        self.offset + self.payload.len()
    }

    fn size(&self) -> usize {
        self.header.len() + self.payload.len()
    }
}

#[derive(Debug)]
struct Incomplete {
    /// In the order of their offsets, without overlaps.
    fragments: Vec<Fragment>,
    /// The length of the payload, once the last fragment is there.
    length: Option<usize>,
    received: usize,
    size: usize,
    deadline: Time,
    age: u64,
}

/// The cause for which a fragment is not added.
enum Refusal {
    Duplicate,
    Inconsistent,
    TooMany,
}

/// Incomplete datagrams. Fragments of a datagram must all come to the same one.
#[derive(Debug)]
pub struct Fragments {
    limits: FragmentLimits,
    incomplete: BTreeMap<Key, Incomplete>,
    /// The datagrams by age, the oldest first.
    ages: BTreeMap<u64, Key>,
    ports: Holders<u32>,
    sources: Holders<(u32, [u8; 16])>,
    next_age: u64,
    bytes: usize,
    statistics: FragmentStatistics,
}

impl Fragments {
    /// No datagrams yet.
    pub fn new(limits: FragmentLimits) -> Self {
        Fragments {
            limits,
            incomplete: BTreeMap::new(),
            ages: BTreeMap::new(),
            ports: Holders::new(limits.of_port),
            sources: Holders::new(limits.of_source),
            next_age: 0,
            bytes: 0,
            statistics: FragmentStatistics::default(),
        }
    }

    /// The counters.
    pub fn statistics(&self) -> FragmentStatistics {
        self.statistics
    }

    /// The number of incomplete datagrams.
    pub fn len(&self) -> usize {
        self.incomplete.len()
    }

    /// Reports whether no datagram is incomplete.
    pub fn is_empty(&self) -> bool {
        self.incomplete.is_empty()
    }

    /// Bytes of kept fragments.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a packet if it is a fragment. Fragments of different zones do not mix; all zones
    /// together are one port.
    ///
    /// # Errors
    ///
    /// A [`Malformed`] if the packet is no valid IP packet, or the checksum of its header is wrong.
    pub fn insert(
        &mut self,
        packet: &[u8],
        zone: Zone,
        now: Time,
    ) -> Result<Reassembly, Malformed> {
        let network = zone.to_bits();
        self.insert_from(packet, Origin { port: 0, network }, now)
    }

    /// The same for a packet from a port.
    ///
    /// # Errors
    ///
    /// As [`Fragments::insert`].
    pub fn insert_from(
        &mut self,
        packet: &[u8],
        origin: Origin,
        now: Time,
    ) -> Result<Reassembly, Malformed> {
        let headers = Headers::parse(packet)?;
        let Some(part) = headers.fragment else {
            return Ok(Reassembly::Whole);
        };
        if headers.family == Family::V4 {
            let header = Sum::default().bytes(&packet[..headers.transport]);
            if header.fold() != 0xffff {
                return Err(Malformed::HeaderChecksum);
            }
        }
        self.expire(now);
        let start = fragment_start(packet, &headers);
        let payload = &packet[start..headers.end];
        let mut end = usize::from(part.offset) + payload.len();
        if part.more {
            if headers.family == Family::V6 && end % 8 != 0 {
                self.statistics.malformed += 1;
                return Ok(Reassembly::Kept);
            }
            end -= end % 8;
        }
        if end <= usize::from(part.offset) || start + end > MAX_PAYLOAD {
            self.statistics.malformed += 1;
            return Ok(Reassembly::Kept);
        }
        let fragment = Fragment {
            header: packet[..start].to_vec(),
            offset: part.offset.into(),
            payload: payload[..end - usize::from(part.offset)].to_vec(),
        };
        let key = key(packet, &headers, part.id, origin);
        Ok(match self.add(key, fragment, part.more, now) {
            Some(datagram) => Reassembly::Complete(datagram),
            None => Reassembly::Kept,
        })
    }

    fn add(&mut self, key: Key, fragment: Fragment, more: bool, now: Time) -> Option<Datagram> {
        let size = fragment.size();
        if !self.incomplete.contains_key(&key) {
            self.begin(key, now);
        }
        let incomplete = self.incomplete.get_mut(&key)?;
        match incomplete.add(fragment, more, self.limits.fragments) {
            Ok(()) => {}
            Err(Refusal::Duplicate) => {
                self.statistics.duplicate += 1;
                return None;
            }
            Err(refusal) => {
                match refusal {
                    Refusal::TooMany => self.statistics.too_many += 1,
                    _ => self.statistics.inconsistent += 1,
                }
                self.remove(&key);
                return None;
            }
        }
        self.bytes += size;
        self.ports.grow(key.origin.port, size);
        self.sources.grow(key.source(), size);
        if incomplete.length == Some(incomplete.received) {
            let complete = self.remove(&key)?;
            let datagram = Datagram::new(key.family, key.id, complete.fragments);
            match datagram {
                Some(_) => self.statistics.complete += 1,
                None => self.statistics.malformed += 1,
            }
            return datagram;
        }
        self.keep_shares(&key);
        while self.bytes > self.limits.bytes && self.evict() {}
        None
    }

    /// Removes the oldest datagrams of a port or source that has more than its share.
    fn keep_shares(&mut self, key: &Key) {
        let (port, source) = (key.origin.port, key.source());
        while let Some(oldest) = self.sources.excess(source) {
            self.statistics.evicted_of_source += 1;
            self.remove_aged(oldest);
        }
        while let Some(oldest) = self.ports.excess(port) {
            self.statistics.evicted_of_port += 1;
            self.remove_aged(oldest);
        }
    }

    /// Removes all fragments of a port, whose number may be another owner's next.
    pub fn discard(&mut self, port: u32) {
        while let Some(oldest) = self.ports.oldest(port) {
            self.statistics.discarded += 1;
            self.remove_aged(oldest);
        }
    }

    /// Removes all fragments.
    pub fn clear(&mut self) {
        self.statistics.discarded += self.incomplete.len() as u64;
        self.incomplete.clear();
        self.ages.clear();
        self.ports.clear();
        self.sources.clear();
        self.bytes = 0;
    }

    fn remove_aged(&mut self, age: u64) {
        if let Some(key) = self.ages.get(&age).copied() {
            self.remove(&key);
        }
    }

    fn begin(&mut self, key: Key, now: Time) {
        while self.incomplete.len() >= self.limits.datagrams.max(1) && self.evict() {}
        let timeout = match key.family {
            Family::V4 => self.limits.timeout_v4,
            Family::V6 => self.limits.timeout_v6,
        };
        let age = self.next_age;
        self.next_age += 1;
        self.ages.insert(age, key);
        self.ports.add(key.origin.port, age);
        self.sources.add(key.source(), age);
        let incomplete = Incomplete {
            fragments: Vec::new(),
            length: None,
            received: 0,
            size: 0,
            deadline: now + timeout,
            age,
        };
        self.incomplete.insert(key, incomplete);
    }

    fn remove(&mut self, key: &Key) -> Option<Incomplete> {
        let incomplete = self.incomplete.remove(key)?;
        self.ages.remove(&incomplete.age);
        self.bytes -= incomplete.size;
        let (age, size) = (incomplete.age, incomplete.size);
        self.ports.remove(key.origin.port, age, size);
        self.sources.remove(key.source(), age, size);
        Some(incomplete)
    }

    /// Removes the oldest datagram. Returns whether there was one.
    fn evict(&mut self) -> bool {
        let Some((_, &key)) = self.ages.first_key_value() else {
            return false;
        };
        self.statistics.evicted += 1;
        self.remove(&key).is_some()
    }

    /// Removes datagrams whose time has passed. Those with different timeouts are not in the order
    /// of their deadlines: one behind an older one goes with that at the latest.
    pub fn expire(&mut self, now: Time) {
        while let Some((_, &key)) = self.ages.first_key_value() {
            if self
                .incomplete
                .get(&key)
                .is_some_and(|oldest| oldest.deadline > now)
            {
                return;
            }
            self.statistics.timed_out += 1;
            self.remove(&key);
        }
    }
}

impl Incomplete {
    /// Adds a fragment that overlaps none; any other overlap than a repetition spoils the datagram
    /// (RFC 5722, `inet_frag_queue_insert`).
    fn add(&mut self, fragment: Fragment, more: bool, max: usize) -> Result<(), Refusal> {
        let (offset, end) = (fragment.offset, fragment.end());
        let known_end = self.fragments.last().map_or(0, Fragment::end);
        let is_consistent = match (more, self.length) {
            (true, None) => true,
            (true, Some(length)) => end <= length,
            (false, None) => end >= known_end,
            (false, Some(length)) => end == length,
        };
        if !is_consistent {
            return Err(Refusal::Inconsistent);
        }
        let at = self
            .fragments
            .partition_point(|known| known.end() <= offset);
        if let Some(next) = self.fragments.get(at) {
            if next.offset < end {
                let is_repeated = next.offset <= offset && end <= next.end();
                return Err(if is_repeated {
                    Refusal::Duplicate
                } else {
                    Refusal::Inconsistent
                });
            }
        }
        if self.fragments.len() >= max {
            return Err(Refusal::TooMany);
        }
        if !more {
            self.length = Some(end);
        }
        self.received += fragment.payload.len();
        self.size += fragment.size();
        self.fragments.insert(at, fragment);
        Ok(())
    }
}

fn key(packet: &[u8], headers: &Headers, id: u32, origin: Origin) -> Key {
    let octets = headers.addresses(packet);
    let mut addresses = [0; 32];
    addresses[..octets.len()].copy_from_slice(octets);
    let Protocol(protocol) = match headers.family {
        Family::V4 => headers.protocol,
        Family::V6 => Protocol(0),
    };
    Key {
        origin,
        family: headers.family,
        protocol,
        id,
        addresses,
    }
}
