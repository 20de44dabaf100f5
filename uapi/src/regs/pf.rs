// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Registers of a physical function (IDPF, idpf_lan_pf_regs.h).
//!
//! Each queue tail and each vector's control register is on its own 4 KiB page, so that one of them
//! can be mapped without its neighbours.

use super::{rstat, DynCtl, QueueLen, Reg, RegArray, RingRegs};
use crate::bits::mask32;

/// Tails of receive queues (PF_QRX_TAIL); the single queue model writes these.
pub const QRX_TAIL: RegArray = RegArray {
    base: 0,
    stride: 0x1000,
    count: 0x3000,
};
/// Tails of receive buffer queues (PF_QRX_BUFFQ_TAIL), in descriptors.
pub const BUFQ_TAIL: RegArray = RegArray {
    base: 0x0300_0000,
    stride: 0x1000,
    count: 0x2000,
};
/// Tails of transmit queues (PF_QTX_COMM_DBELL), in descriptors.
pub const QTX_TAIL: RegArray = RegArray {
    base: 0x0500_0000,
    stride: 0x1000,
    count: 0x3400,
};

/// Start of the mailbox registers (PF_FW_BASE).
pub const FW_BASE: u32 = 0x0840_0000;
/// Mailbox receive ring, address bits 31:0.
pub const FW_ARQBAL: u32 = FW_BASE;
/// Mailbox receive ring, address bits 63:32.
pub const FW_ARQBAH: u32 = FW_BASE + 0x4;
/// Mailbox receive ring, length and state: [`super::QueueLen`].
pub const FW_ARQLEN: u32 = FW_BASE + 0x8;
/// Mailbox receive ring, head: the next descriptor that the device fills.
pub const FW_ARQH: u32 = FW_BASE + 0xC;
/// The head in [`FW_ARQH`].
pub const FW_ARQH_M: u32 = mask32(12, 0);
/// Mailbox receive ring, tail: the driver has posted buffers up to but excluding this one.
pub const FW_ARQT: u32 = FW_BASE + 0x10;
/// Mailbox transmit ring, address bits 31:0.
pub const FW_ATQBAL: u32 = FW_BASE + 0x14;
/// Mailbox transmit ring, address bits 63:32.
pub const FW_ATQBAH: u32 = FW_BASE + 0x18;
/// Mailbox transmit ring, length and state: [`super::QueueLen`].
pub const FW_ATQLEN: u32 = FW_BASE + 0x1C;
/// Mailbox transmit ring, head: the next descriptor that the device fetches.
pub const FW_ATQH: u32 = FW_BASE + 0x20;
/// The head in [`FW_ATQH`].
pub const FW_ATQH_M: u32 = mask32(9, 0);
/// Mailbox transmit ring, tail: the driver has posted messages up to but excluding this one.
pub const FW_ATQT: u32 = FW_BASE + 0x24;
/// The mailbox receive ring.
pub const ARQ: RingRegs = RingRegs {
    bal: Reg::at(FW_ARQBAL),
    bah: Reg::at(FW_ARQBAH),
    len: ARQLEN,
    head: Reg::at(FW_ARQH),
    tail: Reg::at(FW_ARQT),
};
/// The mailbox transmit ring.
pub const ATQ: RingRegs = RingRegs {
    bal: Reg::at(FW_ATQBAL),
    bah: Reg::at(FW_ATQBAH),
    len: Reg::at(FW_ATQLEN),
    head: Reg::at(FW_ATQH),
    tail: Reg::at(FW_ATQT),
};
/// [`FW_ARQLEN`] with its type.
pub const ARQLEN: Reg<QueueLen> = Reg::at(FW_ARQLEN);
/// First byte after the mailbox registers.
pub const FW_END: u32 = FW_BASE + 0x28;

/// Other interrupt causes, enable bits (PF_INT_DIR_OICR_ENA).
pub const INT_DIR_OICR_ENA: u32 = 0x0840_6000;
/// Other interrupt causes (PF_INT_DIR_OICR).
pub const INT_DIR_OICR: u32 = 0x0840_6004;
/// [`INT_DIR_OICR`]: the PHY's timestamp 0 is available.
pub const INT_DIR_OICR_PHY_TS_0_M: u32 = 1 << 1;
/// [`INT_DIR_OICR`]: the PHY's timestamp 1 is available.
pub const INT_DIR_OICR_PHY_TS_1_M: u32 = 1 << 2;
/// Other interrupt causes, the cause that occurred (PF_INT_DIR_OICR_CAUSE).
pub const INT_DIR_OICR_CAUSE: u32 = 0x0840_6008;
/// Clears pending bits (PF_INT_PBA_CLEAR).
pub const INT_PBA_CLEAR: u32 = 0x0840_600C;
/// PCI requester id of the function (PF_FUNC_RID).
pub const FUNC_RID: u32 = 0x0840_6010;
/// [`FUNC_RID`]: function number.
pub const FUNC_RID_FUNCTION_M: u32 = mask32(2, 0);
/// [`FUNC_RID`]: device number.
pub const FUNC_RID_DEVICE_M: u32 = mask32(7, 3);
/// [`FUNC_RID`]: bus number.
pub const FUNC_RID_BUS_M: u32 = mask32(15, 8);

