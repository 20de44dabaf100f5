// SPDX-License-Identifier: GPL-2.0

//! Eventfds that the user of an ADI has attached to its events.

use kernel::{
    prelude::*,
    sync::Arc, //
};

use crate::{
    eventfd::EventFd,
    ids::AdiVector,
    irq_lock::{
        new_irq_lock,
        IrqLock, //
    }, //
};

/// Event of an ADI that its user can attach an eventfd to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// An interrupt of a vector of the ADI.
    Vector(AdiVector),
    /// A fault that stopped a queue.
    Fault,
    /// A request to release the ADI.
    Request,
}

/// Eventfds of an ADI, by trigger; signalled in interrupt context, too.
///
/// A handler of an interrupt has a reference while it signals, which may be the last one: the drop frees
/// memory, and does not sleep.
#[pin_data]
pub(super) struct Triggers {
    #[pin]
    eventfds: IrqLock<Eventfds>,
}

struct Eventfds {
    vectors: KVec<Option<EventFd>>,
    fault: Option<EventFd>,
    request: Option<EventFd>,
}

impl Triggers {
    /// Creates a table without eventfds, for an ADI with `vectors` vectors.
    pub(super) fn new(vectors: u16) -> Result<Arc<Self>> {
        let mut slots = KVec::with_capacity(vectors.into(), GFP_KERNEL)?;
        for _ in 0..vectors {
            slots.push(None, GFP_KERNEL)?;
        }
        let eventfds = Eventfds {
            vectors: slots,
            fault: None,
            request: None,
        };
        Arc::pin_init(
            pin_init!(Self {
                eventfds <- new_irq_lock!(eventfds),
            }),
            GFP_KERNEL,
        )
    }

    /// Sets the eventfd of a trigger; `None` removes it, and it is not signalled after this returns.
    /// Fails with `EINVAL` if there is no such vector.
    pub(super) fn set(&self, trigger: Trigger, eventfd: Option<EventFd>) -> Result {
        let old = {
            let mut eventfds = self.eventfds.lock();
            let slot = eventfds.slot(trigger).ok_or(EINVAL)?;
            core::mem::replace(slot, eventfd)
        };
        // The last reference to an eventfd is not dropped under the lock.
        drop(old);
        Ok(())
    }

    /// Signals the eventfd of a trigger, if any.
    pub(super) fn signal(&self, trigger: Trigger) {
        if let Some(Some(eventfd)) = self.eventfds.lock().slot(trigger) {
            eventfd.signal();
        }
    }
}

impl Eventfds {
    /// Returns the eventfd of a trigger; `None` if the ADI has no such vector.
    fn slot(&mut self, trigger: Trigger) -> Option<&mut Option<EventFd>> {
        match trigger {
            Trigger::Vector(vector) => self.vectors.get_mut(usize::from(vector.0)),
            Trigger::Fault => Some(&mut self.fault),
            Trigger::Request => Some(&mut self.request),
        }
    }
}
