// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The offsets of a function's registers in BAR0: the layout of a PF, or that of a VF (IDPF,
//! idpf_lan_pf_regs.h and idpf_lan_vf_regs.h).
//!
//! A driver that finds its function by class code distinguishes the two by a write to the VF's
//! ARQBAL (idpf, `idpf_get_device_type`): only a VF stores the value.

use std::fmt;
use std::str::FromStr;

use adit_uapi::regs::{pf, queue_len, rstat, vf, RegArray};

/// The two rings of the mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MailboxRing {
    /// Messages to the device.
    Atq,
    /// Messages to the driver.
    Arq,
}

/// The registers of a ring of the mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingRegister {
    /// The base address, bits 31:0.
    Bal,
    /// The base address, bits 63:32.
    Bah,
    /// The length and the state bits.
    Len,
    /// The index of the device's next descriptor.
    Head,
    /// One past the driver's last descriptor.
    Tail,
}

/// A register that traps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// A register of the mailbox.
    Mailbox(MailboxRing, RingRegister),
    /// The state of the function's reset (PFGEN_RSTAT, VFGEN_RSTAT).
    ResetStatus,
    /// The function's control register, whose bit PFSWR resets it (PFGEN_CTRL). A VF has none: its
    /// driver sends RESET_VF.
    Control,
    /// A register that drivers access and that has no effect here; it reads as 0.
    Inert,
}

/// The layout of a function's registers in BAR0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RegisterLayout {
    /// A PF: a page of 4 KiB for each queue tail and each vector.
    #[default]
    Pf,
    /// A VF: arrays of registers, 4 bytes each. Of those that exist in two sizes the larger ones
    /// are used (VF_QTX_TAIL_EXT, VF_INT_DYN_CTLN_EXT, VF_INT_ITRN_2K).
    Vf,
}

type MailboxRegisters = [(MailboxRing, RingRegister, u32); 10];

const PF_MAILBOX: MailboxRegisters = {
    use MailboxRing::{Arq, Atq};
    use RingRegister::{Bah, Bal, Head, Len, Tail};
    [
        (Arq, Bal, pf::FW_ARQBAL),
        (Arq, Bah, pf::FW_ARQBAH),
        (Arq, Len, pf::FW_ARQLEN),
        (Arq, Head, pf::FW_ARQH),
        (Arq, Tail, pf::FW_ARQT),
        (Atq, Bal, pf::FW_ATQBAL),
        (Atq, Bah, pf::FW_ATQBAH),
        (Atq, Len, pf::FW_ATQLEN),
        (Atq, Head, pf::FW_ATQH),
        (Atq, Tail, pf::FW_ATQT),
    ]
};

const VF_MAILBOX: MailboxRegisters = {
    use MailboxRing::{Arq, Atq};
    use RingRegister::{Bah, Bal, Head, Len, Tail};
    [
        (Arq, Bal, vf::ARQBAL),
        (Arq, Bah, vf::ARQBAH),
        (Arq, Len, vf::ARQLEN),
        (Arq, Head, vf::ARQH),
        (Arq, Tail, vf::ARQT),
        (Atq, Bal, vf::ATQBAL),
        (Atq, Bah, vf::ATQBAH),
        (Atq, Len, vf::ATQLEN),
        (Atq, Head, vf::ATQH),
        (Atq, Tail, vf::ATQT),
    ]
};

