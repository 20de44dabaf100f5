// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Descriptors of the data queues, of the single and of the split queue model.
//!
//! Transmit descriptors are 16 bytes long, transmit completions 8 (or 4, see
//! [`tx_compl`]), receive descriptors and receive buffer descriptors 32.

pub mod ids;
pub mod rx_base;
pub mod rx_buf;
pub mod rx_flex_adv;
pub mod rx_flex_nic;
pub mod tx_base;
pub mod tx_compl;
pub mod tx_flex;

pub use rx_base::SingleqBaseRxDesc;
pub use rx_buf::{SingleqRxBufDesc, SplitqRxBufDesc};
pub use rx_flex_adv::RxFlexDescAdvNic3;
pub use rx_flex_nic::RxFlexDescNic;
pub use tx_base::{BaseTxCtxDesc, BaseTxDesc};
pub use tx_compl::{SplitqTxComplDesc, SplitqTxComplDesc4b};
pub use tx_flex::{FlexTxDesc, FlexTxSchedDesc, FlexTxTsoCtxDesc};

use zerocopy::little_endian::U64;

wire! {
    /// A transmit descriptor of a type not yet known: [`TxDesc::dtype`] returns it.
    ///
    /// Convert it to the actual type with `zerocopy::transmute!`, which checks the size.
    pub struct TxDesc [16] {
        /// First quadword.
        0 => qw0: U64,
        /// Second quadword, which begins with the type in all descriptors.
        8 => qw1: U64,
    }
}

impl TxDesc {
    /// Returns the type, see [`ids::dtype`].
    ///
    /// Flex descriptors have five bits for it and base descriptors four, followed directly by the
    /// command; no type uses the fifth bit, so four suffice to distinguish them.
    #[must_use]
    pub const fn dtype(&self) -> u8 {
        (self.qw1.get() & 0xF) as u8
    }
}

/// Converts three little-endian bytes to a 24-bit number.
#[must_use]
pub const fn get_u24(bytes: [u8; 3]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0])
}

/// Returns the lower 24 bits of `value` as three little-endian bytes.
#[must_use]
pub const fn u24(value: u32) -> [u8; 3] {
    let b = value.to_le_bytes();
    [b[0], b[1], b[2]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u24_is_cut_and_comes_back() {
        assert_eq!(u24(0xAB12_3456), [0x56, 0x34, 0x12]);
        assert_eq!(get_u24(u24(0x12_3456)), 0x12_3456);
    }

    #[test]
    fn every_type_is_told_apart_by_the_common_view() {
        let base = BaseTxDesc::new(0x1000, tx_base::cmd::EOP | tx_base::cmd::RS, 0, 64, 0);
        let raw: TxDesc = zerocopy::transmute!(base);
        assert_eq!(raw.dtype(), ids::dtype::DATA);
        let sched = FlexTxSchedDesc::new(0x1000, tx_flex::sched_cmd::EOP, 7, 64);
        let raw: TxDesc = zerocopy::transmute!(sched);
        assert_eq!(raw.dtype(), ids::dtype::FLEX_FLOW_SCHE);
        let flex = FlexTxDesc::new(0x1000, tx_flex::cmd::EOP, 64);
        let raw: TxDesc = zerocopy::transmute!(flex);
        assert_eq!(raw.dtype(), ids::dtype::FLEX_L2TAG1_L2TAG2);
        let tso = FlexTxTsoCtxDesc::new(9000, 1448, 66);
        let raw: TxDesc = zerocopy::transmute!(tso);
        assert_eq!(raw.dtype(), ids::dtype::FLEX_TSO_CTX);
    }
}
