// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Base transmit descriptors, of single queues; the context descriptor also requests a timestamp on
//! split ones (IDPF, idpf_lan_txrx.h).

use super::ids::dtype;
use crate::bits::{get64, mask, set64};
use zerocopy::little_endian::{U16, U32, U64};

/// Commands of a [`BaseTxDesc`] (idpf_tx_base_desc_cmd_bits).
pub mod cmd {
    /// End of packet.
    pub const EOP: u16 = 1 << 0;
    /// Report the status: write the descriptor back as done.
    pub const RS: u16 = 1 << 1;
    /// On a VF: insert the RoCE checksum.
    pub const ICRC: u16 = 1 << 2;
    /// Insert L2TAG1.
    pub const IL2TAG1: u16 = 1 << 3;
    /// Type of the network header, of the `IIPT_*` values.
    pub const IIPT_M: u16 = 3 << 5;
    /// The packet is IPv6.
    pub const IIPT_IPV6: u16 = 1 << 5;
    /// The packet is IPv4; leave its checksum unchanged.
    pub const IIPT_IPV4: u16 = 2 << 5;
    /// The packet is IPv4; compute its checksum.
    pub const IIPT_IPV4_CSUM: u16 = 3 << 5;
    /// Transport checksum to compute, of the `L4T_EOFT_*` values; 0 is none.
    pub const L4T_EOFT_M: u16 = 3 << 8;
    /// Compute the TCP checksum.
    pub const L4T_EOFT_TCP: u16 = 1 << 8;
    /// Compute the SCTP checksum.
    pub const L4T_EOFT_SCTP: u16 = 2 << 8;
    /// Compute the UDP checksum.
    pub const L4T_EOFT_UDP: u16 = 3 << 8;
}

/// Fields of the second quadword of a [`BaseTxDesc`].
pub mod qw1 {
    use crate::bits::mask;

    /// The type.
    pub const DTYPE_M: u64 = mask(3, 0);
    /// The command, see [`super::cmd`].
    pub const CMD_M: u64 = mask(15, 4);
    /// Lengths of the headers: [`MACLEN_M`], [`IPLEN_M`] and [`L4LEN_M`] together.
    pub const OFFSET_M: u64 = mask(33, 16);
    /// Length of the link header in units of 2 bytes.
    pub const MACLEN_M: u64 = mask(22, 16);
    /// Length of the network header in units of 4 bytes.
    pub const IPLEN_M: u64 = mask(29, 23);
    /// Length of the transport header in units of 4 bytes.
    pub const L4LEN_M: u64 = mask(33, 30);
    /// Length of the buffer in bytes.
    pub const TX_BUF_SZ_M: u64 = mask(47, 34);
    /// VLAN tag to insert.
    pub const L2TAG1_M: u64 = mask(63, 48);
}

wire! {
    /// A buffer to send (idpf_base_tx_desc).
    pub struct BaseTxDesc [16] {
        /// Address of the buffer.
        0 => buf_addr: U64,
        /// See [`qw1`].
        8 => qw1: U64,
    }

    /// Parameters of the whole packet that follows (idpf_base_tx_ctx_desc).
    pub struct BaseTxCtxDesc [16] {
        /// Tunnel parameters, see [`ctx_qw0`].
        0 => tunneling_params: U32,
        /// VLAN tag to insert with [`ctx_cmd::IL2TAG2`].
        4 => l2tag2: U16,
        /// Reserved.
        6 => rsvd1: U16,
        /// See [`ctx_qw1`].
        8 => qw1: U64,
    }
}

impl BaseTxDesc {
    /// Creates a descriptor for `len` bytes at `addr`. `offset` has the three header lengths in the
    /// format of [`qw1::OFFSET_M`]; a length above 16,383 is truncated.
    #[must_use]
    pub const fn new(addr: u64, cmd: u16, offset: u32, len: u16, l2tag1: u16) -> Self {
        let v = set64(dtype::DATA as u64, qw1::CMD_M, cmd as u64);
        let v = set64(v, qw1::OFFSET_M, offset as u64);
        let v = set64(v, qw1::TX_BUF_SZ_M, len as u64);
        let v = set64(v, qw1::L2TAG1_M, l2tag1 as u64);
        Self {
            buf_addr: U64::new(addr),
            qw1: U64::new(v),
        }
    }

