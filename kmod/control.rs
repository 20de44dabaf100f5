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
    /// `None` while the function is reset, and once it is removed or unbound.
    #[pin]
    mailbox: Mutex<Option<Mailbox>>,
    listener: Arc<dyn Listener>,
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
        let mut mailbox = start_mailbox(dev, &regs)?;
        let version = negotiate(dev, &regs, &mut mailbox)?;
        let caps = read_caps(dev, &regs, &mut mailbox)?;
        let bar = (pdev.resource_start(0)?, pdev.resource_len(0)?);
        Arc::pin_init(
            pin_init!(Self {
                pdev: pdev.into(),
                regs,
                caps,
                version,
                bar,
                mailbox <- new_mutex!(Some(mailbox)),
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
        let mut mailbox = self.mailbox.lock();
        let mailbox = (*mailbox).as_mut().ok_or(EIO)?;
        if !still() {
            return Err(EIO);
        }
        let result = transact(mailbox, &self.regs, op, payload);
        if result.is_err() && mailbox.is_lost() {
            // No reset was announced: the device died, or was unplugged. Notified under the lock:
            // later, a restart may have restored the ADIs, which the device then has.
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
    /// then on. The listener is not notified.
    pub(crate) fn stop(&self) {
        let mut mailbox = self.mailbox.lock();
        if self.regs.reset_function().is_err() {
            dev_warn!(self.pdev, "function reset timed out\n");
        }
        *mailbox = None;
    }

    /// Resets the function and sets up its mailbox again after [`Self::stop()`].
    pub(crate) fn start(&self, dev: &Device<Bound>) -> Result {
        {
            let mut mailbox = self.mailbox.lock();
            let mut fresh = start_mailbox(dev, &self.regs)?;
            negotiate(dev, &self.regs, &mut fresh)?;
            *mailbox = Some(fresh);
        }
        self.arm(MAILBOX_VECTOR)
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
        .inspect_err(|_| dev_err!(dev, "function reset timed out\n"))?;
    Mailbox::new(dev, regs)
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
