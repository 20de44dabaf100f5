// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The data plane: virtual ports, their queues and their wires, polled in bursts.

mod adi;
mod program;
mod ptype;
mod queues_api;
mod receive;
mod switch;
#[cfg(test)]
mod tests;
mod transmit;

use crate::awake::Awake;
use crate::dataplane::{QueueConfig, QueueId, QueueKind, VportCounters};
use crate::doorbells::Doorbells;
use crate::drops::Drops;
use crate::forwarding::Forwarding;
use crate::frame::Frame;
use crate::interrupts::Interrupts;
use crate::layout::RegisterLayout;
use crate::logging::{warn_throttled, Throttle};
use crate::memory::GuestMemory;
use crate::pasid::Translator;
use crate::queues::{BufferQueue, CompletionQueue, QueueFault, RxQueue, TxQueue};
use crate::wire::{LinkState, Port, TxDrop, MAX_FRAME_LEN};
use adi::{Adi, Adis};
use program::Programmed;
use receive::Ingress;
use switch::Switch;

pub use adi::AdiTotals;
pub use switch::FloodCounters;

/// The maximum number of frames that a port or queue moves before its neighbours get their turn.
const BURST: usize = 64;
/// The maximum number of bursts per turn, after which any thread that waits for the device lock
/// gets it.
const BURSTS_PER_TURN: usize = 64;
/// The time that a frame may wait for a full wire before it is dropped, in nanoseconds.
const MAX_STALL_NS: u64 = 200_000_000;

/// A slot for a queue.
struct Slot<Q> {
    config: Option<QueueConfig>,
    queue: Option<Q>,
    enabled: bool,
    vport: u32,
    /// Vector and ITR index.
    vector: Option<(u32, u32)>,
}

impl<Q> Slot<Q> {
    fn empty() -> Self {
        Self {
            config: None,
            queue: None,
            enabled: false,
            vport: 0,
            vector: None,
        }
    }

    fn many(count: u32) -> Vec<Self> {
        (0..count).map(|_| Self::empty()).collect()
    }

    /// Stops the queue at its current position; returns the vport that owns it.
    fn halt(&mut self) -> u32 {
        self.enabled = false;
        self.vport
    }

    fn running(&mut self) -> Option<&mut Q> {
        if self.enabled {
            self.queue.as_mut()
        } else {
            None
        }
    }
}

/// A virtual port: one with a wire, or one that belongs to an ADI.
struct Vport {
    forwarding: Forwarding,
    counters: VportCounters,
    drops: Drops,
    wire: Option<Box<dyn Port>>,
    link: LinkState,
    /// Frames that its wire has dropped since it last accepted one, if that was logged.
    losing: Option<u64>,
    /// `None` while a burst is received.
    ingress: Option<Box<Ingress>>,
    adi: Option<Box<Adi>>,
}

/// The device's resource limits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The number of RX queues.
    pub rx: u32,
    /// The number of TX queues, and of completion queues.
    pub tx: u32,
    /// The number of RX buffer queues.
    pub buffer: u32,
    /// The number of interrupt vectors.
    pub vectors: u32,
}

impl Limits {
    fn doorbells(&self, layout: RegisterLayout) -> std::io::Result<Doorbells> {
        Doorbells::new(layout, self.buffer, self.tx, self.vectors)
    }
}

/// The result of a poll.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Set if anything was moved.
    pub busy: bool,
    /// Set if frames came from a wire, or are still waiting to be delivered.
    pub received: bool,
    /// Set if frames came from a driver.
    pub sent: bool,
    /// The time at which there will be work without a doorbell or a frame (nanoseconds on the
    /// caller's clock).
    pub due: Option<u64>,
}

/// All state of the data path.
pub struct Datapath {
    /// The memory of the guest.
    pub memory: GuestMemory,
    /// Tails and interrupt control.
    pub doorbells: Doorbells,
    /// Interrupt vectors.
    pub interrupts: Interrupts,
    /// Translates requests with a PASID.
    pub translator: Translator,
    limits: Limits,
    /// Virtual ports with a wire; those of ADIs follow.
    ports: usize,
    #[expect(
        clippy::vec_box,
        reason = "thousands of large ones, which are not to move"
    )]
    vports: Vec<Box<Vport>>,
    switch: Switch,
    adis: Adis,
    tx: Vec<Slot<Box<TxQueue>>>,
    completion: Vec<Slot<CompletionQueue>>,
    rx: Vec<Slot<RxQueue>>,
    buffer: Vec<Slot<Box<BufferQueue>>>,
    /// Enabled TX queues that are polled, and the position of the next one.
    active_tx: Awake,
    next_tx: usize,
    faults: u64,
    last_fault: Option<QueueFault>,
    /// The time since which a TX queue has been waiting for its wire.
    stalled_since: Vec<Option<u64>>,
    /// `None` while it is in use.
    tx_frame: Option<Frame>,
    segment: Box<[u8]>,
    programmed: Programmed,
    now: u64,
}

