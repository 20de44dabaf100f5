// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Flex transmit descriptors, of split queues (IDPF, idpf_lan_txrx.h).

use super::ids::dtype;
use super::{get_u24, u24};
use crate::bits::{get16, get32, mask16, mask32, set16, set32};
use zerocopy::little_endian::{U16, U32, U64};

/// Type in `cmd_dtype` of all flex descriptors.
pub const DTYPE_M: u16 = mask16(4, 0);
/// Command in [`FlexTxDesc::cmd_dtype`].
pub const CMD_M: u16 = mask16(15, 5);

/// Commands of a [`FlexTxDesc`] (idpf_tx_flex_desc_cmd_bits), before they are shifted into
/// [`CMD_M`].
pub mod cmd {
    /// End of packet.
    pub const EOP: u16 = 1 << 0;
    /// Report the status: complete this packet.
    pub const RS: u16 = 1 << 1;
    /// Report events: complete the descriptors up to this one.
    pub const RE: u16 = 1 << 2;
    /// Insert L2TAG1.
    pub const IL2TAG1: u16 = 1 << 3;
    /// A descriptor without a packet.
    pub const DUMMY: u16 = 1 << 4;
    /// Compute checksums; the device determines which.
    pub const CS_EN: u16 = 1 << 5;
    /// Create a filter for the packet's flow.
    pub const FILT_AU_EN: u16 = 1 << 6;
    /// Remove the filter of the packet's flow.
    pub const FILT_AU_EVICT: u16 = 1 << 7;
}

/// Commands in [`FlexTxSchedDesc::cmd_dtype`], at their bit positions.
pub mod sched_cmd {
    /// End of packet.
    pub const EOP: u8 = 1 << 5;
    /// Compute checksums; the device determines which.
    pub const CS_EN: u8 = 1 << 6;
    /// Report events: complete the descriptors up to this one.
    pub const RE: u8 = 1 << 7;
}

/// Commands in [`FlexTxTsoCtxDesc::cmd_dtype`], at their bit positions
/// (idpf_tx_flex_ctx_desc_cmd_bits).
pub mod ctx_cmd {
    /// Segment the packet.
    pub const TSO: u16 = 1 << 5;
    /// Take a transmit timestamp.
    pub const TSYN_EN: u16 = 1 << 6;
    /// Insert L2TAG2.
    pub const L2TAG2: u16 = 1 << 7;
    /// Destination of the packet, of the `SWTCH_*` values; 0 is by normal switching.
    pub const SWTCH_M: u16 = 3 << 9;
    /// To the uplink.
    pub const SWTCH_UPLNK: u16 = 1 << 9;
    /// To a local port.
    pub const SWTCH_LOCAL: u16 = 2 << 9;
    /// To the port that the descriptor specifies.
    pub const SWTCH_TARGETVSI: u16 = 3 << 9;
}

/// [`FlexTxSchedDesc::rxr_bufsize`]: length of the buffer in bytes.
pub const SCHED_BUFSIZE_M: u16 = mask16(13, 0);
/// [`FlexTxSchedDesc::rxr_bufsize`]: RXR.
pub const SCHED_RXR_M: u16 = 1 << 14;
/// [`FlexTxSchedDesc::ts`]: the departure time.
pub const SCHED_TS_M: u32 = mask32(22, 0);
/// [`FlexTxSchedDesc::ts`]: the time is beyond the horizon.
pub const SCHED_HORIZON_OVERFLOW_M: u32 = 1 << 23;
/// [`FlexTxTsoCtxDesc::flex_tlen`]: length of the payload to segment.
pub const CTX_TLEN_M: u32 = mask32(17, 0);
/// [`FlexTxTsoCtxDesc::flex_tlen`]: flexible field.
pub const CTX_FLEX_M: u32 = mask32(31, 24);
/// [`FlexTxTsoCtxDesc::mss_rt`]: payload of a segment.
pub const CTX_MSS_RT_M: u16 = mask16(13, 0);

