// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The replacement of a worker by the next one.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use adit_vfio_user::handover::{InheritedFds, SentFds};

use super::{error_chain, say, Keeper, KeeperError, END, PAUSE, PREPARATION};
use crate::process::{Event, Process};
use crate::protocol::{ToKeeper, ToWorker};

/// The number of successors that are started one after another because what is kept has changed.
const ATTEMPTS: u32 = 3;

impl Keeper {
    /// Replaces a worker by one that is started now. After an error the old one continues.
    pub(super) fn update(
        &mut self,
        old: &mut Process,
        pause: &mut Duration,
    ) -> Result<Process, KeeperError> {
        for _ in 0..ATTEMPTS {
            let known = self.changes;
            let mut new = self.spawn(true)?;
            if let Err(error) = self.prepare(old, &mut new) {
                drop(new);
                self.relays.worker_ended(Some(old));
                // They share descriptors, whose settings the new one may have changed. One that has ended
                // is followed by another one.
                let _ = say(old, "go_on", &ToWorker::GoOn, &SentFds::default());
                return Err(error);
            }
            if self.resets_on_update {
                return self.reset_and_replace(old, new, known, pause);
            }
            let begun = Instant::now();
            let changed = self.change(old, &mut new, known);
            if let Err(error) = &changed {
                if !matches!(error, KeeperError::Resets(_)) {
                    // Nothing of the old one's may change any more.
                    new.kill();
                    new.wait(END);
                }
                self.relays.revert();
                if !matches!(error, KeeperError::Resets(_)) {
                    self.relays.worker_ended(Some(old));
                }
                // A worker that is not frozen has nothing to go on from, nor has one that has ended.
                let _ = say(old, "go_on", &ToWorker::GoOn, &SentFds::default());
            }
            match changed {
                Ok(()) => return Ok(self.complete(old, new, begun)),
                Err(KeeperError::Changed(_)) => {
                    tracing::info!(pid = new.pid(), "the old worker has changed what it keeps");
                }
                Err(error @ KeeperError::Resets(_)) => {
                    tracing::warn!("{error}");
                    return self.reset_and_replace(old, new, known, pause);
                }
                Err(error) => return Err(error),
            }
        }
        Err(KeeperError::Changed(ATTEMPTS))
    }

    /// Waits until a worker is prepared, and has a copy of what may be large in the state of the old one, which
    /// goes on.
    fn prepare(&mut self, old: &mut Process, new: &mut Process) -> Result<(), KeeperError> {
        self.until(new, Some(old), "prepared", PREPARATION)?;
        if self.resets_on_update {
            return Ok(());
        }
        say(old, "precopy", &ToWorker::Precopy, &SentFds::default())?;
        let copied = self.until(old, Some(new), "precopied", PREPARATION)?;
        if let (ToKeeper::Precopied { state: Some(state) }, inherited) = copied {
            pass(new, "preload", &ToWorker::Preload { state }, &inherited)?;
            self.until(new, Some(old), "preloaded", PREPARATION)?;
        }
        Ok(())
    }

    /// Goes on with a worker that has taken over, and ends the old one.
    fn complete(&mut self, old: &mut Process, mut new: Process, begun: Instant) -> Process {
        // From now on the old one must not go on: the new one may change everything. If that dies,
        // the next one begins as after any death.
        let _ = say(&new, "go_on", &ToWorker::GoOn, &SentFds::default());
        self.relays.commit();
        let us = begun.elapsed().as_micros() as u64;
        new.is_used = true;
        self.relays.retain(&new.served);
        tracing::info!(pid = new.pid(), us, "updated: clients were paused");
        if say(old, "leave", &ToWorker::Leave, &SentFds::default()).is_err() {
            old.kill();
        }
        old.wait(END);
        new
    }

