// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ADIs: virtual ports that are added and removed, with queues whose doorbells are in frames.
//!
//! The work of a turn covers only ADIs that are awake ([`Awake`]); idle ones cost nothing.

use adit_uapi::regs::adi::PAGES_PER_PAIR;
use adit_uapi::virtchnl2::adi::fault_reason;

use super::switch::FloodCounters;
use super::{Datapath, Slot, Vport};
use crate::dataplane::{AddressTaken, AdiConfig, FaultRecord, QueueId, VportCounters};
use crate::drops::Drops;
use crate::forwarding::Forwarding;
use crate::interrupts::{AdiVectors, VectorBlock, SLEEP_AFTER_NS};
use crate::memory::GuestMemory;
use crate::pasid::{AddressSpace, Pasid, RootQuery, Translator};
use crate::queues::QueueFault;
use crate::wire::LinkState;

/// The number of values of `fault_reason`.
const REASONS: usize = 9;

/// The data plane's state of an ADI.
pub(super) struct Adi {
    pub(super) config: AdiConfig,
    faults: FaultRecord,
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

/// The state that the ADIs share.
#[derive(Default)]
pub(super) struct Adis {
    totals: AdiTotals,
    /// The time at which each TX queue of an ADI last had work, by queue pair.
    active_at: Vec<u64>,
}

impl Vport {
    /// An unused virtual port.
    fn absent() -> Self {
        Self {
            forwarding: Forwarding::default(),
            counters: VportCounters::default(),
            drops: Drops::default(),
            wire: None,
            link: LinkState {
                up: false,
                speed_mbps: 0,
            },
            losing: None,
            ingress: None,
            adi: None,
        }
    }
}

/// The first page of the frame of an ADI.
fn first_page(config: &AdiConfig) -> u32 {
    config.first_pair * PAGES_PER_PAIR
}

fn vectors(config: &AdiConfig) -> VectorBlock {
    VectorBlock {
        first: config.first_pair,
        count: config.pairs,
        page: first_page(config) + 3 * u32::from(config.pairs),
        adi: config.adi,
        ring: config.ring,
    }
}

/// The address space that a queue of a virtual port uses.
pub(super) fn space<'a>(
    memory: &'a GuestMemory,
    translator: &'a Translator,
    vports: &[Box<Vport>],
    vport: u32,
) -> AddressSpace<'a> {
    let adi = vports.get(vport as usize).and_then(|v| v.adi.as_ref());
    AddressSpace::new(memory, translator, adi.map(|adi| adi.config.pasid))
}

impl Datapath {
    /// Allocates resources for ADIs with `pairs` queue pairs together; `query` finds their IOMMU
    /// tables.
    ///
    /// # Errors
    /// When the host has no address space for their doorbells.
    pub fn with_adis(mut self, pairs: u32, query: Option<RootQuery>) -> std::io::Result<Self> {
        if pairs > 0 {
            self.doorbells.add_frames(pairs)?;
        }
        if let Some(frames) = self.doorbells.frames() {
            self.interrupts.adi = AdiVectors::new(frames.clone());
        }
        self.translator = Translator::new(query);
        Ok(self)
    }

    /// The totals of all ADIs.
    #[must_use]
    pub fn adi_totals(&self) -> AdiTotals {
        let mut totals = self.adis.totals;
        for vport in self.vports.iter().filter(|v| v.adi.is_some()) {
            totals.frames.add(&vport.counters);
            totals.drops.rx.add(&vport.drops.rx);
            totals.drops.tx.add(&vport.drops.tx);
        }
        totals.floods = self.switch.counters;
        let own = self.limits.tx;
        let queues = (0..self.active_tx.len()).filter_map(|i| self.active_tx.get(i));
        totals.awake_queues = queues.filter(|&q| q >= own).count() as u32;
        totals
    }

    /// The virtual port whose wire a virtual port uses.
    pub(super) fn port_of(&self, vport: u32) -> usize {
        match &self.vports[vport as usize].adi {
            Some(adi) => adi.config.port as usize,
            None => vport as usize,
        }
    }

    /// The PASID of a virtual port.
    #[must_use]
    pub fn pasid(&self, vport: u32) -> Option<Pasid> {
        let vport = self.vports.get(vport as usize)?;
        vport.adi.as_ref().map(|adi| adi.config.pasid)
    }