impl RegisterLayout {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Pf, Self::Vf];

    /// The name, as [`FromStr`] reads it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pf => "pf",
            Self::Vf => "vf",
        }
    }

    /// The size of BAR0 in bytes. A PF's has space for the standard's registers and, above 256 MiB,
    /// for frames of ADIs.
    #[must_use]
    pub const fn bar0_len(self) -> u64 {
        match self {
            Self::Pf => 1 << 30,
            Self::Vf => 1 << 19,
        }
    }

    /// Returns whether BAR0 has space for the doorbells of ADIs.
    #[must_use]
    pub const fn has_adis(self) -> bool {
        matches!(self, Self::Pf)
    }

    /// The registers of the mailbox, with their offsets in BAR0.
    #[must_use]
    pub const fn mailbox(self) -> &'static [(MailboxRing, RingRegister, u32)] {
        match self {
            Self::Pf => &PF_MAILBOX,
            Self::Vf => &VF_MAILBOX,
        }
    }

    /// The offset of a register of the mailbox in BAR0.
    #[must_use]
    pub fn mailbox_offset(self, ring: MailboxRing, register: RingRegister) -> u32 {
        let mut registers = self.mailbox().iter();
        registers
            .find(|entry| (entry.0, entry.1) == (ring, register))
            .map_or(0, |entry| entry.2)
    }

    /// The ring and the register of the mailbox at an offset of BAR0.
    #[must_use]
    pub fn mailbox_register(self, offset: u32) -> Option<(MailboxRing, RingRegister)> {
        let mut registers = self.mailbox().iter();
        registers
            .find(|entry| entry.2 == offset)
            .map(|&(ring, register, _)| (ring, register))
    }

    /// The mask of the length of a ring of the mailbox. The device stores as many bits of the
    /// ring's head and tail, whatever their own masks in the headers are: both are below the
    /// length.
    #[must_use]
    pub const fn ring_len_mask(self, ring: MailboxRing) -> u32 {
        match (self, ring) {
            (Self::Pf, MailboxRing::Arq) => queue_len::PF_ARQLEN_LEN_M,
            _ => queue_len::LEN_M,
        }
    }

    /// The register that traps at an offset of BAR0.
    #[must_use]
    pub fn register(self, offset: u32) -> Option<Register> {
        if let Some((ring, register)) = self.mailbox_register(offset) {
            return Some(Register::Mailbox(ring, register));
        }
        match self {
            Self::Pf => match offset {
                pf::GEN_RSTAT => Some(Register::ResetStatus),
                pf::GEN_CTRL => Some(Register::Control),
                pf::GEN_RTRIG | pf::INT_DIR_OICR_ENA..=pf::FUNC_RID => Some(Register::Inert),
                _ => None,
            },
            Self::Vf => match offset {
                vf::GEN_RSTAT => Some(Register::ResetStatus),
                vf::INT_ICR01 | vf::INT_PBA_CLEAR => Some(Register::Inert),
                _ if vf::INT_ITR0.index(offset.into()).is_some() => Some(Register::Inert),
                _ => None,
            },
        }
    }

    /// The state of the reset when it is complete. A reset completes before software can read the
    /// register.
    #[must_use]
    pub const fn reset_complete(self) -> u32 {
        match self {
            Self::Pf => rstat::COMPLETED,
            Self::Vf => rstat::VF_ACTIVE,
        }
    }

    /// Tails of TX queues.
    #[must_use]
    pub const fn tx_tails(self) -> RegArray {
        match self {
            Self::Pf => pf::QTX_TAIL,
            Self::Vf => vf::QTX_TAIL_EXT,
        }
    }

    /// Tails of RX queues.
    #[must_use]
    pub const fn rx_tails(self) -> RegArray {
        match self {
            Self::Pf => pf::QRX_TAIL,
            Self::Vf => vf::QRX_TAIL_EXT,
        }
    }

    /// Tails of RX buffer queues.
    #[must_use]
    pub const fn buffer_tails(self) -> RegArray {
        match self {
            Self::Pf => pf::BUFQ_TAIL,
            Self::Vf => vf::QRXB_TAIL,
        }
    }

    /// The offset of a vector's DYN_CTL; vector 0 is the mailbox's.
    #[must_use]
    pub const fn dyn_ctl(self, vector: u32) -> Option<u32> {
        match (self, vector.checked_sub(1)) {
            (Self::Pf, _) => pf::GLINT_DYN_CTL.offset(vector),
            (Self::Vf, None) => Some(vf::INT_DYN_CTL0),
            (Self::Vf, Some(other)) => vf::INT_DYN_CTLN_EXT.offset(other),
        }
    }

    /// The distance from one vector's DYN_CTL to the next in bytes, from vector 1 on.
    #[must_use]
    pub const fn dyn_ctl_spacing(self) -> u32 {
        match self {
            Self::Pf => pf::GLINT_DYN_CTL.stride,
            Self::Vf => vf::INT_DYN_CTLN_EXT.stride,
        }
    }

    /// The offset of throttling register `itr` (0 to 2) of a vector.
    #[must_use]
    pub const fn itr(self, vector: u32, itr: u32) -> Option<u32> {
        match (self, vector.checked_sub(1)) {
            (Self::Pf, _) => pf::glint_itr(vector, itr),
            (Self::Vf, None) => vf::INT_ITR0.offset(itr),
            (Self::Vf, Some(other)) => vf::INT_ITRN_2K.offset(other, itr),
        }
    }

    /// The distance from one vector's throttling registers to the next's in bytes, from vector 1
    /// on.
    #[must_use]
    pub const fn itr_spacing(self) -> u32 {
        match self {
            Self::Pf => pf::GLINT_DYN_CTL.stride,
            Self::Vf => vf::INT_ITRN_2K.reg_spacing,
        }
    }

    /// The distance from one throttling register of a vector to the next in bytes.
    #[must_use]
    pub const fn itr_index_spacing(self) -> u32 {
        match self {
            Self::Pf => pf::GLINT_ITR_INDEX_SPACING,
            Self::Vf => vf::INT_ITRN_2K.index_spacing,
        }
    }
}

