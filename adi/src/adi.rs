// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An ADI: opened, started, closed.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use adit_uapi::vfio::{
    self, irq, memory_flags, op as adi_op, region, AdiInfo, RegisterMemory, BUFFER_QUEUES_PER_PAIR,
};
use adit_uapi::virtchnl2::adi::AdiFault;
use adit_uapi::virtchnl2::{op, VportStats};
use zerocopy::little_endian::{U32, U64};
use zerocopy::IntoBytes;

use crate::doorbell::{Doorbell, Kick};
use crate::interrupt::{event, Vector};
use crate::memory::Layout;
use crate::ring::{Ring, Ring32};
use crate::rx::BufferQueue;
use crate::{messages, Device, Error, Memory, Pool, QueuePair, RxQueue, TxQueue, VfioDevice};

/// Which memory rings and buffers are in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemorySource {
    /// The driver's if it has enough, else the process's own.
    #[default]
    Auto,
    /// The driver's: it does not count as locked memory of the process.
    Driver,
    /// The process's own: pinned, and counted against RLIMIT_MEMLOCK.
    Process,
}

/// How an ADI is to be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Queue pairs; 0 for all that the ADI has.
    pub pairs: u16,
    /// Frames that a queue holds: entries of a TX ring, and of both rings of buffers together.
    pub ring_len: u16,
    /// Bytes of a buffer: the longest frame.
    pub buffer_len: u32,
    /// Buffers of each pair besides those that fill its rings.
    pub spare_buffers: u32,
    /// Where rings and buffers are.
    pub memory: MemorySource,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pairs: 0,
            ring_len: 256,
            buffer_len: 2048,
            spare_buffers: 64,
            memory: MemorySource::Auto,
        }
    }
}

impl Config {
    fn check(&self, info: &AdiInfo) -> Result<(), Error> {
        // Pairs do not share vectors: one would take the other's wake-ups.
        let max_pairs = info.num_queue_pairs.get().min(info.num_vectors.get());
        let multiple = info.ring_len_multiple.get().max(1);
        let max_len = info.max_ring_len.get();
        let wrong = |what, value: u64, range| Err(Error::Config { what, value, range });
        if self.pairs > max_pairs {
            let range = format!("at most {max_pairs}");
            return wrong("the number of queue pairs", self.pairs.into(), range);
        }
        // Each ring of buffers is half as long.
        if self.ring_len < 64 || self.ring_len > max_len || self.ring_len % (2 * multiple) != 0 {
            let range = format!("64 to {max_len} in steps of {}", 2 * multiple);
            return wrong("the length of rings", self.ring_len.into(), range);
        }
        // What a completion's length field can say, in whole cache lines.
        if !(128..=0x3FC0).contains(&self.buffer_len) || self.buffer_len % 64 != 0 {
            let range = "128 to 16320 in steps of 64".into();
            return wrong("the length of buffers", self.buffer_len.into(), range);
        }
        Ok(())
    }

    fn buffers(&self) -> u32 {
        2 * u32::from(self.ring_len) + self.spare_buffers
    }
}

/// Where the parts of a pair are in memory.
struct Places {
    tx: u64,
    completions: u64,
    rx: u64,
    buffer_queues: [u64; 2],
    buffers: u64,
}

impl Places {
    fn take(layout: &mut Layout, config: &Config) -> Self {
        let len = u64::from(config.ring_len);
        let half = len / 2 * Ring::<4>::ENTRY;
        Self {
            tx: layout.take(len * Ring::<2>::ENTRY),
            completions: layout.take(len * Ring32::ENTRY),
            rx: layout.take(len * Ring::<4>::ENTRY),
            buffer_queues: [layout.take(half), layout.take(half)],
            buffers: layout.take(u64::from(config.buffers()) * u64::from(config.buffer_len)),
        }
    }
}

/// What queue pairs share.
pub(crate) struct Inner {
    pub(crate) device: Box<dyn Device>,
    pub(crate) request: OwnedFd,
    pub(crate) fault: OwnedFd,
    info: AdiInfo,
    started: AtomicBool,
    /// Behind `device`, so that the device is closed before its memory is unmapped.
    memory: OnceLock<Arc<Memory>>,
}

