// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Length and state of a mailbox queue: ATQLEN and ARQLEN of a PF and a VF, which have the same
//! flags (IDPF, idpf_lan_pf_regs.h and idpf_lan_vf_regs.h).

use crate::bits::mask32;

/// Ring length in descriptors: ATQLEN of both, ARQLEN of a VF.
pub const LEN_M: u32 = mask32(9, 0);
/// Ring length in descriptors: the PF's ARQLEN has three more bits.
pub const PF_ARQLEN_LEN_M: u32 = mask32(12, 0);
/// A message from a VF had an error.
pub const VFE_M: u32 = 1 << 28;
/// A message did not fit.
pub const OVFL_M: u32 = 1 << 29;
/// The queue had a critical error and stopped.
pub const CRIT_M: u32 = 1 << 30;
/// The queue is enabled.
pub const ENABLE_M: u32 = 1 << 31;

/// A value of the register. 0 indicates to the driver that the function was reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueLen(pub u32);

impl QueueLen {
    /// Returns the value that enables a ring of `len` descriptors; other bits are ignored.
    #[must_use]
    pub const fn enabled(len: u32) -> Self {
        Self(len & LEN_M | ENABLE_M)
    }

    /// Returns the ring length in descriptors of the field [`LEN_M`].
    #[must_use]
    pub const fn len(self) -> u32 {
        self.0 & LEN_M
    }

    /// Returns whether the length is 0: no ring.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Returns the ring length in descriptors of the PF's ARQLEN ([`PF_ARQLEN_LEN_M`]).
    #[must_use]
    pub const fn pf_arq_len(self) -> u32 {
        self.0 & PF_ARQLEN_LEN_M
    }

    /// Returns whether the queue is enabled.
    #[must_use]
    pub const fn enable(self) -> bool {
        self.0 & ENABLE_M != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_and_flags_do_not_mix() {
        let v = QueueLen(ENABLE_M | OVFL_M | 0x1C40);
        assert!(v.enable() && !v.is_empty());
        assert_eq!((v.len(), v.pf_arq_len()), (0x40, 0x1C40));
        assert!(QueueLen(ENABLE_M).is_empty());
        assert_eq!(QueueLen::enabled(32), QueueLen(0x8000_0020));
    }
}
