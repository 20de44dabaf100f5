// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Registers in BAR0. All are 32 bits wide; offsets are in bytes from the start of the BAR.

pub mod adi;
pub mod dyn_ctl;
pub mod pf;
pub mod queue_len;
mod reg;
pub mod siov;
pub mod vf;

pub use dyn_ctl::DynCtl;
pub use queue_len::QueueLen;
pub use reg::{Reg, RegValue, RingRegs};

/// Registers of one kind at regular intervals: queue tails, interrupt control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegArray {
    /// Offset of the first register in bytes.
    pub base: u32,
    /// Distance from one register to the next in bytes.
    pub stride: u32,
    /// Number of registers that fit before the next kind begins.
    pub count: u32,
}

impl RegArray {
    /// Returns the offset of register `index` in bytes, if there is one.
    #[must_use]
    pub const fn offset(&self, index: u32) -> Option<u32> {
        if index >= self.count {
            return None;
        }
        // Below `count`, so within the window, which fits in 32 bits.
        Some(self.base + index * self.stride)
    }

    /// Returns the index of the register that is exactly at `offset`.
    #[must_use]
    pub const fn index(&self, offset: u64) -> Option<u32> {
        let base = self.base as u64;
        if offset < base || offset >= self.end() {
            return None;
        }
        // Checked, so that no division can panic: the kernel's objtool must be able to determine
        // the end of a function.
        match (offset - base).checked_rem(self.stride as u64) {
            Some(0) => Some(((offset - base) / self.stride as u64) as u32),
            _ => None,
        }
    }

    /// Returns the offset of the first byte after the window.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.base as u64 + self.stride as u64 * self.count as u64
    }
}

/// State of a function-level reset in RSTAT (the same for PF and VF, bits 1:0).
pub mod rstat {
    use crate::bits::mask32;

    /// The state in the register.
    pub const STATE_M: u32 = mask32(1, 0);
    /// The reset is in progress.
    pub const IN_PROGRESS: u32 = 0;
    /// The reset is complete: a PF driver polls for this after PFSWR.
    pub const COMPLETED: u32 = 1;
    /// A VF is up.
    pub const VF_ACTIVE: u32 = 2;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_finds_its_registers_and_no_others() {
        let tails = pf::QTX_TAIL;
        assert_eq!(tails.offset(3), Some(0x0500_3000));
        assert_eq!(tails.index(0x0500_3000), Some(3));
        assert_eq!(tails.index(0x0500_3004), None);
        assert_eq!(tails.offset(tails.count), None);
        assert_eq!(tails.index(tails.end()), None);
        assert_eq!(tails.index(0), None);
        assert_eq!(pf::QRX_TAIL.end(), u64::from(pf::BUFQ_TAIL.base));
        assert_eq!(pf::BUFQ_TAIL.end(), u64::from(pf::QTX_TAIL.base));
        assert_eq!(pf::QTX_TAIL.end(), u64::from(pf::FW_ARQBAL));
    }
}