/// An ADI that is open. Its queue pairs keep it open after this handle is gone.
pub struct Adi {
    inner: Arc<Inner>,
}

impl Adi {
    /// Opens an ADI by its name (`adit.adi.N`), its number, the UUID of its mediated device, or a
    /// path in sysfs.
    ///
    /// # Errors
    /// When there is none of that name, or VFIO does not give it.
    pub fn open(name: &str) -> Result<Self, Error> {
        Self::new(Box::new(VfioDevice::open(name)?))
    }

    /// An ADI that is reached in another way.
    ///
    /// # Errors
    /// When it is gone, or the system has no eventfds left.
    pub fn new(device: Box<dyn Device>) -> Result<Self, Error> {
        let info = device.info()?;
        let (request, fault) = (event()?, event()?);
        device.set_eventfds(irq::REQUEST, &[request.as_fd()])?;
        device.set_eventfds(irq::FAULT, &[fault.as_fd()])?;
        let inner = Arc::new(Inner {
            device,
            request,
            fault,
            info,
            started: AtomicBool::new(false),
            memory: OnceLock::new(),
        });
        Ok(Self { inner })
    }

    /// What it told about itself when it was opened.
    #[must_use]
    pub fn info(&self) -> &AdiInfo {
        &self.inner.info
    }

    /// What it tells about itself now: state, link, faults.
    ///
    /// # Errors
    /// When it is gone.
    pub fn refresh(&self) -> Result<AdiInfo, Error> {
        self.inner.device.info()
    }

    /// What the device has counted for it since it was opened or reset.
    ///
    /// # Errors
    /// When it is gone.
    pub fn stats(&self) -> Result<VportStats, Error> {
        messages::stats(&*self.inner.device)
    }

    /// Why a queue of it was stopped, the first one since this was asked last; reason
    /// [`NONE`](adit_uapi::virtchnl2::adi::fault_reason::NONE) if none was. A stopped queue stays
    /// so until its pair is dropped.
    ///
    /// # Errors
    /// When it is gone.
    pub fn fault(&self) -> Result<AdiFault, Error> {
        messages::fault(&*self.inner.device)
    }

    /// What it is reached through.
    #[must_use]
    pub fn device(&self) -> &dyn Device {
        &*self.inner.device
    }

    /// Sets its queues up and starts them.
    ///
    /// # Errors
    /// When the configuration does not fit, there is no memory, or a message is refused. Queues
    /// can be started once only.
    pub fn start(&self, config: &Config) -> Result<Vec<QueuePair>, Error> {
        config.check(&self.inner.info)?;
        if self.inner.started.swap(true, Ordering::AcqRel) {
            return Err(Error::Started);
        }
        let count = match config.pairs {
            0 => {
                let info = &self.inner.info;
                info.num_queue_pairs.get().min(info.num_vectors.get())
            }
            n => n,
        };
        let mut layout = Layout::new();
        let places: Vec<_> = (0..count)
            .map(|_| Places::take(&mut layout, config))
            .collect();
        let memory = self.memory(layout.len(), config.memory)?;
        let kick = self.kick()?;
        let pairs = (0..).zip(&places);
        let mut pairs = pairs
            .map(|(index, place)| self.pair(index, place, config, &memory, &kick))
            .collect::<Result<Vec<_>, _>>()?;
        let events: Vec<_> = pairs.iter().map(QueuePair::as_fd).collect();
        self.inner.device.set_eventfds(irq::VECTORS, &events)?;
        let max_mtu = self.inner.info.max_mtu.get();
        for pair in &mut pairs {
            pair.start(max_mtu)?;
        }
        let device = &*self.inner.device;
        if count > 1 {
            messages::spread(device, count)?;
        }
        messages::switch_vport(device, op::ENABLE_VPORT)?;
        Ok(pairs)
    }

