// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A composed device, whose first virtual port is used like an ADI: messages pass its mailbox.

use std::os::fd::BorrowedFd;
use std::path::Path;

use adit_adi::{Device, Error, Memory, Page, Pages};
use adit_uapi::vfio::{self, irq, region, AdiInfo};
use adit_uapi::virtchnl2::{op, queue_model, queue_type, CreateVport, QueueRegChunk, VectorChunk};
use anyhow::{ensure, Context, Result};
use memmap2::MmapRaw;
use parking_lot::Mutex;
use zerocopy::little_endian::U16;
use zerocopy::IntoBytes;

use crate::direct::{failed, info, kick_page, unused};
use crate::ids::Ids;
use crate::vf::{parse, Vf};

/// The device.
pub(crate) struct Composed {
    vf: Mutex<Vf>,
    ids: Ids,
    info: AdiInfo,
    vectors: VectorChunk,
    /// The first tail register of each type of queues, and the distance of the next.
    tails: [(u64, u64); 4],
}

impl Composed {
    /// Connects to a device and creates a virtual port with one queue pair.
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        Self::start(Vf::start(crate::device::Device::connect(socket)?)?)
    }

    /// Creates a virtual port with one queue pair.
    pub(crate) fn start(mut vf: Vf) -> Result<Self> {
        let request = CreateVport {
            txq_model: U16::new(queue_model::SPLIT),
            rxq_model: U16::new(queue_model::SPLIT),
            num_tx_q: U16::new(1),
            num_tx_complq: U16::new(1),
            num_rx_q: U16::new(1),
            num_rx_bufq: U16::new(2),
            ..CreateVport::default()
        };
        let reply = vf.ok(op::CREATE_VPORT, request.as_bytes())?;
        let vport: CreateVport = parse(&reply)?;
        let (mut first_queues, mut tails) = ([0; 4], [(0, 0); 4]);
        for chunk in reply[CreateVport::LEN..].chunks_exact(QueueRegChunk::LEN) {
            let chunk: QueueRegChunk = parse(chunk)?;
            let type_ = chunk.type_.get() as usize;
            let first = first_queues.get_mut(type_).context("a type of queues")?;
            *first = chunk.start_queue_id.get();
            tails[type_] = (
                chunk.qtail_reg_start.get(),
                chunk.qtail_reg_spacing.get().into(),
            );
        }
        let ids = Ids {
            vport: vport.vport_id.get(),
            pasid: 0,
            first_queues,
            first_vector: vf.vectors.start_vector_id.get(),
        };
        let info = AdiInfo {
            num_queue_pairs: U16::new(1),
            num_vectors: U16::new(1),
            ..info(vport.default_mac_addr, vport.max_mtu.get())
        };
        Ok(Self {
            vectors: vf.vectors,
            vf: Mutex::new(vf),
            ids,
            info,
            tails,
        })
    }

    /// Runs a function on the device below, such as one that resets it.
    pub(crate) fn with<T>(&self, run: impl FnOnce(&mut Vf) -> T) -> T {
        run(&mut self.vf.lock())
    }

    /// The offset of a page of a region in BAR0.
    fn place(&self, index: u32, page: u32) -> Result<u64> {
        let [tx, _, _, buffers] = self.tails;
        let (start, spacing, n) = match (index, page) {
            (region::DOORBELLS, 0) => (tx.0, tx.1, 0),
            (region::DOORBELLS, n @ 1..=2) => (buffers.0, buffers.1, n - 1),
            _ => {
                let first = self.vectors.dynctl_reg_start.get();
                let spacing = self.vectors.dynctl_reg_spacing.get();
                (first.into(), spacing.into(), page)
            }
        };
        let offset = start + u64::from(n) * spacing;
        ensure!(
            offset % vfio::PAGE_LEN == 0,
            "the register at {offset:#x} has no page of its own"
        );
        Ok(offset)
    }
}

impl Device for Composed {
    fn info(&self) -> Result<AdiInfo, Error> {
        Ok(self.info)
    }

    fn request(&self, opcode: u32, payload: &[u8]) -> Result<Vec<u8>, Error> {
        if matches!(
            opcode,
            vfio::op::REGISTER_MEMORY | vfio::op::UNREGISTER_MEMORY
        ) {
            // Mapping the memory has registered it.
            return Ok(Vec::new());
        }
        let mut payload = payload.to_vec();
        let mut send = || {
            self.ids.absolute(opcode, &mut payload)?;
            self.vf.lock().ok(opcode, &payload)
        };
        send().map_err(failed("sending a message"))
    }

    fn map_page(&self, index: u32, page: u32) -> Result<MmapRaw, Error> {
        let map = || {
            let place = self.place(index, page)?;
            self.vf.lock().device.map_part(place, vfio::PAGE_LEN)
        };
        match index {
            region::DOORBELLS | region::INTERRUPTS => map().map_err(failed("mapping a page")),
            region::KICK => kick_page(),
            _ => Err(unused("mapping a page")),
        }
    }

    fn map_dma_region(&self, _: u64) -> Result<MmapRaw, Error> {
        Err(unused("mapping the driver's memory"))
    }

    unsafe fn map_memory(&self, memory: &Memory) -> Result<(), Error> {
        let map = || {
            let file = memory.fd().context("memory without a file")?;
            let device = &mut self.vf.lock().device;
            device.map_file(&file, memory.iova(), memory.len())
        };
        map().map_err(failed("mapping memory"))
    }

    fn unmap_memory(&self, memory: &Memory) -> Result<(), Error> {
        let device = &mut self.vf.lock().device;
        let unmapped = device.unmap_range(memory.iova(), memory.len());
        unmapped.map_err(failed("unmapping memory"))
    }

    fn set_eventfds(
        &self,
        index: u32,
        first: u32,
        eventfds: &[Option<BorrowedFd<'_>>],
    ) -> Result<(), Error> {
        if index != irq::VECTORS {
            // A composed device has no such interrupts.
            return Ok(());
        }
        let eventfds: Option<Vec<_>> = eventfds.iter().copied().collect();
        let eventfds = eventfds.ok_or_else(|| unused("removing an eventfd"))?;
        let first = first + u32::from(self.ids.first_vector);
        let device = &mut self.vf.lock().device;
        let set = device.set_eventfds(first, &eventfds);
        set.map_err(failed("setting eventfds"))
    }

    fn reset(&self) -> Result<(), Error> {
        Err(unused("resetting the ADI"))
    }

    fn give(&self, _: &[Page<'_>]) -> Result<Pages, Error> {
        Err(unused("giving pages away"))
    }
}

/// The types of queues have the numbers of their places in [`Ids::first_queues`].
const _: () = assert!(
    queue_type::TX == 0
        && queue_type::RX == 1
        && queue_type::TX_COMPLETION == 2
        && queue_type::RX_BUFFER == 3
);
