// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! The interrupt control register of one vector: PF_GLINT_DYN_CTL and VF_INT_DYN_CTLN, which have
//! the same layout (IDPF, idpf_lan_pf_regs.h and idpf_lan_vf_regs.h).

use crate::bits::{get32, mask32, set32};

/// The vector may signal. The device clears this bit when it does.
pub const INTENA_M: u32 = 1 << 0;
/// Clears the vector's bit in the pending-bit array.
pub const CLEARPBA_M: u32 = 1 << 1;
/// Fires the vector once from software.
pub const SWINT_TRIG_M: u32 = 1 << 2;
/// The throttling interval that INTERVAL is written to; [`ITR_NONE`] writes none.
pub const ITR_INDX_M: u32 = mask32(4, 3);
/// Throttling interval in units of 2 µs, as wide as in the ITR register.
///
/// The headers define bit 5 alone as a mask, because drivers only use its position.
pub const INTERVAL_M: u32 = mask32(16, 5);
/// SW_ITR_INDX is valid for SWINT_TRIG.
pub const SW_ITR_INDX_ENA_M: u32 = 1 << 24;
/// The throttling interval of a software interrupt: bit 25 as in the headers.
pub const SW_ITR_INDX_M: u32 = 1 << 25;
/// Write back completions when the interval expires, even though INTENA is clear.
pub const WB_ON_ITR_M: u32 = 1 << 30;
/// This write leaves INTENA unchanged.
pub const INTENA_MSK_M: u32 = 1 << 31;

/// ITR_INDX for no interval.
pub const ITR_NONE: u32 = 3;

/// A value of the register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DynCtl(pub u32);

impl DynCtl {
    /// The value that arms a vector for one interrupt and leaves its throttling as it is.
    pub const ARM: Self = Self(INTENA_M | CLEARPBA_M).with_itr(ITR_NONE, 0);

    /// Returns whether the vector may signal (INTENA).
    #[must_use]
    pub const fn intena(self) -> bool {
        self.0 & INTENA_M != 0
    }

    /// Returns whether the pending bit is to be cleared (CLEARPBA).
    #[must_use]
    pub const fn clearpba(self) -> bool {
        self.0 & CLEARPBA_M != 0
    }

    /// Returns whether software requests an interrupt (SWINT_TRIG).
    #[must_use]
    pub const fn swint_trig(self) -> bool {
        self.0 & SWINT_TRIG_M != 0
    }

    /// Returns the index of the throttling interval (ITR_INDX), 0 to 3.
    #[must_use]
    pub const fn itr_indx(self) -> u32 {
        get32(self.0, ITR_INDX_M)
    }

    /// Returns the throttling interval (INTERVAL) in units of 2 µs.
    #[must_use]
    pub const fn interval(self) -> u32 {
        get32(self.0, INTERVAL_M)
    }

    /// Returns whether completions are written back although the vector may not signal (WB_ON_ITR).
    #[must_use]
    pub const fn wb_on_itr(self) -> bool {
        self.0 & WB_ON_ITR_M != 0
    }

    /// Returns whether a write of this value leaves INTENA unchanged (INTENA_MSK).
    #[must_use]
    pub const fn intena_msk(self) -> bool {
        self.0 & INTENA_MSK_M != 0
    }

    /// Returns the value with another throttling interval for `indx`.
    #[must_use]
    pub const fn with_itr(self, indx: u32, interval: u32) -> Self {
        Self(set32(set32(self.0, ITR_INDX_M, indx), INTERVAL_M, interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_apart() {
        let v = DynCtl(INTENA_M | WB_ON_ITR_M).with_itr(ITR_NONE, 0xFFF);
        assert!(v.intena() && v.wb_on_itr() && !v.intena_msk() && !v.clearpba());
        assert!(!v.swint_trig());
        assert_eq!((v.itr_indx(), v.interval()), (3, 0xFFF));
        assert_eq!(v.0, 0x4001_FFF9);
    }
}
