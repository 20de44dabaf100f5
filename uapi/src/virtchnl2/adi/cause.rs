// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Cause rings: multiplexing of thousands of ADI vectors onto a few MSI-X vectors.
//!
//! A vector of an ADI has no MSI-X vector of its own. When it is to signal (DYN_CTL armed, a cause
//! pending, its throttling interval expired) the device clears INTENA, writes a [`CauseEntry`] to
//! the ADI's cause ring and raises the ring's MSI-X vector, whose own DYN_CTL the PF driver arms
//! like any other.
//!
//! The ring is in memory of the PF, accessed without a PASID. Entries carry a generation bit, 1 in
//! the first pass over zeroed memory, 0 in the second and so on. The driver reports its progress by
//! storing the index of the next entry that it will read, a little-endian `u32` below the ring's
//! length, at `head_addr`. One entry always stays free. When the ring is full, or not configured,
//! causes stay latched in the device and are written when there is space: none is lost, and none is
//! written twice, as a vector has one cause at a time.

use crate::bits::{get64, mask};
use zerocopy::little_endian::{U16, U32, U64};

named! {
    /// Values of [`CauseEntry::reason`].
    pub mod cause_reason: u8 {
        /// A vector has an interrupt.
        INTERRUPT = 1;
        /// A queue was stopped by a fault: see [`super::AdiFault`]. The vector is meaningless.
        FAULT = 2;
    }
}

wire! {
    /// A cause ring. Configuring one again restarts it, at entry 0 and generation 1; causes that
    /// are latched stay so. [`super::op::CONFIG_ADI_CAUSE_RING`].
    pub struct ConfigAdiCauseRing [32] {
        /// Id of the ring, from 0.
        0 => ring_id: U16,
        /// The MSI-X vector that it signals: one of ALLOC_VECTORS.
        2 => vector_id: U16,
        /// Number of entries of 8 bytes, a power of 2 from 8; 0 removes the ring.
        4 => ring_len: U32,
        /// Address of the first entry; a multiple of 8.
        8 => ring_addr: U64,
        /// Address of the `u32` with the driver's head index; a multiple of 4.
        16 => head_addr: U64,
        /// Reserved, 0.
        24 => reserved: [u8; 8],
    }
}

/// The generation bit.
const GENERATION_M: u64 = mask(63, 63);
const REASON_M: u64 = mask(39, 32);
const VECTOR_M: u64 = mask(31, 16);
const ADI_M: u64 = mask(15, 0);

/// An entry of a cause ring, a little-endian `u64` in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CauseEntry(pub u64);

impl CauseEntry {
    /// Size of an entry in bytes.
    pub const LEN: usize = 8;

    /// Creates an entry.
    #[must_use]
    pub const fn new(adi_id: u16, vector: u16, reason: u8, generation: bool) -> Self {
        let fields = adi_id as u64 | (vector as u64) << 16 | (reason as u64) << 32;
        Self(if generation {
            fields | GENERATION_M
        } else {
            fields
        })
    }

    /// Returns the id of the ADI.
    #[must_use]
    pub const fn adi_id(self) -> u16 {
        get64(self.0, ADI_M) as u16
    }

    /// Returns the vector of the ADI.
    #[must_use]
    pub const fn vector(self) -> u16 {
        get64(self.0, VECTOR_M) as u16
    }

    /// Returns the reason, see [`cause_reason`].
    #[must_use]
    pub const fn reason(self) -> u8 {
        get64(self.0, REASON_M) as u8
    }

    /// Returns the generation bit of the pass over the ring that wrote it.
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