/// The link of a port without a wire.
const NO_LINK: LinkState = LinkState {
    up: false,
    speed_mbps: 0,
};

/// Logs the state of a wire's link.
fn log_link(wire: &dyn Port, link: LinkState) {
    static LIMIT: Throttle = Throttle::new();
    let Some(suppressed) = LIMIT.admit() else {
        return;
    };
    let suppressed = (suppressed > 0).then_some(suppressed);
    let (wire, why, mbps) = (wire.name(), wire.trouble(), link.speed_mbps);
    match (link.up, why) {
        (true, _) => tracing::info!(wire, mbps, suppressed, "link up"),
        (false, None) => tracing::info!(wire, suppressed, "link down"),
        (false, Some(why)) => tracing::warn!(wire, why, suppressed, "link down"),
    }
}

impl Datapath {
    /// Creates a data plane with a virtual port on each wire, and with the doorbells of a PF.
    ///
    /// # Errors
    /// When the host has no memory for the doorbell pages.
    pub fn new(limits: Limits, wires: Vec<Option<Box<dyn Port>>>) -> std::io::Result<Self> {
        let vports: Vec<_> = wires
            .into_iter()
            .map(|mut wire| {
                Box::new(Vport {
                    link: wire.as_mut().map_or(NO_LINK, |w| {
                        let link = w.link();
                        if !link.up {
                            log_link(w.as_ref(), link);
                        }
                        link
                    }),
                    losing: None,
                    forwarding: Forwarding::default(),
                    counters: VportCounters::default(),
                    drops: Drops::default(),
                    ingress: Some(Box::default()),
                    wire,
                    adi: None,
                })
            })
            .collect();
        Ok(Self {
            memory: GuestMemory::new(),
            doorbells: limits.doorbells(RegisterLayout::Pf)?,
            interrupts: Interrupts::new(limits.vectors),
            translator: Translator::new(None),
            limits,
            ports: vports.len(),
            vports,
            switch: Switch::default(),
            adis: Adis::default(),
            tx: Slot::many(limits.tx),
            completion: Slot::many(limits.tx),
            rx: Slot::many(limits.rx),
            buffer: Slot::many(limits.buffer),
            active_tx: Awake::default(),
            next_tx: 0,
            faults: 0,
            last_fault: None,
            stalled_since: vec![None; limits.tx as usize],
            tx_frame: Some(Frame::default()),
            segment: vec![0; MAX_FRAME_LEN].into(),
            programmed: Programmed::default(),
            now: 0,
        })
    }

    /// Replaces the doorbells by those of another register layout.
    ///
    /// # Errors
    /// When the host has no memory for the doorbell pages.
    pub fn with_layout(mut self, layout: RegisterLayout) -> std::io::Result<Self> {
        self.doorbells = self.limits.doorbells(layout)?;
        Ok(self)
    }

    /// The number of virtual ports with a wire.
    #[must_use]
    pub fn vport_count(&self) -> u32 {
        self.ports as u32
    }

    /// The wire of a virtual port.
    #[must_use]
    pub fn wire(&self, vport: u32) -> Option<&dyn Port> {
        self.vports
            .get(vport as usize)
            .and_then(|v| v.wire.as_deref())
    }

    /// The drop counters of a virtual port, by reason.
    #[must_use]
    pub fn drops(&self, vport: u32) -> Option<&Drops> {
        self.vports.get(vport as usize).map(|v| &v.drops)
    }

    /// The number of queues that a fault has stopped so far, and the last fault.
    #[must_use]
    pub fn faults(&self) -> (u64, Option<QueueFault>) {
        (self.faults, self.last_fault)
    }

    /// Reads the link state of every wire again; returns the virtual ports whose link changed.
    pub fn refresh_links(&mut self) -> Vec<u32> {
        let mut changed = Vec::new();
        for (index, vport) in self.vports.iter_mut().take(self.ports).enumerate() {
            let Some(wire) = vport.wire.as_mut() else {
                continue;
            };
            let link = wire.link();
            if link != vport.link {
                log_link(wire.as_ref(), link);
                vport.link = link;
                changed.push(index as u32);
            }
        }
        changed
    }

    /// Returns whether a link can change without a notification.
    #[must_use]
    pub fn has_unwatched_links(&self) -> bool {
        let mut wires = self.vports.iter().take(self.ports);
        wires.any(|v| v.wire.as_ref().is_some_and(|w| w.is_unwatched()))
    }

