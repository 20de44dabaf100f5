// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The positions of queues in their rings, which an ADI's owner reads and sets while it is suspended.

use super::slot::{self, Slot};
use super::Queues;
use crate::dataplane::{QueueId, QueueKind, QueuePosition};

/// A queue whose position can be read and set.
pub(super) trait Positioned {
    /// The index of the next entry, and the generation bit that is written there.
    fn position(&self) -> (u16, bool);

    /// Continues at another entry, which is below the length of the ring.
    fn set_position(&mut self, next: u16, generation: bool);
}

impl<Q: Positioned> Positioned for Box<Q> {
    fn position(&self) -> (u16, bool) {
        (**self).position()
    }

    fn set_position(&mut self, next: u16, generation: bool) {
        (**self).set_position(next, generation);
    }
}

/// Implements the trait by the inherent methods of a queue.
macro_rules! positioned {
    ($($queue:ty)*) => {$(
        impl Positioned for $queue {
            fn position(&self) -> (u16, bool) {
                self.position()
            }

            fn set_position(&mut self, next: u16, generation: bool) {
                self.set_position(next, generation);
            }
        }
    )*};
}

positioned! {
    crate::queues::TxQueue
    crate::queues::CompletionQueue
    crate::queues::RxQueue
    crate::queues::BufferQueue
}

impl Queues {
    /// The position of a queue; `None` unless it is enabled or stopped by a fault.
    pub(in crate::datapath) fn position(&self, queue: QueueId) -> Option<QueuePosition> {
        let at = queue.index as usize;
        match queue.kind {
            QueueKind::Tx => position(self.tx.get(at)?),
            QueueKind::TxCompletion => position(self.completion.get(at)?),
            QueueKind::Rx => position(self.rx.get(at)?),
            QueueKind::RxBuffer => position(self.buffer.get(at)?),
        }
    }

    /// Sets the position of a queue that is enabled or stopped by a fault.
    pub(in crate::datapath) fn set_position(&mut self, queue: QueueId, position: QueuePosition) {
        let at = queue.index;
        match queue.kind {
            QueueKind::Tx => set_position(&mut self.tx, at, position),
            QueueKind::TxCompletion => set_position(&mut self.completion, at, position),
            QueueKind::Rx => set_position(&mut self.rx, at, position),
            QueueKind::RxBuffer => set_position(&mut self.buffer, at, position),
        }
    }
}

fn position<Q: Positioned>(slot: &Slot<Q>) -> Option<QueuePosition> {
    let (next, generation) = slot.queue()?.position();
    Some(QueuePosition {
        next,
        generation,
        stopped: !slot.is_enabled(),
    })
}

fn set_position<Q: Positioned>(slots: &mut [Slot<Q>], at: u32, position: QueuePosition) {
    let slot = slots.get_mut(at as usize);
    if let Some(queue) = slot.and_then(Slot::queue_mut) {
        queue.set_position(position.next, position.generation);
        slot::set_stopped(slots, at, position.stopped);
    }
}
