// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The relays of a keeper, by name, each in a thread.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use adit_vfio_user::handover::{HandoverError, InheritedFds, SavedServer};
use adit_vfio_user::relay::{IntroductionError, Pending, Relay, RelayHandle};
use adit_vfio_user::Config;

use crate::process::{Event, Process};

/// The time for all relays to carry out an order that takes none, unless a worker delays a message: a part of
/// that for which clients may wait.
const SHORTLY: Duration = Duration::from_secs(2);
/// The stack of a relay's thread in bytes.
const STACK: usize = 256 << 10;

/// All relays of a keeper.
pub(crate) struct Relays {
    relays: BTreeMap<String, (RelayHandle, JoinHandle<()>)>,
    events: Sender<Event>,
}

impl Relays {
    pub(crate) fn new(events: Sender<Event>) -> Self {
        Self {
            relays: BTreeMap::new(),
            events,
        }
    }

    /// The names of what is served.
    pub(crate) fn names(&self) -> Vec<String> {
        self.relays.keys().cloned().collect()
    }

    /// Serves a socket from now on. A relay that has the name already is kept, and so is its socket.
    pub(crate) fn add(
        &mut self,
        name: &str,
        saved: SavedServer,
        fds: &mut InheritedFds,
    ) -> Result<(), HandoverError> {
        if self.relays.contains_key(name) {
            return Ok(());
        }
        let events = self.events.clone();
        let lost = move |lost| drop(events.send(Event::Lost(lost)));
        let (mut relay, handle) = Relay::new(saved, fds, Config::default(), lost)?;
        let thread = std::thread::Builder::new()
            .name(name.chars().take(15).collect())
            .stack_size(STACK)
            .spawn({
                let name = name.to_owned();
                move || {
                    if let Err(error) = relay.run() {
                        tracing::error!(name, "the relay has ended: {error}");
                    }
                }
            });
        let thread = thread.map_err(|error| HandoverError::Io {
            call: "clone",
            errno: rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::AGAIN),
        })?;
        self.relays.insert(name.to_owned(), (handle, thread));
        Ok(())
    }

    /// Ends a relay: its client is disconnected, and its socket removed.
    pub(crate) fn remove(&mut self, name: &str) {
        if let Some((handle, thread)) = self.relays.remove(name) {
            handle.stop();
            let _ = thread.join();
        }
    }

    /// Ends the relays whose sockets the worker does not serve any more.
    pub(crate) fn retain(&mut self, served: &BTreeSet<String>) {
        for name in self.names() {
            if !served.contains(&name) {
                tracing::warn!(name, "no longer served: its client is disconnected");
                self.remove(&name);
            }
        }
    }

    /// Connects one relay to its worker.
    pub(crate) fn connect(&self, name: &str, source: OwnedFd) {
        if let Some((handle, _)) = self.relays.get(name) {
            handle.connect(source);
        }
    }

    /// Pauses all relays; returns the name of one that cannot. The others are paused then, too.
    pub(crate) fn pause(&self) -> Result<(), String> {
        match self.all_at_once(RelayHandle::pause) {
            None => Ok(()),
            Some(name) => Err(format!("a client of `{name}` or its worker stalls")),
        }
    }

    /// Introduces the clients of all relays to the next worker, until a time. Sockets that it does not serve
    /// have no worker then.
    pub(crate) fn switch(
        &self,
        sources: &mut BTreeMap<String, OwnedFd>,
        until: Instant,
    ) -> Result<(), (String, IntroductionError)> {
        for (name, (handle, _)) in &self.relays {
            if let Some(source) = sources.remove(name) {
                let left = until.saturating_duration_since(Instant::now());
                let switched = handle.switch(source, left);
                switched.map_err(|error| (name.clone(), error))?;
            }
        }
        Ok(())
    }

    /// Goes on with the next worker.
    pub(crate) fn commit(&self) {
        // One that has not answered does so later.
        self.all_at_once(RelayHandle::commit);
    }

    /// Goes on with the worker of before.
    pub(crate) fn revert(&self) {
        self.all_at_once(RelayHandle::revert);
    }

    /// Gives an order to all relays, then waits until they have carried it out; returns the name of one that
    /// has not shortly.
    fn all_at_once(&self, order: impl Fn(&RelayHandle) -> Pending) -> Option<&str> {
        let until = Instant::now() + SHORTLY;
        let given = self.relays.iter();
        let given: Vec<_> = given
            .map(|(name, (handle, _))| (name, order(handle)))
            .collect();
        let mut late = None;
        for (name, pending) in given {
            if !pending.wait(until.saturating_duration_since(Instant::now())) {
                late = late.or(Some(name.as_str()));
            }
        }
        late
    }

    /// Answers in place of a worker that has ended, and with it all accesses to the clients' memory; except
    /// where `living`, a worker that is not the dead one, is connected already.
    pub(crate) fn worker_ended(&self, living: Option<&Process>) {
        let is_served = |name: &str| living.is_some_and(|worker| worker.is_connected(name));
        let relays = self.relays.iter().filter(|(name, _)| !is_served(name));
        relays.for_each(|(_, (handle, _))| handle.worker_ended());
    }

    fn each(&self, act: impl Fn(&RelayHandle)) {
        self.relays.values().for_each(|(handle, _)| act(handle));
    }
}

impl Drop for Relays {
    fn drop(&mut self) {
        self.each(RelayHandle::stop);
        for (_, (_, thread)) in std::mem::take(&mut self.relays) {
            let _ = thread.join();
        }
    }
}
