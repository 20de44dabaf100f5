// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! An ADI as a VFIO device: the interface of `adit_vfio` to the process that opens one.
//!
//! This interface is specific to Adit, on top of `<linux/vfio.h>`; the same for C is in
//! `include/uapi/linux/adit.h`. All numbers are little-endian.
//!
//! The device has the regions of [`region`] and the interrupts of [`irq`]. It reports the flags
//! PLATFORM and RESET. Its owner maps memory into its VFIO container (`VFIO_IOMMU_MAP_DMA`),
//! registers it with the ADI by [`op::REGISTER_MEMORY`], sets up queues with virtchnl2 messages
//! through the software mailbox ([`MailboxRequest`]), and from then on needs no system calls except
//! to sleep.
//!
//! *Ids are relative.* In messages of an ADI its queues of each type, and its vectors, are numbered
//! from 0; queue pair `q` has transmit queue `q`, completion queue `q`, receive queue `q`, and
//! buffer queues `2 q` and `2 q + 1`. The vport is 0. PASIDs are 0: the driver fills them in, and
//! any other value is refused (EPERM).
//!
//! *Doorbells.* A tail is at the start of its page. A page that has been idle for long is asleep:
//! the device has set the word at [`AdiInfo::asleep_offset`] of it. After writing a tail, or arming
//! a vector, software executes a full fence, reads the word of that page, and if it is not 0 writes
//! any 32-bit value to [`AdiInfo::kick_offset`] of the kick page; the device clears the word
//! ([`crate::regs::adi`]).
//!
//! *The end.* When the ADI ends or its driver is unbound while a device is open, mapped registers
//! are replaced by a dummy page, calls fail (EIO), [`irq::REQUEST`] is signalled, and the operation
//! that ends it waits for the device to be closed.
//!
//! *Groups.* An owner of several ADIs can make them one virtual port: [`GROUP`].

mod group;
mod info;
mod message;
mod pages;

pub use group::{Group, GroupMember, GROUP, MAX_GROUP};
pub use info::{adi_state, AdiInfo, INFO_MAGIC, INFO_VERSION};
pub use message::{
    memory_flags, op, MailboxReply, MailboxRequest, RegisterMemory, MAX_PAYLOAD_LEN,
};
pub use pages::{PageEntry, PagesFd, MAX_PAGES, MAX_PAGES_FDS, PAGES_FD, SOURCE_SELF};

/// Size of a page in bytes, in regions and in the VFIO container.
pub const PAGE_LEN: u64 = 0x1000;
/// Pages of one queue pair in [`region::DOORBELLS`].
pub const DOORBELLS_PER_PAIR: u32 = 3;
/// Buffer queues of one queue pair.
pub const BUFFER_QUEUES_PER_PAIR: u32 = 2;

named! {
    /// Indexes for VFIO_DEVICE_GET_REGION_INFO. Every index is valid; a region that an ADI does not
    /// have is of length 0.
    pub mod region: u32 {
        /// [`super::AdiInfo`]; read-only.
        INFO = 0;
        /// Queue tails, for mapping, a page each: those of the transmit queues, then those of the
        /// buffer queues; [`super::DOORBELLS_PER_PAIR`] for each queue pair.
        DOORBELLS = 1;
        /// Interrupt control, for mapping: a page for each vector, with DYN_CTL at its start,
        /// followed by the throttling registers ([`crate::regs::dyn_ctl`]).
        INTERRUPTS = 2;
        /// One page, mapped for writing: wakes queues that are asleep.
        KICK = 3;
        /// The software mailbox: a request is written at offset 0, and the reply read from there.
        MAILBOX = 4;
        /// Memory allocated by the driver, for mapping. The ADI accesses it at
        /// [`super::AdiInfo::dma_iova`] without registration, and it does not count as locked
        /// memory (RLIMIT_MEMLOCK).
        DMA = 5;
    }

    /// Indexes for VFIO_DEVICE_GET_IRQ_INFO and VFIO_DEVICE_SET_IRQS. All signal by eventfd.
    pub mod irq: u32 {
        /// The ADI's vectors, [`super::AdiInfo::num_vectors`] of them.
        VECTORS = 0;
        /// The driver requests the device back: close it.
        REQUEST = 1;
        /// A queue was stopped by a fault: see [`crate::virtchnl2::adi::op::GET_ADI_FAULT`].
        FAULT = 2;
    }
}

/// Number of regions.
pub const NUM_REGIONS: u32 = 6;
/// Number of interrupt indexes.
pub const NUM_IRQS: u32 = 3;
