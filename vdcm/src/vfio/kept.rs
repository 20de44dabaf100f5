// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ADIs that stay open for a successor of this process: a keeper holds their descriptors.
//!
//! The kernel ties an ADI to the open file of its device, not to a process. So a successor with the same
//! descriptors has the same ADI: its queues, its registered memory, the doorbell pages that a client has
//! mapped, and the eventfds of its vectors. An ADI that is taken away meanwhile stays lost for this file,
//! whoever gets it then (`adit_uapi::vfio`).

use std::collections::hash_map::RandomState;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_adi::{Device, VfioDevice};
use adit_keeper::{AtDeath, Store, WorkerError};
use parking_lot::Mutex;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::pipe::{pipe_with, PipeFlags};
use serde::{Deserialize, Serialize};

use crate::backend::{DoorbellPages, KeptAdi};

/// The prefix of the names of descriptors and notes at the keeper.
const PREFIX: &str = "adi ";
/// The time for the keeper to close an ADI.
const CLOSING: Duration = Duration::from_secs(2);

/// The descriptors of an ADI, in the order in which they are kept and closed: the last one is closed after all
/// others.
const PARTS: [&str; 7] = [DEVICE, SPACE, GONE, FAULT, PAGES, CLOSED, OPEN];
const DEVICE: &str = "device";
const SPACE: &str = "space";
const GONE: &str = "gone";
const FAULT: &str = "fault";
const PAGES: &str = "pages";
/// The ends of a pipe: that for reading says when all copies of the other one are closed.
const CLOSED: &str = "closed";
const OPEN: &str = "open";

/// The note of an ADI, which says that all its descriptors are kept.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// The id of its IOAS, if its address space is an iommufd.
    ioas: Option<u32>,
    /// The number of its doorbell pages.
    pages: u32,
}

/// The ADIs that a keeper holds.
pub struct KeptAdis {
    store: Arc<Store>,
    /// The notes of the previous process.
    notes: Mutex<BTreeMap<String, String>>,
}

/// The descriptors of an ADI that a predecessor has left.
pub(super) struct Left {
    pub(super) device: Box<dyn Device>,
    pub(super) gone: OwnedFd,
    pub(super) fault: OwnedFd,
    pub(super) pages: DoorbellPages,
    pub(super) keeping: Keeping,
}

/// The keeping of one ADI.
pub(super) struct Keeping {
    store: Arc<Store>,
    opened: Opened,
    /// The pipe that is at its end once every other process that has the descriptors has closed them.
    closed: OwnedFd,
    open: OwnedFd,
}

/// One opening of an ADI. The name alone says nothing: an ADI of the same name may have been opened since.
#[derive(Clone, Debug)]
struct Opened {
    name: String,
    id: u64,
}

impl Opened {
    /// An opening of this process.
    fn new(name: &str) -> Self {
        // Random, so that it differs from those of all processes of this keeper; 0 is that of no opening.
        let id = RandomState::new().build_hasher().finish().max(1);
        let name = name.to_owned();
        Self { name, id }
    }

    fn of(adi: &KeptAdi) -> Self {
        let (name, id) = (adi.name.clone(), adi.opening);
        Self { name, id }
    }

    /// The name of one of its descriptors at the keeper.
    fn key(&self, part: &str) -> String {
        format!("{} {part}", self.note())
    }

    /// The name of its note at the keeper.
    fn note(&self) -> String {
        format!("{PREFIX}{} {}", self.name, self.id)
    }
}

/// Logs the loss of the keeper, after which this process exits soon.
fn report(name: &str, done: Result<(), WorkerError>) {
    if let Err(error) = done {
        tracing::error!(name, "the ADI is not kept: {error}");
    }
}

impl KeptAdis {
    /// The descriptors in a store, and the notes of the previous process.
    #[must_use]
    pub fn new(store: Arc<Store>, notes: &BTreeMap<String, String>) -> Self {
        let own = notes.iter().filter(|(name, _)| name.starts_with(PREFIX));
        let own = own.map(|(name, text)| (name.clone(), text.clone()));
        let notes = Mutex::new(own.collect());
        Self { store, notes }
    }

    /// Keeps an ADI that was opened.
    pub(super) fn keep(
        &self,
        name: &str,
        device: &dyn Device,
        gone: BorrowedFd<'_>,
        fault: BorrowedFd<'_>,
        pages: &DoorbellPages,
    ) -> io::Result<Keeping> {
        let (closed, open) = pipe_with(PipeFlags::CLOEXEC)?;
        let descriptors = device.descriptors().map_err(io::Error::other)?;
        let last = device.reset_message().map_err(io::Error::other)?;
        let last = AtDeath {
            offset: last.offset,
            bytes: last.bytes,
        };
        let text = serde_json::to_string(&Note {
            ioas: descriptors.ioas,
            pages: pages.count,
        })?;
        let opened = Opened::new(name);
        let kept = || {
            let keep = |part, fd| self.store.keep(&opened.key(part), fd);
            let device = descriptors.device;
            self.store
                .keep_with(&opened.key(DEVICE), device, Some(last))?;
            keep(SPACE, descriptors.space)?;
            keep(GONE, gone)?;
            keep(FAULT, fault)?;
            keep(PAGES, pages.file.as_fd())?;
            keep(CLOSED, closed.as_fd())?;
            keep(OPEN, open.as_fd())?;
            self.store.note(&opened.note(), Some(text))
        };
        report(name, kept());
        Ok(Keeping {
            store: self.store.clone(),
            opened,
            closed,
            open,
        })
    }

