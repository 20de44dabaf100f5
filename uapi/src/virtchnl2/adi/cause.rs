// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Cause rings: how thousands of ADIs' vectors share a few of MSI-X.
//!
//! A vector of an ADI has no MSI-X vector of its own. When it would signal (DYN_CTL armed, a
//! cause there, its throttling interval over) the device takes INTENA away, writes a
//! [`CauseEntry`] to the ADI's cause ring and raises the ring's MSI-X vector, whose own DYN_CTL
//! the PF driver arms as any other.
//!
//! The ring is in memory of the PF, reached without a PASID. Entries carry a generation bit, 1 in
//! the first pass over zeroed memory, 0 in the second and so on. The driver says how far it has
//! read by storing the index of the next entry that it will read, a little-endian `u32` below the
//! ring's length, at `head_addr`. One entry always stays free. When there is no room, or no ring,
//! causes stay latched in the device and are written when there is: none is lost, and none is
//! written twice, as a vector has one cause at a time.

use crate::bits::{get64, mask};
use zerocopy::little_endian::{U16, U32, U64};

named! {
    /// Values of [`CauseEntry::reason`].
    pub mod cause_reason: u8 {
        /// A vector signals.
        INTERRUPT = 1;
        /// A queue was stopped by a fault: see [`super::AdiFault`]. The vector says nothing.
        FAULT = 2;
    }
}

wire! {
    /// A cause ring. Configuring one again starts it anew, at entry 0 and generation 1; causes
    /// that are latched stay so. [`super::op::CONFIG_ADI_CAUSE_RING`].
    pub struct ConfigAdiCauseRing [32] {
        /// Which one, from 0.
        0 => ring_id: U16,
        /// The MSI-X vector that it signals: one of ALLOC_VECTORS.
        2 => vector_id: U16,
        /// Entries of 8 bytes, a power of 2 from 8; 0 to take the ring away.
        4 => ring_len: U32,
        /// Address of the first entry; a multiple of 8.
        8 => ring_addr: U64,
        /// Address of the `u32` that says how far the driver has read; a multiple of 4.
        16 => head_addr: U64,
        /// Reserved, 0.
        24 => reserved: [u8; 8],
    }
}

/// Where the generation is.
const GENERATION_M: u64 = mask(63, 63);
const REASON_M: u64 = mask(39, 32);
const VECTOR_M: u64 = mask(31, 16);
const ADI_M: u64 = mask(15, 0);

/// An entry of a cause ring, a little-endian `u64` in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CauseEntry(pub u64);

impl CauseEntry {
    /// Bytes of an entry.
    pub const LEN: usize = 8;

    /// An entry.
    #[must_use]
    pub const fn new(adi_id: u16, vector: u16, reason: u8, generation: bool) -> Self {
        let fields = adi_id as u64 | (vector as u64) << 16 | (reason as u64) << 32;
        Self(if generation {
            fields | GENERATION_M
        } else {
            fields
        })
    }

    /// Which ADI.
    #[must_use]
    pub const fn adi_id(self) -> u16 {
        get64(self.0, ADI_M) as u16
    }

    /// Which of its vectors.
    #[must_use]
    pub const fn vector(self) -> u16 {
        get64(self.0, VECTOR_M) as u16
    }

    /// See [`cause_reason`].
    #[must_use]
    pub const fn reason(self) -> u8 {
        get64(self.0, REASON_M) as u8
    }

    /// In which pass over the ring it was written.
    #[must_use]
    pub const fn generation(self) -> bool {
        self.0 & GENERATION_M != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_apart() {
        let entry = CauseEntry::new(0xABCD, 7, cause_reason::FAULT, true);
        assert_eq!(entry.0, 0x8000_0002_0007_ABCD);
        assert_eq!((entry.adi_id(), entry.vector()), (0xABCD, 7));
        assert_eq!((entry.reason(), entry.generation()), (2, true));
        assert!(!CauseEntry::new(0xFFFF, 0xFFFF, 0xFF, false).generation());
    }
}
