// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The device as the vfio-user server calls it.

use std::sync::Arc;

use adit_function::access::{read_registers, write_registers};
use adit_function::logging::warn_throttled;
use adit_function::memory::Access;
use adit_vfio_user::migration::{DirtyLog, Migration};
use adit_vfio_user::{Device, DeviceInfo, DmaMap, Errno, IrqAction, IrqInfo, IrqRequest, Region};
use vfio_bindings::bindings::vfio;

use super::migration::Transfer;
use super::regions::{self, Description};
use super::Vdev;
use crate::protocol::{ResetCause, TraceEvent};

/// The device as the vfio-user server calls it.
pub struct Front {
    pub(super) vdev: Arc<Vdev>,
    regions: Vec<Region>,
    irqs: Vec<IrqInfo>,
    msix_bar: u32,
    delayed: Box<dyn Fn() + Send>,
    /// The migration that the client has begun.
    pub(super) transfer: Transfer,
}

impl Front {
    /// The front of a device. `delayed` is called when a request is delayed, which
    /// [`Vdev::continue_delayed`] then continues.
    #[must_use]
    pub fn new(vdev: Arc<Vdev>, delayed: Box<dyn Fn() + Send>) -> Self {
        let description = Description {
            layout: vdev.shape.layout,
            frames: vdev.frames,
            vectors: vdev.vectors,
        };
        let regions = description.regions(&vdev.lock());
        Self {
            regions,
            irqs: description.irqs(),
            msix_bar: regions::msix_bar(vdev.shape.layout),
            vdev,
            delayed,
            transfer: Transfer::default(),
        }
    }
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
        let mut state = self.vdev.lock_settled();
        match region {
            vfio::VFIO_PCI_CONFIG_REGION_INDEX => state.slow_path.config_read(offset, data),
            vfio::VFIO_PCI_BAR0_REGION_INDEX => {
                // BAR0 is smaller than 4 GiB.
                read_registers(offset, data, |register| {
                    state.register_read(register as u32)
                });
            }
            _ if region == self.msix_bar => state.slow_path.msix_read(offset, data),
            _ => return Err(Errno::INVAL),
        }
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), Errno> {
        let mut state = self.vdev.lock_settled();
        match region {
            vfio::VFIO_PCI_CONFIG_REGION_INDEX => state.config_write(offset, data),
            vfio::VFIO_PCI_BAR0_REGION_INDEX => {
                write_registers(offset, data, |register, value| {
                    state.register_write(register as u32, value);
                });
            }
            _ if region == self.msix_bar => state.slow_path.msix_write(offset, data),
            _ => return Err(Errno::INVAL),
        }
        if state.composition.is_waiting() {
            (self.delayed)();
        }
        Ok(())
    }

    fn dma_map(&mut self, map: DmaMap) -> Result<(), Errno> {
        let access = Access {
            read: map.prot.readable(),
            write: map.prot.writable(),
        };
        let (iova, size) = (map.iova, map.size);
        let file = map.fd.map(|fd| (fd, map.offset));
        let result = self.vdev.lock_settled().map(iova, size, access, file);
        result.map_err(|error| {
            warn_throttled!(iova, size, "window of memory refused: {error}");
            error.errno()
        })
    }

    fn dma_unmap(&mut self, iova: u64, size: u64) {
        self.vdev.lock_settled().unmap(iova, size);
    }

    fn set_irqs(&mut self, request: IrqRequest) -> Result<(), Errno> {
        if request.index() != vfio::VFIO_PCI_MSIX_IRQ_INDEX {
            return Err(Errno::INVAL);
        }
        let mut state = self.vdev.lock_settled();
        match request {
            IrqRequest::DisableAll { .. } => state.clear_eventfds(),
            IrqRequest::Assign {
                start,
                action: IrqAction::Trigger,
                eventfds,
                ..
            } => {
                for (vector, eventfd) in (start..).zip(eventfds) {
                    state.set_eventfd(vector, Some(eventfd));
                }
                state.continue_restored();
            }
            IrqRequest::Deassign {
                start,
                count,
                action: IrqAction::Trigger,
                ..
            } => {
                for vector in start..start + count {
                    state.set_eventfd(vector, None);
                }
            }
            // MSI-X is masked in its table, which the client emulates.
            IrqRequest::Assign { .. } | IrqRequest::Deassign { .. } | IrqRequest::Act { .. } => {
                return Err(Errno::OPNOTSUPP)
            }
        }
        Ok(())
    }

    fn reset(&mut self) -> Result<(), Errno> {
        self.transfer = Transfer::default();
        self.vdev.lock_settled().reset(ResetCause::Client);
        Ok(())
    }

    fn new_client(&mut self) {
        // What the previous one had is there to be released once the device is this process's.
        self.vdev.lock_own().new_client();
    }

    fn known_client(&mut self) {
        self.vdev.lock().composition.expect_unreported();
    }

    fn connected(&mut self) {
        let mut state = self.vdev.lock_settled();
        state.connected = true;
        state.composition.record(TraceEvent::Connected);
        // An ADI may have been replaced since the last client.
        let description = Description {
            layout: self.vdev.shape.layout,
            frames: self.vdev.frames,
            vectors: self.vdev.vectors,
        };
        self.regions = description.regions(&state);
    }

    fn disconnected(&mut self) {
        // Nor may it be handed over before it is released.
        self.vdev.lock_own().disconnect();
        self.transfer = Transfer::default();
    }

    fn migration(&mut self) -> Option<&mut dyn Migration> {
        drop(self.vdev.lock_settled());
        Some(self)
    }

    fn dirty_log(&mut self) -> Option<&mut dyn DirtyLog> {
        drop(self.vdev.lock_settled());
        Some(self)
    }
}
