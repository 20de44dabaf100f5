// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The function as a vfio-user device.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use adit_function::access::{read_registers, write_registers};
use adit_vfio_user::{
    Device, DeviceInfo, DmaMap, Errno, IrqAction, IrqInfo, IrqRequest, MmapArea, Region, RegionMmap,
};
use vfio_bindings::bindings::vfio;

use crate::function::{Function, Shared};
use crate::ids::VectorId;
use crate::logging::warn_throttled;
use crate::memory::Access;
use crate::pci::{BAR2_LEN, CONFIG_LEN};
use crate::report;

/// The device that the vfio-user server calls.
pub(crate) struct Front {
    shared: Arc<Shared>,
    regions: Vec<Region>,
    irqs: Vec<IrqInfo>,
    /// Called with each new file of doorbell pages.
    keep_pages: KeepPages,
    pages: Pages,
}

/// The doorbell pages, by who else may have them mapped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pages {
    /// The connected client at most.
    Own,
    /// The client of a predecessor of this process, whose state this one may have as well.
    Inherited,
    /// A client that has left: the host has refused other pages.
    Stale,
}

/// Stores a file of doorbell pages for a successor of this process.
pub(crate) type KeepPages = Box<dyn Fn(BorrowedFd<'_>) + Send>;

impl Front {
    /// Creates the front of a function, whose doorbell pages are those of a file. They are `inherited`
    /// if they are those of a predecessor, whose client has them mapped; `keep_pages` is called when
    /// others take their place.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        pages: BorrowedFd<'_>,
        inherited: bool,
        keep_pages: KeepPages,
    ) -> std::io::Result<Self> {
        let function = shared.lock();
        let vectors = u32::from(function.control().profile().vectors());
        let (regions, irqs) = describe(&function, pages, vectors)?;
        drop(function);
        Ok(Self {
            shared: shared.clone(),
            regions,
            irqs,
            keep_pages,
            pages: match inherited {
                true => Pages::Inherited,
                false => Pages::Own,
            },
        })
    }

    /// Replaces the doorbell pages again, for a new client: the host has refused it before.
    fn renew_pages(&mut self) {
        let shared = self.shared.clone();
        let mut function = shared.lock();
        let renewed = function.renew_pages();
        self.pages_renewed(&function, renewed);
    }

    /// Releases all that a client had which has left.
    fn release_client(&mut self) {
        let shared = self.shared.clone();
        let mut function = shared.lock();
        tracing::info!("counters so far: {}", report::summary(&function));
        let renewed = function.disconnect();
        self.pages_renewed(&function, renewed);
    }

    /// Describes the doorbell pages that have been replaced after a client has left. Without such pages
    /// the next client gets none of the registers: the former one could ring its doorbells.
    fn pages_renewed(&mut self, function: &Function, renewed: std::io::Result<()>) {
        let vectors = u32::from(function.control().profile().vectors());
        let bar = vfio::VFIO_PCI_BAR0_REGION_INDEX as usize;
        let pages = function.datapath().queues().doorbells.fd();
        match renewed.and_then(|()| describe(function, pages, vectors)) {
            Ok((regions, _)) => {
                self.regions = regions;
                self.pages = Pages::Own;
                (self.keep_pages)(pages);
            }
            Err(error) => {
                tracing::error!("no new doorbell pages, so no registers for a client: {error}");
                self.regions[bar] = Region::absent();
                self.pages = Pages::Stale;
            }
        }
    }
}

/// The regions and interrupts of the function.
fn describe(
    function: &Function,
    pages: BorrowedFd<'_>,
    vectors: u32,
) -> std::io::Result<(Vec<Region>, Vec<IrqInfo>)> {
    let doorbells = &function.datapath().queues().doorbells;
    let areas = doorbells.windows().map(|w| {
        let range = w.range();
        MmapArea {
            offset: range.start,
            size: range.end - range.start,
        }
    });
    let mmap = RegionMmap {
        fd: Arc::new(pages.try_clone_to_owned()?),
        offset: 0,
        areas: areas.collect(),
    };
    let mut regions = vec![Region::absent(); vfio::VFIO_PCI_NUM_REGIONS as usize];
    regions[vfio::VFIO_PCI_BAR0_REGION_INDEX as usize] =
        Region::trapped(function.layout().bar0_len()).with_mmap(mmap);
    regions[vfio::VFIO_PCI_BAR2_REGION_INDEX as usize] = Region::trapped(BAR2_LEN);
    regions[vfio::VFIO_PCI_CONFIG_REGION_INDEX as usize] = Region::trapped(CONFIG_LEN as u64);
    let mut irqs = vec![IrqInfo::absent(); vfio::VFIO_PCI_NUM_IRQS as usize];
    irqs[vfio::VFIO_PCI_MSIX_IRQ_INDEX as usize] = IrqInfo::eventfd(vectors);
    Ok((regions, irqs))
}

impl Device for Front {
    fn info(&self) -> DeviceInfo {
        DeviceInfo::PCI
    }

    fn regions(&self) -> &[Region] {
        &self.regions
    }

