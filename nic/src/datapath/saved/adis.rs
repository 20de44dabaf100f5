// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state of ADIs that the control plane does not have: location of the IOMMU's tables, cause rings,
//! faults, polling; and the totals of all ADIs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::adi::Adi;
use super::super::Datapath;
use super::Named;
use crate::dataplane::{DataPlane, FaultRecord, VportCounters};
use crate::ids::{AdiId, VportId};
use crate::interrupts::CauseRingState;
use crate::pasid::Root;

/// The state of ADIs that the control plane does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdisState {
    /// The location of the IOMMU's tables.
    pub tables: Option<Root>,
    /// The cause rings that are configured, by number.
    pub rings: BTreeMap<u16, CauseRingState>,
    /// The ADIs that have faults or are polled without kicks, by id.
    pub adis: BTreeMap<u16, AdiState>,
}

/// The state of an ADI that the control plane does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdiState {
    /// Set if it is polled without kicks.
    pub no_kick: bool,
    /// Its faults.
    pub faults: FaultRecord,
    /// Set while its cause ring has no space for the report of a fault.
    pub unreported: bool,
}

/// The totals of ADIs that were destroyed, and of events that are not kept per ADI.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TotalsState {
    /// Frames and bytes.
    frames: VportCounters,
    /// Drops of frames from the wire, and of frames from the driver.
    drops: [Named; 2],
    /// Queues stopped, by the number of the reason (`fault_reason`).
    faults: Vec<u64>,
    /// Kicks.
    kicks: u64,
    /// Multicast and broadcast frames: copied, and not copied.
    floods: [u64; 2],
}

impl Datapath {
    /// The state of all ADIs; `None` without any, and without cause rings.
    pub(crate) fn save_adis(&self) -> Option<AdisState> {
        let queues = self.queues();
        let unreported: Vec<_> = queues.interrupts.adi.faulted().collect();
        let vports = self.fabric.host.vports.iter();
        let adis: Vec<_> = vports.filter_map(|vport| vport.adi.as_deref()).collect();
        let state = |adi: &Adi| AdiState {
            no_kick: queues.has_no_kick(adi.config.first_pair),
            faults: adi.faults,
            unreported: unreported.binary_search(&adi.config.adi).is_ok(),
        };
        let states = adis.iter().map(|adi| (adi.config.adi.0, state(adi)));
        let saved = AdisState {
            tables: queues.translator.root(),
            rings: queues.interrupts.adi.rings().collect(),
            adis: states
                .filter(|(_, state)| *state != AdiState::default())
                .collect(),
        };
        (!adis.is_empty() || !saved.rings.is_empty()).then_some(saved)
    }

    /// Restores the state of ADIs that have been created, whose queues have been set up.
    pub(crate) fn restore_adis(&mut self, saved: &AdisState) {
        if let Some(root) = saved.tables {
            self.queues_mut().translator.tables().set(root);
        }
        for (&ring, &state) in &saved.rings {
            self.queues_mut().interrupts.adi.restore_ring(ring, state);
        }
        for (&id, state) in &saved.adis {
            let vport = self.fabric.host.vports.of_adi(AdiId(id));
            self.restore_adi(vport, state);
        }
    }

    fn restore_adi(&mut self, vport: VportId, state: &AdiState) {
        let port = self.fabric.host.vports.get_mut(vport);
        let Some(adi) = port.and_then(|port| port.adi.as_mut()) else {
            return;
        };
        adi.faults = state.faults;
        let (id, ring) = (adi.config.adi, adi.config.ring);
        if state.unreported {
            self.queues_mut().interrupts.adi.fault(id, ring);
        }
        if state.no_kick {
            self.set_no_kick(vport, true);
        }
    }

    /// Polls all ADIs that are not suspended, and tells their drivers so: their pages are those of a
    /// predecessor of this process.
    pub(crate) fn wake_adis(&mut self) {
        let now = self.fabric.host.now;
        self.queues_mut().wake_adis(now);
    }

    /// The totals of ADIs; `None` if there is nothing to count.
    pub(crate) fn save_totals(&self) -> Option<TotalsState> {
        let totals = &self.fabric.host.totals;
        let floods = &self.fabric.floods.counters;
        let saved = TotalsState {
            frames: totals.frames,
            drops: [totals.drops.rx.named(), totals.drops.tx.named()],
            faults: totals.faults.to_vec(),
            kicks: totals.kicks,
            // A successor does not get those that are being copied.
            floods: [
                floods.copied,
                floods.dropped + self.fabric.floods.waiting() as u64,
            ],
        };
        let nothing = TotalsState {
            faults: vec![0; totals.faults.len()],
            ..TotalsState::default()
        };
        (saved != nothing).then_some(saved)
    }

    /// Continues the totals of ADIs. Reasons of faults that are not known are ignored.
    pub(crate) fn restore_totals(&mut self, saved: &TotalsState) {
        let totals = &mut self.fabric.host.totals;
        totals.frames.add(&saved.frames);
        totals.drops.rx.add_named(&saved.drops[0]);
        totals.drops.tx.add_named(&saved.drops[1]);
        let faults = totals.faults.iter_mut().zip(&saved.faults);
        faults.for_each(|(count, saved)| *count += saved);
        totals.kicks += saved.kicks;
        let floods = &mut self.fabric.floods.counters;
        floods.copied += saved.floods[0];
        floods.dropped += saved.floods[1];
    }
}
