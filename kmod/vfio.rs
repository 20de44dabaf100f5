// SPDX-License-Identifier: GPL-2.0

//! `adit_vfio`: an ADI as a VFIO device with an emulated IOMMU.
//!
//! What its owner sees is written down in `adit_uapi::vfio`. Memory is pinned when the owner
//! registers it and mapped into the ADI's own address space; what the owner says to the device is
//! checked here first.
//!
//! - [`driver`]: what binds to an ADI
//! - [`device`]: the VFIO device, its life and its operations
//! - [`regions`]: what can be read, written and mapped
//! - [`mailbox`], [`messages`]: what can be said to the device
//! - [`memory`], [`retreat`], [`unmapping`]: registered memory, and memory of the driver's
//! - [`irqs`]: eventfds
//! - [`pages`]: pages of registers that are given away
//!
//! C header: [`include/linux/vfio.h`](srctree/include/linux/vfio.h)

mod device;
mod driver;
mod irqs;
mod mailbox;
mod memory;
mod messages;
mod pages;
mod regions;
mod retreat;
mod unmapping;

pub(crate) use device::Registration;
pub(crate) use driver::VfioDriver;

/// Where regions are in the device's file: the index above this many bits, the offset below, as
/// vfio-pci has it.
const REGION_SHIFT: u32 = 40;
