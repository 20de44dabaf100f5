// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The queues of one vport, and the state of each.

use adit_uapi::virtchnl2::{queue_type, QueueRegChunk};
use zerocopy::little_endian::{U32, U64};

use super::{Capabilities, Profile, Refusal};
use crate::dataplane::{single_rx_tail, DataPlane, QueueConfig, QueueId, QueueKind};
use crate::layout::RegisterLayout;

/// The kinds, in the order of their numbers in messages.
pub(super) const KINDS: [QueueKind; 4] = QueueKind::ALL;

/// The kind of a queue type in messages (virtchnl2_queue_type).
pub(super) fn kind_of(queue_type: u32) -> Result<QueueKind, Refusal> {
    match queue_type {
        queue_type::TX => Ok(QueueKind::Tx),
        queue_type::RX => Ok(QueueKind::Rx),
        queue_type::TX_COMPLETION => Ok(QueueKind::TxCompletion),
        queue_type::RX_BUFFER => Ok(QueueKind::RxBuffer),
        _ => Err(Refusal::BadField),
    }
}

/// The number of a kind in messages.
pub(super) fn type_of(kind: QueueKind) -> u32 {
    match kind {
        QueueKind::Tx => queue_type::TX,
        QueueKind::Rx => queue_type::RX,
        QueueKind::TxCompletion => queue_type::TX_COMPLETION,
        QueueKind::RxBuffer => queue_type::RX_BUFFER,
    }
}

/// The number of queues of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) tx: u16,
    pub(super) tx_completion: u16,
    pub(super) rx: u16,
    pub(super) rx_buffer: u16,
}

impl Counts {
    fn of(&self, kind: QueueKind) -> u16 {
        match kind {
            QueueKind::Tx => self.tx,
            QueueKind::Rx => self.rx,
            QueueKind::TxCompletion => self.tx_completion,
            QueueKind::RxBuffer => self.rx_buffer,
        }
    }
}

/// The state of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// Not allocated.
    Free,
    /// Allocated to the vport.
    Allocated,
    /// Configured by the driver, with a ring.
    Configured,
    /// Running.
    Enabled,
}

/// A slot for a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) state: State,
    /// The vector that it interrupts.
    pub(super) vector: Option<u16>,
    /// The index of the vector's throttling interval.
    pub(super) itr: u32,
    /// The last configuration, from [`State::Configured`] on.
    pub(super) config: Option<QueueConfig>,
}

impl Slot {
    const FREE: Self = Self::new(State::Free);
    const FRESH: Self = Self::new(State::Allocated);

    const fn new(state: State) -> Self {
        Self {
            state,
            vector: None,
            itr: 0,
            config: None,
        }
    }
}

/// The slots of one kind, a block of the device's queues that only this vport uses.
#[derive(Debug)]
struct Block {
    first: u32,
    slots: Vec<Slot>,
}

/// The queues of one vport.
#[derive(Debug)]
pub(super) struct QueueSet {
    layout: RegisterLayout,
    blocks: [Block; KINDS.len()],
    /// The capabilities that the function offers, and that queues can be configured with.
    pub(super) offered: Capabilities,
    /// The queues that use the single queue model.
    pub(super) single: Single,
}

/// The queues of a vport that use the single queue model: either all TX queues of a vport or none,
/// and likewise for its RX queues.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Single {
    pub(super) tx: bool,
    pub(super) rx: bool,
}

impl QueueSet {
    /// The set of vport `index`, all free.
    pub(super) fn new(profile: &Profile, index: u16) -> Self {
        let blocks = KINDS.map(|kind| {
            let most = profile.queues(kind);
            Block {
                first: u32::from(index) * u32::from(most),
                slots: vec![Slot::FREE; most.into()],
            }
        });
        let single = Single::default();
        Self {
            layout: profile.layout(),
            blocks,
            offered: *profile.capabilities(),
            single,
        }
    }