    /// Returns the command, see [`cmd`].
    #[must_use]
    pub const fn cmd(&self) -> u16 {
        get64(self.qw1.get(), qw1::CMD_M) as u16
    }

    /// Returns the length of the link header in bytes.
    #[must_use]
    pub const fn mac_len(&self) -> usize {
        get64(self.qw1.get(), qw1::MACLEN_M) as usize * 2
    }

    /// Returns the length of the network header in bytes.
    #[must_use]
    pub const fn ip_len(&self) -> usize {
        get64(self.qw1.get(), qw1::IPLEN_M) as usize * 4
    }

    /// Returns the length of the transport header in bytes.
    #[must_use]
    pub const fn l4_len(&self) -> usize {
        get64(self.qw1.get(), qw1::L4LEN_M) as usize * 4
    }

    /// Returns the length of the buffer in bytes.
    #[must_use]
    pub const fn buf_size(&self) -> u16 {
        get64(self.qw1.get(), qw1::TX_BUF_SZ_M) as u16
    }

    /// Returns the VLAN tag to insert if the command has [`cmd::IL2TAG1`].
    #[must_use]
    pub const fn l2tag1(&self) -> u16 {
        get64(self.qw1.get(), qw1::L2TAG1_M) as u16
    }

    /// Returns the descriptor as the device writes it back: done.
    #[must_use]
    pub const fn done(self) -> Self {
        let v = set64(self.qw1.get(), qw1::DTYPE_M, dtype::DESC_DONE as u64);
        Self {
            buf_addr: self.buf_addr,
            qw1: U64::new(v),
        }
    }
}

/// Commands of a [`BaseTxCtxDesc`] (idpf_tx_ctx_desc_cmd_bits).
pub mod ctx_cmd {
    /// Segment the packet.
    pub const TSO: u16 = 0x01;
    /// Take a transmit timestamp.
    pub const TSYN: u16 = 0x02;
    /// Insert L2TAG2.
    pub const IL2TAG2: u16 = 0x04;
    /// Destination of the packet, of the `SWTCH_*` values; 0 is by normal switching.
    pub const SWTCH_M: u16 = 0x30;
    /// To the uplink.
    pub const SWTCH_UPLINK: u16 = 0x10;
    /// To a local port.
    pub const SWTCH_LOCAL: u16 = 0x20;
    /// To the port that the descriptor specifies.
    pub const SWTCH_VSI: u16 = 0x30;
    /// Create a filter for the packet's flow.
    pub const FILT_AU_EN: u16 = 0x40;
    /// Remove the filter of the packet's flow.
    pub const FILT_AU_EVICT: u16 = 0x80;
}

/// Tunnel parameters of a [`BaseTxCtxDesc`].
pub mod ctx_qw0 {
    use crate::bits::mask32;

    /// Outer network header: 0 none, otherwise as the base command's IIPT.
    pub const EXT_IP_M: u32 = mask32(1, 0);
    /// Length of the outer network header in units of 4 bytes (field as wide as the specification's
    /// mask).
    pub const EXT_IPLEN_M: u32 = mask32(7, 2);
    /// Type of tunnel: [`UDP_TUNNELING`], [`GRE_TUNNELING`].
    pub const NATT_M: u32 = mask32(10, 9);
    /// The tunnel is UDP.
    pub const UDP_TUNNELING: u32 = 1 << 9;
    /// The tunnel is GRE.
    pub const GRE_TUNNELING: u32 = 2 << 9;
    /// Do not increment the outer IPv4 identification from one segment to the next.
    pub const EIP_NOINC_M: u32 = 1 << 11;
    /// Length of the tunnel header in units of 2 bytes.
    pub const NATLEN_M: u32 = mask32(18, 12);
    /// Amount to decrement the inner time to live by.
    pub const DECTTL_M: u32 = mask32(22, 19);
    /// Compute the outer UDP checksum.
    pub const L4T_CS_M: u32 = 1 << 23;
}

/// Fields of the second quadword of a [`BaseTxCtxDesc`].
pub mod ctx_qw1 {
    use crate::bits::mask;