    fn pair(
        &self,
        index: u16,
        place: &Places,
        config: &Config,
        memory: &Arc<Memory>,
        kick: &Arc<Kick>,
    ) -> Result<QueuePair, Error> {
        // Tails of all the ADI's transmit queues come before those of its buffer queues.
        let all = u32::from(self.inner.info.num_queue_pairs.get());
        let index32 = u32::from(index);
        let page = |region, page| {
            let page = self.inner.device.map_page(region, page)?;
            Ok::<_, Error>(Doorbell::new(page, Arc::clone(kick)))
        };
        let len = config.ring_len;
        // SAFETY: the layout gives this part of the memory to this pool alone; the rest of this
        // function uses other parts. The device is given addresses of buffers only by value of a
        // `Buffer`, in the queues.
        let pool = unsafe {
            Pool::new(
                Arc::clone(memory),
                place.buffers,
                config.buffers(),
                config.buffer_len,
            )
        };
        let tx = TxQueue::new(
            Ring::new(Arc::clone(memory), place.tx, len),
            Ring32::new(Arc::clone(memory), place.completions, len),
            page(region::DOORBELLS, index32)?,
        );
        let buffers = |n: usize| {
            let queue = index32 * BUFFER_QUEUES_PER_PAIR + n as u32;
            let ring = Ring::new(Arc::clone(memory), place.buffer_queues[n], len / 2);
            let doorbell = page(region::DOORBELLS, all + queue)?;
            Ok::<_, Error>(BufferQueue::new(ring, doorbell))
        };
        let ring = Ring::new(Arc::clone(memory), place.rx, len);
        let rx = RxQueue::new(ring, [buffers(0)?, buffers(1)?], pool.clone());
        let vector = Vector::new(page(region::INTERRUPTS, index32)?, event()?);
        let inner = Arc::clone(&self.inner);
        Ok(QueuePair::new(inner, index, tx, rx, pool, vector))
    }

    fn kick(&self) -> Result<Arc<Kick>, Error> {
        Ok(Arc::new(Kick {
            page: self.inner.device.map_page(region::KICK, 0)?,
            offset: self.inner.info.kick_offset.get() as usize,
            asleep_offset: self.inner.info.asleep_offset.get() as usize,
        }))
    }

    /// Memory that the device reaches.
    fn memory(&self, len: u64, source: MemorySource) -> Result<Arc<Memory>, Error> {
        let info = &self.inner.info;
        let device = &*self.inner.device;
        let from_driver = match source {
            MemorySource::Auto => len <= info.dma_len.get(),
            MemorySource::Driver if len > info.dma_len.get() => {
                let range = format!("at most {} bytes", info.dma_len);
                return Err(Error::Config {
                    what: "the memory for all rings and buffers",
                    value: len,
                    range,
                });
            }
            MemorySource::Driver => true,
            MemorySource::Process => false,
        };
        if from_driver {
            let map = device.map_dma_region(info.dma_len.get())?;
            return Ok(Arc::new(Memory::from_driver(map, info.dma_iova.get())));
        }
        let iova = info.iova_first.get().next_multiple_of(vfio::PAGE_LEN);
        let memory = Arc::new(Memory::new(len, iova)?);
        // Queues are started once only, so there is none yet.
        let _ = self.inner.memory.set(Arc::clone(&memory));
        // SAFETY: `Inner` keeps the memory mapped until it has closed the device. Nothing borrows
        // it but buffers that the device does not have.
        unsafe { device.map_memory(&memory)? };
        let message = RegisterMemory {
            iova: U64::new(memory.iova()),
            len: U64::new(memory.len()),
            flags: U32::new(memory_flags::READ | memory_flags::WRITE),
            ..RegisterMemory::default()
        };
        device.request(adi_op::REGISTER_MEMORY, message.as_bytes())?;
        Ok(memory)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.started.load(Ordering::Acquire) {
            // Closing the device does the same; this leaves nothing to its last owner.
            if let Err(error) = messages::switch_vport(&*self.device, op::DISABLE_VPORT) {
                tracing::debug!(%error, "the vport could not be disabled");
            }
        }
    }
}