impl fmt::Display for RegisterLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for RegisterLayout {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|layout| layout.name() == s);
        found.ok_or_else(|| format!("`{s}` is not a register layout: expected pf or vf"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_found_by_offset_and_nowhere_else() {
        for layout in RegisterLayout::ALL {
            for &(ring, register, offset) in layout.mailbox() {
                let found = Some(Register::Mailbox(ring, register));
                assert_eq!(layout.register(offset), found, "{layout} {offset:#x}");
                assert_eq!(layout.mailbox_offset(ring, register), offset);
                assert_eq!(layout.register(offset + 1), None);
            }
            let all = (0..layout.bar0_len() as u32).step_by(4);
            let traps = |at: &u32| matches!(layout.register(*at), Some(Register::Mailbox(..)));
            assert_eq!(all.filter(traps).count(), 10);
            assert_eq!(layout.name().parse(), Ok(layout));
        }
        assert_eq!(
            RegisterLayout::Pf.register(0x0840_7008),
            Some(Register::ResetStatus)
        );
        assert_eq!(
            RegisterLayout::Vf.register(0x8800),
            Some(Register::ResetStatus)
        );
        assert_eq!(
            RegisterLayout::Pf.register(vf::ARQBAL),
            None,
            "a PF must not store the value that drivers probe with"
        );
        assert!("PF".parse::<RegisterLayout>().is_err());
    }

    #[test]
    fn vectors_and_tails_are_where_the_headers_have_them_and_inside_of_bar0() {
        let vf = RegisterLayout::Vf;
        assert_eq!(
            (vf.dyn_ctl(0), vf.dyn_ctl(1)),
            (Some(0x5C00), Some(0x7_0000))
        );
        assert_eq!(
            (vf.itr(1, 0), vf.itr(2, 1)),
            (Some(0x7_2000), Some(0x7_4004))
        );
        let pf = RegisterLayout::Pf;
        assert_eq!(
            (pf.dyn_ctl(0), pf.itr(1, 2)),
            (Some(0x0890_0000), Some(0x0890_100C))
        );
        for layout in RegisterLayout::ALL {
            for tails in [layout.tx_tails(), layout.rx_tails(), layout.buffer_tails()] {
                assert!(tails.end() <= layout.bar0_len());
            }
            let last = layout.dyn_ctl(2047).zip(layout.itr(2047, 2));
            assert!(last.is_some_and(|(a, b)| u64::from(a.max(b)) < layout.bar0_len()));
        }
    }
}
