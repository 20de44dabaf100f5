// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! The mailbox: a ring of control queue descriptors each way (IDPF, idpf_controlq.h and
//! idpf_controlq_api.h).
//!
//! The driver posts requests on the transmit ring (ATQ) and empty buffers on the receive ring
//! (ARQ); the device sets [`flags::DD`] in the descriptors that it has consumed or filled.

use zerocopy::little_endian::{U16, U32};

/// The largest buffer of a control queue in bytes (IDPF_CTLQ_MAX_BUF_LEN).
pub const MAX_BUF_LEN: usize = 4096;

/// Bits of [`CtlqDesc::flags`].
pub mod flags {
    use crate::bits::mask16;

    /// The device is done with the descriptor.
    pub const DD: u16 = 1 << 0;
    /// The command is complete.
    pub const CMP: u16 = 1 << 1;
    /// The command failed; Linux then aborts the whole receive pass.
    pub const ERR: u16 = 1 << 2;
    /// Sender of the message, of the function types `FTYPE_*`.
    pub const FTYPE_M: u16 = mask16(7, 6);
    /// Function type: a virtual machine.
    pub const FTYPE_VM: u16 = 1 << 6;
    /// Function type: a physical function.
    pub const FTYPE_PF: u16 = 1 << 7;
    /// The buffer is for the device to read.
    pub const RD: u16 = 1 << 10;
    /// The command is for a VF.
    pub const VFC: u16 = 1 << 11;
    /// There is a buffer: the parameters have the indirect form.
    pub const BUF: u16 = 1 << 12;
    /// Host id: routes a message together with the function id.
    pub const HOST_ID_M: u16 = mask16(15, 13);
}

named! {
    /// Values of [`CtlqDesc::opcode`] (idpf_mbx_opc).
    pub mod opcode: u16 {
        /// A message to the control plane.
        SEND_MSG_TO_CP = 0x0801;
        /// A message to another driver; also the opcode of messages that a driver receives from the
        /// control plane.
        SEND_MSG_TO_PEER_DRV = 0x0804;
    }

    /// Purpose of a control queue (idpf_ctlq_type).
    pub mod ctlq_type: u32 {
        /// Mailbox, to the device.
        MAILBOX_TX = 0;
        /// Mailbox, to the driver.
        MAILBOX_RX = 1;
        /// Configuration, to the device.
        CONFIG_TX = 2;
        /// Configuration, to the driver.
        CONFIG_RX = 3;
        /// Events to the driver.
        EVENT_RX = 4;
        /// RDMA, to the device.
        RDMA_TX = 5;
        /// RDMA, to the driver.
        RDMA_RX = 6;
        /// RDMA completions.
        RDMA_COMPL = 7;
    }
}

/// The virtchnl2 opcode in [`CtlqDesc::v_opcode_dtype`].
pub const V_OPCODE_M: u32 = crate::bits::mask32(27, 0);
/// The virtchnl descriptor type in [`CtlqDesc::v_opcode_dtype`].
pub const V_DTYPE_M: u32 = crate::bits::mask32(31, 28);
/// The VF's number in [`CtlqDesc::ret_val`] of a sent message.
pub const VF_ID_M: u16 = crate::bits::mask16(10, 0);
/// The PF's number in [`CtlqDesc::ret_val`] of a sent message.
pub const PF_ID_M: u16 = crate::bits::mask16(15, 11);

wire! {
    /// A control queue descriptor (idpf_ctlq_desc), its parameters in the indirect form.
    pub struct CtlqDesc [32] {
        /// See [`flags`].
        0 => flags: U16,
        /// See [`opcode`]; not the virtchnl2 opcode.
        2 => opcode: U16,
        /// Length in bytes: of the message, or of the empty buffer on the receive ring. 0 if the
        /// message is in the descriptor alone.
        4 => datalen: U16,
        /// Result of the control queue command; in a message to send, PF and VF number
        /// ([`PF_ID_M`], [`VF_ID_M`]).
        6 => ret_val: U16,
        /// The virtchnl2 opcode and the descriptor type ([`V_OPCODE_M`], [`V_DTYPE_M`]).
        8 => v_opcode_dtype: U32,
        /// The virtchnl2 status of a reply ([`crate::virtchnl2::status`]).
        12 => v_retval: U32,
        /// First parameter.
        16 => param0: U32,
        /// The sender's value to match replies with requests: a reply repeats it.
        20 => sw_cookie: U16,
        /// virtchnl flags.
        22 => v_flags: U16,
        /// Address of the buffer, bits 63:32.
        24 => addr_high: U32,
        /// Address of the buffer, bits 31:0.
        28 => addr_low: U32,
    }
}

impl CtlqDesc {
    /// Returns the virtchnl2 opcode ([`crate::virtchnl2::op`]).
    #[must_use]
    pub const fn v_opcode(&self) -> u32 {
        self.v_opcode_dtype.get() & V_OPCODE_M
    }

    /// Returns the buffer's address.
    #[must_use]
    pub const fn addr(&self) -> u64 {
        (self.addr_high.get() as u64) << 32 | self.addr_low.get() as u64
    }

    /// Sets the buffer's address.
    pub const fn set_addr(&mut self, addr: u64) {
        self.addr_high = U32::new((addr >> 32) as u32);
        self.addr_low = U32::new(addr as u32);
    }

    /// Returns the host id of a message to send.
    #[must_use]
    pub const fn host_id(&self) -> u16 {
        crate::bits::get16(self.flags.get(), flags::HOST_ID_M)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::{FromBytes, IntoBytes};

    #[test]
    fn a_descriptor_survives_memory() {
        let mut desc = CtlqDesc {
            flags: U16::new(flags::BUF | flags::RD | 5 << 13),
            opcode: U16::new(opcode::SEND_MSG_TO_CP),
            v_opcode_dtype: U32::new(0xF000_01F4),
            ..CtlqDesc::default()
        };
        desc.set_addr(0x1122_3344_5566_7788);
        let bytes = desc.as_bytes();
        assert_eq!(
            bytes[24..],
            [0x44, 0x33, 0x22, 0x11, 0x88, 0x77, 0x66, 0x55]
        );
        let back = CtlqDesc::read_from_bytes(bytes).unwrap();
        assert_eq!(
            (back.addr(), back.v_opcode(), back.host_id()),
            (0x1122_3344_5566_7788, 500, 5)
        );
    }
}
