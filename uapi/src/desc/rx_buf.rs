// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Buffers that the driver posts for reception (IDPF, virtchnl2_lan_desc.h).

use zerocopy::little_endian::{U16, U32, U64};

wire! {
    /// A buffer on a buffer queue of the split model (virtchnl2_splitq_rx_buf_desc).
    pub struct SplitqRxBufDesc [32] {
        /// Identifier of the buffer in the completion.
        0 => buf_id: U16,
        /// Reserved.
        2 => rsvd0: U16,
        /// Reserved.
        4 => rsvd1: U32,
        /// Address of the packet buffer.
        8 => pkt_addr: U64,
        /// Address of the header buffer, if the queue splits headers.
        16 => hdr_addr: U64,
        /// Reserved.
        24 => rsvd2: U64,
    }

    /// A buffer on a queue of the single model (virtchnl2_singleq_rx_buf_desc), overwritten in
    /// place by the packet's descriptor.
    pub struct SingleqRxBufDesc [32] {
        /// Address of the packet buffer.
        0 => pkt_addr: U64,
        /// Address of the header buffer, if the queue splits headers.
        8 => hdr_addr: U64,
        /// Reserved.
        16 => rsvd1: U64,
        /// Reserved.
        24 => rsvd2: U64,
    }
}