wire! {
    /// A buffer to send on a queue with queue scheduling (idpf_flex_tx_desc).
    pub struct FlexTxDesc [16] {
        /// Address of the buffer.
        0 => buf_addr: U64,
        /// Type and command, see [`DTYPE_M`], [`CMD_M`] and [`cmd`].
        8 => cmd_dtype: U16,
        /// VLAN tag to insert with [`cmd::IL2TAG1`].
        10 => l2tag1: U16,
        /// Second VLAN tag.
        12 => l2tag2: U16,
        /// Length of the buffer in bytes.
        14 => buf_size: U16,
    }

    /// A buffer to send on a queue with flow scheduling (idpf_flex_tx_sched_desc).
    pub struct FlexTxSchedDesc [16] {
        /// Address of the buffer.
        0 => buf_addr: U64,
        /// Type and command, see [`sched_cmd`].
        8 => cmd_dtype: u8,
        /// Earliest departure time, see [`SCHED_TS_M`] and [`SCHED_HORIZON_OVERFLOW_M`]; its unit
        /// is the granularity of [`crate::virtchnl2::EdtCaps`].
        9 => ts: [u8; 3],
        /// Tag of the packet's completion.
        12 => compl_tag: U16,
        /// Length of the buffer, see [`SCHED_BUFSIZE_M`], and [`SCHED_RXR_M`].
        14 => rxr_bufsize: U16,
    }

    /// Segmentation of the packet that follows (`tso` of idpf_flex_tx_ctx_desc).
    pub struct FlexTxTsoCtxDesc [16] {
        /// Length of the payload to segment, see [`CTX_TLEN_M`].
        0 => flex_tlen: U32,
        /// Payload of a segment, see [`CTX_MSS_RT_M`].
        4 => mss_rt: U16,
        /// Length in bytes of all headers, which are repeated before every segment.
        6 => hdr_len: u8,
        /// Flexible field.
        7 => flex: u8,
        /// Type and command, see [`ctx_cmd`].
        8 => cmd_dtype: U16,
        /// Flexible field.
        10 => qw1_flex: [u8; 6],
    }
}

impl FlexTxDesc {
    /// Creates a descriptor for `len` bytes at `addr`.
    #[must_use]
    pub const fn new(addr: u64, cmd: u16, len: u16) -> Self {
        let v = set16(dtype::FLEX_L2TAG1_L2TAG2 as u16, CMD_M, cmd);
        Self {
            buf_addr: U64::new(addr),
            cmd_dtype: U16::new(v),
            l2tag1: U16::ZERO,
            l2tag2: U16::ZERO,
            buf_size: U16::new(len),
        }
    }

    /// Returns the type.
    #[must_use]
    pub const fn dtype(&self) -> u8 {
        (self.cmd_dtype.get() & DTYPE_M) as u8
    }

    /// Returns the command, see [`cmd`].
    #[must_use]
    pub const fn cmd(&self) -> u16 {
        get16(self.cmd_dtype.get(), CMD_M)
    }
}

impl FlexTxSchedDesc {
    /// Creates a descriptor for `len` bytes at `addr`, to be sent at once; a length above 16,383 is
    /// truncated.
    #[must_use]
    pub const fn new(addr: u64, cmd: u8, compl_tag: u16, len: u16) -> Self {
        Self {
            buf_addr: U64::new(addr),
            cmd_dtype: cmd | dtype::FLEX_FLOW_SCHE,
            ts: [0; 3],
            compl_tag: U16::new(compl_tag),
            rxr_bufsize: U16::new(len & SCHED_BUFSIZE_M),
        }
    }

    /// Returns the type.
    #[must_use]
    pub const fn dtype(&self) -> u8 {
        self.cmd_dtype & DTYPE_M as u8
    }

    /// Returns the command at its bit positions, see [`sched_cmd`].
    #[must_use]
    pub const fn cmd(&self) -> u8 {
        self.cmd_dtype & !(DTYPE_M as u8)
    }

    /// Returns the earliest departure time.
    #[must_use]
    pub const fn ts(&self) -> u32 {
        get_u24(self.ts) & SCHED_TS_M
    }