    /// Returns whether a frame waits for a driver's buffers: its wire is readable, but must not be
    /// read.
    #[must_use]
    pub fn holding(&self) -> bool {
        self.vports
            .iter()
            .take(self.ports)
            .filter_map(|v| v.ingress.as_ref())
            .any(|i| i.holding())
    }

    /// The number of frames that wait for a driver's buffers; a merged one counts as its segments.
    #[cfg(any(test, feature = "fuzzing"))]
    #[must_use]
    pub fn held_frames(&self) -> u64 {
        let ports = self.vports.iter().take(self.ports);
        let ingress = ports.filter_map(|v| v.ingress.as_ref());
        ingress.map(|i| i.held_frames()).sum()
    }

    /// Returns whether a wire's frames are found only by reading it.
    fn unannounced(&self, vport: usize) -> bool {
        let wire = self.vports[vport].wire.as_ref();
        wire.is_some_and(|w| w.poll_fd().is_none())
    }

    /// Runs one burst over everything that may have work. Wires that announce frames through a
    /// descriptor are skipped unless `wires` is set.
    pub fn poll(&mut self, now: u64, wires: bool) -> Progress {
        self.now = now;
        let mut progress = Progress::default();
        for vport in 0..self.ports {
            if wires || self.unannounced(vport) {
                progress.received |= self.receive_burst(vport);
                self.translator.flush();
            }
        }
        progress.sent = self.transmit_turn();
        let copied = self.flood_turn() | self.packets_out();
        progress.busy = progress.received || progress.sent || copied;
        self.translator.flush();
        let vectors = &self.doorbells.vectors;
        let adis = self.interrupts.sweep_adis(&self.memory, vectors, now);
        let own = self.interrupts.sweep(vectors, now);
        progress.due = own.into_iter().chain(adis).min();
        progress
    }

    /// Runs a burst of each queue that has work, within the limit of a turn.
    fn transmit_turn(&mut self) -> bool {
        let mut bursts = 0;
        for _ in 0..self.active_tx.len() {
            if self.next_tx >= self.active_tx.len() {
                self.next_tx = 0;
            }
            let Some(queue) = self.active_tx.get(self.next_tx) else {
                break;
            };
            let tail = self.doorbells.tx_tail.load(queue);
            if self.transmit_burst(queue) {
                self.touch(queue);
                bursts += 1;
                self.next_tx += 1;
            } else if !self.may_sleep(queue, tail) {
                self.next_tx += 1;
            }
            // Translations for one queue must not be used for the next.
            self.translator.flush();
            if bursts == BURSTS_PER_TURN {
                break;
            }
        }
        bursts > 0
    }

    /// Logs that a wire starts to drop frames, or accepts them again: `lost` of those offered to
    /// it. A link that is down is logged separately.
    fn note_losses(&mut self, port: usize, wire: &dyn Port, reason: Option<TxDrop>, lost: u64) {
        let losing = &mut self.vports[port].losing;
        match (losing.as_mut(), reason) {
            (None, None) => {}
            (None, Some(TxDrop::Full | TxDrop::Io)) => {
                *losing = Some(lost);
                let reason = reason.map(TxDrop::label);
                warn_throttled!(wire = wire.name(), reason, "a wire loses frames");
            }
            (Some(sum), Some(TxDrop::Full | TxDrop::Io | TxDrop::Down)) => *sum += lost,
            // A property of the frame, not of the wire.
            (_, Some(TxDrop::Down | TxDrop::TooBig | TxDrop::TooManySlices | TxDrop::Refused)) => {}
            (Some(&mut lost), None) => {
                *losing = None;
                static LIMIT: Throttle = Throttle::new();
                if LIMIT.admit().is_some() {
                    tracing::info!(wire = wire.name(), lost, "a wire takes frames again");
                }
            }
        }
    }

    /// Stops a queue until it is disabled, or the function is reset.
    fn fault(&mut self, kind: QueueKind, index: u32, fault: QueueFault) {
        let vport = match kind {
            QueueKind::Tx => {
                self.active_tx.remove(index);
                self.tx[index as usize].halt()
            }
            QueueKind::Rx => self.rx[index as usize].halt(),
            QueueKind::TxCompletion => self.completion[index as usize].halt(),
            QueueKind::RxBuffer => self.buffer[index as usize].halt(),
        };
        if self.note_fault(QueueId { kind, index }, vport, fault) {
            // The ADI's owner is notified. An ADI must not be able to fill the device's log.
            tracing::debug!(vport, ?kind, index, %fault, "queue of an ADI stopped");
            return;
        }
        self.faults += 1;
        self.last_fault = Some(fault);
        warn_throttled!(?kind, index, %fault, "queue stopped");
    }
}