    /// The set of an ADI, with all its queues allocated from the start. They follow those of the
    /// function, by queue pair.
    pub(super) fn of_adi(profile: &Profile, first_pair: u32, counts: Counts) -> Self {
        let blocks = KINDS.map(|kind| {
            let each = match kind {
                QueueKind::RxBuffer => 2,
                _ => 1,
            };
            Block {
                first: u32::from(profile.total_queues(kind)) + each * first_pair,
                slots: vec![Slot::FRESH; counts.of(kind).into()],
            }
        });
        let single = Single::default();
        Self {
            layout: profile.layout(),
            blocks,
            offered: *profile.capabilities(),
            single,
        }
    }

    fn block(&self, kind: QueueKind) -> &Block {
        &self.blocks[kind as usize]
    }

    /// The number of queues allocated to the vport.
    pub(super) fn counts(&self) -> Counts {
        let count = |kind| {
            let slots = &self.block(kind).slots;
            slots.iter().filter(|s| s.state != State::Free).count() as u16
        };
        Counts {
            tx: count(QueueKind::Tx),
            tx_completion: count(QueueKind::TxCompletion),
            rx: count(QueueKind::Rx),
            rx_buffer: count(QueueKind::RxBuffer),
        }
    }

    /// The ids of the queues of a kind that are allocated to the vport.
    pub(super) fn allocated(&self, kind: QueueKind) -> Vec<u32> {
        let block = self.block(kind);
        (block.first..)
            .zip(&block.slots)
            .filter(|(_, slot)| slot.state != State::Free)
            .map(|(id, _)| id)
            .collect()
    }

    /// Allocates more queues to the vport, all or none, those of each kind contiguously.
    ///
    /// There is one chunk for each kind: Linux walks chunks backwards, and would confuse the ids of
    /// queues in two chunks of a kind.
    pub(super) fn allocate(&mut self, counts: Counts) -> Result<Vec<QueueRegChunk>, Refusal> {
        let mut starts = [0; KINDS.len()];
        for kind in KINDS {
            let free = |slot: &Slot| slot.state == State::Free;
            let want = usize::from(counts.of(kind));
            let slots = &self.block(kind).slots;
            starts[kind as usize] = first_run(slots, want, free).ok_or(Refusal::NoRoom)?;
        }
        let mut chunks = Vec::with_capacity(KINDS.len());
        for kind in KINDS {
            let (start, count) = (starts[kind as usize], usize::from(counts.of(kind)));
            if count == 0 {
                continue;
            }
            let block = &mut self.blocks[kind as usize];
            block.slots[start..start + count].fill(Slot::FRESH);
            chunks.push(chunk(
                self.layout,
                kind,
                block.first + start as u32,
                count as u32,
                self.single,
            ));
        }
        Ok(chunks)
    }

    /// Returns whether a queue is one of those that only this vport uses, allocated or not.
    pub(super) fn owns(&self, queue: QueueId) -> bool {
        let block = self.block(queue.kind);
        let at = queue.index.checked_sub(block.first);
        at.is_some_and(|at| (at as usize) < block.slots.len())
    }

    /// The queues that are allocated to the vport, with their state.
    pub(super) fn slots(&self) -> impl Iterator<Item = (QueueId, &Slot)> {
        let all = KINDS
            .into_iter()
            .zip(&self.blocks)
            .flat_map(|(kind, block)| {
                let slots = (block.first..).zip(&block.slots);
                slots.map(move |(index, slot)| (QueueId { kind, index }, slot))
            });
        all.filter(|(_, slot)| slot.state != State::Free)
    }

    /// Sets the state of a queue that the vport [owns](Self::owns).
    pub(super) fn put(&mut self, queue: QueueId, slot: Slot) {
        let block = &mut self.blocks[queue.kind as usize];
        let at = queue.index.checked_sub(block.first);
        if let Some(place) = at.and_then(|at| block.slots.get_mut(at as usize)) {
            *place = slot;
        }
    }

