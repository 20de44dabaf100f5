// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An open ADI, and the start of its queues.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use adit_uapi::vfio::{self, irq, memory_flags, region, AdiInfo, BUFFER_QUEUES_PER_PAIR};
use adit_uapi::virtchnl2::adi::AdiFault;
use adit_uapi::virtchnl2::{op, VportStats};

use crate::doorbell::{Doorbell, Kick};
use crate::interrupt::{event, Vector};
use crate::memory::Layout;
use crate::ring::{Ring, Ring32};
use crate::rx::BufferQueue;
use crate::{messages, Device, Error, Memory, Pool, QueuePair, RxQueue, TxQueue, VfioDevice};

/// The memory for rings and buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemorySource {
    /// The driver's memory if it suffices, else the process's own.
    #[default]
    Auto,
    /// The driver's memory: it does not count as locked memory of the process.
    Driver,
    /// The process's own memory: pinned, and counted against RLIMIT_MEMLOCK.
    Process,
}

/// The configuration of an ADI's queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The number of queue pairs; 0 for all of the ADI's.
    pub pairs: u16,
    /// The capacity of a queue in frames: the number of entries of a TX ring, and of both buffer
    /// rings together.
    pub ring_len: u16,
    /// The length of a buffer in bytes: the maximum frame length.
    pub buffer_len: u32,
    /// The number of buffers of each pair besides those that fill its rings.
    pub spare_buffers: u32,
    /// The memory for rings and buffers.
    pub memory: MemorySource,
    /// Has the device report that frames were sent once in 32 frames, and not at the end of each burst:
    /// an owner that answers what it receives is not woken for its own answers. The buffers of so many
    /// frames stay in use until more are sent.
    pub lazy_reports: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pairs: 0,
            ring_len: 256,
            buffer_len: 2048,
            spare_buffers: 64,
            memory: MemorySource::Auto,
            lazy_reports: false,
        }
    }
}

