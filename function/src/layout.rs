// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The offsets of a function's registers in BAR0: the layout of a PF, or that of a VF (IDPF,
//! idpf_lan_pf_regs.h and idpf_lan_vf_regs.h), or that of a device composed out of ADIs.
//!
//! A driver that finds its function by class code distinguishes the two by a write to the VF's
//! ARQBAL (idpf, `idpf_get_device_type`): only a VF stores the value.

mod composed;

use std::fmt;
use std::str::FromStr;

use adit_uapi::regs::{pf, queue_len, rstat, siov, vf, RegArray};

use crate::dataplane::QueueKind;
use composed::PAGE;

pub use composed::Frames;

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
    /// DYN_CTL of the mailbox's vector, in a layout in which it traps: the device has to implement
    /// it.
    MailboxDynCtl,
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
    /// A device composed out of ADIs, with a VF's mailbox and reset register. Each tail and vector
    /// has a page of 4 KiB; the mailbox's vector traps.
    ComposedVf(Frames),
    /// A device composed out of ADIs, with Intel's registers for that (8086:0dd5).
    Siov(Frames),
}

/// An array without registers.
const NO_TAILS: RegArray = RegArray {
    base: 0,
    stride: PAGE,
    count: 0,
};

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

const SIOV_MAILBOX: MailboxRegisters = {
    use MailboxRing::{Arq, Atq};
    use RingRegister::{Bah, Bal, Head, Len, Tail};
    [
        (Arq, Bal, siov::ARQBAL),
        (Arq, Bah, siov::ARQBAH),
        (Arq, Len, siov::ARQLEN),
        (Arq, Head, siov::ARQH),
        (Arq, Tail, siov::ARQT),
        (Atq, Bal, siov::ATQBAL),
        (Atq, Bah, siov::ATQBAH),
        (Atq, Len, siov::ATQLEN),
        (Atq, Head, siov::ATQH),
        (Atq, Tail, siov::ATQT),
    ]
};

impl RegisterLayout {
    /// Those of functions that have doorbells of their own.
    pub const ALL: [Self; 2] = [Self::Pf, Self::Vf];

