// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The queues of all virtual ports, and what they work with: doorbells, interrupts, memory.
//!
//! Queues have no knowledge of the frames' ways: one frame at a time is gathered from a TX queue or
//! delivered to an RX queue (`queues/transfer.rs`).

mod polling;
mod position;
mod slot;
mod transfer;

use adit_uapi::desc::tx_compl::comp_type;
use adit_uapi::regs::adi::PAGES_PER_PAIR;

use super::{Limits, MAX_STALL_NS};
use crate::awake::{Awake, Drowsy};
use crate::dataplane::{single_rx_tail, AdiConfig, QueueConfig, QueueError, QueueId, QueueKind};
use crate::doorbells::Doorbells;
use crate::ids::{QueueIndex, VectorMapping};
use crate::interrupts::{AdiVectors, Interrupts, VectorBlock};
use crate::memory::GuestMemory;
use crate::pasid::{AddressSpace, Translator};
use crate::queues::{BufferQueue, CompletionQueue, QueueFault, RxQueue, TxQueue};
use polling::Polling;
use slot::Slot;

pub(super) use slot::Owner;
pub(super) use transfer::QueueRefusal;

/// The queues of all virtual ports.
pub struct Queues {
    /// The memory of the guest.
    pub memory: GuestMemory,
    /// Tails and interrupt control.
    pub doorbells: Doorbells,
    /// Interrupt vectors.
    pub interrupts: Interrupts,
    /// Translates requests with a PASID.
    pub translator: Translator,
    /// The numbers of the function's own queues; those of ADIs follow.
    limits: Limits,
    tx: Vec<Slot<Box<TxQueue>>>,
    completion: Vec<Slot<CompletionQueue>>,
    rx: Vec<Slot<RxQueue>>,
    buffer: Vec<Slot<Box<BufferQueue>>>,
    /// Enabled TX queues that are polled, and the position of the next one.
    active_tx: Awake,
    next_tx: usize,
    /// TX queues of ADIs without kicks that have been idle for long.
    drowsy_tx: Drowsy,
    /// The polling of the TX queues of ADIs, by queue pair.
    polling: Vec<Polling>,
    /// The time since which a TX queue has been waiting for its wire.
    stalled_since: Vec<Option<u64>>,
}

impl Queues {
    /// Creates the function's own queues, which are not configured.
    pub(super) fn new(limits: Limits, doorbells: Doorbells) -> Self {
        Self {
            memory: GuestMemory::new(),
            doorbells,
            interrupts: Interrupts::new(limits.vectors),
            translator: Translator::new(None),
            limits,
            tx: Slot::many(limits.tx),
            completion: Slot::many(limits.tx),
            rx: Slot::many(limits.rx),
            buffer: Slot::many(limits.buffer),
            active_tx: Awake::default(),
            next_tx: 0,
            drowsy_tx: Drowsy::default(),
            polling: Vec::new(),
            stalled_since: vec![None; limits.tx as usize],
        }
    }

    /// Allocates the register frames of ADIs with `pairs` queue pairs together, whose requests
    /// `translator` translates.
    ///
    /// # Errors
    /// When the host has no address space for their doorbells.
    pub(super) fn reserve_adis(
        &mut self,
        pairs: u32,
        translator: Translator,
    ) -> std::io::Result<()> {
        if pairs > 0 {
            self.doorbells.add_frames(pairs)?;
        }
        if let Some(frames) = self.doorbells.frames() {
            self.interrupts.adi = AdiVectors::new(frames.clone());
        }
        self.translator = translator;
        Ok(())
    }

    /// The number of queues of a kind.
    pub(super) fn count(&self, kind: QueueKind) -> u32 {
        let count = match kind {
            QueueKind::Tx => self.tx.len(),
            QueueKind::Rx => self.rx.len(),
            QueueKind::TxCompletion => self.completion.len(),
            QueueKind::RxBuffer => self.buffer.len(),
        };
        count as u32
    }

    /// Sets the configuration of a queue that is not enabled.
    ///
    /// # Errors
    /// When the queue does not exist or is enabled.
    pub(super) fn configure(
        &mut self,
        owner: Owner,
        index: u32,
        config: QueueConfig,
    ) -> Result<(), QueueError> {
        let id = QueueId {
            kind: config.kind(),
            index,
        };
        match id.kind {
            QueueKind::Tx => {
                slot::configure(&mut self.tx, id, owner, config)?;
                // A driver that has not noticed a reset keeps ringing. Buffer queues differ:
                // drivers fill them, and ring, before they configure them.
                self.doorbells.tx_tail.store(index, 0);
                Ok(())
            }
            QueueKind::TxCompletion => slot::configure(&mut self.completion, id, owner, config),
            QueueKind::Rx => slot::configure(&mut self.rx, id, owner, config),
            QueueKind::RxBuffer => slot::configure(&mut self.buffer, id, owner, config),
        }
    }

