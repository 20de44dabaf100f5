// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A test fixture with the device model in place of the kernel and QEMU: its control plane handles
//! the messages, its data plane polls the doorbells and transfers the frames.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use adit_adi::{Adi, Device, Error, Memory, Page, Pages};
use adit_nic::control::{Control, Profile};
use adit_nic::datapath::{Datapath, Limits};
use adit_nic::dataplane::QueueKind;
use adit_nic::ids::VectorId;
use adit_nic::memory::Access;
use adit_nic::program::Program;
use adit_nic::wire::mock::{FarEnd, MockPort};
use adit_nic::wire::{Port, PortCaps};
use adit_uapi::regs::{pf, RegArray};
use adit_uapi::vfio::{self, irq, region, AdiInfo};
use adit_uapi::virtchnl2::{op, AllocVectors, CreateVport, QueueVector, QueueVectorMaps};
use adit_vfio_user::EventFd;
use memmap2::{MmapOptions, MmapRaw};
use parking_lot::Mutex;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

/// The ADI's MAC address.
pub(crate) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The first usable device address.
const IOVA_FIRST: u64 = 0x10_0000;
/// The device address of the "driver's" memory.
const DMA_IOVA: u64 = 0x8000_0000;
const DMA_LEN: u64 = 8 << 20;

struct Nic {
    control: Control,
    datapath: Datapath,
}

/// A NIC with one port, whose vport represents the ADI.
pub(crate) struct Model {
    nic: Arc<Mutex<Nic>>,
    bar: OwnedFd,
    kick: std::fs::File,
    pairs: u16,
    driver_memory: bool,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Set if messages fail, as after the driver was removed.
    pub(crate) dead: Arc<AtomicBool>,
}

impl Model {
    /// A NIC that is polled by its own thread, and the other end of its wire.
    pub(crate) fn new(pairs: u16, driver_memory: bool) -> (Self, FarEnd) {
        let profile = Profile::new(vec![MAC], pairs).unwrap();
        let (port, far) = MockPort::new(PortCaps::default());
        let limits = Limits {
            rx: profile.total_queues(QueueKind::Rx).into(),
            tx: profile.total_queues(QueueKind::Tx).into(),
            buffer: profile.total_queues(QueueKind::RxBuffer).into(),
            vectors: profile.vectors().into(),
            layout: profile.layout(),
        };
        let port: Box<dyn Port> = Box::new(port);
        let datapath = Datapath::new(limits, vec![Some(port)]).unwrap();
        let bar = datapath
            .queues()
            .doorbells
            .fd()
            .try_clone_to_owned()
            .unwrap();
        let control = Control::new(profile);
        let mut nic = Nic { control, datapath };
        nic.create(pairs);
        let nic = Arc::new(Mutex::new(nic));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = Some(poller(Arc::clone(&nic), Arc::clone(&stop)));
        let kick = tempfile::tempfile().unwrap();
        kick.set_len(vfio::PAGE_LEN).unwrap();
        let model = Self {
            nic,
            bar,
            kick,
            pairs,
            driver_memory,
            stop,
            thread,
            dead: Arc::default(),
        };
        (model, far)
    }

    /// Has the NIC run a P4 program.
    #[allow(dead_code)] // not every test needs it
    pub(crate) fn set_program(&self, text: &str) {
        let program = Program::from_text("test.p4", text).unwrap();
        self.nic.lock().datapath.set_program(program);
    }

    /// Opens an ADI on such a NIC.
    #[allow(dead_code)] // not every test needs it
    pub(crate) fn open(pairs: u16) -> (Adi, FarEnd) {
        let (model, far) = Self::new(pairs, false);
        (Adi::new(Box::new(model)).unwrap(), far)
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn poller(nic: Arc<Mutex<Nic>>, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let start = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let now = start.elapsed().as_nanos() as u64 + 1;
            let busy = nic.lock().datapath.poll(now, true).busy;
            if !busy {
                std::thread::sleep(Duration::from_micros(50));
            }
        }
    })
}

impl Nic {
    /// Performs the PF driver's setup before an ADI is used.
    fn create(&mut self, pairs: u16) {
        let vectors = AllocVectors {
            num_vectors: U16::new(pairs),
            ..AllocVectors::default()
        };
        self.ask(op::ALLOC_VECTORS, vectors.as_bytes()).unwrap();
        let vport = CreateVport {
            txq_model: U16::new(1),
            rxq_model: U16::new(1),
            num_tx_q: U16::new(pairs),
            num_tx_complq: U16::new(pairs),
            num_rx_q: U16::new(pairs),
            num_rx_bufq: U16::new(2 * pairs),
            ..CreateVport::default()
        };
        self.ask(op::CREATE_VPORT, vport.as_bytes()).unwrap();
    }

    fn ask(&mut self, opcode: u32, payload: &[u8]) -> Result<Vec<u8>, u32> {
        let Self { control, datapath } = self;
        let mut reply = Vec::new();
        match control.handle(opcode, payload, datapath, &mut reply) {
            0 => Ok(reply),
            status => Err(status),
        }
    }
}

