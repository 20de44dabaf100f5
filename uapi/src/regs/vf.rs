// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Registers of a virtual function (IDPF, idpf_lan_vf_regs.h).

use super::RegArray;
use crate::bits::mask32;

/// State of the function's reset (VFGEN_RSTAT): [`super::rstat`].
pub const GEN_RSTAT: u32 = 0x8800;

/// Start of the mailbox registers (VF_BASE).
pub const BASE: u32 = 0x6000;
/// Mailbox receive ring, address bits 63:32.
pub const ARQBAH: u32 = BASE;
/// Mailbox transmit ring, head.
pub const ATQH: u32 = BASE + 0x0400;
/// The head in [`ATQH`].
pub const ATQH_M: u32 = mask32(9, 0);
/// Mailbox transmit ring, length and state: [`super::QueueLen`].
pub const ATQLEN: u32 = BASE + 0x0800;
/// Mailbox receive ring, address bits 31:0.
///
/// A Linux driver that found its device by class code writes a test value here and reads it back
/// to tell a VF from a PF.
pub const ARQBAL: u32 = BASE + 0x0C00;
/// Mailbox receive ring, tail.
pub const ARQT: u32 = BASE + 0x1000;
/// Mailbox receive ring, head.
pub const ARQH: u32 = BASE + 0x1400;
/// The head in [`ARQH`].
pub const ARQH_M: u32 = mask32(12, 0);
/// Mailbox transmit ring, address bits 63:32.
pub const ATQBAH: u32 = BASE + 0x1800;
/// Mailbox transmit ring, address bits 31:0.
pub const ATQBAL: u32 = BASE + 0x1C00;
/// Mailbox receive ring, length and state: [`super::QueueLen`].
pub const ARQLEN: u32 = BASE + 0x2000;
/// Mailbox transmit ring, tail.
pub const ATQT: u32 = BASE + 0x2400;

/// Tails of the first 256 transmit queues (VF_QTX_TAIL).
pub const QTX_TAIL: RegArray = RegArray {
    base: 0,
    stride: 4,
    count: 256,
};
/// Tails of receive queues (VF_QRX_TAIL).
pub const QRX_TAIL: RegArray = RegArray {
    base: 0x2000,
    stride: 4,
    count: 256,
};
/// Tails of transmit queues of a function with many queues (VF_QTX_TAIL_EXT).
pub const QTX_TAIL_EXT: RegArray = RegArray {
    base: 0x4_0000,
    stride: 4,
    count: 0x4000,
};
/// Tails of receive queues of a function with many queues (VF_QRX_TAIL_EXT).
pub const QRX_TAIL_EXT: RegArray = RegArray {
    base: 0x5_0000,
    stride: 4,
    count: 0x4000,
};
/// Tails of receive buffer queues (VF_QRXB_TAIL).
pub const QRXB_TAIL: RegArray = RegArray {
    base: 0x6_0000,
    stride: 4,
    count: 0x4000,
};

/// Interrupt control of the mailbox's vector (VF_INT_DYN_CTL0): [`super::DynCtl`].
pub const INT_DYN_CTL0: u32 = 0x5C00;
/// Interrupt control of the other vectors (VF_INT_DYN_CTLN): [`super::DynCtl`].
pub const INT_DYN_CTLN: RegArray = RegArray {
    base: 0x3800,
    stride: 4,
    count: 64,
};
/// Interrupt control of a function with many vectors (VF_INT_DYN_CTLN_EXT).
pub const INT_DYN_CTLN_EXT: RegArray = RegArray {
    base: 0x7_0000,
    stride: 4,
    count: 2048,
};
/// Throttling of the mailbox's vector (VF_INT_ITR0).
pub const INT_ITR0: RegArray = RegArray {
    base: 0x4C00,
    stride: 4,
    count: 3,
};

/// Throttling registers of the other vectors: interval 0 to 2, one array each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Itr {
    /// Offset of interval 0 of the first vector in bytes.
    pub base: u32,
    /// Distance from one vector to the next in bytes (itrn_reg_spacing).
    pub reg_spacing: u32,
    /// Distance from one interval of a vector to the next in bytes (itrn_index_spacing).
    pub index_spacing: u32,
    /// Number of vectors.
    pub vectors: u32,
}

impl Itr {
    /// Returns the offset of interval `itr` (0 to 2) of `vector`, if there is one.
    #[must_use]
    pub const fn offset(&self, vector: u32, itr: u32) -> Option<u32> {
        if vector >= self.vectors || itr > INT_ITRN_MAX_INDEX {
            return None;
        }
        Some(self.base + vector * self.reg_spacing + itr * self.index_spacing)
    }
}

/// Throttling with 16 vectors (VF_INT_ITRN).
pub const INT_ITRN: Itr = Itr {
    base: 0x2800,
    reg_spacing: 4,
    index_spacing: 0x40,
    vectors: 16,
};
/// Throttling with 64 vectors (VF_INT_ITRN_64).
pub const INT_ITRN_64: Itr = Itr {
    base: 0x2C00,
    reg_spacing: 4,
    index_spacing: 0x100,
    vectors: 64,
};
/// Throttling with 2048 vectors (VF_INT_ITRN_2K).
pub const INT_ITRN_2K: Itr = Itr {
    base: 0x7_2000,
    reg_spacing: 4,
    index_spacing: 0x2000,
    vectors: 2048,
};
/// Index of the last throttling interval of a vector.
pub const INT_ITRN_MAX_INDEX: u32 = 2;
/// Throttling interval in units of 2 µs.
pub const INT_ITRN_INTERVAL_M: u32 = mask32(11, 0);

/// Clears pending bits (VF_INT_PBA_CLEAR).
pub const INT_PBA_CLEAR: u32 = 0x8900;
/// Interrupt causes of the mailbox's vector, enable bits (VF_INT_ICR0_ENA1).
pub const INT_ICR0_ENA1: u32 = 0x5000;
/// [`INT_ICR0_ENA1`]: the mailbox.
pub const INT_ICR0_ENA1_ADMINQ_M: u32 = 1 << 30;
/// Interrupt causes of the mailbox's vector (VF_INT_ICR01).
pub const INT_ICR01: u32 = 0x4800;
/// Packet types that are hashed (VF_QF_HENA), bits of [`crate::virtchnl2::rss::ptype_group`].
pub const QF_HENA: RegArray = RegArray {
    base: 0xC400,
    stride: 4,
    count: 2,
};
/// RSS key (VF_QF_HKEY).
pub const QF_HKEY: RegArray = RegArray {
    base: 0xCC00,
    stride: 4,
    count: 13,
};
/// RSS lookup table (VF_QF_HLUT).
pub const QF_HLUT: RegArray = RegArray {
    base: 0xD000,
    stride: 4,
    count: 16,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_register_is_where_linux_looks() {
        assert_eq!(ARQBAL, 0x6C00);
    }

    #[test]
    fn throttling_of_all_sizes() {
        assert_eq!(INT_ITRN.offset(15, 2), Some(0x28BC));
        assert_eq!(INT_ITRN_64.offset(1, 1), Some(0x2D04));
        assert_eq!(INT_ITRN_2K.offset(2047, 2), Some(0x7_7FFC));
        assert_eq!(INT_ITRN.offset(16, 0), None);
        assert_eq!(INT_ITRN.offset(0, 3), None);
    }
}
