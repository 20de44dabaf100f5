// SPDX-License-Identifier: GPL-2.0

//! The physical function: what its control plane offers, and requests to it.

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

/// Who wants to know when something goes wrong. Called where nothing may be waited for.
pub(crate) trait Listener: Send + Sync {
    /// A fault has stopped a queue of an ADI.
    fn fault(&self);
    /// The control plane has stopped to answer.
    fn lost(&self);
}

/// A physical function that this driver has. Outlives the binding for those who hold ADIs: they
/// get errors then.
#[pin_data]
pub(crate) struct Pf {
    pdev: ARef<pci::Device>,
    regs: Arc<Registers>,
    adis: Arc<AdiTable>,
    caps: AdiCaps,
    version: (u32, u32),
    /// Physical address and length of BAR0.
    bar: (u64, u64),
    /// Cause rings in use: ADIs are spread over them.
    #[pin]
    rings: Mutex<KVec<Arc<CauseRing>>>,
    /// ADIs created so far.
    created: Atomic<u32>,
    /// None when the function is reset, gone or unbound.
    #[pin]
    mailbox: Mutex<Option<Mailbox>>,
    #[pin]
    listener: Mutex<Option<Arc<dyn Listener>>>,
}

impl Pf {
    /// Resets the function and asks its control plane what there is.
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

    /// The PCI function.
    pub(crate) fn pdev(&self) -> &pci::Device {
        &self.pdev
    }

    /// Its registers.
    pub(crate) fn registers(&self) -> &Arc<Registers> {
        &self.regs
    }

    /// Its ADIs, by their ids.
    pub(crate) fn adis(&self) -> &Arc<AdiTable> {
        &self.adis
    }

    /// Limits of its ADIs.
    pub(crate) fn caps(&self) -> &AdiCaps {
        &self.caps
    }

    /// Version of virtchnl2, major and minor.
    pub(crate) fn version(&self) -> (u32, u32) {
        self.version
    }

    /// Length of BAR0 in bytes.
    pub(crate) fn bar_len(&self) -> u64 {
        self.bar.1
    }

    /// The number of the page of memory that `offset` of BAR0 is in, to be mapped to a process.
    pub(crate) fn page_frame(&self, offset: u64) -> u64 {
        (self.bar.0 + offset) / messages::PAGE
    }

    /// Registers who is told when something goes wrong, or nobody.
    pub(crate) fn set_listener(&self, listener: Option<Arc<dyn Listener>>) {
        let old = core::mem::replace(&mut *self.listener.lock(), listener);
        drop(old);
    }

    /// Tells whoever wants to know.
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

    /// Entries of cause rings that meant nothing.
    pub(crate) fn stray_causes(&self) -> u64 {
        self.rings.lock().iter().map(|ring| ring.strays()).sum()
    }

    /// A number for a new ADI, and the cause ring that it shall use.
    pub(crate) fn next_adi(&self) -> Result<(u16, u16)> {
        // CAST: a small number, see `MAX_RINGS` of the driver.
        let rings = self.rings.lock().len() as u32;
        if rings == 0 {
            return Err(eopnotsupp());
        }
        let number = self.created.fetch_add(1, Relaxed);
        // CAST: a number that tells one request from another may wrap; the other one is small.
        Ok((number as u16, (number % rings) as u16))
    }

    /// Sends a request and returns what the answer carries.
    ///
    /// The device's refusals come as the errno that virtchnl2's status stands for; `EIO` when
    /// there is no device to ask any more.
    pub(crate) fn request(&self, op: u32, payload: &[u8]) -> Result<KVVec<u8>> {
        self.request_if(|| true, op, payload)
    }

