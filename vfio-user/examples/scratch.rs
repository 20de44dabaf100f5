// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A PCI device whose only resource is 4 KiB of memory in BAR0.
//!
//!     cargo run --example scratch -- /tmp/scratch.sock
//!     qemu-system-x86_64 … -device \
//!       '{"driver":"vfio-user-pci","socket":{"path":"/tmp/scratch.sock","type":"unix"}}'
//!
//! The server ends with the process: after Ctrl-C the socket file remains, and the next start
//! replaces it.

use adit_vfio_user::device::PCI_NUM_REGIONS;
use adit_vfio_user::irq::PCI_NUM_IRQS;
use adit_vfio_user::{
    Config, Device, DeviceInfo, DmaMap, Errno, IrqInfo, IrqRequest, Region, Server, StopHandle,
};

/// Region indices of the PCI binding of VFIO (`VFIO_PCI_*_REGION_INDEX`).
const BAR0: u32 = 0;
const CONFIG: u32 = 7;

struct Scratch {
    regions: Vec<Region>,
    irqs: Vec<IrqInfo>,
    memory: [u8; 4096],
    config: [u8; 256],
}

impl Scratch {
    fn new() -> Self {
        let mut regions = vec![Region::absent(); PCI_NUM_REGIONS];
        regions[BAR0 as usize] = Region::trapped(4096);
        regions[CONFIG as usize] = Region::trapped(256);
        let mut config = [0; 256];
        config[0..4].copy_from_slice(&[0x34, 0x12, 0x78, 0x56]); // vendor 1234, device 5678
        config[0x0a..0x0c].copy_from_slice(&[0x80, 0x05]); // memory controller, other
        Self {
            regions,
            irqs: vec![IrqInfo::absent(); PCI_NUM_IRQS],
            memory: [0; 4096],
            config,
        }
    }
}

impl Device for Scratch {
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
        let bytes: &[u8] = if region == BAR0 {
            &self.memory
        } else {
            &self.config
        };
        // The server has checked that the access is within the region.
        data.copy_from_slice(&bytes[offset as usize..][..data.len()]);
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), Errno> {
        match region {
            BAR0 => self.memory[offset as usize..][..data.len()].copy_from_slice(data),
            // The command register is the only one that software may change; QEMU handles the BARs
            // itself.
            _ if offset == 4 && data.len() == 2 => self.config[4..6].copy_from_slice(data),
            _ => {}
        }
        Ok(())
    }

    fn dma_map(&mut self, _map: DmaMap) -> Result<(), Errno> {
        Ok(()) // This device never performs DMA: the file may be dropped.
    }

    fn dma_unmap(&mut self, _iova: u64, _size: u64) {}

    fn set_irqs(&mut self, request: IrqRequest) -> Result<(), Errno> {
        match request {
            IrqRequest::DisableAll { .. } => Ok(()),
            _ => Err(Errno::NOTSUP),
        }
    }

    fn reset(&mut self) -> Result<(), Errno> {
        self.memory.fill(0);
        Ok(())
    }

    fn disconnected(&mut self) {}
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: scratch SOCKET")?;
    let server = Server::bind(path, Config::default())?;
    server.run(&mut Scratch::new(), &StopHandle::new()?)?;
    Ok(())
}
