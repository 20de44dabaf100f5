// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! The contract between an IDPF device and its driver.
//!
//! The Infrastructure Data Path Function is an OASIS standard; what is written down here are its
//! facts: where the registers are, what a mailbox message looks like, how a descriptor is laid
//! out. Names are the standard's with their prefix taken off by the module they are in
//! (`VIRTCHNL2_OP_GET_CAPS` is [`virtchnl2::op::GET_CAPS`]). There is no logic beyond accessors,
//! no allocation and no `unsafe`.
//!
//! Everything that is read from or written to memory shared with the other side is a plain struct
//! of little-endian, unaligned fields, so that any bytes of the right length are a valid value:
//! reading a hostile message cannot go wrong, only its meaning has to be checked. Size and offsets
//! are checked at compile time against the standard's.
//!
//! - [`regs`]: the register files of a PF and of a VF
//! - [`mailbox`]: the control queue that carries messages
//! - [`virtchnl2`]: the messages
//! - [`desc`]: the descriptors of the data queues
//! - [`vfio`]: an ADI as a VFIO device; a contract of Adit's own
#![no_std]
#![forbid(unsafe_code)]

#[macro_use]
mod macros;

pub mod bits;
pub mod desc;
pub mod mailbox;
pub mod regs;
pub mod vfio;
pub mod virtchnl2;
