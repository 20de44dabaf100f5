// SPDX-License-Identifier: GPL-2.0

//! Creation of an ADI, its restoration after a reset of the function, and its destruction.

use adit_uapi::virtchnl2::op;
use kernel::{
    device::Bound,
    new_mutex,
    pci,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};
use zerocopy::IntoBytes;

use super::{
    life::{
        latest_first,
        Life, //
    },
    table::AdiTable,
    triggers::Triggers,
    Adi,
    AdiSpec, //
};
use crate::{
    control::ControlPlane,
    errno::eproto,
    ids::{
        AdiId,
        CauseRingId, //
    },
    messages::{
        self,
        AdiLayout,
        AdiRequest, //
    },
    pasid::{
        AddressSpace,
        Attachment, //
    }, //
};

/// Owner of an ADI, which must be dropped, destroying the ADI, before the function is unbound.
pub(crate) struct OwnedAdi {
    adi: Arc<Adi>,
    table: Arc<AdiTable>,
}

impl OwnedAdi {
    /// Creates an ADI: a PASID, an I/O page table attached to it, and the queues in the device,
    /// which reports through `cause_ring`; `index` distinguishes the request from others. If a step
    /// fails, the earlier ones are undone.
    pub(crate) fn new(
        control: &Arc<ControlPlane>,
        table: &Arc<AdiTable>,
        pdev: &pci::Device<Bound>,
        spec: AdiSpec,
        index: u16,
        cause_ring: CauseRingId,
    ) -> Result<Self> {
        let space = AddressSpace::new(pdev.as_ref())?;
        let attachment = Attachment::new(pdev, space.clone())?;
        let triggers = Triggers::new(spec.queue_pairs)?;
        let request = AdiRequest {
            pasid: space.pasid(),
            index,
            queue_pairs: spec.queue_pairs,
            mac: spec.mac,
            cause_ring,
            place: None,
        };
        // Until it is in the table: a reset restores the ADIs of the table, and must not miss this
        // one, nor find its place taken.
        let _creation = table.lock_creation();
        let layout = create(control, &request)?;
        let adi = Arc::pin_init(
            try_pin_init!(Adi {
                control: control.clone(),
                table: table.clone(),
                spec,
                request,
                layout,
                space,
                port: Atomic::new(u32::MAX),
                life: Atomic::new(Life::Active.to_raw()),
                present: Atomic::new(1),
                last_present: Atomic::new(table.restarts()),
                destroyed <- new_mutex!(false),
                faults: Atomic::new(0),
                acknowledged: Atomic::new(0),
                attachment <- new_mutex!(Some(attachment)),
                triggers,
                user <- new_mutex!(None),
            }? Error),
            GFP_KERNEL,
        )
        .inspect_err(|_| destroy(control, layout.adi_id))?;
        // From here on, dropping it undoes everything.
        let table = table.clone();
        let owned = Self { adi, table };
        owned.table.add_owned(&owned.adi)?;
        owned.table.insert(&owned.adi)?;
        Ok(owned)
    }

    /// Returns the ADI, for use.
    pub(crate) fn adi(&self) -> &Arc<Adi> {
        &self.adi
    }
}

impl Drop for OwnedAdi {
    fn drop(&mut self) {
        let Self { adi, table } = self;
        adi.die();
        {
            let mut destroyed = adi.destroyed.lock();
            *destroyed = true;
            table.remove(adi);
            destroy_if(&adi.control, || adi.is_present(), adi.id());
            adi.present.store(0, Relaxed);
        }
        // Only now: until then, a reset must find it to report that the device no longer has it.
        table.remove_owned(adi);
        // The device has released the PASID; if not, all its accesses fail from here on.
        drop(adi.attachment.lock().take());
    }
}

/// Creates all ADIs that a reset has removed on the device again, those that it had most recently
/// first ([`latest_first()`]). No ADI may be created meanwhile: see [`AdiTable::lock_creation()`].
pub(crate) fn restore(table: &AdiTable) {
    let restart = table.count_restart();
    let latest_before = |before| {
        let mut latest = None;
        table.for_each_owned(|adi| {
            let last = adi.last_present();
            if adi.life() == Life::Lost && last < before {
                latest = latest.max(Some(last));
            }
        });
        latest
    };
    latest_first(restart, latest_before, |last| {
        table.for_each_owned(|adi| {
            if adi.last_present() != last {
                return;
            }
            if let Err(error) = restore_one(table, adi, restart) {
                dev_err!(
                    adi.control.pdev(),
                    "ADI {} was not restored after the reset: {error:?}\n",
                    adi.id().0
                );
            }
        });
    });
}

/// Creates an ADI on the device again after a reset, unchanged: with its PASID, whose I/O page table
/// is still attached, its MAC address and its place, so that it gets the same queues, pages and
/// vport as before, and no other ADI does. Nothing that its user had set up remains.
///
/// Does nothing for an ADI that was not lost. If the device creates a different one, or none, this
/// ADI stays lost.
fn restore_one(table: &AdiTable, adi: &Arc<Adi>, restart: u64) -> Result {
    let destroyed = adi.destroyed.lock();
    if *destroyed || adi.life() != Life::Lost {
        return Ok(());
    }
    recreate(table, adi)?;
    adi.present.store(1, Relaxed);
    adi.last_present.store(restart, Relaxed);
    // Unless it was ended in the meantime.
    adi.change_life(Life::after_restoration);
    Ok(())
}

fn recreate(table: &AdiTable, adi: &Arc<Adi>) -> Result {
    let request = AdiRequest {
        mac: adi.layout.mac,
        place: Some(adi.layout.place()),
        ..adi.request
    };
    let layout = create(&adi.control, &request)?;
    if layout != adi.layout {
        destroy(&adi.control, layout.adi_id);
        return Err(eproto());
    }
    table
        .insert(adi)
        .inspect_err(|_| destroy(&adi.control, layout.adi_id))
}

/// Creates an ADI on the device.
fn create(control: &ControlPlane, request: &AdiRequest) -> Result<AdiLayout> {
    let reply = control.request(op::NON_FLEX_CREATE_ADI, &request.encode())?;
    AdiLayout::decode(request, &reply, control.bar_len()).map_err(|error| {
        // The device may have created one. Its id, if the reply has one, is at its usual offset.
        if let Some(id) = messages::created_id(&reply) {
            destroy(control, id);
        }
        control.malformed(op::NON_FLEX_CREATE_ADI, error)
    })
}

/// Destroys an ADI on the device.
fn destroy(control: &ControlPlane, id: AdiId) {
    destroy_if(control, || true, id);
}

/// Destroys an ADI on the device if `present` returns true when the request's turn comes: after a
/// reset, its id may be another ADI's.
fn destroy_if(control: &ControlPlane, present: impl Fn() -> bool, id: AdiId) {
    let message = messages::destroy_adi(id);
    let result = control.request_if(&present, op::NON_FLEX_DESTROY_ADI, message.as_bytes());
    if let Err(error) = result {
        if present() {
            dev_warn!(
                control.pdev(),
                "ADI {} was not destroyed: {error:?}\n",
                id.0
            );
        }
    }
}
