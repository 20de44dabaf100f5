// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The descriptors that outlive a worker, as the worker uses them.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use crate::protocol::AtDeath;
use crate::worker::{Worker, WorkerError};

/// A store of named descriptors, which the next worker inherits. The default is that of a process
/// without a keeper: it keeps nothing.
#[derive(Default)]
pub struct Store {
    worker: Option<Worker>,
    inherited: Mutex<BTreeMap<String, Arc<OwnedFd>>>,
}

impl Store {
    /// Creates the store of a worker, with what its predecessor has left.
    #[must_use]
    pub fn new(worker: &Worker, inherited: BTreeMap<String, Arc<OwnedFd>>) -> Self {
        Self {
            worker: Some(worker.clone()),
            inherited: Mutex::new(inherited),
        }
    }

    /// Takes the descriptor that the predecessor has left under a name. The keeper keeps its own.
    ///
    /// # Errors
    /// Fails when the process is out of descriptors.
    pub fn take(&self, name: &str) -> io::Result<Option<OwnedFd>> {
        match self.remove(name).map(Arc::try_unwrap) {
            None => Ok(None),
            Some(Ok(fd)) => Ok(Some(fd)),
            Some(Err(shared)) => shared.try_clone().map(Some),
        }
    }

    /// Keeps a descriptor for the next worker, in place of any other of that name.
    ///
    /// # Errors
    /// Fails when the keeper is gone.
    pub fn keep(&self, name: &str, fd: BorrowedFd<'_>) -> Result<(), WorkerError> {
        self.keep_with(name, fd, None)
    }

    /// Keeps a descriptor for the next worker, to which the keeper writes when this one has died.
    ///
    /// # Errors
    /// Fails when the keeper is gone.
    pub fn keep_with(
        &self,
        name: &str,
        fd: BorrowedFd<'_>,
        at_death: Option<AtDeath>,
    ) -> Result<(), WorkerError> {
        match &self.worker {
            Some(worker) => worker.keep_with(name, fd, at_death),
            None => Ok(()),
        }
    }

    /// Keeps a text for the next worker, or none any more.
    ///
    /// # Errors
    /// Fails when the keeper is gone.
    pub fn note(&self, name: &str, text: Option<String>) -> Result<(), WorkerError> {
        match &self.worker {
            Some(worker) => worker.note(name, text),
            None => Ok(()),
        }
    }

    /// The names of the descriptors that the predecessor has left and that were not taken.
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        let inherited = self
            .inherited
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        inherited.keys().cloned().collect()
    }

    /// Ends the keeping of a descriptor, also of one that the predecessor has left and that was not
    /// taken.
    ///
    /// # Errors
    /// Fails when the keeper is gone.
    pub fn forget(&self, name: &str) -> Result<(), WorkerError> {
        drop(self.remove(name));
        match &self.worker {
            Some(worker) => worker.forget(name),
            None => Ok(()),
        }
    }

    /// Takes an inherited descriptor out.
    fn remove(&self, name: &str) -> Option<Arc<OwnedFd>> {
        let mut inherited = self
            .inherited
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        inherited.remove(name)
    }
}