    pub(super) fn make_adi(&mut self, config: &AdiConfig) -> Result<(), AddressTaken> {
        let at = config.vport as usize;
        let station = (config.port, config.vlan, config.mac);
        let pf = self.vports.get(config.port as usize);
        if pf.is_some_and(|pf| pf.forwarding.addresses.contains(&config.mac)) {
            return Err(AddressTaken);
        }
        self.switch.claim(station, config.vport)?;
        self.switch.join(config.port);
        while self.vports.len() <= at {
            self.vports.push(Box::new(Vport::absent()));
        }
        let (first, pairs) = (config.first_pair, u32::from(config.pairs));
        let rx = self.limits.rx + first;
        let queues = rx..rx + u32::from(config.rx_queues);
        *self.vports[at] = Vport {
            forwarding: Forwarding::new(config.mac, queues.collect()),
            adi: Some(Box::new(Adi {
                config: config.clone(),
                faults: FaultRecord::default(),
            })),
            ..Vport::absent()
        };
        let end = (first + pairs) as usize;
        grow(&mut self.tx, self.limits.tx as usize + end);
        grow(&mut self.completion, self.limits.tx as usize + end);
        grow(&mut self.rx, self.limits.rx as usize + end);
        grow(&mut self.buffer, self.limits.buffer as usize + 2 * end);
        self.stalled_since.resize(self.tx.len(), None);
        if self.adis.active_at.len() < end {
            self.adis.active_at.resize(end, 0);
        }
        let page = first_page(config);
        for n in 0..pairs {
            let tx = self.limits.tx + first + n;
            self.doorbells.tx_tail.place(tx, Some(page + n));
        }
        for n in 0..2 * pairs {
            let buffer = self.limits.buffer + 2 * first + n;
            let page = page + pairs + n;
            self.doorbells.bufq_tail.place(buffer, Some(page));
        }
        self.interrupts.adi.create(vectors(config));
        self.adis.totals.adis += 1;
        Ok(())
    }

    pub(super) fn end_adi(&mut self, vport: u32) {
        let Some(known) = self.vports.get_mut(vport as usize) else {
            return;
        };
        let ended = std::mem::replace(known, Box::new(Vport::absent()));
        let Some(adi) = ended.adi else { return };
        let config = &adi.config;
        let totals = &mut self.adis.totals;
        totals.adis -= 1;
        totals.frames.add(&ended.counters);
        totals.drops.rx.add(&ended.drops.rx);
        totals.drops.tx.add(&ended.drops.tx);
        for &address in &ended.forwarding.addresses {
            let station = (config.port, config.vlan, address);
            self.switch.release(station, vport);
        }
        let domain = (config.port, config.vlan);
        self.switch.set_member(domain, vport, false);
        self.switch.leave(config.port);
        self.interrupts.adi.destroy(vectors(config));
        let pairs = u32::from(config.pairs);
        for n in 0..pairs {
            let tx = self.limits.tx + config.first_pair + n;
            self.doorbells.tx_tail.place(tx, None);
        }
        for n in 0..2 * pairs {
            let buffer = self.limits.buffer + 2 * config.first_pair + n;
            self.doorbells.bufq_tail.place(buffer, None);
        }
        // The next owner must not read what this one wrote.
        let pages = pairs * PAGES_PER_PAIR;
        self.doorbells.release_frames(first_page(config), pages);
    }

    /// Handles a reset: destroys all ADIs. The queues have already been removed.
    pub(super) fn clear_adis(&mut self) {
        for vport in self.ports..self.vports.len() {
            self.end_adi(vport as u32);
        }
        self.vports.truncate(self.ports);
        self.tx.truncate(self.limits.tx as usize);
        self.completion.truncate(self.limits.tx as usize);
        self.rx.truncate(self.limits.rx as usize);
        self.buffer.truncate(self.limits.buffer as usize);
        self.stalled_since.truncate(self.limits.tx as usize);
        self.switch.clear();
        self.translator.tables().forget();
    }

    pub(super) fn let_through(&mut self, vport: u32, enabled: bool) {
        let Some(known) = self.vports.get_mut(vport as usize) else {
            return;
        };
        known.forwarding.enabled = enabled;
        if let Some(adi) = &known.adi {
            let domain = (adi.config.port, adi.config.vlan);
            self.switch.set_member(domain, vport, enabled);
        }
    }

