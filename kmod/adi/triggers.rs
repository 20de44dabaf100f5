// SPDX-License-Identifier: GPL-2.0

//! Eventfds that the user of an ADI has attached to its events.

use kernel::prelude::*;

use crate::{
    eventfd::EventFd,
    ids::AdiVector, //
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

/// Eventfds, by trigger.
pub(super) struct Triggers {
    vectors: KVec<Option<EventFd>>,
    fault: Option<EventFd>,
    request: Option<EventFd>,
}

impl Triggers {
    /// Creates a table without eventfds, for an ADI with `vectors` vectors.
    pub(super) fn new(vectors: u16) -> Result<Self> {
        let mut slots = KVec::with_capacity(vectors.into(), GFP_KERNEL)?;
        for _ in 0..vectors {
            slots.push(None, GFP_KERNEL)?;
        }
        Ok(Self {
            vectors: slots,
            fault: None,
            request: None,
        })
    }

    /// Returns the eventfd of a trigger; `None` if the ADI has no such vector.
    pub(super) fn slot(&mut self, trigger: Trigger) -> Option<&mut Option<EventFd>> {
        match trigger {
            Trigger::Vector(vector) => self.vectors.get_mut(usize::from(vector.0)),
            Trigger::Fault => Some(&mut self.fault),
            Trigger::Request => Some(&mut self.request),
        }
    }
}
