// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The hash functions of the supported architectures.

mod custom;

use arc_swap::ArcSwap;
use crc::{Crc, CRC_16_ARC, CRC_32_ISO_HDLC, CRC_64_ECMA_182};

use crate::rss::Toeplitz;
pub use custom::{CrcError, CrcParameters, CustomCrc};

const CRC16: Crc<u16> = Crc::<u16>::new(&CRC_16_ARC);
const CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
const CRC64: Crc<u64> = Crc::<u64>::new(&CRC_64_ECMA_182);

/// The default Toeplitz key: that of the verification suite in Microsoft's RSS specification.
pub const TOEPLITZ_KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// A hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// CRC-32 of Ethernet.
    Crc32,
    /// A CRC-32 with parameters set by a control plane; by default Ethernet's.
    Crc32Custom,
    /// CRC-16/ARC.
    Crc16,
    /// A CRC-16 with parameters set by a control plane; by default CRC-16/ARC.
    Crc16Custom,
    /// CRC-64/ECMA-182.
    Crc64,
    /// The RSS hash of the first 36 bytes, the length of an IPv6 flow.
    Toeplitz,
    /// The last bytes of the input itself.
    Identity,
    /// The ones' complement sum of RFC 1071.
    Checksum16,
    /// The exclusive or of all pairs of bytes.
    Xor16,
    /// A number that does not depend on the input.
    Random,
}

/// Hash function parameters set by control planes. A packet in flight uses the old or the new ones.
#[derive(Debug)]
pub struct Hashes {
    crc32: ArcSwap<CustomCrc>,
    crc16: ArcSwap<CustomCrc>,
    toeplitz: ArcSwap<Toeplitz>,
}

impl Default for Hashes {
    fn default() -> Hashes {
        let made = |parameters| match CustomCrc::new(parameters) {
            Ok(crc) => ArcSwap::from_pointee(crc),
            Err(error) => unreachable!("a catalogue's CRC: {error}"),
        };
        Hashes {
            crc32: made(CrcParameters::CRC32),
            crc16: made(CrcParameters::CRC16),
            toeplitz: ArcSwap::from_pointee(Toeplitz::new(&TOEPLITZ_KEY)),
        }
    }
}

impl Hashes {
    /// Sets the parameters of [`Algorithm::Crc32Custom`] or [`Algorithm::Crc16Custom`], by the
    /// width.
    pub fn set_crc(&self, parameters: CrcParameters) -> Result<(), CrcError> {
        let crc = CustomCrc::new(parameters)?;
        match parameters.width {
            32 => self.crc32.store(crc.into()),
            16 => self.crc16.store(crc.into()),
            given => {
                return Err(CrcError::OtherWidth {
                    expected: if given > 16 { 32 } else { 16 },
                    given,
                })
            }
        }
        Ok(())
    }

    /// Sets the key of [`Algorithm::Toeplitz`]; a short one is padded with zeros.
    pub fn set_toeplitz_key(&self, key: &[u8]) {
        self.toeplitz.store(Toeplitz::new(key).into());
    }

    /// Hashes bytes. `random` is used only by [`Algorithm::Random`].
    pub fn hash(&self, algorithm: Algorithm, data: &[u8], random: impl FnOnce() -> u64) -> u64 {
        match algorithm {
            Algorithm::Crc32 => CRC32.checksum(data).into(),
            Algorithm::Crc16 => CRC16.checksum(data).into(),
            Algorithm::Crc64 => CRC64.checksum(data),
            Algorithm::Crc32Custom => self.crc32.load().checksum(data),
            Algorithm::Crc16Custom => self.crc16.load().checksum(data),
            Algorithm::Toeplitz => self.toeplitz.load().hash(0, data).into(),
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

impl Algorithm {
    /// Returns the function for a member of v1model's `HashAlgorithm`, or `None` if it is unknown.
    pub fn v1model(name: &str) -> Option<Algorithm> {
        Some(match name {
            "crc32" => Algorithm::Crc32,
            "crc32_custom" => Algorithm::Crc32Custom,
            "crc16" => Algorithm::Crc16,
            "crc16_custom" => Algorithm::Crc16Custom,
            "identity" => Algorithm::Identity,
            "csum16" => Algorithm::Checksum16,
            "xor16" => Algorithm::Xor16,
            "random" => Algorithm::Random,
            _ => return None,
        })
    }

    /// Returns the function for a member of `PNA_HashAlgorithm_t`, or `None` if it is unknown.
    pub fn pna(name: &str) -> Option<Algorithm> {
        Some(match name {
            "IDENTITY" => Algorithm::Identity,
            "CRC32" | "TARGET_DEFAULT" => Algorithm::Crc32,
            "CRC32_CUSTOM" => Algorithm::Crc32Custom,
            "CRC16" => Algorithm::Crc16,
            "CRC16_CUSTOM" => Algorithm::Crc16Custom,
            "ONES_COMPLEMENT16" => Algorithm::Checksum16,
            "TOEPLITZ" => Algorithm::Toeplitz,
            _ => return None,
        })
    }
}

/// Splits data into pairs of bytes; a last odd one is padded with a zero.
fn words(data: &[u8]) -> impl Iterator<Item = u16> + '_ {
    data.chunks(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))
}

/// Computes the ones' complement sum of RFC 1071.
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
        let hashes = Hashes::default();
        let hash = |a: Algorithm, data: &[u8]| hashes.hash(a, data, || 7);
        // The check values of the CRC catalogue.
        assert_eq!(hash(Algorithm::Crc32, b"123456789"), 0xcbf4_3926);
        assert_eq!(hash(Algorithm::Crc32Custom, b"123456789"), 0xcbf4_3926);
        assert_eq!(hash(Algorithm::Crc16, b"123456789"), 0xbb3d);
        assert_eq!(hash(Algorithm::Crc16Custom, b"123456789"), 0xbb3d);
        assert_eq!(hash(Algorithm::Crc64, b"123456789"), 0x6c40_df5f_0b49_7347);
        // RFC 1071, section 3.
        let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(hash(Algorithm::Checksum16, &data), 0x220d);
        assert_eq!(hash(Algorithm::Xor16, &[0x12, 0x34, 0xff]), 0xed34);
        assert_eq!(hash(Algorithm::Identity, &[1, 2, 3]), 0x010203);
        assert_eq!(hash(Algorithm::Random, &[]), 7);
        // Microsoft's verification suite: 66.9.149.187:2794 to 161.142.100.80:1766.
        let flow = [66, 9, 149, 187, 161, 142, 100, 80, 0x0a, 0xea, 0x06, 0xe6];
        assert_eq!(hash(Algorithm::Toeplitz, &flow[..8]), 0x323e_8fc2);
        assert_eq!(hash(Algorithm::Toeplitz, &flow), 0x51cc_c178);
    }

    #[test]
    fn control_planes_set_custom_ones() {
        let hashes = Hashes::default();
        // CRC-16/XMODEM.
        let xmodem = CrcParameters {
            polynomial: 0x1021,
            reflect_in: false,
            reflect_out: false,
            ..CrcParameters::CRC16
        };
        hashes.set_crc(xmodem).unwrap();
        let value = hashes.hash(Algorithm::Crc16Custom, b"123456789", || 0);
        assert_eq!(value, 0x31c3);
        let odd = CrcParameters {
            width: 24,
            ..xmodem
        };
        assert!(hashes.set_crc(odd).is_err());
        hashes.set_toeplitz_key(&[]);
        assert_eq!(hashes.hash(Algorithm::Toeplitz, b"anything", || 0), 0);
    }
}
