// SPDX-License-Identifier: GPL-2.0

//! `adit_vfio`: an ADI as a VFIO device with an emulated IOMMU.
//!
//! `adit_uapi::vfio` documents the interface for the owner. Memory is pinned when the owner
//! registers it and mapped into the ADI's own address space; messages of the owner to the device
//! are checked here first.
//!
//! - [`driver`]: the driver that binds to an ADI
//! - [`callbacks`]: the VFIO device, its registration and the callbacks of the VFIO core
//! - [`access`], [`mapping`]: regions that are read, written and mapped
//! - [`mailbox`], [`messages`]: messages to the device
//! - [`irqs`]: eventfds
//! - [`groups`]: groups of ADIs that an owner has open
//! - [`pages`], [`grant`]: register pages that are granted to others
//! - [`unmapping`], [`unmap_requests`]: removal of memory that is unmapped while it is registered
//! - [`state`]: the state of the device and of its owner
//! - [`memory`], [`backoff`]: registered memory, and the driver's own memory
//! - [`regions`]: the description of the regions
//! - [`device`]: the VFIO core's structure
//!
//! C header: [`include/linux/vfio.h`](srctree/include/linux/vfio.h)

mod access;
mod backoff;
mod callbacks;
mod device;
mod driver;
mod grant;
mod groups;
mod irqs;
mod mailbox;
mod mapping;
mod memory;
mod messages;
mod pages;
mod regions;
mod state;
mod unmap_requests;
mod unmapping;

pub(crate) use callbacks::Registration;
pub(crate) use driver::VfioDriver;