/// Triggers resets beyond the function (PFGEN_RTRIG).
pub const GEN_RTRIG: u32 = 0x0840_7000;
/// [`GEN_RTRIG`]: core reset.
pub const GEN_RTRIG_CORER_M: u32 = 1 << 0;
/// [`GEN_RTRIG`]: link reset.
pub const GEN_RTRIG_LINKR_M: u32 = 1 << 1;
/// [`GEN_RTRIG`]: management complex reset.
pub const GEN_RTRIG_IMCR_M: u32 = 1 << 2;
/// State of the function's reset (PFGEN_RSTAT): [`super::rstat`].
pub const GEN_RSTAT: u32 = 0x0840_7008;
/// Function control (PFGEN_CTRL).
pub const GEN_CTRL: u32 = 0x0840_700C;
/// [`GEN_CTRL`]: software reset of the function.
pub const GEN_CTRL_PFSWR_M: u32 = 1 << 0;

/// [`GEN_RSTAT`] with its type.
pub const RSTAT: Reg<GenRstat> = Reg::at(GEN_RSTAT);
/// [`GEN_CTRL`] with its type.
pub const CTRL: Reg<GenCtrl> = Reg::at(GEN_CTRL);

/// A value of [`GEN_CTRL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GenCtrl(pub u32);

impl GenCtrl {
    /// Returns the value with the software reset requested (PFSWR).
    #[must_use]
    pub const fn with_pfswr(self) -> Self {
        Self(self.0 | GEN_CTRL_PFSWR_M)
    }
}

/// A value of [`GEN_RSTAT`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GenRstat(pub u32);

impl GenRstat {
    /// Returns whether the reset is complete.
    #[must_use]
    pub const fn is_completed(self) -> bool {
        self.0 & rstat::STATE_M == rstat::COMPLETED
    }
}

/// Interrupt control, one register per vector (PF_GLINT_DYN_CTL): [`super::DynCtl`].
///
/// As many as the maximum number of MSI-X vectors.
pub const GLINT_DYN_CTL: RegArray = RegArray {
    base: 0x0890_0000,
    stride: 0x1000,
    count: 2048,
};
/// Returns the interrupt control register of `vector` ([`GLINT_DYN_CTL`]), if there is one.
#[must_use]
pub const fn dyn_ctl(vector: u32) -> Option<Reg<DynCtl>> {
    match GLINT_DYN_CTL.offset(vector) {
        Some(offset) => Some(Reg::at(offset)),
        None => None,
    }
}
/// First throttling register of vector 0 (PF_GLINT_ITR); one page per vector, as
/// [`GLINT_DYN_CTL`].
pub const GLINT_ITR_BASE: u32 = GLINT_DYN_CTL.base + 4;
/// Distance from one throttling register of a vector to the next in bytes.
pub const GLINT_ITR_INDEX_SPACING: u32 = 4;
/// Index of the last throttling register of a vector.
pub const GLINT_ITR_MAX_INDEX: u32 = 2;
/// Throttling interval in units of 2 µs.
pub const GLINT_ITR_INTERVAL_M: u32 = mask32(11, 0);

/// Returns the offset of throttling register `itr` (0 to 2) of `vector`.
#[must_use]
pub const fn glint_itr(vector: u32, itr: u32) -> Option<u32> {
    if itr > GLINT_ITR_MAX_INDEX {
        return None;
    }
    match GLINT_DYN_CTL.offset(vector) {
        Some(page) => Some(page + (itr + 1) * GLINT_ITR_INDEX_SPACING),
        None => None,
    }
}

/// Time synchronisation commands (PF_GLTSYN_CMD_SYNC): the command.
pub const GLTSYN_CMD_SYNC_EXEC_CMD_M: u32 = mask32(1, 0);
/// Time synchronisation commands: latch the shadow time.
pub const GLTSYN_CMD_SYNC_SHTIME_EN_M: u32 = 1 << 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttling_registers_share_their_vectors_page() {
        assert_eq!(glint_itr(0, 0), Some(0x0890_0004));
        assert_eq!(glint_itr(5, 2), Some(0x0890_500C));
        assert_eq!(glint_itr(0, 3), None);
        assert_eq!(glint_itr(2048, 0), None);
    }
}
