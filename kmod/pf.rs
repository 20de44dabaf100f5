// SPDX-License-Identifier: GPL-2.0

//! The physical function: the capabilities of its control plane, and requests to it.

use adit_uapi::virtchnl2::{
    adi::{
        self,
        AdiCaps, //
    },
    op,
    status,
    GetCapabilities, //
};
use kernel::{
    device::{
        Bound,
        Device, //
    },
    new_mutex,
    pci,
    prelude::*,
    sync::{
        aref::ARef,
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
    causes::CauseRing,
    errno::{
        eopnotsupp,
        eproto, //
    },
    mailbox::Mailbox,
    messages::{
        self,
        Malformed, //
    },
    registers::Registers, //
};

/// The MSI-X vector of the mailbox.
pub(crate) const MAILBOX_VECTOR: u32 = 0;

/// Listener to failures. Called in contexts that must not block.
pub(crate) trait Listener: Send + Sync {
    /// Handles a fault that has stopped a queue of an ADI.
    fn fault(&self);
    /// Handles a control plane that has stopped replying.
    fn lost(&self);
}

/// A physical function bound to this driver. Outlives the binding while there are references to its
/// ADIs; requests fail then.
#[pin_data]
pub(crate) struct Pf {
    pdev: ARef<pci::Device>,
    regs: Arc<Registers>,
    adis: Arc<AdiTable>,
    caps: AdiCaps,
    version: (u32, u32),
    /// Physical address and length of BAR0.
    bar: (u64, u64),
    /// Cause rings in use: ADIs are distributed over them.
    #[pin]
    rings: Mutex<KVec<Arc<CauseRing>>>,
    /// ADIs created so far.
    created: Atomic<u32>,
    /// `None` while the function is reset, and once it is removed or unbound.
    #[pin]
    mailbox: Mutex<Option<Mailbox>>,
    #[pin]
    listener: Mutex<Option<Arc<dyn Listener>>>,
}

impl Pf {
    /// Resets the function and reads the capabilities of its control plane.
    pub(crate) fn new(pdev: &pci::Device<Bound>, regs: Registers) -> Result<Arc<Self>> {
        let dev = pdev.as_ref();
        let mut mailbox = start_mailbox(dev, &regs)?;
        let version = negotiate(dev, &regs, &mut mailbox)?;
        let caps = read_caps(dev, &regs, &mut mailbox)?;
        let bar = (pdev.resource_start(0)?, pdev.resource_len(0)?);
        Arc::pin_init(
            try_pin_init!(Self {
                pdev: pdev.into(),
                regs: Arc::new(regs, GFP_KERNEL)?,
                adis: AdiTable::new()?,
                caps,
                version,
                bar,
                rings <- new_mutex!(KVec::new()),
                created: Atomic::new(0),
                mailbox <- new_mutex!(Some(mailbox)),
                listener <- new_mutex!(None),
            }? Error),
            GFP_KERNEL,
        )
    }

    /// Returns the PCI function.
    pub(crate) fn pdev(&self) -> &pci::Device {
        &self.pdev
    }

    /// Returns its registers.
    pub(crate) fn registers(&self) -> &Arc<Registers> {
        &self.regs
    }

    /// Returns its ADIs, by id.
    pub(crate) fn adis(&self) -> &Arc<AdiTable> {
        &self.adis
    }

    /// Returns the limits of its ADIs.
    pub(crate) fn caps(&self) -> &AdiCaps {
        &self.caps
    }

    /// Returns the version of virtchnl2, major and minor.
    pub(crate) fn version(&self) -> (u32, u32) {
        self.version
    }

    /// Returns the length of BAR0 in bytes.
    pub(crate) fn bar_len(&self) -> u64 {
        self.bar.1
    }

    /// Returns the page frame number of `offset` in BAR0, for mapping to a process.
    pub(crate) fn page_frame(&self, offset: u64) -> u64 {
        (self.bar.0 + offset) / messages::PAGE
    }

    /// Sets or removes the listener to failures.
    pub(crate) fn set_listener(&self, listener: Option<Arc<dyn Listener>>) {
        let old = core::mem::replace(&mut *self.listener.lock(), listener);
        drop(old);
    }

    /// Notifies the listener, if any.
    pub(crate) fn tell(&self, what: impl FnOnce(&dyn Listener)) {
        let listener = self.listener.lock().clone();
        if let Some(listener) = listener {
            what(&*listener);
        }
    }

    /// Adds a cause ring that has been started.
    pub(crate) fn add_ring(&self, ring: Arc<CauseRing>) -> Result {
        self.rings.lock().push(ring, GFP_KERNEL)?;
        Ok(())
    }

    /// Returns the number of cause ring entries that were not understood.
    pub(crate) fn stray_causes(&self) -> u64 {
        self.rings.lock().iter().map(|ring| ring.strays()).sum()
    }

    /// Returns a number for a new ADI, and the cause ring that it shall use.
    pub(crate) fn next_adi(&self) -> Result<(u16, u16)> {
        // CAST: a small number, see `MAX_RINGS` of the driver.
        let rings = self.rings.lock().len() as u32;
        if rings == 0 {
            return Err(eopnotsupp());
        }
        let number = self.created.fetch_add(1, Relaxed);
        // CAST: the number, which distinguishes requests, may wrap; the ring's is small.
        Ok((number as u16, (number % rings) as u16))
    }

    /// Sends a request and returns the payload of the reply.
    ///
    /// An error status of virtchnl2 is returned as the errno that it stands for. Fails with `EIO`
    /// when the device can no longer be reached.
    pub(crate) fn request(&self, op: u32, payload: &[u8]) -> Result<KVVec<u8>> {
        self.request_if(|| true, op, payload)
    }

    /// Sends a [`Self::request()`] if `still` returns true when its turn comes; fails with `EIO`
    /// otherwise. A reset, after which an id may be another ADI's, is either over by then or waits.
    pub(crate) fn request_if(
        &self,
        still: impl FnOnce() -> bool,
        op: u32,
        payload: &[u8],
    ) -> Result<KVVec<u8>> {
        let (result, lost) = {
            let mut mailbox = self.mailbox.lock();
            let mailbox = (*mailbox).as_mut().ok_or(EIO)?;
            if !still() {
                return Err(EIO);
            }
            let result = ask(mailbox, &self.regs, op, payload);
            let lost = result.is_err() && mailbox.is_lost();
            if lost {
                // Under the lock: later, a restart may have restored the ADIs, which the device
                // then has.
                self.lose_adis();
            }
            (result, lost)
        };
        if lost {
            // This was not announced: the device died, or was unplugged.
            self.tell(|listener| listener.lost());
        }
        result
    }

    /// Logs the reason why a reply is malformed.
    pub(crate) fn malformed(&self, op: u32, error: Malformed) -> Error {
        complain((*self.pdev).as_ref(), op, error)
    }

    /// Resets the function, after which it does no DMA, and frees the mailbox: requests fail from
    /// then on.
    pub(crate) fn stop(&self) {
        let mut mailbox = self.mailbox.lock();
        if self.regs.reset_function().is_err() {
            dev_warn!(self.pdev, "the function does not answer to a reset\n");
        }
        *mailbox = None;
    }

    /// Handles a reset that has removed the ADIs from the device: their users are notified.
    pub(crate) fn lose_adis(&self) {
        self.adis.lose();
    }

    /// Allocates `count` consecutive vectors below `limit` and returns the first one.
    pub(crate) fn alloc_vectors(&self, count: u16, limit: u32) -> Result<u16> {
        let message = messages::alloc_vectors(count);
        let reply = self.request(op::ALLOC_VECTORS, message.as_bytes())?;
        let chunk = messages::vectors(&reply, count, limit)
            .map_err(|error| self.malformed(op::ALLOC_VECTORS, error))?;
        Ok(chunk.start_vector_id.get())
    }

    /// Stops the function like [`Self::stop()`], permanently: the memory that the device wrote to
    /// is freed, too.
    pub(crate) fn shut_down(&self) {
        self.stop();
        let rings = core::mem::replace(&mut *self.rings.lock(), KVec::new());
        drop(rings);
    }

    /// Resets the function and sets it up again, with the ADIs that it had. An ADI that the device
    /// does not recreate is dead, which is logged.
    pub(crate) fn restart(&self, dev: &Device<Bound>) -> Result {
        let _making = self.adis.making();
        self.stop();
        self.lose_adis();
        {
            let mut mailbox = self.mailbox.lock();
            let mut fresh = start_mailbox(dev, &self.regs)?;
            negotiate(dev, &self.regs, &mut fresh)?;
            *mailbox = Some(fresh);
        }
        self.regs.arm(MAILBOX_VECTOR)?;
        let rings = self.rings.lock();
        if !rings.is_empty() {
            // CAST: a small number, see `MAX_RINGS` of the driver.
            let count = rings.len() as u16;
            // The same as before: after a reset, only the mailbox's vector is in use.
            self.alloc_vectors(count, u32::from(count) + 1)?;
        }
        for ring in rings.iter() {
            ring.start(self)?;
        }
        drop(rings);
        self.adis.restore();
        Ok(())
    }

    /// Receives the unsolicited messages in the mailbox.
    pub(crate) fn drain_mailbox(&self) {
        if let Some(mailbox) = &mut *self.mailbox.lock() {
            // If the mailbox fails, the next sender gets the error.
            let _ = mailbox.drain(&self.regs);
        }
    }
}

fn start_mailbox(dev: &Device<Bound>, regs: &Registers) -> Result<Mailbox> {
    regs.reset_function()
        .inspect_err(|_| dev_err!(dev, "the function does not come out of its reset\n"))?;
    Mailbox::new(dev, regs)
}

/// Sends the messages that must come first: `VERSION`, and `GET_CAPS`, which requests no
/// capabilities, since ADIs come with the resources that they need.
fn negotiate(dev: &Device<Bound>, regs: &Registers, mailbox: &mut Mailbox) -> Result<(u32, u32)> {
    let reply = ask(mailbox, regs, op::VERSION, messages::version().as_bytes())
        .inspect_err(|_| dev_err!(dev, "the control plane does not answer\n"))?;
    let version =
        messages::check_version(&reply).map_err(|error| complain(dev, op::VERSION, error))?;
    let wanted = GetCapabilities::default();
    ask(mailbox, regs, op::GET_CAPS, wanted.as_bytes())?;
    Ok(version)
}

/// Reads the limits of ADIs; all zeros from a device that has none.
fn read_caps(dev: &Device<Bound>, regs: &Registers, mailbox: &mut Mailbox) -> Result<AdiCaps> {
    let wanted = AdiCaps::default();
    match ask(mailbox, regs, adi::op::GET_ADI_CAPS, wanted.as_bytes()) {
        Ok(reply) => {
            messages::adi_caps(&reply).map_err(|error| complain(dev, adi::op::GET_ADI_CAPS, error))
        }
        Err(error) if error == EIO || error == ETIMEDOUT => Err(error),
        Err(_) => {
            dev_warn!(dev, "the device has no ADIs\n");
            Ok(AdiCaps::default())
        }
    }
}

fn ask(mailbox: &mut Mailbox, regs: &Registers, op: u32, payload: &[u8]) -> Result<KVVec<u8>> {
    let reply = mailbox.transact(regs, op, payload)?;
    match reply.status {
        status::SUCCESS => Ok(reply.payload),
        // Values below 200 are errno numbers, by the specification.
        // CAST: a small number.
        refusal @ 1..=199 => Err(Error::from_errno(-(refusal as i32))),
        _ => Err(eproto()),
    }
}

fn complain(dev: &Device, op: u32, error: Malformed) -> Error {
    dev_err!(
        dev,
        "the answer to virtchnl2 opcode {op:#x} is malformed: {}\n",
        error.0
    );
    eproto()
}
