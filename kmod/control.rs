// SPDX-License-Identifier: GPL-2.0

//! The control plane of a function: its capabilities, and requests to it through the mailbox.
//!
//! ADIs, cause rings and the function as a whole use it; it refers to none of them.

use adit_uapi::virtchnl2::{
    adi::{
        self,
        AdiCaps, //
    },
    op,
    status,
    GetCapabilities, //
};
use core::mem::ManuallyDrop;
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
        Arc,
        Mutex, //
    }, //
};
use zerocopy::IntoBytes;

use crate::{
    errno::eproto,
    ids::MsixVector,
    listener::Listener,
    mailbox::Mailbox,
    messages::{
        self,
        Malformed, //
    },
    registers::Registers, //
};

/// The MSI-X vector of the mailbox.
pub(crate) const MAILBOX_VECTOR: MsixVector = MsixVector(0);

/// The control plane of a bound function. Outlives the binding while there are references to ADIs;
/// requests fail then.
#[pin_data]
pub(crate) struct ControlPlane {
    pdev: ARef<pci::Device>,
    regs: Registers,
    caps: AdiCaps,
    version: (u32, u32),
    /// Physical address and length of BAR0.
    bar: (u64, u64),
    #[pin]
    mailbox: Mutex<Slot>,
    listener: Arc<dyn Listener>,
}

/// Place for the mailbox of a function. The device may write to the memory of a mailbox until the
/// function is reset, even when it has not replied for long: so the memory is freed after a reset
/// that the device has confirmed, and never without one.
struct Slot {
    mailbox: Option<ManuallyDrop<Mailbox>>,
    /// Set while the mailbox may be used: not while the function is reset, nor once it is removed or
    /// unbound.
    running: bool,
}

impl Slot {
    const fn new() -> Self {
        Self {
            mailbox: None,
            running: false,
        }
    }

    /// Returns the mailbox if it may be used.
    fn running(&mut self) -> Option<&mut Mailbox> {
        self.mailbox.as_deref_mut().filter(|_| self.running)
    }

    /// Resets the function and frees the mailbox. If the device does not confirm the reset, the
    /// memory is kept for a later one.
    fn stop(&mut self, regs: &Registers) -> Result {
        self.running = false;
        regs.reset_function()?;
        if let Some(old) = self.mailbox.take() {
            drop(ManuallyDrop::into_inner(old));
        }
        Ok(())
    }

    /// Resets the function and sets its mailbox up, which may be used once `negotiate` has
    /// succeeded with it.
    fn start<T>(
        &mut self,
        dev: &Device<Bound>,
        regs: &Registers,
        negotiate: impl FnOnce(&mut Mailbox) -> Result<T>,
    ) -> Result<T> {
        self.stop(regs)
            .inspect_err(|error| dev_err!(dev, "function was not reset: {error:?}\n"))?;
        let mailbox = self
            .mailbox
            .insert(ManuallyDrop::new(Mailbox::new(dev, regs)?));
        let result = negotiate(mailbox);
        match &result {
            Ok(_) => self.running = true,
            // A message may be unanswered, and its reply to come.
            Err(_) => {
                if let Err(error) = self.stop(regs) {
                    warn_kept(dev, error);
                }
            }
        }
        result
    }
}

/// Logs that memory of a mailbox is kept.
fn warn_kept(dev: &Device, error: Error) {
    dev_warn!(
        dev,
        "function was not reset ({error:?}): keeping memory that it may write to\n"
    );
}

impl ControlPlane {
    /// Resets the function and reads the capabilities of its control plane. `listener` is notified
    /// when the device stops replying.
    pub(crate) fn new(
        pdev: &pci::Device<Bound>,
        regs: Registers,
        listener: Arc<dyn Listener>,
    ) -> Result<Arc<Self>> {
        let dev = pdev.as_ref();
        let bar = (pdev.resource_start(0)?, pdev.resource_len(0)?);
        let mut started = Slot::new();
        let (version, caps) = started.start(dev, &regs, |mailbox| {
            let version = negotiate(dev, &regs, mailbox)?;
            Ok((version, read_caps(dev, &regs, mailbox)?))
        })?;
        Arc::pin_init(
            pin_init!(Self {
                pdev: pdev.into(),
                regs,
                caps,
                version,
                bar,
                mailbox <- new_mutex!(started),
                listener,
            }),
            GFP_KERNEL,
        )
    }

    /// Returns the PCI function.
    pub(crate) fn pdev(&self) -> &pci::Device {
        &self.pdev
    }

    /// Returns the limits of ADIs.
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

