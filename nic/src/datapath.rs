// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The data plane: virtual ports, their queues and their wires, polled in bursts.

mod queues_api;
mod receive;
#[cfg(test)]
mod tests;
mod transmit;

use crate::dataplane::{QueueConfig, QueueKind, VportCounters};
use crate::doorbells::Doorbells;
use crate::drops::Drops;
use crate::forwarding::Forwarding;
use crate::interrupts::Interrupts;
use crate::memory::GuestMemory;
use crate::queues::{BufferQueue, CompletionQueue, QueueFault, RxQueue, TxQueue};
use crate::wire::{LinkState, Port, MAX_FRAME_LEN};
use receive::Ingress;

/// Frames that a port or queue may move before its neighbours get their turn.
const BURST: usize = 64;
/// How long a frame may wait for a wire that takes no more before it is dropped, in nanoseconds.
const MAX_STALL_NS: u64 = 200_000_000;

/// A place for a queue.
struct Slot<Q> {
    config: Option<QueueConfig>,
    queue: Option<Q>,
    enabled: bool,
    vport: u32,
    /// Vector and ITR index.
    vector: Option<(u32, u32)>,
}

impl<Q> Slot<Q> {
    fn many(count: u32) -> Vec<Self> {
        (0..count)
            .map(|_| Self {
                config: None,
                queue: None,
                enabled: false,
                vport: 0,
                vector: None,
            })
            .collect()
    }

    fn running(&mut self) -> Option<&mut Q> {
        if self.enabled {
            self.queue.as_mut()
        } else {
            None
        }
    }
}

/// A virtual port and the wire it is on.
struct Vport {
    forwarding: Forwarding,
    counters: VportCounters,
    drops: Drops,
    wire: Option<Box<dyn Port>>,
    link: LinkState,
    /// Away while a burst is received.
    ingress: Option<Box<Ingress>>,
}

/// How many of everything there are.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// RX queues.
    pub rx: u32,
    /// TX queues, and as many completion queues.
    pub tx: u32,
    /// RX buffer queues.
    pub buffer: u32,
    /// Interrupt vectors.
    pub vectors: u32,
}

/// What a poll found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Something was moved.
    pub busy: bool,
    /// Something came from a wire, or still waits to be delivered.
    pub received: bool,
    /// Something came from a driver.
    pub sent: bool,
    /// When there will be something to do without a doorbell or a frame (nanoseconds on the
    /// caller's clock).
    pub due: Option<u64>,
}

/// All state that frames go through.
pub struct Datapath {
    /// The memory of the guest.
    pub memory: GuestMemory,
    /// Tails and interrupt control.
    pub doorbells: Doorbells,
    /// Vectors.
    pub interrupts: Interrupts,
    vports: Vec<Vport>,
    tx: Vec<Slot<Box<TxQueue>>>,
    completion: Vec<Slot<CompletionQueue>>,
    rx: Vec<Slot<RxQueue>>,
    buffer: Vec<Slot<BufferQueue>>,
    /// Enabled TX queues, for the sweep.
    active_tx: Vec<u32>,
    faults: u64,
    last_fault: Option<QueueFault>,
    /// Since when a TX queue has been waiting for its wire.
    stalled_since: Vec<Option<u64>>,
    tx_frame: Vec<u8>,
    segment: Box<[u8]>,
    now: u64,
}