    /// Ends a worker and goes on with one that is prepared and has seen the first `known` changes, or
    /// with another one if there were more or that fails: only a signal keeps this from having a worker
    /// in the end.
    fn reset_and_replace(
        &mut self,
        old: &mut Process,
        mut new: Process,
        known: u64,
        pause: &mut Duration,
    ) -> Result<Process, KeeperError> {
        let begun = Instant::now();
        old.kill();
        self.finish(old);
        old.wait(END);
        self.after_death(Some(&new));
        if self.changes != known {
            tracing::info!(
                pid = new.pid(),
                "the old worker has changed what it keeps meanwhile: another one is started"
            );
            drop(new);
            self.relays.worker_ended(None);
            return self.restart(pause);
        }
        match self.go(&mut new) {
            Ok(()) => {
                let us = begun.elapsed().as_micros() as u64;
                tracing::info!(pid = new.pid(), us, "updated: devices were in reset");
                Ok(new)
            }
            Err(error @ KeeperError::Signal(_)) => Err(error),
            Err(error) => {
                tracing::error!(error = error_chain(&error), "the worker does not start");
                drop(new);
                // It may have set the devices up already.
                self.after_death(None);
                self.restart(pause)
            }
        }
    }

    /// Carries out what a worker that was killed has still sent. Other events are handled later.
    fn finish(&mut self, old: &mut Process) {
        let until = Instant::now() + END;
        let mut others = Vec::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Event::Message(id, message, fds)) if id == old.id => {
                    self.message(old, message, fds);
                }
                Ok(Event::Closed(id, _)) if id == old.id => break,
                // A relay has noticed the end of this worker.
                Ok(Event::Lost(_)) => {}
                Ok(other) => others.push(other),
                Err(_) => break,
            }
        }
        for event in others {
            // The receiver is this keeper's own.
            let _ = self.sender.send(event);
        }
    }

    /// Moves clients and state from one worker to the next, which has seen the first `known` changes.
    fn change(
        &mut self,
        old: &mut Process,
        new: &mut Process,
        known: u64,
    ) -> Result<(), KeeperError> {
        // Those that are paused first wait for the last one.
        let until = Instant::now() + PAUSE;
        self.relays.pause().map_err(KeeperError::Busy)?;
        let left = || until.saturating_duration_since(Instant::now());
        say(old, "freeze", &ToWorker::Freeze, &SentFds::default())?;
        let (state, inherited) = match self.until(old, Some(new), "frozen", left())? {
            (ToKeeper::Frozen { state }, fds) => (state, fds),
            (ToKeeper::NotFrozen { text, resets }, _) => {
                return Err(match resets {
                    true => KeeperError::Resets(text),
                    // What it has changed may be the cause.
                    false if self.changes != known => KeeperError::Changed(1),
                    false => KeeperError::Busy(text),
                });
            }
            _ => return Err(KeeperError::Late("frozen", PAUSE)),
        };
        if self.changes != known {
            return Err(KeeperError::Changed(1));
        }
        say(new, "introduce", &ToWorker::Introduce, &SentFds::default())?;
        let mut sources = std::mem::take(&mut new.sources);
        let switched = self.relays.switch(&mut sources, until);
        switched.map_err(|(name, source)| KeeperError::Client { name, source })?;
        let go = ToWorker::Go { state: Some(state) };
        pass(new, "go", &go, &inherited)?;
        self.until(new, Some(old), "ready", left())?;
        Ok(())
    }
}

/// Sends a message with the descriptors of another one.
fn pass(
    worker: &Process,
    what: &'static str,
    message: &ToWorker,
    inherited: &InheritedFds,
) -> Result<(), KeeperError> {
    let shared: Result<Vec<_>, _> = (0..inherited.len() as u32)
        .map(|n| inherited.share(n))
        .collect();
    let shared = shared.map_err(|source| KeeperError::Message { what, source })?;
    let mut fds = SentFds::default();
    for fd in &shared {
        fds.add(fd.as_fd());
    }
    say(worker, what, message, &fds)
}