    /// [`Self::request()`], if `still` says so once it is its turn, and `EIO` otherwise: a reset,
    /// after which a name may be another's, is either over by then or waits.
    pub(crate) fn request_if(
        &self,
        still: impl FnOnce() -> bool,
        op: u32,
        payload: &[u8],
    ) -> Result<KVVec<u8>> {
        let result = {
            let mut mailbox = self.mailbox.lock();
            let mailbox = (*mailbox).as_mut().ok_or(EIO)?;
            if !still() {
                return Err(EIO);
            }
            ask(mailbox, &self.regs, op, payload).map_err(|error| (error, mailbox.is_lost()))
        };
        result.map_err(|(error, lost)| {
            if lost {
                // Nobody has announced this: the device died, or was pulled out.
                self.lose_adis();
                self.tell(|listener| listener.lost());
            }
            error
        })
    }

    /// Says in the log what was wrong with an answer.
    pub(crate) fn malformed(&self, op: u32, error: Malformed) -> Error {
        complain((*self.pdev).as_ref(), op, error)
    }

    /// Resets the function, after which it does no DMA, and lets go of the mailbox: from then on
    /// requests fail.
    pub(crate) fn stop(&self) {
        let mut mailbox = self.mailbox.lock();
        if self.regs.reset_function().is_err() {
            dev_warn!(self.pdev, "the function does not answer to a reset\n");
        }
        *mailbox = None;
    }

    /// A reset has taken the ADIs from the device: their users are notified.
    pub(crate) fn lose_adis(&self) {
        self.adis.lose();
    }

    /// Takes `count` vectors below `limit` in a row and returns the first one.
    pub(crate) fn alloc_vectors(&self, count: u16, limit: u32) -> Result<u16> {
        let message = messages::alloc_vectors(count);
        let reply = self.request(op::ALLOC_VECTORS, message.as_bytes())?;
        let chunk = messages::vectors(&reply, count, limit)
            .map_err(|error| self.malformed(op::ALLOC_VECTORS, error))?;
        Ok(chunk.start_vector_id.get())
    }

    /// [`Self::stop()`], for good: what the device was told to write to goes, too.
    pub(crate) fn shut_down(&self) {
        self.stop();
        let rings = core::mem::replace(&mut *self.rings.lock(), KVec::new());
        drop(rings);
    }

    /// Resets the function and sets it up again, with the ADIs that it had. One that the device does
    /// not give back is dead, which the log says.
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
            // The same as before: in a fresh function none but the mailbox's is in use.
            self.alloc_vectors(count, u32::from(count) + 1)?;
        }
        for ring in rings.iter() {
            ring.start(self)?;
        }
        drop(rings);
        self.adis.restore();
        Ok(())
    }

    /// Takes what the device has sent unasked out of the mailbox.
    pub(crate) fn drain_mailbox(&self) {
        if let Some(mailbox) = &mut *self.mailbox.lock() {
            // Should the mailbox fail, whoever sends next is told.
            let _ = mailbox.drain(&self.regs);
        }
    }
}

fn start_mailbox(dev: &Device<Bound>, regs: &Registers) -> Result<Mailbox> {
    regs.reset_function()
        .inspect_err(|_| dev_err!(dev, "the function does not come out of its reset\n"))?;
    Mailbox::new(dev, regs)
}

/// What must come first: `VERSION`, and `GET_CAPS`, which asks for nothing, since ADIs bring
/// along what they need.
fn negotiate(dev: &Device<Bound>, regs: &Registers, mailbox: &mut Mailbox) -> Result<(u32, u32)> {
    let reply = ask(mailbox, regs, op::VERSION, messages::version().as_bytes())
        .inspect_err(|_| dev_err!(dev, "the control plane does not answer\n"))?;
    let version =
        messages::check_version(&reply).map_err(|error| complain(dev, op::VERSION, error))?;
    let wanted = GetCapabilities::default();
    ask(mailbox, regs, op::GET_CAPS, wanted.as_bytes())?;
    Ok(version)
}

/// The limits of ADIs; all zeros from a device that has none.
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
        // Below 200 they are errno's numbers, by the standard.
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