    /// Returns whether the time is beyond the horizon.
    #[must_use]
    pub const fn horizon_overflow(&self) -> bool {
        get_u24(self.ts) & SCHED_HORIZON_OVERFLOW_M != 0
    }

    /// Sets the earliest departure time.
    pub const fn set_ts(&mut self, ts: u32) {
        self.ts = u24(ts & SCHED_TS_M);
    }

    /// Returns the length of the buffer in bytes.
    #[must_use]
    pub const fn buf_size(&self) -> u16 {
        self.rxr_bufsize.get() & SCHED_BUFSIZE_M
    }
}

impl FlexTxTsoCtxDesc {
    /// Creates a descriptor that segments `tlen` bytes of payload into segments of `mss` bytes,
    /// each preceded by the first `hdr_len` bytes of the packet.
    #[must_use]
    pub const fn new(tlen: u32, mss: u16, hdr_len: u8) -> Self {
        Self {
            flex_tlen: U32::new(tlen & CTX_TLEN_M),
            mss_rt: U16::new(mss & CTX_MSS_RT_M),
            hdr_len,
            flex: 0,
            cmd_dtype: U16::new(ctx_cmd::TSO | dtype::FLEX_TSO_CTX as u16),
            qw1_flex: [0; 6],
        }
    }

    /// Returns the type.
    #[must_use]
    pub const fn dtype(&self) -> u8 {
        (self.cmd_dtype.get() & DTYPE_M) as u8
    }

    /// Returns the command at its bit positions, see [`ctx_cmd`].
    #[must_use]
    pub const fn cmd(&self) -> u16 {
        self.cmd_dtype.get() & !DTYPE_M
    }

    /// Returns the length of the payload to segment in bytes, without the headers.
    #[must_use]
    pub const fn tlen(&self) -> u32 {
        get32(self.flex_tlen.get(), CTX_TLEN_M)
    }

    /// Sets the flexible field next to the length.
    pub const fn set_tlen_flex(&mut self, flex: u8) {
        self.flex_tlen = U32::new(set32(self.flex_tlen.get(), CTX_FLEX_M, flex as u32));
    }

    /// Returns the payload of a segment in bytes.
    #[must_use]
    pub const fn mss(&self) -> u16 {
        self.mss_rt.get() & CTX_MSS_RT_M
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    #[test]
    fn sched_fields_lie_where_linux_puts_them() {
        let mut d = FlexTxSchedDesc::new(1, sched_cmd::EOP | sched_cmd::RE, 0xBEEF, 0x3FFF);
        d.set_ts(0x7F_FFFF);
        assert_eq!(
            d.as_bytes()[8..],
            [0xAC, 0xFF, 0xFF, 0x7F, 0xEF, 0xBE, 0xFF, 0x3F]
        );
        assert_eq!(
            (d.dtype(), d.cmd()),
            (dtype::FLEX_FLOW_SCHE, sched_cmd::EOP | sched_cmd::RE)
        );
        assert_eq!(
            (d.ts(), d.horizon_overflow(), d.buf_size()),
            (0x7F_FFFF, false, 0x3FFF)
        );
    }

    #[test]
    fn flex_command_is_shifted_past_the_type() {
        let d = FlexTxDesc::new(1, cmd::EOP | cmd::RS | cmd::CS_EN, 1500);
        assert_eq!(d.cmd_dtype.get(), 0x23 << 5 | 7);
        assert_eq!((d.dtype(), d.cmd()), (7, cmd::EOP | cmd::RS | cmd::CS_EN));
    }

    #[test]
    fn tso_fields_read_back() {
        let mut d = FlexTxTsoCtxDesc::new(0x3_FFFF, 0x3FFF, 54);
        d.set_tlen_flex(0xAA);
        assert_eq!((d.tlen(), d.mss(), d.hdr_len), (0x3_FFFF, 0x3FFF, 54));
        assert_eq!((d.dtype(), d.cmd()), (5, ctx_cmd::TSO));
    }
}
