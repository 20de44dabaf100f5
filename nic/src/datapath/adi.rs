// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ADIs: virtual ports that are added and removed, with queues whose doorbells are in register
//! frames.
//!
//! The work of a turn covers only ADIs that are awake (`queues/polling.rs`); idle ones cost nothing.

use std::sync::Arc;

use super::fabric::Fabric;
use super::flood::FloodCounters;
use super::switch::Switch;
use super::vport::Vport;
use crate::dataplane::{AddressTaken, AdiConfig, FaultRecord, VportCounters};
use crate::drops::Drops;
use crate::forwarding::Forwarding;
use crate::ids::{AdiId, VportId, WireIndex};
use crate::memory::WriteLog;

/// The number of values of `fault_reason`.
const REASONS: usize = 9;

/// The data plane's state of an ADI.
pub(super) struct Adi {
    pub(super) config: AdiConfig,
    pub(super) faults: FaultRecord,
    /// Set while it is suspended.
    pub(super) suspended: bool,
    /// The virtual port that its queues are those of, if it is a member of a group.
    pub(super) leader: Option<VportId>,
    /// The members of its group, if it is a leader.
    pub(super) members: Vec<VportId>,
}

/// The totals of all ADIs, including those that were destroyed.
#[derive(Clone, Copy, Debug, Default)]
pub struct AdiTotals {
    /// The current number of ADIs.
    pub adis: u32,
    /// Frames and bytes.
    pub frames: VportCounters,
    /// Frames dropped, by reason.
    pub drops: Drops,
    /// Queues stopped, by reason (`fault_reason`).
    pub faults: [u64; REASONS],
    /// Kicks: trapped writes that wake the queues and vectors of an ADI.
    pub kicks: u64,
    /// Counters of multicast and broadcast frames.
    pub floods: FloodCounters,
    /// TX queues that are polled.
    pub awake_queues: u32,
}

impl AdiTotals {
    /// Adds the frames of an ADI.
    fn add(&mut self, vport: &Vport) {
        self.frames.add(&vport.counters);
        self.drops.rx.add(&vport.drops.rx);
        self.drops.tx.add(&vport.drops.tx);
    }
}

impl Fabric {
    /// The totals of all ADIs.
    pub(super) fn adi_totals(&self) -> AdiTotals {
        let mut totals = self.host.totals;
        for vport in self.host.vports.iter().filter(|v| v.adi.is_some()) {
            totals.add(vport);
        }
        totals.floods = self.floods.counters;
        totals.awake_queues = self.host.queues.polled_of_adis();
        totals
    }

    /// Creates the virtual port of an ADI, with queues that are not configured.
    ///
    /// # Errors
    /// When its address is in use.
    pub(super) fn create_adi(&mut self, config: &AdiConfig) -> Result<(), AddressTaken> {
        let (host, id) = (&mut self.host, config.vport);
        let wire = WireIndex::of_pf(config.port);
        let station = (wire, config.vlan, config.mac);
        let pf = host.vports.get(wire.pf());
        if pf.is_some_and(|pf| pf.forwarding.addresses.contains(&config.mac)) {
            return Err(AddressTaken);
        }
        self.switch.claim(station, id)?;
        self.switch.join(wire);
        let rx_queues = host.queues.add_adi(config).collect();
        let vport = Vport {
            forwarding: Forwarding::new(config.mac, rx_queues),
            adi: Some(Box::new(Adi {
                config: config.clone(),
                faults: FaultRecord::default(),
                suspended: false,
                leader: None,
                members: Vec::new(),
            })),
            ..Vport::default()
        };
        host.vports.set(id, vport);
        host.totals.adis += 1;
        Ok(())
    }

    /// Destroys an ADI whose queues have been removed, with all its state.
    pub(super) fn destroy_adi(&mut self, vport: VportId) {
        let Some(ended) = self.host.vports.remove(vport) else {
            return;
        };
        let Some(adi) = &ended.adi else { return };
        let config = &adi.config;
        let wire = WireIndex::of_pf(config.port);
        self.host.totals.adis -= 1;
        self.host.totals.add(&ended);
        for &address in &ended.forwarding.addresses {
            let station = (wire, config.vlan, address);
            self.switch.release(station, vport);
        }
        let domain = (wire, config.vlan);
        self.switch.set_member(domain, vport, false);
        self.switch.leave(wire);
        self.host.queues.translator.set_log(config.pasid, None);
        self.host.queues.remove_adi(config);
    }

    /// Handles a reset: destroys all ADIs. The queues have already been removed.
    pub(super) fn clear_adis(&mut self) {
        for vport in self.host.vports.after_own() {
            self.destroy_adi(vport);
        }
        self.host.vports.truncate();
        self.host.queues.truncate();
        self.host.queues.translator.tables().forget();
        self.switch = Switch::default();
        self.floods.clear();
    }

    /// Enables or disables traffic of a virtual port.
    pub(super) fn set_enabled(&mut self, vport: VportId, enabled: bool) {
        let Some(port) = self.host.vports.get_mut(vport) else {
            return;
        };
        port.forwarding.set_enabled(enabled);
        if let Some(adi) = &port.adi {
            let domain = (WireIndex::of_pf(adi.config.port), adi.config.vlan);
            self.switch.set_member(domain, vport, enabled);
        }
    }

