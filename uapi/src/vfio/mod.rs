// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! An ADI as a VFIO device: what `adit_vfio` shows to the process that opens one.
//!
//! This is a contract of Adit's own, on top of `<linux/vfio.h>`; the same for C is in
//! `include/uapi/linux/adit.h`. All numbers are little-endian.
//!
//! The device has the regions of [`region`] and the interrupts of [`irq`]. It reports the flags
//! PLATFORM and RESET. Its owner maps memory into its VFIO container (`VFIO_IOMMU_MAP_DMA`),
//! makes it known to the ADI with [`op::REGISTER_MEMORY`], sets up queues with the messages of
//! virtchnl2 through the software mailbox ([`MailboxRequest`]), and from then on needs no system
//! call but to sleep.
//!
//! *Names are relative.* In messages of an ADI its queues of each type, and its vectors, are
//! numbered from 0; queue pair `q` has transmit queue `q`, completion queue `q`, receive queue
//! `q`, and buffer queues `2 q` and `2 q + 1`. The vport is 0. PASIDs are 0: they are the
//! driver's to fill in, and naming one is refused (EPERM).
//!
//! *Doorbells.* A tail is at the start of its page. A page that has been idle for long is asleep:
//! the device has set the word at [`AdiInfo::asleep_offset`] of it. Whoever writes a tail, or arms
//! a vector, then does a full fence, reads the word of that page, and if it is not 0 writes any
//! 32-bit value to [`AdiInfo::kick_offset`] of the kick page; the device clears the word
//! ([`crate::regs::adi`]).
//!
//! *The end.* When the ADI ends or its driver is unbound while a device is open, mapped registers
//! lead nowhere, calls fail (EIO), [`irq::REQUEST`] is signalled, and whoever ends it waits for the
//! device to be closed.

mod info;
mod message;
mod pages;

pub use info::{adi_state, AdiInfo, INFO_MAGIC, INFO_VERSION};
pub use message::{
    memory_flags, op, MailboxReply, MailboxRequest, RegisterMemory, MAX_PAYLOAD_LEN,
};
pub use pages::{PageEntry, PagesFd, MAX_PAGES, MAX_PAGES_FDS, PAGES_FD, SOURCE_SELF};

/// Bytes of a page, in regions and in the VFIO container.
pub const PAGE_LEN: u64 = 0x1000;
/// Pages of one queue pair in [`region::DOORBELLS`].
pub const DOORBELLS_PER_PAIR: u32 = 3;
/// Buffer queues of one queue pair.
pub const BUFFER_QUEUES_PER_PAIR: u32 = 2;

named! {
    /// Indexes for VFIO_DEVICE_GET_REGION_INFO. Every index answers; what an ADI does not have is
    /// a region of length 0.
    pub mod region: u32 {
        /// [`super::AdiInfo`]; to be read.
        INFO = 0;
        /// Queue tails, to be mapped, a page each: those of the transmit queues, then those of the
        /// buffer queues; [`super::DOORBELLS_PER_PAIR`] for each queue pair.
        DOORBELLS = 1;
        /// Interrupt control, to be mapped: a page for each vector, with DYN_CTL at its start and
        /// the throttling registers behind it ([`crate::regs::dyn_ctl`]).
        INTERRUPTS = 2;
        /// One page, to be mapped for writing: wakes queues that are asleep.
        KICK = 3;
        /// The software mailbox: a request is written to offset 0, the reply read from there.
        MAILBOX = 4;
        /// Memory that the driver has allocated, to be mapped. The ADI reaches it at
        /// [`super::AdiInfo::dma_iova`] without registration, and it does not count as locked
        /// memory (RLIMIT_MEMLOCK).
        DMA = 5;
    }

    /// Indexes for VFIO_DEVICE_GET_IRQ_INFO and VFIO_DEVICE_SET_IRQS. All signal by eventfd.
    pub mod irq: u32 {
        /// The ADI's vectors, [`super::AdiInfo::num_vectors`] of them.
        VECTORS = 0;
        /// The driver wants the device back: close it.
        REQUEST = 1;
        /// A queue was stopped by a fault: see [`crate::virtchnl2::adi::op::GET_ADI_FAULT`].
        FAULT = 2;
    }
}

/// How many regions there are.
pub const NUM_REGIONS: u32 = 6;
/// How many interrupt indexes there are.
pub const NUM_IRQS: u32 = 3;