    pub(super) fn claim(&mut self, vport: u32, address: [u8; 6]) -> Result<bool, AddressTaken> {
        let port = self.port_of(vport);
        if let Some(adi) = &self.vports[vport as usize].adi {
            let (domain, pf) = (adi.config.vlan, &self.vports[port].forwarding);
            // A group may have many members.
            if address[0] & 1 == 0 && pf.addresses.contains(&address) {
                return Err(AddressTaken);
            }
            self.switch.claim((port as u32, domain, address), vport)?;
        }
        let addresses = &mut self.vports[vport as usize].forwarding.addresses;
        Ok(addresses.insert(address))
    }

    pub(super) fn release(&mut self, vport: u32, address: [u8; 6]) {
        let known = &mut self.vports[vport as usize];
        known.forwarding.addresses.remove(&address);
        if let Some(adi) = &known.adi {
            let station = (adi.config.port, adi.config.vlan, address);
            self.switch.release(station, vport);
        }
    }

    /// Records a fault that stopped a queue of an ADI; returns false if no ADI owns it.
    pub(super) fn note_fault(&mut self, queue: QueueId, vport: u32, fault: QueueFault) -> bool {
        let known = self.vports.get_mut(vport as usize);
        let Some(adi) = known.and_then(|v| v.adi.as_mut()) else {
            return false;
        };
        adi.faults.count += 1;
        adi.faults.first.get_or_insert((queue, fault));
        let (id, ring) = (adi.config.adi, adi.config.ring);
        self.interrupts.adi.fault(id, ring);
        let reason = fault.reason().min(fault_reason::NO_COMPLETION_QUEUE);
        self.adis.totals.faults[reason as usize] += 1;
        true
    }

    pub(super) fn read_faults(&mut self, vport: u32, clear: bool) -> FaultRecord {
        let known = self.vports.get_mut(vport as usize);
        let Some(adi) = known.and_then(|v| v.adi.as_mut()) else {
            return FaultRecord::default();
        };
        let record = adi.faults;
        if clear {
            adi.faults.first = None;
        }
        record
    }

    /// Polls the doorbells that an ADI may have written while they were not polled. `adi` is its
    /// id; returns false if there is none.
    pub fn kick(&mut self, adi: u32) -> bool {
        let vport = self.ports as u32 + adi;
        let known = self.vports.get(vport as usize);
        let Some(adi) = known.and_then(|v| v.adi.as_ref()) else {
            return false;
        };
        let (first, pairs) = (adi.config.first_pair, u32::from(adi.config.pairs));
        self.adis.totals.kicks += 1;
        for pair in first..first + pairs {
            let tx = self.limits.tx + pair;
            if self.tx.get(tx as usize).is_some_and(|s| s.enabled) {
                self.wake_tx(tx);
            }
            self.interrupts.adi.wake(pair);
        }
        true
    }

    /// Starts to poll a TX queue.
    pub(super) fn wake_tx(&mut self, queue: u32) {
        self.active_tx.insert(queue);
        self.touch(queue);
        if let Some(word) = self.doorbells.tx_tail.asleep(queue) {
            word.set(false);
        }
    }

    /// Notes that a TX queue has work.
    pub(super) fn touch(&mut self, queue: u32) {
        let pair = queue.checked_sub(self.limits.tx);
        let active_at = pair.and_then(|pair| self.adis.active_at.get_mut(pair as usize));
        if let Some(active_at) = active_at {
            *active_at = self.now;
        }
    }

    /// Stops polling a TX queue of an ADI that has been idle for long; `tail` is its value before
    /// the last poll. Queues of the function itself are always polled.
    pub(super) fn may_sleep(&mut self, queue: u32, tail: u32) -> bool {
        let pair = queue.checked_sub(self.limits.tx);
        let Some(&active_at) = pair.and_then(|p| self.adis.active_at.get(p as usize)) else {
            return false;
        };
        if self.now.saturating_sub(active_at) < SLEEP_AFTER_NS
            || self.stalled_since[queue as usize].is_some()
        {
            return false;
        }
        let Some(word) = self.doorbells.tx_tail.asleep(queue) else {
            return false;
        };
        word.set(true);
        // A driver that rang before it read the word has not been seen yet.
        if self.doorbells.tx_tail.load(queue) != tail {
            word.set(false);
            self.touch(queue);
            return false;
        }
        self.active_tx.remove(queue);
        self.interrupts.adi.count_sleep();
        true
    }
}

fn grow<Q>(slots: &mut Vec<Slot<Q>>, len: usize) {
    if slots.len() < len {
        slots.resize_with(len, Slot::empty);
    }
}