    /// Arms MSI-X vector `vector` for one more interrupt.
    pub(crate) fn arm(&self, vector: MsixVector) -> Result {
        self.regs.arm(vector)
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
        let mut slot = self.mailbox.lock();
        let mailbox = slot.running().ok_or(EIO)?;
        if !still() {
            return Err(EIO);
        }
        let was_lost = mailbox.is_lost();
        let result = transact(mailbox, &self.regs, op, payload);
        if result.is_err() && mailbox.is_lost() {
            // No reset was announced: the device died, or was unplugged. Its queues may still run,
            // and their users are about to release the memory, so they are stopped if the
            // device still obeys its registers.
            if !was_lost {
                let _ = self.regs.reset_function();
            }
            // Notified under the lock: later, a restart may have restored the ADIs, which the
            // device then has.
            self.listener.lost();
        }
        result
    }

    /// Logs the reason why a reply is malformed.
    pub(crate) fn malformed(&self, op: u32, error: Malformed) -> Error {
        log_malformed((*self.pdev).as_ref(), op, error)
    }

    /// Allocates `count` consecutive MSI-X vectors below `limit` and returns the first one.
    pub(crate) fn alloc_vectors(&self, count: u16, limit: u32) -> Result<MsixVector> {
        let message = messages::alloc_vectors(count);
        let reply = self.request(op::ALLOC_VECTORS, message.as_bytes())?;
        let chunk = messages::vectors(&reply, count, limit)
            .map_err(|error| self.malformed(op::ALLOC_VECTORS, error))?;
        Ok(MsixVector(chunk.start_vector_id.get()))
    }

    /// Resets the function, after which it does no DMA, and frees the mailbox: requests fail from
    /// then on, also if this fails, since the device does not confirm the reset. The listener is not
    /// notified.
    pub(crate) fn stop(&self) -> Result {
        self.mailbox
            .lock()
            .stop(&self.regs)
            .inspect_err(|error| warn_kept((*self.pdev).as_ref(), *error))
    }

    /// Resets the function and sets up its mailbox again after [`Self::stop()`].
    pub(crate) fn start(&self, dev: &Device<Bound>) -> Result {
        self.mailbox
            .lock()
            .start(dev, &self.regs, |it| negotiate(dev, &self.regs, it))?;
        self.arm(MAILBOX_VECTOR)
    }

    /// Receives the unsolicited messages in the mailbox.
    pub(crate) fn drain_mailbox(&self) {
        if let Some(mailbox) = self.mailbox.lock().running() {
            // If the mailbox fails, the next sender gets the error.
            let _ = mailbox.drain(&self.regs);
        }
    }
}

/// Sends the messages that must come first: `VERSION`, and `GET_CAPS`, which requests no
/// capabilities, since ADIs come with the resources that they need.
fn negotiate(dev: &Device<Bound>, regs: &Registers, mailbox: &mut Mailbox) -> Result<(u32, u32)> {
    let reply = transact(mailbox, regs, op::VERSION, messages::version().as_bytes())
        .inspect_err(|_| dev_err!(dev, "no reply from the control plane\n"))?;
    let version =
        messages::check_version(&reply).map_err(|error| log_malformed(dev, op::VERSION, error))?;
    let wanted = GetCapabilities::default();
    transact(mailbox, regs, op::GET_CAPS, wanted.as_bytes())?;
    Ok(version)
}

/// Reads the limits of ADIs; all zeros from a device that has none.
fn read_caps(dev: &Device<Bound>, regs: &Registers, mailbox: &mut Mailbox) -> Result<AdiCaps> {
    let wanted = AdiCaps::default();
    match transact(mailbox, regs, adi::op::GET_ADI_CAPS, wanted.as_bytes()) {
        Ok(reply) => messages::adi_caps(&reply)
            .map_err(|error| log_malformed(dev, adi::op::GET_ADI_CAPS, error)),
        Err(error) if error == EIO || error == ETIMEDOUT => Err(error),
        Err(_) => {
            dev_warn!(dev, "device does not support ADIs\n");
            Ok(AdiCaps::default())
        }
    }
}

/// Sends a request and returns the payload of a successful reply.
fn transact(mailbox: &mut Mailbox, regs: &Registers, op: u32, payload: &[u8]) -> Result<KVVec<u8>> {
    let reply = mailbox.transact(regs, op, payload)?;
    match reply.status {
        status::SUCCESS => Ok(reply.payload),
        // Values below 200 are errno numbers, by the specification.
        // CAST: a small number.
        refusal @ 1..=199 => Err(Error::from_errno(-(refusal as i32))),
        _ => Err(eproto()),
    }
}

fn log_malformed(dev: &Device, op: u32, error: Malformed) -> Error {
    dev_err!(
        dev,
        "malformed reply to virtchnl2 opcode {op:#x}: {}\n",
        error.0
    );
    eproto()
}