    /// The type.
    pub const DTYPE_M: u64 = mask(3, 0);
    /// The command, see [`super::ctx_cmd`].
    pub const CMD_M: u64 = mask(15, 4);
    /// Length of the payload to segment in bytes, without the headers.
    pub const TSO_LEN_M: u64 = mask(47, 30);
    /// With [`super::ctx_cmd::TSYN`]: the latch for the timestamp (IDPF_TX_CTX_TSYN_REG_M).
    pub const TSYN_REG_M: u64 = TSO_LEN_M;
    /// Payload of a segment in bytes.
    pub const MSS_M: u64 = mask(63, 50);
}

impl BaseTxCtxDesc {
    /// Creates a descriptor that requests segments of `mss` bytes out of `tso_len`.
    #[must_use]
    pub const fn new_tso(tso_len: u32, mss: u16) -> Self {
        Self::new(ctx_cmd::TSO, tso_len, mss)
    }

    /// Creates a descriptor that requests the packet's transmit timestamp in latch `index`.
    #[must_use]
    pub const fn new_tsyn(index: u32) -> Self {
        Self::new(ctx_cmd::TSYN, index, 0)
    }

    const fn new(cmd: u16, tso_len: u32, mss: u16) -> Self {
        let v = set64(dtype::CTX as u64, ctx_qw1::CMD_M, cmd as u64);
        let v = set64(v, ctx_qw1::TSO_LEN_M, tso_len as u64);
        let v = set64(v, ctx_qw1::MSS_M, mss as u64);
        Self {
            tunneling_params: U32::ZERO,
            l2tag2: U16::ZERO,
            rsvd1: U16::ZERO,
            qw1: U64::new(v),
        }
    }

    /// Returns the command, see [`ctx_cmd`].
    #[must_use]
    pub const fn cmd(&self) -> u16 {
        get64(self.qw1.get(), ctx_qw1::CMD_M) as u16
    }

    /// Returns the length of the payload to segment in bytes, without the headers.
    #[must_use]
    pub const fn tso_len(&self) -> u32 {
        get64(self.qw1.get(), ctx_qw1::TSO_LEN_M) as u32
    }

    /// Returns the latch for the transmit timestamp.
    #[must_use]
    pub const fn tsyn_reg(&self) -> u32 {
        get64(self.qw1.get(), ctx_qw1::TSYN_REG_M) as u32
    }

    /// Returns the payload of a segment in bytes.
    #[must_use]
    pub const fn mss(&self) -> u16 {
        get64(self.qw1.get(), ctx_qw1::MSS_M) as u16
    }
}

/// Returns the value of [`qw1::OFFSET_M`] for header lengths in bytes, truncated to their fields.
#[must_use]
pub const fn offset(mac_len: usize, ip_len: usize, l4_len: usize) -> u32 {
    let v = (mac_len as u64 / 2) & mask(6, 0);
    let v = v | ((ip_len as u64 / 4) & mask(6, 0)) << 7;
    (v | ((l4_len as u64 / 4) & mask(3, 0)) << 14) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_fields_read_back() {
        let c = cmd::EOP | cmd::RS | cmd::IIPT_IPV4_CSUM | cmd::L4T_EOFT_UDP;
        let d = BaseTxDesc::new(0xABCD, c, offset(14, 20, 8), 0x3FFF, 0x8001);
        assert_eq!((d.cmd(), d.buf_size(), d.l2tag1()), (c, 0x3FFF, 0x8001));
        assert_eq!((d.mac_len(), d.ip_len(), d.l4_len()), (14, 20, 8));
        let done = d.done();
        assert_eq!(done.qw1.get() & 0xF, 15);
        assert_eq!(done.buf_size(), 0x3FFF);
    }

    #[test]
    fn context_fields_read_back() {
        let d = BaseTxCtxDesc::new_tso(0x3_FFFF, 0x3FFF);
        assert_eq!(
            (d.cmd(), d.tso_len(), d.mss()),
            (ctx_cmd::TSO, 0x3_FFFF, 0x3FFF)
        );
        let d = BaseTxCtxDesc::new_tsyn(3);
        assert_eq!((d.cmd(), d.tsyn_reg()), (ctx_cmd::TSYN, 3));
    }
}
