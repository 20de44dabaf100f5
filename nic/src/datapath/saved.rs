// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state of the data plane that the control plane does not have, for a successor of this process:
//! positions of queues, latched interrupts, counters, ADIs.
//!
//! Frames on their way are not part of it, and are counted as dropped: for each wire at most one that waits for
//! buffers, and one that waits for room; those that are being copied to ADIs; and packets of the control plane.

mod adis;

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::receive::Ingress;
use super::Datapath;
use crate::dataplane::{QueueId, QueueKind, QueueState, VportCounters};
use crate::drops::DropReason;
use crate::ids::{VectorId, VportId};

pub use adis::{AdiState, AdisState, TotalsState};

/// The state of queues and vectors, those of ADIs included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueuesState {
    /// The queues that are enabled, by kind and number.
    pub queues: Vec<QueueState>,
    /// The vectors that have a cause latched.
    pub pending: Vec<u32>,
    /// The rest of the state of ADIs. Absent without ADIs and cause rings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adis: Option<AdisState>,
}

/// Counters by name. A successor that does not know a name ignores it.
pub(crate) type Named = BTreeMap<String, u64>;

/// The counters of a virtual port and its wire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortState {
    /// The address of an ADI, and its VLAN; none for a port with a wire.
    pub adi: Option<([u8; 6], u16)>,
    /// Frames and bytes.
    pub counters: VportCounters,
    /// Drops of frames from the wire, and of frames from the driver.
    pub drops: [Named; 2],
    /// The counters of the wire.
    pub wire: Named,
}

impl Datapath {
    /// The positions of queues, latched interrupts, and the state of ADIs.
    pub(crate) fn save_queues(&self) -> QueuesState {
        let queues = self.queues();
        let ids = QueueKind::ALL
            .into_iter()
            .flat_map(|kind| (0..queues.count(kind)).map(move |index| QueueId { kind, index }));
        let positions = ids.filter_map(|queue| {
            Some(QueueState {
                kind: queue.kind,
                index: queue.index,
                position: queues.position(queue)?,
            })
        });
        let interrupts = &queues.interrupts;
        let pending = (0..interrupts.count()).filter(|&n| interrupts.is_pending(VectorId(n)));
        QueuesState {
            queues: positions.collect(),
            pending: pending.collect(),
            adis: self.save_adis(),
        }
    }

    /// Sets the positions of queues that have been enabled, latches interrupts, and restores the rest of
    /// the state of ADIs.
    pub(crate) fn restore_queues(&mut self, saved: &QueuesState) {
        for &QueueState {
            kind,
            index,
            position,
        } in &saved.queues
        {
            let queue = QueueId { kind, index };
            self.queues_mut().set_position(queue, position);
        }
        for &vector in &saved.pending {
            let interrupts = &mut self.queues_mut().interrupts;
            interrupts.set_pending(VectorId(vector), true);
        }
        if let Some(adis) = &saved.adis {
            self.restore_adis(adis);
        }
    }

    /// The counters of all virtual ports, in which the frames that a successor does not get are dropped; not
    /// those of ADIs that have counted nothing.
    pub(crate) fn save_ports(&self) -> Vec<PortState> {
        let vports = self.fabric.host.vports.with_ids();
        let ports = vports.map(|(id, vport)| {
            let (mut counters, mut drops) = (vport.counters, vport.drops);
            let [received, sent] = self.waiting_frames_of(id);
            drops.rx.count_many(DropReason::Update, received);
            drops.tx.count_many(DropReason::Update, sent);
            counters.rx_discards += received;
            counters.tx_discards += sent;
            PortState {
                adi: (vport.adi.as_ref()).map(|adi| (adi.config.mac, adi.config.vlan)),
                counters,
                drops: [drops.rx.named(), drops.tx.named()],
                wire: match (&vport.adi, self.wire(id)) {
                    (None, Some(port)) => port.counters().named(),
                    _ => Named::new(),
                },
            }
        });
        let nothing = |state: &PortState| {
            state.counters == VportCounters::default() && state.drops.iter().all(Named::is_empty)
        };
        ports
            .filter(|state| state.adi.is_none() || !nothing(state))
            .collect()
    }

    /// Continues the counters of virtual ports: of those with a wire by their order, of ADIs by address
    /// and VLAN, and those that have the same by their order.
    pub(crate) fn restore_ports(&mut self, saved: &[PortState]) {
        let mut with_wire = VecDeque::new();
        let mut of_adis: HashMap<_, VecDeque<_>> = HashMap::new();
        for state in saved {
            match state.adi {
                None => with_wire.push_back(state),
                Some(key) => of_adis.entry(key).or_default().push_back(state),
            }
        }
        for (n, state) in with_wire.iter().enumerate() {
            let wire = crate::ids::WireIndex(n as u32);
            if let Some(port) = self.fabric.wires.port_mut(wire) {
                port.counters_mut().add_named(&state.wire);
            }
        }
        for vport in self.fabric.host.vports.iter_mut() {
            let state = match &vport.adi {
                None => with_wire.pop_front(),
                Some(adi) => {
                    let same = of_adis.get_mut(&(adi.config.mac, adi.config.vlan));
                    same.and_then(VecDeque::pop_front)
                }
            };
            if let Some(state) = state {
                vport.counters.add(&state.counters);
                vport.drops.rx.add_named(&state.drops[0]);
                vport.drops.tx.add_named(&state.drops[1]);
            }
        }
    }

    /// The frames of a virtual port that a successor does not get: those that wait for buffers, and those that
    /// wait for a wire. Packets of the control plane are the first port's.
    fn waiting_frames_of(&self, vport: VportId) -> [u64; 2] {
        let of_wire = self.ingress.get(vport.index());
        let received = of_wire.map_or(0, Ingress::waiting_frames);
        let egress = self.egress.iter();
        let sent: u64 = egress.map(|egress| egress.waiting_frames(vport)).sum();
        let engine = self.program.engine().filter(|_| vport == VportId(0));
        let packets = engine.map_or(0, |engine| engine.packets_out().waiting() as u64);
        [received, sent + packets]
    }

    /// The number of frames that a successor does not get: those of [`save_ports`](Self::save_ports), those
    /// that are being copied to ADIs, and datagrams of which fragments are missing.
    pub(crate) fn frames_on_their_way(&self) -> u64 {
        let ports = self.fabric.host.vports.with_ids();
        let frames = ports.flat_map(|(id, _)| self.waiting_frames_of(id));
        let (datagrams, _) = self.held_fragments();
        frames.sum::<u64>() + (self.fabric.floods.waiting() + datagrams) as u64
    }
}
