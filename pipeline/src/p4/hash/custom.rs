// SPDX-License-Identifier: Apache-2.0 OR MIT
//! CRCs with parameters set at run time.

/// The parameters of a CRC in the Rocksoft model, as listed in catalogues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrcParameters {
    /// The width in bits: 1 to 64.
    pub width: u32,
    /// The polynomial without its highest term.
    pub polynomial: u64,
    /// The initial value of the register.
    pub initial: u64,
    /// `true` if a byte's lowest bit is processed first.
    pub reflect_in: bool,
    /// `true` if the result's bits are reversed.
    pub reflect_out: bool,
    /// The value that the result is exclusively ored with.
    pub final_xor: u64,
}

/// Invalid CRC parameters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CrcError {
    /// An invalid width.
    #[error("a CRC here has 1 to 64 bits, not {0}")]
    Width(u32),
    /// A width other than the algorithm's.
    #[error("this CRC has {expected} bits, not {given}")]
    OtherWidth {
        /// The algorithm's width.
        expected: u32,
        /// The given width.
        given: u32,
    },
    /// A parameter has too many bits.
    #[error("{name} {value:#x} does not fit into {width} bits")]
    TooWide {
        /// The parameter's name.
        name: &'static str,
        /// The given value.
        value: u64,
        /// The width in bits.
        width: u32,
    },
}

impl CrcParameters {
    /// CRC-16/ARC.
    pub const CRC16: CrcParameters = CrcParameters {
        width: 16,
        polynomial: 0x8005,
        initial: 0,
        reflect_in: true,
        reflect_out: true,
        final_xor: 0,
    };
    /// CRC-32/ISO-HDLC, Ethernet's.
    pub const CRC32: CrcParameters = CrcParameters {
        width: 32,
        polynomial: 0x04c1_1db7,
        initial: 0xffff_ffff,
        reflect_in: true,
        reflect_out: true,
        final_xor: 0xffff_ffff,
    };

    fn check(&self) -> Result<(), CrcError> {
        let width = self.width;
        if !(1..=64).contains(&width) {
            return Err(CrcError::Width(width));
        }
        for (name, value) in [
            ("polynomial", self.polynomial),
            ("initial", self.initial),
            ("final_xor", self.final_xor),
        ] {
            if value & !(u64::MAX >> (64 - width)) != 0 {
                return Err(CrcError::TooWide { name, value, width });
            }
        }
        Ok(())
    }
}

/// A CRC, with its lookup table.
#[derive(Clone, Debug)]
pub struct CustomCrc {
    parameters: CrcParameters,
    table: [u64; 256],
}

impl CustomCrc {
    /// Computes the lookup table.
    pub fn new(parameters: CrcParameters) -> Result<CustomCrc, CrcError> {
        parameters.check()?;
        // The register is left-aligned in 64 bits, for any width.
        let polynomial = parameters.polynomial << (64 - parameters.width);
        let mut table = [0; 256];
        for (byte, entry) in table.iter_mut().enumerate() {
            let mut register = (byte as u64) << 56;
            for _ in 0..8 {
                let top = register >> 63;
                register = register << 1 ^ (polynomial & top.wrapping_neg());
            }
            *entry = register;
        }
        Ok(CustomCrc { parameters, table })
    }

    /// The parameters.
    pub fn parameters(&self) -> CrcParameters {
        self.parameters
    }

    /// Computes the CRC of some bytes.
    pub fn checksum(&self, data: &[u8]) -> u64 {
        let p = &self.parameters;
        let mut register = p.initial << (64 - p.width);
        for byte in data {
            let byte = if p.reflect_in {
                byte.reverse_bits()
            } else {
                *byte
            };
            let at = (register >> 56) as u8 ^ byte;
            register = register << 8 ^ self.table[usize::from(at)];
        }
        let value = match p.reflect_out {
            // Reversal moves the register's highest bit to bit 0.
            true => register.reverse_bits(),
            false => register >> (64 - p.width),
        };
        value ^ p.final_xor
    }
}

#[cfg(test)]
mod tests {
    use crc::{Crc, CRC_16_IBM_SDLC, CRC_16_XMODEM, CRC_32_ISCSI, CRC_64_ECMA_182, CRC_64_XZ};
    use proptest::prelude::*;

    use super::*;

    /// Compares the library's CRC with ours for the same parameters.
    macro_rules! same {
        ($kind:ty, $algorithm:expr, $data:expr) => {{
            let reference = Crc::<$kind>::new(&$algorithm).checksum($data);
            let ours = CustomCrc::new(CrcParameters {
                width: u32::from($algorithm.width),
                polynomial: $algorithm.poly.into(),
                initial: $algorithm.init.into(),
                reflect_in: $algorithm.refin,
                reflect_out: $algorithm.refout,
                final_xor: $algorithm.xorout.into(),
            });
            prop_assert_eq!(u64::from(reference), ours.unwrap().checksum($data));
        }};
    }

    proptest! {
        #[test]
        fn as_the_library_has_them(data in prop::collection::vec(any::<u8>(), 0..200)) {
            same!(u16, CRC_16_XMODEM, &data);
            same!(u16, CRC_16_IBM_SDLC, &data);
            same!(u32, CRC_32_ISCSI, &data);
            same!(u32, crc::CRC_32_BZIP2, &data);
            same!(u32, crc::CRC_24_OPENPGP, &data);
            same!(u64, CRC_64_ECMA_182, &data);
            same!(u64, CRC_64_XZ, &data);
            same!(u8, crc::CRC_5_USB, &data);
            same!(u8, crc::CRC_3_GSM, &data);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let wide = CrcParameters {
            polynomial: 0x1_8005,
            ..CrcParameters::CRC16
        };
        let error = CustomCrc::new(wide).unwrap_err().to_string();
        assert_eq!(error, "polynomial 0x18005 does not fit into 16 bits");
        let none = CrcParameters {
            width: 65,
            ..CrcParameters::CRC16
        };
        assert_eq!(CustomCrc::new(none).unwrap_err(), CrcError::Width(65));
    }
}