impl Datapath {
    /// A data plane with a virtual port on each wire.
    ///
    /// # Errors
    /// When the host has no memory for the doorbell pages.
    pub fn new(limits: Limits, wires: Vec<Option<Box<dyn Port>>>) -> std::io::Result<Self> {
        let vports = wires
            .into_iter()
            .map(|mut wire| Vport {
                link: wire.as_mut().map_or(
                    LinkState {
                        up: false,
                        speed_mbps: 0,
                    },
                    |w| w.link(),
                ),
                forwarding: Forwarding::default(),
                counters: VportCounters::default(),
                drops: Drops::default(),
                ingress: Some(Box::default()),
                wire,
            })
            .collect();
        Ok(Self {
            memory: GuestMemory::new(),
            doorbells: Doorbells::new(limits.buffer, limits.tx, limits.vectors)?,
            interrupts: Interrupts::new(limits.vectors),
            vports,
            tx: Slot::many(limits.tx),
            completion: Slot::many(limits.tx),
            rx: Slot::many(limits.rx),
            buffer: Slot::many(limits.buffer),
            active_tx: Vec::with_capacity(limits.tx as usize),
            faults: 0,
            last_fault: None,
            stalled_since: vec![None; limits.tx as usize],
            tx_frame: Vec::with_capacity(MAX_FRAME_LEN + 4),
            segment: vec![0; MAX_FRAME_LEN].into(),
            now: 0,
        })
    }

    /// How many virtual ports there are.
    #[must_use]
    pub fn vport_count(&self) -> u32 {
        self.vports.len() as u32
    }

    /// The wire of a virtual port.
    #[must_use]
    pub fn wire(&self, vport: u32) -> Option<&dyn Port> {
        self.vports
            .get(vport as usize)
            .and_then(|v| v.wire.as_deref())
    }

    /// Why frames of a virtual port were dropped.
    #[must_use]
    pub fn drops(&self, vport: u32) -> Option<&Drops> {
        self.vports.get(vport as usize).map(|v| &v.drops)
    }

    /// Queues that were stopped by a fault so far, and the last fault.
    #[must_use]
    pub fn faults(&self) -> (u64, Option<QueueFault>) {
        (self.faults, self.last_fault)
    }

    /// Asks every wire for its link again; returns the virtual ports whose link changed.
    pub fn refresh_links(&mut self) -> Vec<u32> {
        let mut changed = Vec::new();
        for (index, vport) in self.vports.iter_mut().enumerate() {
            let Some(wire) = vport.wire.as_mut() else {
                continue;
            };
            let link = wire.link();
            if link != vport.link {
                vport.link = link;
                changed.push(index as u32);
            }
        }
        changed
    }

    /// Whether a frame waits for a driver's buffers: its wire is readable, but not to be read.
    #[must_use]
    pub fn holding(&self) -> bool {
        self.vports
            .iter()
            .filter_map(|v| v.ingress.as_ref())
            .any(|i| i.holding())
    }

    /// Whether nothing tells of a wire's frames but reading it.
    fn unannounced(&self, vport: usize) -> bool {
        let wire = self.vports[vport].wire.as_ref();
        wire.is_some_and(|w| w.poll_fd().is_none())
    }

    /// One burst over everything that may have work. Wires whose frames a descriptor announces
    /// are left alone unless `wires`.
    pub fn poll(&mut self, now: u64, wires: bool) -> Progress {
        self.now = now;
        let mut progress = Progress::default();
        for vport in 0..self.vports.len() {
            if wires || self.unannounced(vport) {
                progress.received |= self.receive_burst(vport);
            }
        }
        for i in 0..self.active_tx.len() {
            // A fault may have shortened the list.
            let Some(&queue) = self.active_tx.get(i) else {
                break;
            };
            progress.sent |= self.transmit_burst(queue);
        }
        progress.busy = progress.received || progress.sent;
        progress.due = self.interrupts.sweep(&self.doorbells.vectors, now);
        progress
    }

    /// Stops a queue for good: until it is disabled, or the function is reset.
    fn fault(&mut self, kind: QueueKind, index: u32, fault: QueueFault) {
        self.faults += 1;
        self.last_fault = Some(fault);
        tracing::warn!(?kind, index, %fault, "queue stopped");
        match kind {
            QueueKind::Tx => {
                self.tx[index as usize].enabled = false;
                self.active_tx.retain(|&q| q != index);
            }
            QueueKind::Rx => self.rx[index as usize].enabled = false,
            QueueKind::TxCompletion => self.completion[index as usize].enabled = false,
            QueueKind::RxBuffer => self.buffer[index as usize].enabled = false,
        }
    }
}
