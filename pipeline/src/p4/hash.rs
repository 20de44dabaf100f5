// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The hash functions that architectures name.

use crc::{Crc, CRC_16_ARC, CRC_32_ISO_HDLC, CRC_64_ECMA_182};

const CRC16: Crc<u16> = Crc::<u16>::new(&CRC_16_ARC);
const CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
const CRC64: Crc<u64> = Crc::<u64>::new(&CRC_64_ECMA_182);

/// A hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// CRC-32 of Ethernet.
    Crc32,
    /// CRC-16/ARC.
    Crc16,
    /// CRC-64/ECMA-182.
    Crc64,
    /// The input itself, its last bytes.
    Identity,
    /// The one's complement sum of RFC 1071.
    Checksum16,
    /// All pairs of bytes, exclusively ored.
    Xor16,
    /// A number that depends on nothing in the input.
    Random,
}

impl Algorithm {
    /// The function that v1model's `HashAlgorithm` names; `None` if there is none.
    pub fn v1model(name: &str) -> Option<Algorithm> {
        Some(match name {
            // bmv2 starts the custom ones with the plain ones' parameters; they cannot be set.
            "crc32" | "crc32_custom" => Algorithm::Crc32,
            "crc16" | "crc16_custom" => Algorithm::Crc16,
            "identity" => Algorithm::Identity,
            "csum16" => Algorithm::Checksum16,
            "xor16" => Algorithm::Xor16,
            "random" => Algorithm::Random,
            _ => return None,
        })
    }

    /// The value for some bytes. `random` is used by [`Algorithm::Random`] only.
    pub fn hash(self, data: &[u8], random: impl FnOnce() -> u64) -> u64 {
        match self {
            Algorithm::Crc32 => CRC32.checksum(data).into(),
            Algorithm::Crc16 => CRC16.checksum(data).into(),
            Algorithm::Crc64 => CRC64.checksum(data),
            Algorithm::Identity => {
                let last = &data[data.len().saturating_sub(8)..];
                last.iter()
                    .fold(0, |value, byte| value << 8 | u64::from(*byte))
            }
            Algorithm::Checksum16 => (!sum(data)).into(),
            Algorithm::Xor16 => words(data).fold(0, |value, word| value ^ word).into(),
            Algorithm::Random => random(),
        }
    }
}

/// Pairs of bytes, a last odd one filled up with zeros.
fn words(data: &[u8]) -> impl Iterator<Item = u16> + '_ {
    data.chunks(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))
}

/// The one's complement sum of RFC 1071.
pub fn sum(data: &[u8]) -> u16 {
    let mut sum: u64 = words(data).map(u64::from).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        let hash = |a: Algorithm, data: &[u8]| a.hash(data, || 7);
        // The check values of the catalogue of CRCs.
        assert_eq!(hash(Algorithm::Crc32, b"123456789"), 0xcbf4_3926);
        assert_eq!(hash(Algorithm::Crc16, b"123456789"), 0xbb3d);
        assert_eq!(hash(Algorithm::Crc64, b"123456789"), 0x6c40_df5f_0b49_7347);
        // RFC 1071, section 3.
        let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(hash(Algorithm::Checksum16, &data), 0x220d);
        assert_eq!(hash(Algorithm::Xor16, &[0x12, 0x34, 0xff]), 0xed34);
        assert_eq!(hash(Algorithm::Identity, &[1, 2, 3]), 0x010203);
        assert_eq!(hash(Algorithm::Random, &[]), 7);
    }
}
