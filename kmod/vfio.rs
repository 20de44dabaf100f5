// SPDX-License-Identifier: GPL-2.0

//! `adit_vfio`: an ADI as a VFIO device with an emulated IOMMU.
//!
//! `adit_uapi::vfio` documents the interface for the owner. Memory is pinned when the owner
//! registers it and mapped into the ADI's own address space; messages of the owner to the device
//! are checked here first.
//!
//! - [`driver`]: the driver that binds to an ADI
//! - [`device`]: the VFIO device, its lifetime and its operations
//! - [`regions`]: regions that can be read, written and mapped
//! - [`mailbox`], [`messages`]: messages to the device
//! - [`memory`], [`retreat`], [`unmapping`]: registered memory, and the driver's own memory
//! - [`irqs`]: eventfds
//! - [`pages`]: register pages that are granted to others
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

/// Encoding of regions in offsets of the device's file: the index above this many bits, the offset
/// below, as in vfio-pci.
const REGION_SHIFT: u32 = 40;