    /// The ADI that a predecessor has left open; `None` without one, or if it is gone.
    pub(super) fn take(&self, adi: &KeptAdi) -> io::Result<Option<Left>> {
        let (name, opened) = (&adi.name, Opened::of(adi));
        let Some(text) = self.notes.lock().remove(&opened.note()) else {
            return Ok(None);
        };
        let Note { ioas, pages } = serde_json::from_str(&text)?;
        let mut parts = BTreeMap::new();
        for part in PARTS {
            match self.store.take(&opened.key(part))? {
                Some(fd) => parts.insert(part, fd),
                None => return Ok(None),
            };
        }
        let mut part = |name| {
            let missing = || io::Error::from(io::ErrorKind::NotFound);
            parts.remove(name).ok_or_else(missing)
        };
        let keeping = Keeping {
            store: self.store.clone(),
            opened,
            closed: part(CLOSED)?,
            open: part(OPEN)?,
        };
        let device = VfioDevice::inherit(name, part(DEVICE)?, part(SPACE)?, ioas);
        let device = match device {
            Ok(device) => device,
            Err(error) => {
                tracing::warn!(name, "an ADI of the previous process: {error}");
                return Ok(None);
            }
        };
        Ok(Some(Left {
            device: Box::new(device),
            gone: part(GONE)?,
            fault: part(FAULT)?,
            pages: DoorbellPages {
                file: part(PAGES)?.into(),
                count: pages,
            },
            keeping,
        }))
    }

    /// Ends the keeping of an ADI.
    pub(super) fn forget(&self, adi: &KeptAdi) {
        report(&adi.name, forget(&self.store, &Opened::of(adi)));
    }

    /// Ends the keeping of what is left of a predecessor, which has ended.
    pub(super) fn forget_left(&self) {
        self.notes.lock().clear();
        let mut names: Vec<_> = self.store.left();
        names.retain(|name| name.starts_with(PREFIX));
        for name in &names {
            tracing::info!(name, "nobody continues with it: closed");
            report(name, self.store.forget(name));
            if let Some((adi, _)) = name.rsplit_once(' ') {
                report(name, self.store.note(adi, None));
            }
        }
    }
}

fn forget(store: &Store, opened: &Opened) -> Result<(), WorkerError> {
    store.note(&opened.note(), None)?;
    PARTS
        .iter()
        .try_for_each(|part| store.forget(&opened.key(part)))
}

impl Keeping {
    /// The id of the opening.
    pub(super) fn opening(&self) -> u64 {
        self.opened.id
    }

    /// Keeps another file of doorbell pages.
    pub(super) fn keep_pages(&self, pages: &DoorbellPages) {
        let key = self.opened.key(PAGES);
        let kept = self.store.keep(&key, pages.file.as_fd());
        report(&self.opened.name, kept);
    }

    /// Ends the keeping; the descriptors are closed when this returns, but for those of this process. If the
    /// keeper does not do that in time, they are closed later.
    pub(super) fn end(self) {
        let Self {
            store,
            opened,
            closed,
            open,
        } = self;
        let name = &opened.name;
        report(name, forget(&store, &opened));
        drop(open);
        let until = Instant::now() + CLOSING;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).ok();
            let mut end = [PollFd::new(&closed, PollFlags::IN)];
            match poll(&mut end, left.as_ref()) {
                Ok(0) => break tracing::warn!(name, "the keeper still has the ADI"),
                Err(Errno::INTR) => {}
                _ => break,
            }
        }
    }
}

#[cfg(test)]
impl KeptAdis {
    /// The names of the notes of ADIs that were not taken.
    pub(super) fn notes(&self) -> Vec<String> {
        self.notes.lock().keys().cloned().collect()
    }
}

#[cfg(test)]
impl Left {
    /// The descriptors of an ADI that no keeper has.
    pub(super) fn of_test(device: Box<dyn Device>, pages: DoorbellPages) -> Self {
        let event = || {
            let flags = rustix::event::EventfdFlags::NONBLOCK;
            rustix::event::eventfd(0, flags).unwrap()
        };
        let (closed, open) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let keeping = Keeping {
            store: Arc::default(),
            opened: Opened::new("adit.adi.7"),
            closed,
            open,
        };
        let (gone, fault) = (event(), event());
        Self {
            device,
            gone,
            fault,
            pages,
            keeping,
        }
    }
}
