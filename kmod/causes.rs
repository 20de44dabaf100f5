// SPDX-License-Identifier: GPL-2.0

//! A cause ring: the device writes to it which ADI has an event.

use adit_uapi::virtchnl2::adi::{
    cause_reason,
    op,
    CauseEntry,
    ConfigAdiCauseRing, //
};
use kernel::{
    device::{
        Bound,
        Device, //
    },
    dma::Coherent,
    dma_read,
    dma_write,
    irq::ThreadedIrqReturn,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    }, //
};
use zerocopy::IntoBytes;

use crate::{
    adi::AdiTable,
    cause_reader::CauseReader,
    control::ControlPlane,
    ids::{
        AdiId,
        AdiVector,
        CauseRingId,
        MsixVector, //
    },
    irq::IrqHandler,
    irq_lock::{
        new_irq_lock,
        IrqLock, //
    }, //
};

/// Entries of a ring; the device holds back causes that do not fit.
const MAX_LEN: u32 = 1024;
/// Entries that one interrupt handles in interrupt context. The thread handles more.
const MAX_AT_ONCE: u32 = 64;

/// A cause ring and its MSI-X vector.
#[pin_data]
pub(crate) struct CauseRing {
    control: Arc<ControlPlane>,
    adis: Arc<AdiTable>,
    id: CauseRingId,
    vector: MsixVector,
    len: u32,
    /// The entries, followed by the driver's head index.
    memory: Coherent<[u64]>,
    #[pin]
    reader: IrqLock<CauseReader>,
    /// Locked while the thread handles entries, so that it does not handle one of before a restart after
    /// it, as a fault of an ADI that has just been restored. (An interrupt may be signalled later: it
    /// states nothing, and its user looks at the queues.)
    #[pin]
    polling: Mutex<()>,
    /// Entries about ADIs that do not exist, or with an unknown reason.
    strays: Atomic<u64>,
}

impl CauseRing {
    /// Creates ring `id`, which signals MSI-X vector `vector`, for events of `adis`.
    pub(crate) fn new(
        dev: &Device<Bound>,
        control: Arc<ControlPlane>,
        adis: Arc<AdiTable>,
        id: CauseRingId,
        vector: MsixVector,
    ) -> Result<Arc<Self>> {
        let len = control.caps().max_cause_ring_len.get().clamp(8, MAX_LEN);
        // The device requires a power of 2: the largest that is not more.
        let len: u32 = 1 << len.ilog2();
        let reader = CauseReader::new(len);
        // CAST: a small number.
        let memory = Coherent::zeroed_slice(dev, len as usize + 1, GFP_KERNEL)?;
        Arc::pin_init(
            try_pin_init!(Self {
                control,
                adis,
                id,
                vector,
                len,
                memory,
                reader <- new_irq_lock!(reader),
                polling <- new_mutex!(()),
                strays: Atomic::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// Configures the ring in the device, from its start, and arms its interrupt.
    pub(crate) fn start(&self) -> Result {
        {
            let _polling = self.polling.lock();
            let mut reader = self.reader.lock();
            *reader = CauseReader::new(self.len);
            for index in 0..self.memory.len() {
                dma_write!(self.memory, [try: index], 0u64);
            }
        }
        let ring = self.memory.dma_handle();
        let message = ConfigAdiCauseRing {
            ring_id: self.id.0.into(),
            vector_id: self.vector.0.into(),
            ring_len: self.len.into(),
            ring_addr: ring.into(),
            head_addr: (ring + u64::from(self.len) * 8).into(),
            ..ConfigAdiCauseRing::default()
        };
        self.control
            .request(op::CONFIG_ADI_CAUSE_RING, message.as_bytes())?;
        self.control.arm(self.vector)
    }

    /// Returns the number of entries about ADIs that do not exist, or with an unknown reason.
    pub(crate) fn strays(&self) -> u64 {
        self.strays.load(Relaxed)
    }

    /// Returns the next entry, if there is one and it is `wanted`: it is consumed then.
    fn next(&self, wanted: impl FnOnce(CauseEntry) -> bool) -> Result<Next> {
        let mut reader = self.reader.lock();
        let value: u64 = dma_read!(self.memory, [try: reader.index() as usize]);
        let mut after = *reader;
        let Some(entry) = after.take(u64::from_le(value)) else {
            return Ok(Next::None);
        };
        if !wanted(entry) {
            return Ok(Next::Unwanted);
        }
        *reader = after;
        Ok(Next::Entry(entry))
    }

    /// Reports to the device how far the ring was read.
    fn write_head(&self) -> Result {
        let reader = self.reader.lock();
        let head = u64::from(reader.index()).to_le();
        dma_write!(self.memory, [try: self.len as usize], head);
        Ok(())
    }

    /// Signals interrupts of ADIs; returns true if the ring has no other entries.
    fn signal(&self) -> Result<bool> {
        let mut is_read = false;
        for _ in 0..MAX_AT_ONCE {
            match self.next(|entry| entry.reason() == cause_reason::INTERRUPT)? {
                Next::Entry(entry) => self.dispatch(entry),
                Next::Unwanted => break,
                Next::None => {
                    is_read = true;
                    break;
                }
            }
        }
        self.write_head()?;
        Ok(is_read)
    }

    /// Dispatches the entries of the ring, at most as many as it has, so that a device that writes
    /// endlessly cannot block this thread.
    fn poll(&self) -> Result {
        let _polling = self.polling.lock();
        for _ in 0..self.len {
            let Next::Entry(entry) = self.next(|_| true)? else {
                break;
            };
            self.dispatch(entry);
        }
        self.write_head()
    }

    /// Handles an entry; one about an interrupt, without sleeping.
    fn dispatch(&self, entry: CauseEntry) {
        let id = AdiId(entry.adi_id());
        let is_known = match entry.reason() {
            cause_reason::INTERRUPT => self.adis.signal(id, AdiVector(entry.vector())),
            cause_reason::FAULT => {
                let adi = self.adis.get(id);
                adi.inspect(|adi| self.adis.handle_fault(adi)).is_some()
            }
            _ => false,
        };
        if !is_known {
            self.strays.fetch_add(1, Relaxed);
        }
    }
}

/// The result of reading a ring.
enum Next {
    /// An entry, which was consumed.
    Entry(CauseEntry),
    /// An entry that was not wanted, and stays.
    Unwanted,
    /// No entry.
    None,
}

impl IrqHandler for CauseRing {
    /// Interrupts of ADIs are signalled at once, which saves their users the time of another thread.
    fn handle(&self) -> ThreadedIrqReturn {
        match self.signal() {
            Ok(false) => ThreadedIrqReturn::WakeThread,
            // Both fail only when nothing is left to handle: the ring's indexes are in range, and the
            // registers exist until the function is unbound.
            Ok(true) | Err(_) => {
                let _ = self.control.arm(self.vector);
                ThreadedIrqReturn::Handled
            }
        }
    }

    fn run(&self) {
        // As above.
        let _ = self.poll();
        let _ = self.control.arm(self.vector);
    }
}