    /// Adds an address to a virtual port; returns whether it is new.
    ///
    /// # Errors
    /// When it belongs to another virtual port that must not share it.
    pub(super) fn add_address(
        &mut self,
        vport: VportId,
        address: [u8; 6],
    ) -> Result<bool, AddressTaken> {
        let vports = &mut self.host.vports;
        if let Some(adi) = &vports[vport].adi {
            let (wire, vlan) = (WireIndex::of_pf(adi.config.port), adi.config.vlan);
            let pf = &vports[wire.pf()].forwarding;
            // A group may have many members.
            if address[0] & 1 == 0 && pf.addresses.contains(&address) {
                return Err(AddressTaken);
            }
            self.switch.claim((wire, vlan, address), vport)?;
        }
        Ok(vports[vport].forwarding.add_address(address))
    }

    /// Removes an address from a virtual port.
    pub(super) fn remove_address(&mut self, vport: VportId, address: [u8; 6]) {
        let port = &mut self.host.vports[vport];
        port.forwarding.remove_address(&address);
        if let Some(adi) = &port.adi {
            let station = (WireIndex::of_pf(adi.config.port), adi.config.vlan, address);
            self.switch.release(station, vport);
        }
    }

    /// The faults of an ADI; discards the first fault if `clear` is set.
    pub(super) fn adi_faults(&mut self, vport: VportId, clear: bool) -> FaultRecord {
        let port = self.host.vports.get_mut(vport);
        let Some(adi) = port.and_then(|v| v.adi.as_mut()) else {
            return FaultRecord::default();
        };
        let record = adi.faults;
        if clear {
            adi.faults.first = None;
        }
        record
    }

    /// Sets whether an ADI is polled without kicks.
    pub(super) fn set_no_kick(&mut self, vport: VportId, no_kick: bool) {
        let host = &mut self.host;
        if let Some(adi) = host.vports.get(vport).and_then(|v| v.adi.as_ref()) {
            let (first, pairs) = (adi.config.first_pair, adi.config.pairs);
            host.queues.set_no_kick(first, pairs, no_kick, host.now);
        }
    }

    /// Suspends or resumes an ADI.
    pub(super) fn set_suspended(&mut self, vport: VportId, suspended: bool) {
        let host = &mut self.host;
        if let Some(adi) = host.vports.get_mut(vport).and_then(|v| v.adi.as_mut()) {
            adi.suspended = suspended;
            let (first, pairs) = (adi.config.first_pair, adi.config.pairs);
            host.queues.set_suspended(first, pairs, suspended, host.now);
        }
    }

    /// Marks what an ADI writes from now on in a log; `None` ends that. Returns false if its memory is
    /// registered, whose owner knows.
    pub(super) fn log_writes(&mut self, vport: VportId, log: Option<Arc<WriteLog>>) -> bool {
        let host = &mut self.host;
        let Some(adi) = host.vports.get(vport).and_then(|v| v.adi.as_ref()) else {
            return false;
        };
        host.queues.translator.set_log(adi.config.pasid, log)
    }

    /// Makes the queues of ADIs those of the virtual port of another one, after its own; replaces its
    /// group.
    pub(super) fn set_group(&mut self, leader: VportId, members: &[VportId]) {
        let host = &mut self.host;
        let Some(adi) = host.vports.get_mut(leader).and_then(|v| v.adi.as_mut()) else {
            return;
        };
        let former = std::mem::replace(&mut adi.members, members.to_vec());
        for member in former {
            if let Some(adi) = host.vports.get_mut(member).and_then(|v| v.adi.as_mut()) {
                adi.leader = None;
                host.queues.number_tx_of_adi(&adi.config, 0);
            }
        }
        let (mut rx_queues, mut number) = (Vec::new(), 0);
        for &id in [&[leader], members].concat().iter() {
            let Some(adi) = host.vports.get_mut(id).and_then(|v| v.adi.as_mut()) else {
                continue;
            };
            adi.leader = (id != leader).then_some(leader);
            host.queues.number_tx_of_adi(&adi.config, number);
            number += adi.config.pairs;
            rx_queues.extend(host.queues.rx_of_adi(&adi.config));
        }
        if let Some(port) = host.vports.get_mut(leader) {
            port.forwarding.set_rx_queues(rx_queues);
        }
    }

    /// Polls the doorbells that an ADI may have written while they were not polled. `adi` is its
    /// id; returns false if there is none.
    pub(super) fn kick(&mut self, adi: AdiId) -> bool {
        let host = &mut self.host;
        let port = host.vports.get(host.vports.of_adi(adi));
        let Some(adi) = port.and_then(|v| v.adi.as_ref()) else {
            return false;
        };
        host.totals.kicks += 1;
        let (first, pairs) = (adi.config.first_pair, adi.config.pairs);
        host.queues.kick(first, pairs, host.now);
        true
    }
}
