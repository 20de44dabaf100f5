// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state of the data plane that the control plane does not have, for a successor of this process:
//! positions of queues, latched interrupts, counters.
//!
//! Frames on their way are not part of it: for each wire at most one that waits for buffers, and one
//! that waits for room.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Datapath, Limits};
use crate::dataplane::{QueueId, QueueKind, QueueState, VportCounters};
use crate::ids::{VectorId, VportId};

/// The state of the function's own queues and vectors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueuesState {
    /// The queues that are enabled, by kind and number.
    pub queues: Vec<QueueState>,
    /// The vectors that have a cause latched.
    pub pending: Vec<u32>,
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
    /// The positions of the function's own queues, and its latched interrupts.
    pub(crate) fn save_queues(&self) -> QueuesState {
        let limits = self.queues().limits();
        let ids = QueueKind::ALL
            .into_iter()
            .flat_map(|kind| (0..own(&limits, kind)).map(move |index| QueueId { kind, index }));
        let queues = ids.filter_map(|queue| {
            Some(QueueState {
                kind: queue.kind,
                index: queue.index,
                position: self.queues().position(queue)?,
            })
        });
        let interrupts = &self.queues().interrupts;
        let pending = (0..limits.vectors).filter(|&vector| interrupts.is_pending(VectorId(vector)));
        QueuesState {
            queues: queues.collect(),
            pending: pending.collect(),
        }
    }

    /// Sets the positions of queues that have been enabled, and latches interrupts.
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
    }

    /// The counters of all virtual ports.
    pub(crate) fn save_ports(&self) -> Vec<PortState> {
        let vports = self.fabric.host.vports.iter();
        let ports = vports.enumerate().map(|(n, vport)| PortState {
            adi: (vport.adi.as_ref()).map(|adi| (adi.config.mac, adi.config.vlan)),
            counters: vport.counters,
            drops: [vport.drops.rx.named(), vport.drops.tx.named()],
            wire: match (&vport.adi, self.wire(VportId(n as u32))) {
                (None, Some(port)) => port.counters().named(),
                _ => Named::new(),
            },
        });
        ports.collect()
    }

    /// Continues the counters of virtual ports: of those with a wire by their order, of ADIs by address
    /// and VLAN.
    pub(crate) fn restore_ports(&mut self, saved: &[PortState]) {
        for (n, state) in saved.iter().filter(|state| state.adi.is_none()).enumerate() {
            let wire = crate::ids::WireIndex(n as u32);
            if let Some(port) = self.fabric.wires.port_mut(wire) {
                port.counters_mut().add_named(&state.wire);
            }
        }
        let mut with_wire = saved.iter().filter(|state| state.adi.is_none());
        for vport in self.fabric.host.vports.iter_mut() {
            let state = match &vport.adi {
                None => with_wire.next(),
                Some(adi) => {
                    let key = Some((adi.config.mac, adi.config.vlan));
                    saved.iter().find(|state| state.adi == key)
                }
            };
            if let Some(state) = state {
                vport.counters.add(&state.counters);
                vport.drops.rx.add_named(&state.drops[0]);
                vport.drops.tx.add_named(&state.drops[1]);
            }
        }
    }

    /// The number of frames that wait for buffers or for their wire, which a successor does not get.
    pub(crate) fn frames_on_their_way(&self) -> usize {
        let ingress = self.ingress.iter().filter(|one| one.is_waiting()).count();
        ingress + self.egress.iter().filter(|one| one.is_waiting()).count()
    }
}

/// The number of the function's own queues of a kind.
fn own(limits: &Limits, kind: QueueKind) -> u32 {
    match kind {
        QueueKind::Tx | QueueKind::TxCompletion => limits.tx,
        QueueKind::Rx => limits.rx,
        QueueKind::RxBuffer => limits.buffer,
    }
}
