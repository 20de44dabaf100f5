// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! The interface between an IDPF device and its driver.
//!
//! The Infrastructure Data Path Function is an OASIS standard; this crate contains its definitions:
//! register offsets, mailbox messages and descriptor layouts. Names are those of the standard
//! without the prefix that the module stands for (`VIRTCHNL2_OP_GET_CAPS` is
//! [`virtchnl2::op::GET_CAPS`]). There is no logic beyond accessors, no allocation and no `unsafe`.
//!
//! Everything that is read from or written to memory shared with the other side is a plain struct
//! of little-endian, unaligned fields, so any bytes of the right length are a valid value: reading
//! a hostile message cannot fail, only its meaning has to be checked. Sizes and offsets are checked
//! at compile time against those of the standard.
//!
//! - [`regs`]: the register files of a PF and of a VF
//! - [`mailbox`]: the control queue that carries messages
//! - [`virtchnl2`]: the messages
//! - [`desc`]: the descriptors of the data queues
//! - [`vfio`]: an ADI as a VFIO device; an interface specific to Adit
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
