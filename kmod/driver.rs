// SPDX-License-Identifier: GPL-2.0

//! The PCI driver: probes a function to make it a [`Pf`], and unbinds it.

use kernel::{
    device::{
        Bound,
        Core, //
    },
    device_id::IdArray,
    dma::{
        Device as _,
        DmaMask, //
    },
    pci,
    prelude::*,
    sync::Arc, //
};

use crate::{
    causes::CauseRing,
    control::{
        ControlPlane,
        MAILBOX_VECTOR, //
    },
    devlink::Devlink,
    ids::{
        CauseRingId,
        MsixVector, //
    },
    irq::{
        self,
        IrqHandler,
        ThreadedIrq, //
    },
    mdev,
    pf::Pf,
    registers::Registers, //
};

/// Maximum number of cause rings: more are of no use once each CPU has one.
const MAX_RINGS: u32 = 16;
/// A bit above the 24 of a class code: an entry that no device matches.
const NO_CLASS: u32 = 1 << 24;

/// Matches no device, and yields no module alias: idpf matches IDPF's class, so this driver binds
/// only to the devices that `driver_override` names.
const ID_TABLE: IdArray<pci::DeviceId, (), 1> =
    IdArray::new([(pci::DeviceId::from_class(NO_CLASS, u32::MAX), ())]);

/// The driver of the physical function.
pub(crate) struct PfDriver;

/// Driver data of a bound function; dropped in this order.
pub(crate) struct PfData {
    mdev: Option<Pin<KBox<mdev::Parent>>>,
    devlink: Arc<Devlink>,
    _mailbox_irq: ThreadedIrq<MailboxIrq>,
    _cause_irqs: KVec<ThreadedIrq<CauseRing>>,
    running: Running,
}

/// A function that does DMA until this is dropped.
struct Running(Arc<Pf>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.shut_down();
    }
}

/// Handler of the mailbox's vector: drains unsolicited messages.
struct MailboxIrq(Arc<ControlPlane>);

impl IrqHandler for MailboxIrq {
    fn run(&self) {
        self.0.drain_mailbox();
        // Fails only once the function is unbound.
        let _ = self.0.arm(MAILBOX_VECTOR);
    }
}

impl PfData {
    fn new(pdev: &pci::Device<Bound>, bar: pci::Bar<'_>) -> Result<Self> {
        let vectors = irq::alloc_vectors(pdev, 1 + kernel::cpu::nr_cpu_ids().min(MAX_RINGS))?;
        let running = Running(Pf::new(pdev, Registers::new(bar)?)?);
        let pf = &running.0;
        let control = pf.control();
        let handler = Arc::new(MailboxIrq(control.clone()), GFP_KERNEL)?;
        let mailbox_irq = ThreadedIrq::new(pdev, MAILBOX_VECTOR, c"adit-mailbox", handler)?;
        control.arm(MAILBOX_VECTOR)?;
        let cause_irqs = start_rings(pdev, pf, vectors)?;
        dev_info!(
            pdev,
            "virtchnl2 {}.{}, {} ADIs with {} queue pairs, {} cause rings\n",
            control.version().0,
            control.version().1,
            control.caps().max_adis.get(),
            control.caps().max_queue_pairs.get(),
            cause_irqs.len(),
        );
        // Last: from here on ADIs can be created.
        let devlink = Arc::new(Devlink::new(pdev, pf.clone())?, GFP_KERNEL)?;
        // A device without ADIs has no mediated devices.
        let mdev = match control.caps().max_adis.get() {
            0 => None,
            _ => Some(
                mdev::Parent::new(pdev, pf.clone(), devlink.clone())
                    .inspect_err(|_| devlink.unregister())?,
            ),
        };
        Ok(Self {
            mdev,
            devlink,
            _mailbox_irq: mailbox_irq,
            _cause_irqs: cause_irqs,
            running,
        })
    }
}

/// Creates a cause ring for each of the function's `vectors` besides the mailbox's.
fn start_rings(
    pdev: &pci::Device<Bound>,
    pf: &Pf,
    vectors: u32,
) -> Result<KVec<ThreadedIrq<CauseRing>>> {
    // CAST: a small number, see `MAX_RINGS`.
    let count = ((vectors - 1) as u16).min(pf.control().caps().num_cause_rings.get());
    let mut irqs = KVec::with_capacity(count.into(), GFP_KERNEL)?;
    if count == 0 {
        return Ok(irqs);
    }
    let first = pf.control().alloc_vectors(count, vectors)?;
    for id in 0..count {
        // `alloc_vectors()` has checked that all are below `vectors`.
        let vector = MsixVector(first.0 + id);
        let (control, adis) = (pf.control().clone(), pf.adis().clone());
        let ring = CauseRing::new(pdev.as_ref(), control, adis, CauseRingId(id), vector)?;
        irqs.push(
            ThreadedIrq::new(pdev, vector, c"adit-causes", ring.clone())?,
            GFP_KERNEL,
        )?;
        pf.add_ring(ring.clone())?;
        ring.start()?;
    }
    Ok(irqs)
}

/// Resets: see [`crate::reset`].
impl PfData {
    /// Takes the ADIs away from their users, and stops the driver's own DMA.
    pub(crate) fn before_reset(&self) {
        self.running.0.stop();
    }

    /// Sets up again what the reset has removed, including ADIs.
    pub(crate) fn after_reset(&self, pdev: &pci::Device<Bound>) -> Result {
        self.running.0.restart(pdev.as_ref())
    }
}

impl pci::Driver for PfDriver {
    type IdInfo = ();
    type Data<'bound> = PfData;
    const ID_TABLE: pci::IdTable<Self::IdInfo> = &ID_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: &'bound Self::IdInfo,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        Self::bind(pdev)
    }

    fn unbind<'bound>(_pdev: &'bound pci::Device<Core<'_>>, this: Pin<&Self::Data<'bound>>) {
        // Users first, so that they release the ADIs early and the wait for them is short; then the
        // ADIs, and with them the PASIDs, before the driver core checks that none is left.
        this.running.0.adis().for_each(|adi| adi.die());
        if let Some(mdev) = &this.mdev {
            mdev.unregister();
        }
        this.devlink.unregister();
    }
}

impl PfDriver {
    fn bind(pdev: &pci::Device<Core<'_>>) -> Result<PfData> {
        pdev.enable_device_mem()?;
        pdev.set_master();
        // SAFETY: Nothing has been allocated or mapped for DMA yet.
        unsafe { pdev.dma_set_mask_and_coherent(DmaMask::new::<64>())? };
        PfData::new(pdev, pdev.iomap_region(0, c"adit")?)
    }
}
