// SPDX-License-Identifier: GPL-2.0

//! The regions of a device: their lengths, what can be done with them, and what is behind them.
//! Free of kernel dependencies, so that the host tests compile the same source.

use adit_uapi::{
    regs::adi as frames,
    vfio::{
        region,
        AdiInfo,
        MailboxReply,
        MailboxRequest,
        MAX_PAYLOAD_LEN,
        NUM_REGIONS,
        PAGE_LEN, //
    },
};
use core::ops::Range;

use crate::messages::AdiLayout;

/// Encoding of regions in offsets of the device's file: the index above this many bits, the offset
/// below, as in vfio-pci.
const REGION_SHIFT: u32 = 40;

/// Size of the driver's own memory in bytes for each queue pair: rings and some hundred buffers.
const DMA_LEN_PER_PAIR: u64 = 2 << 20;
/// Maximum size of that memory in bytes.
const MAX_DMA_LEN: u64 = 32 << 20;

/// Pages of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RegisterPages {
    /// Consecutive pages of the ADI's frame: the first one, and their number.
    Frame(u32, u32),
    /// The ADI's kick page.
    Kick,
}

impl RegisterPages {
    /// Returns the number of pages.
    pub(crate) const fn count(self) -> u32 {
        match self {
            Self::Frame(_, count) => count,
            Self::Kick => 1,
        }
    }
}

/// The backing of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The properties of the ADI.
    Info,
    /// Registers, which only the current owner may access: their mappings are removed when the
    /// owner loses the ADI.
    Registers(RegisterPages),
    /// The software mailbox.
    Mailbox,
    /// The driver's own memory, which the owner that maps it keeps.
    Memory,
}

/// A region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    /// Length in bytes.
    pub(crate) len: u64,
    /// Its backing.
    pub(crate) content: Content,
}

impl Region {
    /// Returns the region with an index; `None` if there is none.
    pub(crate) fn new(index: u32, layout: &AdiLayout) -> Option<Self> {
        let doorbells = u32::from(layout.queue_pairs) * (frames::PAGES_PER_PAIR - 1);
        let registers = |pages: RegisterPages| Self {
            len: u64::from(pages.count()) * PAGE_LEN,
            content: Content::Registers(pages),
        };
        let region = match index {
            region::INFO => Self {
                len: AdiInfo::LEN as u64,
                content: Content::Info,
            },
            region::DOORBELLS => registers(RegisterPages::Frame(0, doorbells)),
            region::INTERRUPTS => {
                registers(RegisterPages::Frame(doorbells, layout.vectors().into()))
            }
            region::KICK => registers(RegisterPages::Kick),
            region::MAILBOX => Self {
                len: (MailboxRequest::LEN + MAX_PAYLOAD_LEN) as u64,
                content: Content::Mailbox,
            },
            region::DMA => Self {
                len: dma_len(layout.queue_pairs),
                content: Content::Memory,
            },
            _ => return None,
        };
        Some(region)
    }

    /// Returns its pages of registers, if there are registers behind it.
    pub(crate) const fn registers(&self) -> Option<RegisterPages> {
        match self.content {
            Content::Registers(pages) => Some(pages),
            _ => None,
        }
    }

    /// Returns whether it can be read and written; the VFIO flags of mappings require that, too.
    pub(crate) const fn access(&self) -> (bool, bool) {
        match self.content {
            Content::Info => (true, false),
            _ => (true, true),
        }
    }

    /// Returns whether it can be mapped.
    pub(crate) const fn can_be_mapped(&self) -> bool {
        matches!(self.content, Content::Registers(_) | Content::Memory)
    }
}

/// Returns the ranges of the device's file that are registers: those whose mappings are removed
/// when the owner loses the ADI.
pub(crate) fn register_ranges(layout: &AdiLayout) -> impl Iterator<Item = Range<u64>> + '_ {
    (0..NUM_REGIONS).filter_map(|index| {
        let region = Region::new(index, layout)?;
        region.registers()?;
        let start = file_offset(index);
        Some(start..start + region.len)
    })
}

/// Returns the offset of a region in the device's file.
pub(crate) const fn file_offset(index: u32) -> u64 {
    (index as u64) << REGION_SHIFT
}

/// Splits an offset in the device's file into the index of a region and an offset in it.
pub(crate) const fn split_offset(offset: u64) -> (u32, u64) {
    let at = offset & ((1 << REGION_SHIFT) - 1);
    // CAST: 24 bits.
    ((offset >> REGION_SHIFT) as u32, at)
}

/// Splits a page of the device's file into the index of a region and a page of it. A page that is
/// beyond all offsets is in a region that does not exist.
pub(crate) const fn split_page(page: u64) -> (u32, u64) {
    match page.checked_mul(PAGE_LEN) {
        Some(offset) => {
            let (index, at) = split_offset(offset);
            (index, at / PAGE_LEN)
        }
        None => (NUM_REGIONS, 0),
    }
}

/// Returns the size in bytes of the driver's own memory for an ADI with `pairs` queue pairs.
pub(crate) fn dma_len(pairs: u16) -> u64 {
    (u64::from(pairs) * DMA_LEN_PER_PAIR).min(MAX_DMA_LEN)
}

const _: () = assert!(region::DMA + 1 == NUM_REGIONS);
const _: () = assert!(MailboxRequest::LEN == MailboxReply::LEN);
