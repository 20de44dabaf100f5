// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The Internet checksum (RFC 1071), its incremental update (RFC 1624), and SCTP's CRC32c (RFC 9260).

use crate::tuple::{Family, Protocol};

/// The sum of 16-bit words in ones' complement, not yet folded.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum(u64);

impl Sum {
    /// Adds bytes that begin at an even offset of what is summed.
    #[inline]
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        let mut words = bytes.chunks_exact(4);
        for word in &mut words {
            self.0 += u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
        }
        let rest = words.remainder();
        if !rest.is_empty() {
            let mut last = [0; 4];
            last[..rest.len()].copy_from_slice(rest);
            self.0 += u64::from(u32::from_be_bytes(last));
        }
        self
    }

    /// Adds a 16-bit word.
    pub(crate) fn word(self, word: u16) -> Self {
        Sum(self.0 + u64::from(word))
    }

    /// Adds another sum.
    pub(crate) fn plus(self, other: Sum) -> Self {
        Sum(self.0 + other.0)
    }

    /// The sum of bytes of which each pair is exchanged (RFC 1071, 2.B).
    pub(crate) fn with_swapped_octets(self) -> Self {
        Sum(u64::from(self.fold().swap_bytes()))
    }

    /// Subtracts a 16-bit word.
    pub(crate) fn minus_word(self, word: u16) -> Self {
        self.word(!word)
    }

    /// Subtracts bytes of an even number that begin at an even offset of what is summed.
    #[inline]
    pub(crate) fn minus_bytes(mut self, bytes: &[u8]) -> Self {
        let mut words = bytes.chunks_exact(4);
        for word in &mut words {
            self.0 += u64::from(!u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
        }
        match *words.remainder() {
            [high, low] => self.minus_word(u16::from_be_bytes([high, low])),
            _ => self,
        }
    }

    /// The sum in 16 bits.
    #[inline]
    pub(crate) fn fold(self) -> u16 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let mut sum = (sum & 0xffff) + (sum >> 16);
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    /// The checksum: the sum's complement.
    pub(crate) fn checksum(self) -> u16 {
        !self.fold()
    }
}

/// The sum of a pseudo-header: `addresses` are source and destination as they are in the header.
pub(crate) fn pseudo_header(addresses: &[u8], protocol: Protocol, length: usize) -> Sum {
    Sum::default()
        .bytes(addresses)
        .word((length >> 16) as u16)
        .word(length as u16)
        .word(u16::from(protocol.0))
}

/// The checksum that follows when `delta`, the sum of new minus old words, is added to what
/// `checksum` covers.
pub(crate) fn update(checksum: u16, delta: Sum) -> u16 {
    delta.word(!checksum).checksum()
}

/// Reports whether the checksum of a transport message is valid. `addresses` are those of the IP
/// header; `message` is the transport header with its payload. Protocols without a checksum, and
/// UDP over IPv4 without one, are valid.
pub(crate) fn is_valid(
    family: Family,
    addresses: &[u8],
    protocol: Protocol,
    message: &[u8],
) -> bool {
    match protocol {
        Protocol::TCP | Protocol::ICMPV6 => {
            pseudo_header(addresses, protocol, message.len())
                .bytes(message)
                .fold()
                == 0xffff
        }
        Protocol::UDP => {
            if message.get(6..8) == Some(&[0, 0]) {
                // UDP over IPv6 demands a checksum, but Linux's tracker does not.
                return true;
            }
            pseudo_header(addresses, protocol, message.len())
                .bytes(message)
                .fold()
                == 0xffff
        }
        Protocol::ICMP if family == Family::V4 => Sum::default().bytes(message).fold() == 0xffff,
        Protocol::SCTP => match message.get(8..12) {
            Some(stored) => stored == sctp(message).to_le_bytes(),
            None => false,
        },
        _ => true,
    }
}

/// The CRC32c of an SCTP packet, whose own field counts as zero. The packet has at least 12 bytes.
pub(crate) fn sctp(packet: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&packet[..8]);
    let crc = crc32c::crc32c_append(crc, &[0; 4]);
    crc32c::crc32c_append(crc, &packet[12..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_of_rfc_1071() {
        let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::default().bytes(&data).fold(), 0xddf2);
    }

    #[test]
    fn sctp_has_the_crc_of_castagnoli() {
        // The check value of CRC-32C is that of "123456789"; here four zero bytes are inserted.
        let packet = *b"12345678????9";
        let plain = *b"12345678\0\0\0\x009";
        assert_eq!(sctp(&packet), crc32c::crc32c(&plain));
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }

    proptest! {
        #[test]
        fn an_update_equals_a_new_sum(
            mut data in proptest::collection::vec(any::<u8>(), 8..64),
            at in 0usize..3,
            new in any::<[u8; 2]>(),
        ) {
            data[6..8].fill(0);
            let before = Sum::default().bytes(&data).checksum();
            let old = [data[at * 2], data[at * 2 + 1]];
            data[at * 2..at * 2 + 2].copy_from_slice(&new);
            let after = Sum::default().bytes(&data).checksum();
            let delta = Sum::default().minus_bytes(&old).bytes(&new);
            let updated = update(before, delta);
            // Zero has two representations in ones' complement.
            prop_assert!(updated == after || (updated ^ after == 0xffff && (after == 0 || updated == 0)));
        }

        #[test]
        fn a_stored_checksum_sums_to_all_ones(mut data in proptest::collection::vec(any::<u8>(), 2..64)) {
            data[0..2].fill(0);
            let checksum = Sum::default().bytes(&data).checksum();
            data[0..2].copy_from_slice(&checksum.to_be_bytes());
            prop_assert_eq!(Sum::default().bytes(&data).fold(), 0xffff);
        }
    }
}