/// Shifts vectors by one: the function's first vector is the mailbox's.
fn shift_vectors(payload: &mut [u8]) {
    let (_, maps) = payload.split_at_mut(QueueVectorMaps::LEN);
    for map in maps.chunks_exact_mut(QueueVector::LEN) {
        let map = QueueVector::mut_from_bytes(map).unwrap();
        map.vector_id = U16::new(map.vector_id.get() + 1);
    }
}

impl Device for Model {
    fn info(&self) -> Result<AdiInfo, Error> {
        Ok(AdiInfo {
            magic: U32::new(vfio::INFO_MAGIC),
            version: U16::new(vfio::INFO_VERSION),
            mac: MAC,
            num_queue_pairs: U16::new(self.pairs),
            num_vectors: U16::new(self.pairs),
            max_mtu: U16::new(1500),
            max_ring_len: U16::new(4096),
            ring_len_multiple: U16::new(8),
            asleep_offset: U32::new(0x40),
            iova_first: U64::new(IOVA_FIRST),
            dma_iova: U64::new(DMA_IOVA),
            dma_len: U64::new(if self.driver_memory { DMA_LEN } else { 0 }),
            ..AdiInfo::default()
        })
    }

    fn request(&self, opcode: u32, payload: &[u8]) -> Result<Vec<u8>, Error> {
        let refused = |errno: i32| Error::Refused {
            opcode,
            source: std::io::Error::from_raw_os_error(errno),
        };
        if self.dead.load(Ordering::Relaxed) {
            return Err(refused(rustix::io::Errno::IO.raw_os_error()));
        }
        if opcode == vfio::op::REGISTER_MEMORY {
            return Ok(Vec::new());
        }
        let mut payload = payload.to_vec();
        if opcode == op::MAP_QUEUE_VECTOR {
            shift_vectors(&mut payload);
        }
        let reply = self.nic.lock().ask(opcode, &payload);
        reply.map_err(|status| refused(status as i32))
    }

    fn map_page(&self, index: u32, page: u32) -> Result<MmapRaw, Error> {
        let pairs = u32::from(self.pairs);
        let at = |array: &RegArray, n| u64::from(array.offset(n).unwrap());
        let (offset, kick) = match index {
            region::DOORBELLS if page < pairs => (at(&pf::QTX_TAIL, page), false),
            region::DOORBELLS => (at(&pf::BUFQ_TAIL, page - pairs), false),
            region::INTERRUPTS => (at(&pf::GLINT_DYN_CTL, page + 1), false),
            region::KICK => (0, true),
            _ => panic!("region {index} has no pages"),
        };
        let mut options = MmapOptions::new();
        options.offset(offset).len(vfio::PAGE_LEN as usize);
        let map = if kick {
            options.map_raw(&self.kick)
        } else {
            options.map_raw(&self.bar)
        };
        Ok(map.unwrap())
    }

    fn map_dma_region(&self, len: u64) -> Result<MmapRaw, Error> {
        let memory = Memory::new(len, DMA_IOVA)?;
        // SAFETY: the NIC's own mapping keeps the memory; the mapping returned here is of the same
        // file.
        unsafe { self.map_memory(&memory)? };
        let fd = memory.fd().unwrap().try_clone_to_owned().unwrap();
        Ok(MmapOptions::new().len(len as usize).map_raw(&fd).unwrap())
    }

    unsafe fn map_memory(&self, memory: &Memory) -> Result<(), Error> {
        let fd = memory.fd().unwrap().try_clone_to_owned().unwrap();
        let access = Access {
            read: true,
            write: true,
        };
        let mut nic = self.nic.lock();
        let guest = &mut nic.datapath.queues_mut().memory;
        guest
            .map(memory.iova(), memory.len(), access, Some((fd, 0)))
            .unwrap();
        Ok(())
    }

    fn unmap_memory(&self, memory: &Memory) -> Result<(), Error> {
        let mut nic = self.nic.lock();
        let guest = &mut nic.datapath.queues_mut().memory;
        guest.unmap(memory.iova(), memory.len()).unwrap();
        Ok(())
    }

    fn set_eventfds(
        &self,
        index: u32,
        first: u32,
        eventfds: &[Option<BorrowedFd<'_>>],
    ) -> Result<(), Error> {
        if index != irq::VECTORS {
            return Ok(());
        }
        let mut nic = self.nic.lock();
        for (vector, fd) in (1 + first..).zip(eventfds) {
            let event =
                fd.map(|fd| EventFd::from_client(fd.try_clone_to_owned().unwrap()).unwrap());
            nic.datapath
                .queues_mut()
                .interrupts
                .set_trigger(VectorId(vector), event);
        }
        Ok(())
    }

    fn reset(&self) -> Result<(), Error> {
        panic!("no test resets the ADI")
    }

    fn give(&self, _: &[Page<'_>]) -> Result<Pages, Error> {
        panic!("no test gives pages away")
    }
}
