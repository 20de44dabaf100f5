// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Descriptor types (IDPF, virtchnl2_lan_desc.h and idpf_lan_txrx.h).

named! {
    /// The type in a transmit descriptor (idpf_tx_desc_dtype_value).
    pub mod dtype: u8 {
        /// [`super::super::BaseTxDesc`]
        DATA = 0;
        /// [`super::super::BaseTxCtxDesc`]
        CTX = 1;
        /// [`super::super::FlexTxTsoCtxDesc`]
        FLEX_TSO_CTX = 5;
        /// [`super::super::FlexTxDesc`]
        FLEX_L2TAG1_L2TAG2 = 7;
        /// [`super::super::FlexTxSchedDesc`]
        FLEX_FLOW_SCHE = 12;
        /// The device is done with this descriptor of a single queue.
        DESC_DONE = 15;
    }

    /// Profile of a received packet's descriptor (virtchnl2_rx_desc_ids).
    pub mod rxdid: u8 {
        /// [`super::super::SingleqBaseRxDesc`]
        BASE_32B = 1;
        /// [`super::super::RxFlexDescAdvNic3`] on a split queue,
        /// [`super::super::RxFlexDescNic`] on a single one.
        FLEX = 2;
        /// Reserved by the specification.
        HW_RSVD = 7;
    }
}

/// Transmit descriptors as bits of `CreateVport::tx_desc_ids` (virtchnl2_tx_desc_ids).
pub mod txdid {
    /// [`super::dtype::DATA`]
    pub const DATA: u64 = 1 << 0;
    /// [`super::dtype::CTX`]
    pub const CTX: u64 = 1 << 1;
    /// [`super::dtype::FLEX_TSO_CTX`]
    pub const FLEX_TSO_CTX: u64 = 1 << 5;
    /// [`super::dtype::FLEX_L2TAG1_L2TAG2`]
    pub const FLEX_L2TAG1_L2TAG2: u64 = 1 << 7;
    /// [`super::dtype::FLEX_FLOW_SCHE`]
    pub const FLEX_FLOW_SCHED: u64 = 1 << 12;
    /// [`super::dtype::DESC_DONE`]
    pub const DESC_DONE: u64 = 1 << 15;
}

/// Receive profiles as bits of `CreateVport::rx_desc_ids` and `RxqInfo::desc_ids`
/// (virtchnl2_rx_desc_id_bitmasks).
pub mod rxdid_m {
    /// [`super::rxdid::BASE_32B`]
    pub const BASE_32B: u64 = 1 << super::rxdid::BASE_32B;
    /// [`super::rxdid::FLEX`] on a split queue
    pub const FLEX_SPLITQ: u64 = 1 << super::rxdid::FLEX;
    /// [`super::rxdid::FLEX`] on a single queue
    pub const FLEX_SQ_NIC: u64 = FLEX_SPLITQ;
    /// [`super::rxdid::HW_RSVD`]
    pub const HW_RSVD: u64 = 1 << super::rxdid::HW_RSVD;
}