impl Config {
    fn check(&self, info: &AdiInfo) -> Result<(), Error> {
        // Pairs do not share vectors: one would consume the other's wake-ups.
        let max_pairs = info.num_queue_pairs.get().min(info.num_vectors.get());
        let multiple = info.ring_len_multiple.get().max(1);
        let max_len = info.max_ring_len.get();
        let wrong = |what, value: u64, range| Err(Error::Config { what, value, range });
        if self.pairs > max_pairs {
            let range = format!("at most {max_pairs}");
            return wrong("the number of queue pairs", self.pairs.into(), range);
        }
        // Each buffer ring is half as long.
        if self.ring_len < 64 || self.ring_len > max_len || self.ring_len % (2 * multiple) != 0 {
            let range = format!("64 to {max_len} in steps of {}", 2 * multiple);
            return wrong("the length of rings", self.ring_len.into(), range);
        }
        // The range of a completion's length field, in whole cache lines.
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

/// The offsets in memory of the parts of a pair.
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

/// The state shared by queue pairs.
pub(crate) struct Inner {
    pub(crate) device: Box<dyn Device>,
    pub(crate) request: OwnedFd,
    pub(crate) fault: OwnedFd,
    info: AdiInfo,
    started: AtomicBool,
    /// Declared after `device`, so that the device is closed before its memory is unmapped.
    memory: OnceLock<Arc<Memory>>,
}

/// An open ADI. Its queue pairs keep it open after this handle is dropped.
pub struct Adi {
    inner: Arc<Inner>,
}

impl Adi {
    /// Opens an ADI by its name (`adit.adi.N`), its number, the UUID of its mediated device, or a
    /// path in sysfs.
    ///
    /// # Errors
    /// Fails when there is none of that name, or VFIO cannot open it.
    pub fn open(name: &str) -> Result<Self, Error> {
        Self::new(Box::new(VfioDevice::open(name)?))
    }

    /// An ADI that is accessed through another implementation of [`Device`].
    ///
    /// # Errors
    /// Fails when it is gone, or the system has no eventfds left.
    pub fn new(device: Box<dyn Device>) -> Result<Self, Error> {
        let info = device.info()?;
        let (request, fault) = (event()?, event()?);
        device.set_eventfds(irq::REQUEST, 0, &[Some(request.as_fd())])?;
        device.set_eventfds(irq::FAULT, 0, &[Some(fault.as_fd())])?;
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

    /// Returns the ADI's information at the time of opening.
    #[must_use]
    pub fn info(&self) -> &AdiInfo {
        &self.inner.info
    }

    /// Reads the ADI's current information: state, link, faults.
    ///
    /// # Errors
    /// Fails when it is gone.
    pub fn refresh(&self) -> Result<AdiInfo, Error> {
        self.inner.device.info()
    }

    /// Returns the device's counters for this ADI since it was opened or reset.
    ///
    /// # Errors
    /// Fails when it is gone.
    pub fn stats(&self) -> Result<VportStats, Error> {
        messages::stats(&*self.inner.device)
    }

    /// Returns the fault that stopped a queue of the ADI, the first one since the last call; reason
    /// [`NONE`](adit_uapi::virtchnl2::adi::fault_reason::NONE) if there was none. A stopped queue
    /// stays stopped until its pair is dropped.
    ///
    /// # Errors
    /// Fails when it is gone.
    pub fn fault(&self) -> Result<AdiFault, Error> {
        messages::fault(&*self.inner.device)
    }

    /// Has the device deliver frames to a multicast address. It does so until the ADI is closed.
    ///
    /// # Errors
    /// Fails when the device refuses it: the address is not a multicast address, or the ADI's filters
    /// are all in use.
    pub fn add_multicast(&self, address: [u8; 6]) -> Result<(), Error> {
        messages::add_multicast(&*self.inner.device, address)
    }

    /// Returns the device through which the ADI is accessed.
    #[must_use]
    pub fn device(&self) -> &dyn Device {
        &*self.inner.device
    }

    /// Sets up the ADI's queues and starts them.
    ///
    /// # Errors
    /// Fails when the configuration is not supported, there is no memory, or a message is rejected.
    /// Queues can be started only once.
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
        let events: Vec<_> = pairs.iter().map(|pair| Some(pair.as_fd())).collect();
        self.inner.device.set_eventfds(irq::VECTORS, 0, &events)?;
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
        // The tails of all the ADI's TX queues come before those of its buffer queues.
        let all = u32::from(self.inner.info.num_queue_pairs.get());
        let index32 = u32::from(index);
        let page = |region, page| {
            let page = self.inner.device.map_page(region, page)?;
            Ok::<_, Error>(Doorbell::new(page, Arc::clone(kick)))
        };
        let len = config.ring_len;
        // SAFETY: the layout assigns this part of the memory to this pool alone; the rest of this
        // function uses other parts. Addresses of buffers are passed to the device only in the
        // queues, which take each `Buffer` by value.
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
            config.lazy_reports,
        );
        let buffers = |n: usize| {
            let queue = index32 * BUFFER_QUEUES_PER_PAIR + n as u32;
            let ring = Ring::new(Arc::clone(memory), place.buffer_queues[n], len / 2);
            let doorbell = page(region::DOORBELLS, all + queue)?;
            Ok::<_, Error>(BufferQueue::new(ring, doorbell))
        };
        let ring = Ring::new(Arc::clone(memory), place.rx, len);
        let rx = RxQueue::new(ring, [buffers(0)?, buffers(1)?], pool.clone());
        let inner = Arc::clone(&self.inner);
        let control = page(region::INTERRUPTS, index32)?;
        let vector = Vector::new(control, event()?, &inner.request, &inner.fault)?;
        Ok(QueuePair::new(inner, index, tx, rx, pool, vector))
    }

    fn kick(&self) -> Result<Arc<Kick>, Error> {
        Ok(Arc::new(Kick {
            page: self.inner.device.map_page(region::KICK, 0)?,
            offset: self.inner.info.kick_offset.get() as usize,
            asleep_offset: self.inner.info.asleep_offset.get() as usize,
        }))
    }

    /// Allocates or maps memory that the device can access.
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
        // Queues are started only once, so there is none yet.
        let _ = self.inner.memory.set(Arc::clone(&memory));
        // SAFETY: `Inner` keeps the memory mapped until it has closed the device. Nothing borrows
        // it but buffers that the device does not own.
        unsafe { device.map_memory(&memory)? };
        device.register_memory(&memory, memory_flags::READ | memory_flags::WRITE)?;
        Ok(memory)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.started.load(Ordering::Acquire) {
            // Closing the device does the same; this does not depend on the last holder of its
            // descriptor.
            if let Err(error) = messages::switch_vport(&*self.device, op::DISABLE_VPORT) {
                tracing::debug!(%error, "the vport could not be disabled");
            }
        }
    }
}