    /// The slot of a queue that is allocated to the vport.
    pub(super) fn slot(&mut self, queue: QueueId) -> Result<&mut Slot, Refusal> {
        let block = &mut self.blocks[queue.kind as usize];
        let at = queue
            .index
            .checked_sub(block.first)
            .and_then(|at| usize::try_from(at).ok());
        match at.and_then(|at| block.slots.get_mut(at)) {
            None => Err(Refusal::NotYours),
            Some(slot) if slot.state == State::Free => Err(Refusal::NotAllocated),
            Some(slot) => Ok(slot),
        }
    }

    /// The queues of a chunk of a message, all of which must be allocated to the vport.
    pub(super) fn range(
        &mut self,
        queue_type: u32,
        start: u32,
        count: u32,
    ) -> Result<impl Iterator<Item = QueueId>, Refusal> {
        let kind = kind_of(queue_type)?;
        if count == 0 {
            return Err(Refusal::BadField);
        }
        let end = start.checked_add(count).ok_or(Refusal::OutOfRange)?;
        if count as usize > self.block(kind).slots.len() {
            return Err(Refusal::NotYours);
        }
        for index in start..end {
            self.slot(QueueId { kind, index })?;
        }
        Ok((start..end).map(move |index| QueueId { kind, index }))
    }

    /// Frees a queue, and removes it from the data plane.
    pub(super) fn remove(&mut self, queue: QueueId, dp: &mut impl DataPlane) {
        if let Ok(slot) = self.slot(queue) {
            if slot.vector.is_some() {
                dp.map_vector(queue, None);
            }
            *slot = Slot::FREE;
            dp.remove(queue);
        }
    }

    /// Frees all queues.
    pub(super) fn remove_all(&mut self, dp: &mut impl DataPlane) {
        for kind in KINDS {
            for index in self.allocated(kind) {
                self.remove(QueueId { kind, index }, dp);
            }
        }
    }

    /// Unmaps vectors from all queues.
    pub(super) fn unmap(&mut self, which: impl Fn(u16) -> bool, dp: &mut impl DataPlane) {
        for (kind, block) in KINDS.into_iter().zip(&mut self.blocks) {
            for (index, slot) in (block.first..).zip(&mut block.slots) {
                if slot.vector.is_some_and(&which) {
                    (slot.vector, slot.itr) = (None, 0);
                    dp.map_vector(QueueId { kind, index }, None);
                }
            }
        }
    }
}

/// The index of the first `count` contiguous elements that all fit; 0 if `count` is 0.
pub(super) fn first_run<T>(
    elements: &[T],
    count: usize,
    fits: impl Fn(&T) -> bool,
) -> Option<usize> {
    if count == 0 {
        return Some(0);
    }
    let mut run = 0;
    for (at, element) in elements.iter().enumerate() {
        run = if fits(element) { run + 1 } else { 0 };
        if run == count {
            return Some(at + 1 - count);
        }
    }
    None
}

fn chunk(
    layout: RegisterLayout,
    kind: QueueKind,
    start: u32,
    count: u32,
    single: Single,
) -> QueueRegChunk {
    let tail = match kind {
        // They use every other tail register of the buffer queues.
        QueueKind::Rx if single.rx => layout
            .tail(QueueKind::RxBuffer, single_rx_tail(start))
            .map(|(at, stride)| (at, stride * single_rx_tail(1))),
        // Drivers never write a completion queue's tail.
        _ => layout.tail(kind, start),
    };
    let (tail_start, spacing) = tail.unwrap_or((0, 0));
    QueueRegChunk {
        type_: U32::new(type_of(kind)),
        start_queue_id: U32::new(start),
        num_queues: U32::new(count),
        qtail_reg_start: U64::new(u64::from(tail_start)),
        qtail_reg_spacing: U32::new(spacing),
        ..QueueRegChunk::default()
    }
}
