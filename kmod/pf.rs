// SPDX-License-Identifier: GPL-2.0

//! The physical function: its control plane, cause rings and ADIs, and their restart after a reset.

use kernel::{
    device::{
        Bound,
        Device, //
    },
    new_mutex,
    pci,
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

use crate::{
    adi::{
        self,
        AdiSpec,
        AdiTable,
        OwnedAdi, //
    },
    causes::CauseRing,
    control::ControlPlane,
    errno::eopnotsupp,
    ids::CauseRingId,
    registers::Registers, //
};

/// A physical function bound to this driver.
#[pin_data]
pub(crate) struct Pf {
    control: Arc<ControlPlane>,
    adis: Arc<AdiTable>,
    /// Cause rings in use: ADIs are distributed over them.
    #[pin]
    rings: Mutex<KVec<Arc<CauseRing>>>,
    /// ADIs created so far.
    created: Atomic<u32>,
}

impl Pf {
    /// Resets the function and reads the capabilities of its control plane.
    pub(crate) fn new(pdev: &pci::Device<Bound>, regs: Registers) -> Result<Arc<Self>> {
        let adis = AdiTable::new()?;
        let control = ControlPlane::new(pdev, regs, adis.clone())?;
        Arc::pin_init(
            pin_init!(Self {
                control,
                adis,
                rings <- new_mutex!(KVec::new()),
                created: Atomic::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// Returns its control plane.
    pub(crate) fn control(&self) -> &Arc<ControlPlane> {
        &self.control
    }

    /// Returns its ADIs.
    pub(crate) fn adis(&self) -> &Arc<AdiTable> {
        &self.adis
    }

    /// Adds a cause ring, before it is started: it is freed only by [`Self::shut_down()`].
    pub(crate) fn add_ring(&self, ring: Arc<CauseRing>) -> Result {
        self.rings.lock().push(ring, GFP_KERNEL)?;
        Ok(())
    }

    /// Returns the number of cause ring entries about ADIs that do not exist, or with an unknown
    /// reason.
    pub(crate) fn stray_causes(&self) -> u64 {
        self.rings.lock().iter().map(|ring| ring.strays()).sum()
    }

    /// Creates an ADI on one of the cause rings. Fails with `EOPNOTSUPP` if there is none.
    pub(crate) fn create_adi(&self, pdev: &pci::Device<Bound>, spec: AdiSpec) -> Result<OwnedAdi> {
        // CAST: a small number, see `MAX_RINGS` of the driver.
        let rings = self.rings.lock().len() as u32;
        if rings == 0 {
            return Err(eopnotsupp());
        }
        let number = self.created.fetch_add(1, Relaxed);
        // CAST: the number, which distinguishes requests, may wrap; the ring's is small.
        let (index, ring) = (number as u16, CauseRingId((number % rings) as u16));
        OwnedAdi::new(&self.control, &self.adis, pdev, spec, index, ring)
    }

    /// Resets the function, which thereby loses the ADIs; their users are notified. Requests fail
    /// until [`Self::restart()`].
    pub(crate) fn stop(&self) {
        // It is reset again by a restart, and has been warned about.
        let _ = self.control.stop();
        self.adis.mark_lost();
    }

    /// Stops the function permanently: the memory that the device wrote to is freed, too, unless the
    /// device does not confirm that it is reset. Then it may write on, and the memory is leaked.
    pub(crate) fn shut_down(&self) {
        let stopped = self.control.stop();
        let rings = core::mem::replace(&mut *self.rings.lock(), KVec::new());
        match stopped {
            Ok(()) => drop(rings),
            Err(_) => core::mem::forget(rings),
        }
    }

    /// Resets the function and sets it up again, with the ADIs that it had. An ADI that the device
    /// does not recreate is dead, which is logged.
    pub(crate) fn restart(&self, dev: &Device<Bound>) -> Result {
        let _creation = self.adis.lock_creation();
        self.stop();
        // Even if this restart fails: ids are assigned anew by the next one.
        self.adis.groups().forget();
        self.control.start(dev)?;
        let rings = self.rings.lock();
        if !rings.is_empty() {
            // CAST: a small number, see `MAX_RINGS` of the driver.
            let count = rings.len() as u16;
            // The same as before: after a reset, only the mailbox's vector is in use.
            self.control.alloc_vectors(count, u32::from(count) + 1)?;
        }
        for ring in rings.iter() {
            ring.start()?;
        }
        drop(rings);
        adi::restore(&self.adis);
        Ok(())
    }
}
