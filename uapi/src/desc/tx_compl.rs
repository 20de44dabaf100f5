// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Transmit completions, of split queues (IDPF, idpf_lan_txrx.h).
//!
//! A completion queue has 8-byte entries when the queues it serves have flow scheduling and 4-byte
//! ones when they have queue scheduling. The generation bit is 1 in the device's first pass over
//! the ring and toggles with every further one.

use super::{get_u24, u24};
use crate::bits::{get16, mask16, set16};
use zerocopy::little_endian::U16;

/// [`SplitqTxComplDesc4b::qid_comptype_gen`]: the queue, by its relative id.
pub const QID_M: u16 = mask16(9, 0);
/// [`SplitqTxComplDesc4b::qid_comptype_gen`]: a value of [`comp_type`].
pub const COMPL_TYPE_M: u16 = mask16(13, 11);
/// [`SplitqTxComplDesc4b::qid_comptype_gen`]: the generation.
pub const GEN_M: u16 = 1 << 15;

named! {
    /// Type of completion (IDPF_TXD_COMPLT_*).
    pub mod comp_type: u16 {
        /// The throttling interval expired.
        ITR_FLUSH = 0;
        /// A packet was sent: the tag identifies it.
        RS = 2;
        /// The descriptors before the head were fetched.
        RE = 4;
        /// All descriptors posted before the queue was disabled are completed.
        SW_MARKER = 5;
    }
}

wire! {
    /// A completion of 4 bytes (idpf_splitq_4b_tx_compl_desc).
    pub struct SplitqTxComplDesc4b [4] {
        /// Queue, type and generation: [`QID_M`], [`COMPL_TYPE_M`], [`GEN_M`].
        0 => qid_comptype_gen: U16,
        /// With [`comp_type::RE`], and on a queue with queue scheduling, the queue's head; with
        /// [`comp_type::RS`] the packet's tag.
        2 => q_head_compl_tag: U16,
    }

    /// A completion of 8 bytes (idpf_splitq_tx_compl_desc).
    pub struct SplitqTxComplDesc [8] {
        /// Fields of the short form.
        0 => common: SplitqTxComplDesc4b,
        /// Transmit timestamp.
        4 => ts: [u8; 3],
        /// Reserved.
        7 => rsvd: u8,
    }
}

impl SplitqTxComplDesc4b {
    /// Creates a completion for the queue with the relative id `qid` (10 bits).
    #[must_use]
    pub const fn new(qid: u16, comp_type: u16, generation: bool, head_or_tag: u16) -> Self {
        let v = set16(qid & QID_M, COMPL_TYPE_M, comp_type);
        let v = if generation { v | GEN_M } else { v };
        Self {
            qid_comptype_gen: U16::new(v),
            q_head_compl_tag: U16::new(head_or_tag),
        }
    }

    /// Returns the relative id of the queue.
    #[must_use]
    pub const fn qid(&self) -> u16 {
        get16(self.qid_comptype_gen.get(), QID_M)
    }

    /// Returns the type, see [`comp_type`].
    #[must_use]
    pub const fn comp_type(&self) -> u16 {
        get16(self.qid_comptype_gen.get(), COMPL_TYPE_M)
    }

    /// Returns the generation bit.
    #[must_use]
    pub const fn generation(&self) -> bool {
        self.qid_comptype_gen.get() & GEN_M != 0
    }
}

impl SplitqTxComplDesc {
    /// Creates a [`SplitqTxComplDesc4b::new`] of 8 bytes, without a timestamp.
    #[must_use]
    pub const fn new(qid: u16, comp_type: u16, generation: bool, head_or_tag: u16) -> Self {
        let common = SplitqTxComplDesc4b::new(qid, comp_type, generation, head_or_tag);
        Self {
            common,
            ts: [0; 3],
            rsvd: 0,
        }
    }

    /// Returns the transmit timestamp.
    #[must_use]
    pub const fn ts(&self) -> u32 {
        get_u24(self.ts)
    }

    /// Sets the transmit timestamp.
    pub const fn set_ts(&mut self, ts: u32) {
        self.ts = u24(ts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    #[test]
    fn fields_read_back() {
        let mut d = SplitqTxComplDesc::new(0x3FF, comp_type::SW_MARKER, true, 0x1234);
        d.set_ts(0x65_4321);
        assert_eq!(d.as_bytes(), [0xFF, 0xAB, 0x34, 0x12, 0x21, 0x43, 0x65, 0]);
        assert_eq!(
            (d.common.qid(), d.common.comp_type()),
            (0x3FF, comp_type::SW_MARKER)
        );
        assert!(d.common.generation());
        assert_eq!(d.ts(), 0x65_4321);
        assert_eq!(
            SplitqTxComplDesc4b::new(0x7FF, 7, false, 0)
                .qid_comptype_gen
                .get(),
            0x3BFF
        );
    }
}