    fn irqs(&self) -> &[IrqInfo] {
        &self.irqs
    }

    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> Result<(), Errno> {
        let mut function = self.shared.lock();
        match region {
            vfio::VFIO_PCI_CONFIG_REGION_INDEX => function.config_read(offset, data),
            vfio::VFIO_PCI_BAR0_REGION_INDEX => {
                read_registers(offset, data, |register| function.register_read(register));
            }
            vfio::VFIO_PCI_BAR2_REGION_INDEX => function.msix_read(offset, data),
            _ => return Err(Errno::INVAL),
        }
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), Errno> {
        {
            let mut function = self.shared.lock();
            match region {
                vfio::VFIO_PCI_CONFIG_REGION_INDEX => function.config_write(offset, data),
                vfio::VFIO_PCI_BAR0_REGION_INDEX => {
                    write_registers(offset, data, |register, value| {
                        function.register_write(register, value);
                    });
                }
                vfio::VFIO_PCI_BAR2_REGION_INDEX => function.msix_write(offset, data),
                _ => return Err(Errno::INVAL),
            }
        }
        // A trapped write may be a doorbell, or may have started or stopped queues.
        self.shared.wake();
        Ok(())
    }

    fn dma_map(&mut self, map: DmaMap) -> Result<(), Errno> {
        let access = Access {
            read: map.prot.readable(),
            write: map.prot.writable(),
        };
        let fd = map.fd.map(|fd| (fd, map.offset));
        self.shared
            .lock()
            .map(map.iova, map.size, access, fd)
            .map_err(|e| {
                warn_throttled!(iova = map.iova, size = map.size, "DMA window refused: {e}");
                Errno::INVAL
            })
    }

    fn dma_unmap(&mut self, iova: u64, size: u64) {
        if let Err(e) = self.shared.lock().unmap(iova, size) {
            warn_throttled!(iova, size, "DMA window not unmapped: {e}");
        }
    }

    fn set_irqs(&mut self, request: IrqRequest) -> Result<(), Errno> {
        if request.index() != vfio::VFIO_PCI_MSIX_IRQ_INDEX {
            return Err(Errno::INVAL);
        }
        let mut function = self.shared.lock();
        match request {
            IrqRequest::DisableAll { .. } => function.clear_triggers(),
            IrqRequest::Assign {
                start,
                action: IrqAction::Trigger,
                eventfds,
                ..
            } => {
                for (vector, eventfd) in (start..).zip(eventfds) {
                    function.set_trigger(VectorId(vector), Some(eventfd));
                }
            }
            IrqRequest::Deassign {
                start,
                count,
                action: IrqAction::Trigger,
                ..
            } => {
                for vector in start..start + count {
                    function.set_trigger(VectorId(vector), None);
                }
            }
            // MSI-X is masked in the MSI-X table, which the client emulates.
            _ => return Err(Errno::OPNOTSUPP),
        }
        drop(function);
        self.shared.wake();
        Ok(())
    }

    fn reset(&mut self) -> Result<(), Errno> {
        self.shared.lock().reset();
        Ok(())
    }

    fn new_client(&mut self) {
        match self.pages {
            Pages::Own => {}
            // The client of the predecessor has left while nobody served it: nothing of what it has set up
            // may be there for the next one.
            Pages::Inherited => self.release_client(),
            Pages::Stale => self.renew_pages(),
        }
    }

    fn connected(&mut self) {
        if self.pages == Pages::Stale {
            self.renew_pages();
        }
    }

    fn disconnected(&mut self) {
        let shared = self.shared.clone();
        // While it is frozen the client goes on in another process, or here after the thaw: nothing of its may
        // change. Nor may another freeze begin before it is released.
        shared.freezer().step_once_thawed(|| self.release_client());
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::connections::tracker;
    use crate::fuzzing::loaded;
    use crate::ids::VportId;

    /// The front of a function whose driver has loaded.
    fn front(inherited: bool) -> (Arc<Shared>, Front) {
        let shared = Shared::new(loaded(), tracker(16).unwrap()).unwrap();
        let shared = Arc::new(shared);
        let pages = (shared.lock().datapath().queues().doorbells.fd())
            .try_clone_to_owned()
            .unwrap();
        let front = Front::new(&shared, pages.as_fd(), inherited, Box::new(|_| ()));
        (shared, front.unwrap())
    }

    fn is_released(shared: &Shared) -> bool {
        let mut function = shared.lock();
        let datapath = function.datapath_mut();
        datapath.queues().memory.is_empty() && !datapath.forwarding(VportId(0)).enabled
    }

    #[test]
    fn nothing_of_a_client_that_left_in_an_update_is_there_for_the_next_one() {
        let (shared, mut front) = front(true);
        assert!(!is_released(&shared));
        front.new_client();
        front.connected();
        assert!(is_released(&shared));
        assert!(front.pages == Pages::Own);
    }

    #[test]
    fn a_client_that_leaves_between_two_freezes_is_released() {
        let (shared, mut front) = front(false);
        shared.freeze();
        let leaving = std::thread::spawn(move || front.disconnected());
        let function = shared.lock();
        shared.thaw();
        let until = Instant::now() + Duration::from_secs(20);
        while !shared.freezer().is_stepping() {
            assert!(
                Instant::now() < until,
                "the release does not keep a freeze off"
            );
            std::thread::yield_now();
        }
        // The second freeze comes before the release, and waits for it.
        let freezing = std::thread::spawn({
            let shared = shared.clone();
            move || {
                shared.freeze();
                is_released(&shared)
            }
        });
        while !shared.freezer().is_frozen() {
            std::thread::yield_now();
        }
        drop(function);
        assert!(freezing.join().unwrap());
        leaving.join().unwrap();
    }
}