    /// Numbers the TX queues of a virtual port, in their order ([`Queues::sender`]).
    pub(super) fn number_tx(&mut self, queues: &[u32]) {
        for (number, &queue) in (0..).zip(queues) {
            if let Some(slot) = self.tx.get_mut(queue as usize) {
                slot.number = number;
            }
        }
    }

    /// Starts a configured queue at the beginning of its ring; a queue that is already running is
    /// not an error.
    ///
    /// # Errors
    /// When it does not exist or is not configured.
    pub(super) fn enable(&mut self, queue: QueueId, now: u64) -> Result<(), QueueError> {
        match queue.kind {
            QueueKind::Tx => {
                slot::start(&mut self.tx, queue)?;
                self.wake_tx(QueueIndex(queue.index), now);
                Ok(())
            }
            QueueKind::Rx => slot::start(&mut self.rx, queue),
            QueueKind::TxCompletion => slot::start(&mut self.completion, queue),
            QueueKind::RxBuffer => slot::start(&mut self.buffer, queue),
        }
    }

    /// Stops a queue immediately, and clears its doorbell.
    pub(super) fn stop(&mut self, queue: QueueId) {
        let index = queue.index;
        match queue.kind {
            QueueKind::Tx => {
                slot::stop(&mut self.tx, index);
                self.stop_polling(index);
                // It may be enabled again with the same configuration, without `configure`.
                self.doorbells.tx_tail.store(index, 0);
                if let Some(word) = self.doorbells.tx_tail.asleep(index) {
                    word.set(false);
                }
                self.end_stall(QueueIndex(index));
            }
            QueueKind::Rx => {
                let queue = self.rx.get(index as usize).and_then(Slot::queue);
                if queue.is_some_and(|queue| queue.single.is_some()) {
                    self.doorbells.bufq_tail.store(single_rx_tail(index), 0);
                }
                slot::stop(&mut self.rx, index);
            }
            QueueKind::TxCompletion => slot::stop(&mut self.completion, index),
            QueueKind::RxBuffer => {
                slot::stop(&mut self.buffer, index);
                self.doorbells.bufq_tail.store(index, 0);
            }
        }
    }

    /// Stops a queue and discards its configuration.
    pub(super) fn remove(&mut self, queue: QueueId) {
        self.stop(queue);
        match queue.kind {
            QueueKind::Tx => slot::clear(&mut self.tx, queue.index),
            QueueKind::Rx => slot::clear(&mut self.rx, queue.index),
            QueueKind::TxCompletion => slot::clear(&mut self.completion, queue.index),
            QueueKind::RxBuffer => slot::clear(&mut self.buffer, queue.index),
        }
    }

    /// Stops a queue at its current position after a fault, until it is disabled; returns its
    /// owner.
    pub(super) fn suspend(&mut self, queue: QueueId) -> Owner {
        match queue.kind {
            QueueKind::Tx => {
                self.stop_polling(queue.index);
                slot::suspend(&mut self.tx, queue.index)
            }
            QueueKind::Rx => slot::suspend(&mut self.rx, queue.index),
            QueueKind::TxCompletion => slot::suspend(&mut self.completion, queue.index),
            QueueKind::RxBuffer => slot::suspend(&mut self.buffer, queue.index),
        }
    }

    /// Writes the marker of an idle TX queue to its completion queue, without an interrupt: Linux
    /// polls for the marker itself, and its interrupt handler would consume it first.
    ///
    /// # Errors
    /// When the completion queue cannot be written: that queue must be stopped.
    pub(super) fn mark(&mut self, queue: QueueIndex) -> Result<(), (QueueId, QueueFault)> {
        let slot = self.tx.get(queue.index());
        let Some((queue, owner)) = slot.and_then(|s| Some((s.queue()?, s.owner))) else {
            return Ok(());
        };
        // The single queue model has no completion queue for a marker.
        let Some(target) = queue.completion_queue else {
            return Ok(());
        };
        let completion = self.completion.get_mut(target as usize);
        let Some(completion) = completion.and_then(Slot::running_mut) else {
            return Ok(());
        };
        let space = AddressSpace::new(&self.memory, &self.translator, owner.pasid);
        let marked = completion.push(&space, queue.relative_id, comp_type::SW_MARKER, 0);
        marked.map_err(|fault| {
            let kind = QueueKind::TxCompletion;
            (
                QueueId {
                    kind,
                    index: target,
                },
                fault.into(),
            )
        })
    }

