// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One virtual port of a composed device: its ADI, and what is configured there.

use std::cell::{Cell, Ref, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

use adit_function::dataplane::{QueueId, VportCounters};
use adit_function::logging::warn_throttled;
use adit_function::vport::VportConfig;
use adit_uapi::virtchnl2::adi::{fault_reason, AdiFault};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use zerocopy::FromBytes;

use super::messages::{Encoder, Message};
use crate::backend::{Adi, AdiError, KeptAdi, Link, Properties};

/// A virtual port.
pub(super) struct Port {
    /// `None` once it is gone.
    adi: Option<RefCell<Box<dyn Adi>>>,
    /// Set when a call found that it is gone; it is closed at the next opportunity.
    lost: Cell<bool>,
    pub(super) name: String,
    pub(super) properties: Properties,
    pub(super) encoder: Encoder,
    /// The configuration by the driver.
    pub(super) config: VportConfig,
    /// Queues that run, numbered within the ADI.
    pub(super) running: BTreeSet<QueueId>,
    /// The vectors of queues, all numbered within the ADI.
    pub(super) vectors: BTreeMap<QueueId, u16>,
    /// The link when it was last read.
    pub(super) link: Link,
    /// The counters when they were last read.
    pub(super) counters: Cell<VportCounters>,
    pub(super) requests: Cell<u64>,
    pub(super) refused: Cell<u64>,
    pub(super) faults: u64,
    /// The number of faults since the last reset of the ADI, when it was last asked.
    faults_since_reset: u64,
}

impl Port {
    /// A port out of an ADI in the state after opening.
    pub(super) fn new(adi: Box<dyn Adi>) -> Self {
        Self {
            name: adi.name().to_owned(),
            properties: adi.properties().clone(),
            encoder: Encoder(adi.ids()),
            link: adi.link().unwrap_or_default(),
            adi: Some(RefCell::new(adi)),
            lost: Cell::new(false),
            config: VportConfig::default(),
            running: BTreeSet::new(),
            vectors: BTreeMap::new(),
            counters: Cell::default(),
            requests: Cell::new(0),
            refused: Cell::new(0),
            faults: 0,
            faults_since_reset: 0,
        }
    }

    /// The numbers of queue pairs and vectors of the ADI of this name, if it is not closed: it may be gone,
    /// but nobody can open it.
    pub(super) fn named(&self, name: &str) -> Option<(u16, u16)> {
        let adi = self.adi.as_ref()?.borrow();
        adi.named(name).map(|own| (own.pairs, own.vectors))
    }

    /// Returns whether the ADI no longer exists.
    pub(super) fn is_gone(&self) -> bool {
        self.lost.get() || self.adi.is_none()
    }

    /// Returns whether the ADI reports that it has gone, or must be closed.
    pub(super) fn reports_gone(&mut self) -> bool {
        let Ok(adi) = self.adi() else { return true };
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut gone = [PollFd::from_borrowed_fd(adi.gone(), PollFlags::IN)];
        loop {
            match poll(&mut gone, Some(&now)) {
                Err(Errno::INTR) => {}
                // An ADI whose descriptor cannot be polled cannot be trusted to be there.
                result => return result != Ok(0),
            }
        }
    }

    /// Closes the ADI: nothing of it accesses memory afterwards.
    pub(super) fn close(&mut self) {
        self.adi = None;
        self.running.clear();
        self.vectors.clear();
        self.link = Link::default();
    }

    /// Leaves the ADI open for a successor of this process, where there is a keeper, and closes it otherwise.
    pub(super) fn leave(&mut self) {
        if let Ok(adi) = self.adi() {
            adi.leave_open();
        }
        self.close();
    }

    /// Continues with an ADI that was inherited.
    pub(super) fn take_over(&self) {
        if let Some(adi) = &self.adi {
            adi.borrow_mut().take_over();
        }
    }

    /// Begins anew with an ADI that was inherited. One that fails is closed.
    pub(super) fn begin_anew(&mut self) {
        let result = match self.adi() {
            Ok(adi) => adi.begin_anew(),
            Err(_) => return self.close(),
        };
        if self.note(result).is_err() {
            self.close();
        }
    }

    /// The ADIs that it consists of, unless it is closed.
    pub(super) fn members(&self) -> Option<Vec<KeptAdi>> {
        Some(self.adi.as_ref()?.borrow().members())
    }

    /// Closes the ADI if a call found that it is gone.
    pub(super) fn close_lost(&mut self) {
        if self.lost.get() {
            self.close();
        }
    }

    /// The ADI, unless it is gone.
    pub(super) fn borrow(&self) -> Option<Ref<'_, Box<dyn Adi>>> {
        let adi = self.adi.as_ref().filter(|_| !self.lost.get());
        adi.map(RefCell::borrow)
    }

    /// The ADI, to be used without messages.
    pub(super) fn adi(&mut self) -> Result<&mut dyn Adi, AdiError> {
        match &mut self.adi {
            Some(adi) if !self.lost.get() => Ok(adi.get_mut().as_mut()),
            _ => Err(AdiError::Gone),
        }
    }

    /// Sends a message.
    pub(super) fn send(&self, message: &Message, reply: &mut Vec<u8>) -> Result<(), AdiError> {
        let Some(adi) = self.adi.as_ref().filter(|_| !self.lost.get()) else {
            return Err(AdiError::Gone);
        };
        self.requests.set(self.requests.get() + 1);
        let mut adi = adi.borrow_mut();
        let result = adi.request(message.opcode, &message.payload, reply);
        self.note(result)
    }

    /// Asks for the faults of the ADI, and counts those that are new. Returns the first one that nobody has
    /// asked for.
    pub(super) fn take_fault(&mut self) -> Option<AdiFault> {
        let mut reply = Vec::new();
        self.send(&self.encoder.fault(), &mut reply).ok()?;
        let (fault, _) = AdiFault::read_from_prefix(&reply).ok()?;
        let since_reset = fault.count.get();
        let before = std::mem::replace(&mut self.faults_since_reset, since_reset);
        // Fewer than before: it was reset by someone else, such as a keeper.
        self.faults += since_reset.checked_sub(before).unwrap_or(since_reset);
        (fault.reason.get() != fault_reason::NONE).then_some(fault)
    }

    /// Counts and logs an error of the ADI.
    pub(super) fn note<T>(&self, result: Result<T, AdiError>) -> Result<T, AdiError> {
        if let Err(error) = &result {
            self.refused.set(self.refused.get() + 1);
            warn_throttled!(adi = self.name, "ADI: {error}");
            if matches!(error, AdiError::Gone) {
                self.lost.set(true);
            }
        }
        result
    }

    /// Restores the state after opening. An ADI that cannot do that is closed, because it could
    /// still access memory.
    pub(super) fn reset(&mut self) {
        self.config = VportConfig::default();
        self.running.clear();
        self.vectors.clear();
        self.counters.take();
        self.faults_since_reset = 0;
        let result = match self.adi() {
            Ok(adi) => adi.reset(),
            Err(_) => return self.close(),
        };
        if self.note(result).is_err() {
            self.close();
        }
    }

    /// Gives the ADI a file of doorbell pages that a client has mapped already.
    pub(super) fn adopt_pages(&mut self, pages: OwnedFd) -> Result<(), AdiError> {
        self.adi()?.adopt_pages(pages)
    }

    /// Takes the doorbell pages away from a client that has left, where the back end can do that;
    /// returns whether they are others now.
    pub(super) fn revoke_pages(&mut self) -> bool {
        let result = match self.adi() {
            Ok(adi) => adi.revoke_pages(),
            Err(_) => return false,
        };
        match result {
            Ok(()) => true,
            Err(AdiError::Limit { what, reason }) => {
                tracing::debug!(adi = self.name, "{what}: {reason}");
                false
            }
            Err(error) => {
                let _ = self.note::<()>(Err(error));
                self.close();
                false
            }
        }
    }

    /// Reads the link again; returns whether it has changed.
    pub(super) fn refresh_link(&mut self) -> bool {
        let link = match self.adi() {
            Ok(adi) => adi.link(),
            Err(_) => return false,
        };
        let link = self.note(link).unwrap_or_default();
        std::mem::replace(&mut self.link, link) != link
    }
}
