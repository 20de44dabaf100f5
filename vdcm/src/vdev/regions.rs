// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The regions and interrupts of a composed device.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use adit_function::doorbells::Window;
use adit_function::layout::Frames;
use adit_function::pci::BAR2_LEN;
use adit_uapi::regs::{siov, RegArray};
use adit_vfio_user::{IrqInfo, MmapArea, Region, RegionMmap};
use vfio_bindings::bindings::vfio;

use super::{ComposeError, State};
use crate::backend::DoorbellPages;
use crate::protocol::Layout;

/// The size of a doorbell page in bytes.
const PAGE: u32 = 0x1000;

/// The BAR of the MSI-X table.
pub(super) const fn msix_bar(layout: Layout) -> u32 {
    match layout {
        Layout::Vf => vfio::VFIO_PCI_BAR2_REGION_INDEX,
        Layout::Siov => vfio::VFIO_PCI_BAR3_REGION_INDEX,
    }
}

/// The size of the BAR of the MSI-X table in bytes.
pub(super) const fn msix_len(layout: Layout) -> usize {
    match layout {
        Layout::Vf => BAR2_LEN as usize,
        Layout::Siov => siov::BAR3_LEN as usize,
    }
}

/// The doorbell pages of all ADIs: the file that a client maps, and its mapping in this process.
pub(super) struct Pages {
    file: Arc<OwnedFd>,
    pub(super) window: Window,
}

impl Pages {
    pub(super) fn new(pages: DoorbellPages, frames: Frames) -> Result<Self, ComposeError> {
        let expected = frames.total_pages();
        if pages.count != expected {
            return Err(ComposeError::Pages {
                pages: pages.count,
                expected,
            });
        }
        let array = RegArray {
            base: 0,
            stride: PAGE,
            count: expected,
        };
        let window = Window::new(&pages.file, &array, expected).map_err(ComposeError::Map)?;
        Ok(Self {
            file: Arc::new(pages.file.into()),
            window,
        })
    }

    /// Has clients get another file, which will take the place of this one.
    pub(super) fn describe_as(&mut self, file: OwnedFd) {
        self.file = Arc::new(file);
    }

    /// The file.
    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The properties of a device from which its regions and interrupts follow.
pub(super) struct Description {
    pub(super) layout: Layout,
    pub(super) frames: Frames,
    pub(super) vectors: u16,
}

impl Description {
    /// The regions. The file of doorbell pages begins with the first page of the area, not with
    /// offset 0 of BAR0: the sum of the region's offset in the file and the area's offset is taken
    /// modulo 2^64, as clients in C do.
    pub(super) fn regions(&self, state: &State) -> Vec<Region> {
        let range = self.frames.range();
        let mmap = RegionMmap {
            fd: state.pages.file.clone(),
            offset: u64::from(range.start).wrapping_neg(),
            areas: vec![MmapArea {
                offset: range.start.into(),
                size: (range.end - range.start).into(),
            }],
        };
        let mut regions = vec![Region::absent(); vfio::VFIO_PCI_NUM_REGIONS as usize];
        let bar0 = Region::trapped(siov::BAR0_LEN.into());
        regions[vfio::VFIO_PCI_BAR0_REGION_INDEX as usize] = bar0.with_mmap(mmap);
        let msix = Region::trapped(msix_len(self.layout) as u64);
        regions[msix_bar(self.layout) as usize] = msix;
        let config = Region::trapped(state.slow_path.config_len() as u64);
        regions[vfio::VFIO_PCI_CONFIG_REGION_INDEX as usize] = config;
        regions
    }

    /// The interrupts: MSI-X only.
    pub(super) fn irqs(&self) -> Vec<IrqInfo> {
        let mut irqs = vec![IrqInfo::absent(); vfio::VFIO_PCI_NUM_IRQS as usize];
        let vectors = self.vectors.into();
        irqs[vfio::VFIO_PCI_MSIX_IRQ_INDEX as usize] = IrqInfo::eventfd(vectors);
        irqs
    }
}