    /// Sets the vector that a TX or RX queue interrupts; `None` for none.
    pub(super) fn map_vector(&mut self, queue: QueueId, vector: Option<VectorMapping>) {
        let of_adis = vector.and_then(|mapping| self.interrupts.of_adis(mapping.vector));
        if let Some(number) = of_adis {
            self.interrupts.adi.wake(number);
        }
        let index = queue.index as usize;
        match queue.kind {
            QueueKind::Tx => {
                if let Some(slot) = self.tx.get_mut(index) {
                    slot.vector = vector;
                }
            }
            QueueKind::Rx => {
                if let Some(slot) = self.rx.get_mut(index) {
                    slot.vector = vector;
                }
            }
            // The standard maps only queues that carry packets.
            QueueKind::TxCompletion | QueueKind::RxBuffer => {}
        }
    }

    /// Latches a cause of a vector.
    pub fn raise(&mut self, cause: VectorMapping) {
        self.interrupts.raise(&self.doorbells.vectors, cause);
    }

    /// Signals the interrupts that are due; returns the time of the next sweep, if any is required.
    pub(super) fn sweep_interrupts(&mut self, now: u64) -> Option<u64> {
        let vectors = &self.doorbells.vectors;
        let adis = self.interrupts.sweep_adis(&self.memory, vectors, now);
        let own = self.interrupts.sweep(vectors, now);
        own.into_iter().chain(adis).min()
    }

    /// Adds the queues of an ADI; returns the ids of its RX queues.
    pub(super) fn add_adi(&mut self, config: &AdiConfig) -> std::ops::Range<u32> {
        let (first, pairs) = (config.first_pair, u32::from(config.pairs));
        let end = (first + pairs) as usize;
        slot::grow(&mut self.tx, self.limits.tx as usize + end);
        slot::grow(&mut self.completion, self.limits.tx as usize + end);
        slot::grow(&mut self.rx, self.limits.rx as usize + end);
        slot::grow(&mut self.buffer, self.limits.buffer as usize + 2 * end);
        self.stalled_since.resize(self.tx.len(), None);
        if self.polling.len() < end {
            self.polling.resize(end, Polling::default());
        }
        let page = first_page(config);
        for n in 0..pairs {
            let tx = self.limits.tx + first + n;
            self.doorbells.tx_tail.place(tx, Some(page + n));
        }
        self.number_tx_of_adi(config, 0);
        for n in 0..2 * pairs {
            let buffer = self.limits.buffer + 2 * first + n;
            let page = page + pairs + n;
            self.doorbells.bufq_tail.place(buffer, Some(page));
        }
        self.interrupts.adi.create(vectors(config));
        self.rx_of_adi(config)
    }

    /// The ids of the RX queues of an ADI.
    pub(super) fn rx_of_adi(&self, config: &AdiConfig) -> std::ops::Range<u32> {
        let rx = self.limits.rx + config.first_pair;
        rx..rx + u32::from(config.rx_queues)
    }

    /// Numbers the TX queues of an ADI among those of its virtual port, from `number` on.
    pub(super) fn number_tx_of_adi(&mut self, config: &AdiConfig, number: u16) {
        let first = (self.limits.tx + config.first_pair) as usize;
        let slots = self.tx.iter_mut().skip(first);
        for (number, slot) in (number..).zip(slots.take(config.pairs.into())) {
            slot.number = number;
        }
    }

    /// Removes the vectors and doorbells of an ADI whose queues have been removed.
    pub(super) fn remove_adi(&mut self, config: &AdiConfig) {
        self.interrupts.adi.destroy(vectors(config));
        let pairs = u32::from(config.pairs);
        for n in 0..pairs {
            let pair = config.first_pair + n;
            self.doorbells.tx_tail.place(self.limits.tx + pair, None);
            if let Some(polling) = self.polling.get_mut(pair as usize) {
                *polling = Polling::default();
            }
        }
        for n in 0..2 * pairs {
            let buffer = self.limits.buffer + 2 * config.first_pair + n;
            self.doorbells.bufq_tail.place(buffer, None);
        }
        // The next owner must not read what this one wrote.
        let pages = pairs * PAGES_PER_PAIR;
        self.doorbells.release_frames(first_page(config), pages);
    }

    /// Stops all queues and discards their configuration, for a reset.
    pub(super) fn clear(&mut self) {
        self.tx.iter_mut().for_each(Slot::clear);
        self.completion.iter_mut().for_each(Slot::clear);
        self.rx.iter_mut().for_each(Slot::clear);
        self.buffer.iter_mut().for_each(Slot::clear);
        self.stalled_since.fill(None);
        self.active_tx.clear();
        self.drowsy_tx.clear();
    }

    /// Removes the queues of all ADIs, which have been destroyed.
    pub(super) fn truncate(&mut self) {
        self.tx.truncate(self.limits.tx as usize);
        self.completion.truncate(self.limits.tx as usize);
        self.rx.truncate(self.limits.rx as usize);
        self.buffer.truncate(self.limits.buffer as usize);
        self.stalled_since.truncate(self.limits.tx as usize);
    }
}

/// The first page of the register frame of an ADI.
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
