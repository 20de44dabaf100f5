// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Receive-side scaling: the Toeplitz hash of a frame's flow, and the queue it selects.
//!
//! The hash and its input are those of Microsoft's "RSS hashing types"; the packet types to be
//! hashed are selected by virtchnl2's flow bits (`enum virtchnl2_flow_types`).

use std::sync::Arc;

use crate::parse::{Parsed, L3, L4};

/// The longest input: two IPv6 addresses and two ports.
const MAX_INPUT: usize = 36;
/// The longest indirection table accepted.
pub const MAX_LUT: usize = 4096;
/// The longest key accepted; bytes after the 40th do not affect the inputs hashed here.
pub const MAX_KEY: usize = 256;

/// Flow bits, the values of `enum virtchnl2_flow_types`.
pub mod flow {
    /// TCP over IPv4: addresses and ports.
    pub const IPV4_TCP: u64 = 1 << 0;
    /// UDP over IPv4: addresses and ports.
    pub const IPV4_UDP: u64 = 1 << 1;
    /// SCTP over IPv4: addresses and ports.
    pub const IPV4_SCTP: u64 = 1 << 2;
    /// All other IPv4, including fragments: addresses.
    pub const IPV4_OTHER: u64 = 1 << 3;
    /// TCP over IPv6: addresses and ports.
    pub const IPV6_TCP: u64 = 1 << 4;
    /// UDP over IPv6: addresses and ports.
    pub const IPV6_UDP: u64 = 1 << 5;
    /// SCTP over IPv6: addresses and ports.
    pub const IPV6_SCTP: u64 = 1 << 6;
    /// All other IPv6, including fragments: addresses.
    pub const IPV6_OTHER: u64 = 1 << 7;
    /// Flow bits that [`Rss`](super::Rss) supports.
    pub const SUPPORTED: u64 = 0xff;
}

/// A request to configure RSS that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RssError {
    /// The key is empty or too long.
    #[error("RSS key of {0} bytes: 1 to {MAX_KEY} are possible")]
    KeyLength(usize),
    /// The indirection table is empty or too long.
    #[error("RSS indirection table of {0} entries: 1 to {MAX_LUT} are possible")]
    LutLength(usize),
    /// Flow bits that are not in [`flow::SUPPORTED`].
    #[error("RSS flow types {0:#x} are not supported, only {supported:#x} are", supported = flow::SUPPORTED)]
    FlowTypes(u64),
}

/// The fields that a hash covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashKind {
    /// Source and destination address.
    Addresses,
    /// Addresses, then source and destination port.
    AddressesAndPorts,
}

/// The RSS state of one virtual port.
#[derive(Clone, Debug)]
pub struct Rss {
    key: Vec<u8>,
    lut: Vec<u32>,
    types: u64,
    table: Toeplitz,
}

impl Rss {
    /// Creates RSS with `key`, indirection table `lut` (queue numbers) and the flow bits `types`.
    pub fn new(key: &[u8], lut: &[u32], types: u64) -> Result<Rss, RssError> {
        let mut rss = Rss {
            key: Vec::new(),
            lut: Vec::new(),
            types: 0,
            table: Toeplitz::new(&[]),
        };
        rss.set_key(key)?;
        rss.set_lut(lut)?;
        rss.set_types(types)?;
        Ok(rss)
    }

    /// Replaces the key. A key shorter than the input is padded with zeroes.
    pub fn set_key(&mut self, key: &[u8]) -> Result<(), RssError> {
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(RssError::KeyLength(key.len()));
        }
        self.table = Toeplitz::new(key);
        self.key = key.to_vec();
        Ok(())
    }

    /// Replaces the indirection table.
    pub fn set_lut(&mut self, lut: &[u32]) -> Result<(), RssError> {
        if lut.is_empty() || lut.len() > MAX_LUT {
            return Err(RssError::LutLength(lut.len()));
        }
        self.lut = lut.to_vec();
        Ok(())
    }

    /// Replaces the flow bits. Zero turns hashing off.
    pub fn set_types(&mut self, types: u64) -> Result<(), RssError> {
        match types & !flow::SUPPORTED {
            0 => self.types = types,
            bad => return Err(RssError::FlowTypes(bad)),
        }
        Ok(())
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The indirection table.
    pub fn lut(&self) -> &[u32] {
        &self.lut
    }

    /// The flow bits.
    pub fn types(&self) -> u64 {
        self.types
    }

    /// Computes the hash of the frame that begins with `front` and was parsed into `p`. Returns
    /// `None` if its type is not hashed.
    pub fn hash(&self, p: &Parsed, front: &[u8]) -> Option<(u32, HashKind)> {
        let (with_ports, other) = match p.l3 {
            L3::Ipv4 => (flow::IPV4_TCP, flow::IPV4_OTHER),
            L3::Ipv6 => (flow::IPV6_TCP, flow::IPV6_OTHER),
            L3::Arp | L3::None => return None,
        };
        // The bits of one IP version are in this order.
        let with_ports = match p.l4 {
            _ if p.is_fragment() => 0,
            L4::Tcp => with_ports,
            L4::Udp => with_ports << 1,
            L4::Sctp => with_ports << 2,
            L4::Icmp | L4::Icmpv6 | L4::None => 0,
        };
        let addresses = p.addresses(front)?;
        let hash = self.table.hash(0, addresses);
        if self.types & with_ports != 0 {
            let ports = self.table.hash(addresses.len(), p.ports(front)?);
            return Some((hash ^ ports, HashKind::AddressesAndPorts));
        }
        (self.types & other != 0).then_some((hash, HashKind::Addresses))
    }

    /// The queue that the indirection table maps a hash to; for an unhashed frame use 0.
    pub fn queue(&self, hash: u32) -> u32 {
        self.lut[hash as usize % self.lut.len()]
    }
}

/// The Toeplitz hash of one key, with one table lookup for each input byte.
///
/// The hash is linear: it is the exclusive or of the contributions of each byte at each offset.
#[derive(Clone, Debug)]
pub(crate) struct Toeplitz(Arc<[[u32; 256]; MAX_INPUT]>);

impl Toeplitz {
    pub(crate) fn new(key: &[u8]) -> Toeplitz {
        let key_at = |i: usize| key.get(i).copied().unwrap_or(0);
        let mut table = Box::new([[0; 256]; MAX_INPUT]);
        for (place, row) in table.iter_mut().enumerate() {
            // The 40 key bits covered by the windows of this byte's 8 bits.
            let bits = (place..place + 5).fold(0u64, |acc, i| acc << 8 | u64::from(key_at(i)));
            for bit in 0..8 {
                row[0x80 >> bit] = (bits >> (8 - bit)) as u32;
            }
            for byte in 1..256usize {
                let lowest = byte & byte.wrapping_neg();
                row[byte] = row[byte ^ lowest] ^ row[lowest];
            }
        }
        Toeplitz(table.into())
    }

    /// Computes the contribution of `bytes` at offset `at` of the input.
    pub(crate) fn hash(&self, at: usize, bytes: &[u8]) -> u32 {
        let rows = self.0.get(at..).unwrap_or_default();
        rows.iter()
            .zip(bytes)
            .fold(0, |acc, (row, byte)| acc ^ row[usize::from(*byte)])
    }
}

#[cfg(test)]
mod tests;