    /// The name, as [`FromStr`] reads it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pf => "pf",
            Self::Vf => "vf",
            Self::ComposedVf(_) => "vdev-vf",
            Self::Siov(_) => "siov",
        }
    }

    /// The ADIs that the device is composed of, if it is.
    #[must_use]
    pub const fn frames(self) -> Option<Frames> {
        match self {
            Self::Pf | Self::Vf => None,
            Self::ComposedVf(frames) | Self::Siov(frames) => Some(frames),
        }
    }

    /// Returns whether the function is a VF for its driver, which resets it by a message.
    #[must_use]
    pub const fn is_vf(self) -> bool {
        !matches!(self, Self::Pf)
    }

    /// The size of BAR0 in bytes. A PF's has space for the standard's registers and, above 256 MiB,
    /// for frames of ADIs.
    #[must_use]
    pub const fn bar0_len(self) -> u64 {
        match self {
            Self::Pf => 1 << 30,
            Self::Vf => 1 << 19,
            Self::ComposedVf(_) | Self::Siov(_) => siov::BAR0_LEN as u64,
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
            Self::Vf | Self::ComposedVf(_) => &VF_MAILBOX,
            Self::Siov(_) => &SIOV_MAILBOX,
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
            Self::ComposedVf(frames) => match offset {
                vf::INT_DYN_CTL0 => Some(Register::MailboxDynCtl),
                vf::INT_ICR0_ENA1 => Some(Register::Inert),
                _ if frames.is_polled_vector(offset) => Some(Register::Inert),
                _ => Self::Vf.register(offset),
            },
            Self::Siov(frames) => match offset {
                siov::GEN_RSTAT | siov::GEN_RSTAT_HEADER => Some(Register::ResetStatus),
                siov::INT_DYN_CTL_MAILBOX => Some(Register::MailboxDynCtl),
                siov::ICR_ENA => Some(Register::Inert),
                _ if frames.is_polled_vector(offset) => Some(Register::Inert),
                // Its throttling registers.
                _ => (1..4)
                    .any(|n| offset == siov::INT_DYN_CTL_MAILBOX + 4 * n)
                    .then_some(Register::Inert),
            },
        }
    }

    /// The state of the reset when it is complete. A reset completes before software can read the
    /// register.
    #[must_use]
    pub const fn reset_complete(self) -> u32 {
        match self {
            Self::Pf => rstat::COMPLETED,
            Self::Vf | Self::ComposedVf(_) | Self::Siov(_) => rstat::VF_ACTIVE,
        }
    }

    /// The offset of the tail of a queue, by its device-wide number, and the distance to that of the
    /// next queue of the same virtual port. Completion queues have none that is used.
    #[must_use]
    pub const fn tail(self, kind: QueueKind, index: u32) -> Option<(u32, u32)> {
        if let Some(frames) = self.frames() {
            return match frames.tail(kind, index) {
                Some(at) => Some((at, PAGE)),
                None => None,
            };
        }
        let tails = match kind {
            QueueKind::Tx => self.tx_tails(),
            QueueKind::Rx => self.rx_tails(),
            QueueKind::RxBuffer => self.buffer_tails(),
            QueueKind::TxCompletion => return None,
        };
        match tails.offset(index) {
            Some(at) => Some((at, tails.stride)),
            None => None,
        }
    }

    /// Tails of TX queues; none of a composed device, whose are not in one array.
    #[must_use]
    pub const fn tx_tails(self) -> RegArray {
        match self {
            Self::Pf => pf::QTX_TAIL,
            Self::Vf => vf::QTX_TAIL_EXT,
            Self::ComposedVf(_) | Self::Siov(_) => NO_TAILS,
        }
    }

    /// Tails of RX queues; none of a composed device.
    #[must_use]
    pub const fn rx_tails(self) -> RegArray {
        match self {
            Self::Pf => pf::QRX_TAIL,
            Self::Vf => vf::QRX_TAIL_EXT,
            Self::ComposedVf(_) | Self::Siov(_) => NO_TAILS,
        }
    }

    /// Tails of RX buffer queues; none of a composed device.
    #[must_use]
    pub const fn buffer_tails(self) -> RegArray {
        match self {
            Self::Pf => pf::BUFQ_TAIL,
            Self::Vf => vf::QRXB_TAIL,
            Self::ComposedVf(_) | Self::Siov(_) => NO_TAILS,
        }
    }

    /// The offset of a vector's DYN_CTL; vector 0 is the mailbox's.
    #[must_use]
    pub const fn dyn_ctl(self, vector: u32) -> Option<u32> {
        match (self, vector.checked_sub(1)) {
            (Self::Pf, _) => pf::GLINT_DYN_CTL.offset(vector),
            (Self::Vf | Self::ComposedVf(_), None) => Some(vf::INT_DYN_CTL0),
            (Self::Siov(_), None) => Some(siov::INT_DYN_CTL_MAILBOX),
            (Self::ComposedVf(frames) | Self::Siov(frames), Some(_)) => frames.vector_page(vector),
            (Self::Vf, Some(other)) => vf::INT_DYN_CTLN_EXT.offset(other),
        }
    }

    /// The distance from one vector's DYN_CTL to the next in bytes, from vector 1 on.
    #[must_use]
    pub const fn dyn_ctl_spacing(self) -> u32 {
        match self {
            Self::Pf => pf::GLINT_DYN_CTL.stride,
            Self::Vf => vf::INT_DYN_CTLN_EXT.stride,
            Self::ComposedVf(_) | Self::Siov(_) => PAGE,
        }
    }

    /// The offset of throttling register `itr` (0 to 2) of a vector.
    #[must_use]
    pub const fn itr(self, vector: u32, itr: u32) -> Option<u32> {
        match (self, vector.checked_sub(1)) {
            (Self::Pf, _) => pf::glint_itr(vector, itr),
            (Self::Vf | Self::ComposedVf(_), None) => vf::INT_ITR0.offset(itr),
            (Self::ComposedVf(_) | Self::Siov(_), _) => match (self.dyn_ctl(vector), itr) {
                (Some(at), 0..=2) => Some(at + 4 + itr * pf::GLINT_ITR_INDEX_SPACING),
                _ => None,
            },
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
            Self::ComposedVf(_) | Self::Siov(_) => PAGE,
        }
    }

    /// The distance from one throttling register of a vector to the next in bytes.
    #[must_use]
    pub const fn itr_index_spacing(self) -> u32 {
        match self {
            Self::Pf | Self::ComposedVf(_) | Self::Siov(_) => pf::GLINT_ITR_INDEX_SPACING,
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
        let frames = Frames {
            adis: 2,
            rx_queues: 2,
            pairs: 4,
            vectors: 4,
        };
        let composed = [
            RegisterLayout::ComposedVf(frames),
            RegisterLayout::Siov(frames),
        ];
        for layout in RegisterLayout::ALL.into_iter().chain(composed) {
            for &(ring, register, offset) in layout.mailbox() {
                let found = Some(Register::Mailbox(ring, register));
                assert_eq!(layout.register(offset), found, "{layout} {offset:#x}");
                assert_eq!(layout.mailbox_offset(ring, register), offset);
                assert_eq!(layout.register(offset + 1), None);
            }
            let all = (0..layout.bar0_len() as u32).step_by(4);
            let traps = |at: &u32| matches!(layout.register(*at), Some(Register::Mailbox(..)));
            assert_eq!(all.filter(traps).count(), 10);
            let text = layout.name().parse::<RegisterLayout>();
            assert_eq!(text.ok(), layout.frames().is_none().then_some(layout));
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

    #[test]
    fn a_composed_device_has_pages_for_doorbells_and_traps_the_rest() {
        let frames = Frames {
            adis: 1,
            rx_queues: 2,
            pairs: 4,
            vectors: 4,
        };
        let (vf, siov) = (
            RegisterLayout::ComposedVf(frames),
            RegisterLayout::Siov(frames),
        );
        for layout in [vf, siov] {
            assert_eq!(layout.tail(QueueKind::Tx, 1), Some((0x110_1000, 0x1000)));
            assert_eq!(layout.dyn_ctl(1), Some(0x110_C000));
            assert_eq!(layout.itr(1, 2), Some(0x110_C00C));
            assert_eq!(layout.itr(1, 3), None);
            // The vector of polled queues is the next one, so that one chunk has all.
            assert_eq!(layout.dyn_ctl(5), Some(0x111_0000));
            assert_eq!(layout.register(0x111_0004), Some(Register::Inert));
            assert_eq!(layout.register(0x110_0000), None, "a page of the ADI's");
            assert_eq!(layout.register(0x8800), Some(Register::ResetStatus));
            assert_eq!(layout.register(0x5000), Some(Register::Inert));
            let mailbox = layout.dyn_ctl(0).and_then(|at| layout.register(at));
            assert_eq!(mailbox, Some(Register::MailboxDynCtl));
            assert!(layout.is_vf() && !layout.has_adis());
        }
        assert_eq!(vf.register(0x6C00), RegisterLayout::Vf.register(0x6C00));
        assert_eq!(siov.dyn_ctl(0), Some(0x210_0000));
        assert_eq!(siov.register(0x2_1000), Some(Register::ResetStatus));
        assert_eq!(siov.register(0x6C00), None);
    }
}
