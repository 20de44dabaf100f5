// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The Internet checksum (RFC 1071), its incremental update (RFC 1624), and pseudo headers.
//!
//! [`verify`] checks received frames, [`fill`] completes frames to be sent; both are built on
//! [`Sum`].

pub mod fill;
pub mod verify;

use crate::parse::{Parsed, L3};

/// An incremental ones' complement sum, over pieces of any length.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// Sum of 16-bit words in native byte order (RFC 1071, 2 (B)).
    acc: u64,
    /// Set while the number of bytes added is odd.
    odd: bool,
}

impl Sum {
    /// Creates an empty sum.
    pub fn new() -> Sum {
        Sum::default()
    }

    /// Adds bytes that follow those added before.
    pub fn add(&mut self, bytes: &[u8]) -> &mut Self {
        let part = fold(sum_words(bytes));
        // In a piece that starts at an odd offset, each byte is in the other half of its word.
        let part = if self.odd { part.swap_bytes() } else { part };
        self.acc += u64::from(part);
        self.odd ^= bytes.len() % 2 != 0;
        self
    }

    /// Adds a 16-bit number. Valid only between pieces of even length.
    pub fn add_u16(&mut self, v: u16) -> &mut Self {
        self.add(&v.to_be_bytes())
    }

    /// Adds a 32-bit number. Valid only between pieces of even length.
    pub fn add_u32(&mut self, v: u32) -> &mut Self {
        self.add(&v.to_be_bytes())
    }

    /// The folded sum, not complemented, as in the field of a partial checksum.
    pub fn folded(self) -> u16 {
        u16::from_be(fold(self.acc))
    }

    /// The checksum: the complement of the folded sum.
    pub fn checksum(self) -> u16 {
        !self.folded()
    }

    /// Returns whether bytes that include their own checksum add up (RFC 1071, 1 (3)).
    pub fn is_valid(self) -> bool {
        self.folded() == 0xffff
    }
}

/// The checksum of one slice.
pub fn checksum(bytes: &[u8]) -> u16 {
    Sum::new().add(bytes).checksum()
}

/// The checksum after a 16-bit field changed from `old` to `new` (RFC 1624, equation 3).
pub fn update(check: u16, old: u16, new: u16) -> u16 {
    Sum::new()
        .add_u16(!check)
        .add_u16(!old)
        .add_u16(new)
        .checksum()
}

/// Adds the pseudo header of TCP and UDP: addresses, protocol, length of the transport packet (RFC
/// 9293, 3.1; RFC 8200, 8.1). The sum is the same for both IP versions, since fields of different
/// width differ in zero bytes only. Returns `None` if the frame has no IP addresses.
pub fn pseudo_header(p: &Parsed, front: &[u8], l4_len: u32) -> Option<Sum> {
    debug_assert!(p.l3 == L3::Ipv4 || p.l3 == L3::Ipv6 || p.addresses(front).is_none());
    let mut sum = Sum::new();
    sum.add(p.addresses(front)?)
        .add_u16(u16::from(p.ip_proto))
        .add_u32(l4_len);
    Some(sum)
}

/// Sums words in native byte order; an odd last byte is padded with zero (RFC 1071, 1 (1)).
fn sum_words(bytes: &[u8]) -> u64 {
    let mut wide = bytes.chunks_exact(4);
    // No overflow: 2^32 additions of 32 bits fit, and slices are far shorter.
    let mut acc: u64 = wide
        .by_ref()
        .map(|c| u64::from(u32::from_ne_bytes([c[0], c[1], c[2], c[3]])))
        .sum();
    let mut narrow = wide.remainder().chunks_exact(2);
    for c in narrow.by_ref() {
        acc += u64::from(u16::from_ne_bytes([c[0], c[1]]));
    }
    if let [last] = narrow.remainder() {
        acc += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    acc
}

/// Folds the carries until 16 bits are left.
fn fold(mut acc: u64) -> u16 {
    acc = (acc & 0xffff_ffff) + (acc >> 32);
    acc = (acc & 0xffff_ffff) + (acc >> 32);
    acc = (acc & 0xffff) + (acc >> 16);
    acc = (acc & 0xffff) + (acc >> 16);
    acc = (acc & 0xffff) + (acc >> 16);
    acc as u16
}

#[cfg(test)]
mod tests;
