// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The keeper: its worker's life, and the way from one to the next.

mod update;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use adit_vfio_user::handover::{HandoverError, InheritedFds, SentFds};
use adit_vfio_user::relay::Lost;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use thiserror::Error;

use crate::process::{Event, Kept, Process, WorkerId};
use crate::protocol::{AtDeath, ToKeeper, ToWorker};
use crate::relays::Relays;

/// The time for a worker to prepare itself: it may have to compile a program.
const PREPARATION: Duration = Duration::from_secs(60);
/// The time for a worker to start once it is prepared.
const START: Duration = Duration::from_secs(30);
/// The time for which clients are paused, while a worker freezes and another one starts with its state: QEMU
/// waits for five seconds.
const PAUSE: Duration = Duration::from_millis(4200);
/// The time for a worker to end. It is killed then, and its sockets can be bound by its successor.
pub const END: Duration = Duration::from_secs(10);
/// A worker that has lived for less is started again after a pause, which doubles up to the maximum.
const SHORT_LIFE: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// The limits of what is kept for a worker.
const MAX_KEPT: usize = 65_536;
const MAX_NOTES: usize = 16_384;

/// The reason that a keeper ends, or a worker does not take over.
#[derive(Debug, Error)]
pub enum KeeperError {
    /// The process cannot be set up.
    #[error("{what}")]
    Io {
        /// The attempted operation.
        what: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// A message was not transmitted.
    #[error("the message `{what}` to or from the worker")]
    Message {
        /// The message.
        what: &'static str,
        /// The cause.
        source: HandoverError,
    },
    /// The worker ended.
    #[error("the worker ended before it was {0}")]
    Ended(&'static str),
    /// The worker did not get that far in time.
    #[error("the worker was not {0} within {1:?}")]
    Late(&'static str, Duration),
    /// The clients cannot be paused, or the devices not be frozen now.
    #[error("{0}")]
    Busy(String),
    /// The devices have no state that can be handed over.
    #[error("the devices cannot be updated without a reset: {0}")]
    Resets(String),
    /// The stored state has changed since the new worker was started.
    #[error("what is kept for workers has changed during each of {0} attempts")]
    Changed(u32),
    /// A client is not accepted by the new worker.
    #[error("the client of `{name}`")]
    Client {
        /// The name of what is served.
        name: String,
        /// The cause.
        source: adit_vfio_user::relay::IntroductionError,
    },
    /// A signal requests the keeper to terminate.
    #[error("signal {0}")]
    Signal(i32),
}

/// A keeper and its worker.
pub struct Keeper {
    command: Command,
    /// Set if an update resets the devices: their state is not handed over.
    resets_on_update: bool,
    events: Receiver<Event>,
    sender: Sender<Event>,
    relays: Relays,
    kept: BTreeMap<String, Kept>,
    notes: BTreeMap<String, String>,
    /// The number of messages by which a worker in use has changed what a next one starts with.
    changes: u64,
    /// Set by a request for an update that comes while a worker starts: that one may be an older version.
    update_follows: bool,
    last_id: WorkerId,
}

impl Keeper {
    /// Creates a keeper whose workers are started by `command`; their standard input is the socket to
    /// the keeper.
    #[must_use]
    pub fn new(command: Command) -> Self {
        let (sender, events) = channel();
        Self {
            command,
            resets_on_update: false,
            events,
            relays: Relays::new(sender.clone()),
            sender,
            kept: BTreeMap::new(),
            notes: BTreeMap::new(),
            changes: 0,
            update_follows: false,
            last_id: 0,
        }
    }

    /// Creates a keeper whose workers are this program with the arguments of this process and `flag`,
    /// by which they know what they are. They have a process group of their own, so that a
    /// terminal's signals reach the keeper only.
    ///
    /// # Errors
    /// Fails when the program's file cannot be found.
    pub fn of_this_program(flag: &str) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(std::env::args_os().skip(1));
        command.arg(flag).process_group(0);
        Ok(Self::new(command))
    }

    /// Makes an update kill the worker once the next one is prepared, instead of moving the state of the
    /// devices: drivers see a reset.
    #[must_use]
    pub fn resetting_on_update(mut self) -> Self {
        self.resets_on_update = true;
        self
    }

    /// Runs workers until a signal ends it, or a worker ends by itself without an error.
    ///
    /// # Errors
    /// Fails when the first worker does not start.
    pub fn run(mut self) -> Result<(), KeeperError> {
        self.watch_signals()?;
        let mut worker = match self.start() {
            Err(KeeperError::Signal(_)) => return Ok(()),
            other => other?,
        };
        let ended_by_itself = self.oversee(&mut worker);
        if !ended_by_itself {
            worker.terminate();
            worker.wait(END);
        }
        Ok(())
    }

    /// Supervises workers until a signal requests the termination; returns true if a worker has exited
    /// by itself.
    fn oversee(&mut self, worker: &mut Process) -> bool {
        let mut pause = FIRST_PAUSE;
        loop {
            if std::mem::take(&mut self.update_follows) {
                // Behind the end of a worker, if that has been noticed. The receiver is this keeper's own.
                let _ = self.sender.send(Event::Signal(SIGHUP));
            }
            // The sender is this keeper's own, too: there is always one.
            let Ok(event) = self.events.recv() else {
                return false;
            };
            match event {
                Event::Signal(SIGHUP) => match self.update(worker, &mut pause) {
                    Ok(next) => *worker = next,
                    Err(KeeperError::Signal(_)) => return false,
                    Err(error) => {
                        tracing::error!(
                            error = error_chain(&error),
                            "no update: the worker goes on"
                        );
                    }
                },
                Event::Signal(_) => return false,
                Event::Message(id, message, fds) if id == worker.id => {
                    self.message(worker, message, fds);
                }
                Event::Closed(id, _) if id == worker.id => {
                    let status = worker.wait(END);
                    if status.is_some_and(|status| status.success()) {
                        tracing::info!("the worker has ended");
                        return true;
                    }
                    let cause = status.map_or("unknown".to_owned(), |status| status.to_string());
                    tracing::error!(pid = worker.pid(), "the worker has died: {cause}");
                    self.after_death(None);
                    if worker.started.elapsed() > SHORT_LIFE {
                        pause = FIRST_PAUSE;
                    } else {
                        std::thread::sleep(pause);
                        pause = (pause * 2).min(LAST_PAUSE);
                    }
                    *worker = match self.restart(&mut pause) {
                        Ok(worker) => worker,
                        // A signal: no worker is left.
                        Err(_) => return true,
                    };
                }
                Event::Lost(Lost::Silent(command)) => {
                    hangs(worker, command);
                }
                // Another worker's, or the death that is noticed by the socket.
                Event::Message(..) | Event::Closed(..) | Event::Lost(Lost::Gone) => {}
            }
        }
    }

    /// Sends the signals of the process to the loop.
    fn watch_signals(&self) -> Result<(), KeeperError> {
        let io = |source| KeeperError::Io {
            what: "watching for signals",
            source,
        };
        let mut signals =
            signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(io)?;
        let events = self.sender.clone();
        let watch = move || {
            for signal in signals.forever() {
                if events.send(Event::Signal(signal)).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("signals".into());
        thread.spawn(watch).map(|_| ()).map_err(io)
    }

    /// Starts workers until one is ready; fails only for a signal.
    fn restart(&mut self, pause: &mut Duration) -> Result<Process, KeeperError> {
        loop {
            match self.start() {
                Err(error @ KeeperError::Signal(_)) => return Err(error),
                Err(error) => {
                    tracing::error!(error = error_chain(&error), "the worker does not start");
                    self.after_death(None);
                    std::thread::sleep(*pause);
                    *pause = (*pause * 2).min(LAST_PAUSE);
                }
                Ok(worker) => return Ok(worker),
            }
        }
    }

    /// Starts a worker without a predecessor.
    fn start(&mut self) -> Result<Process, KeeperError> {
        let begun = Instant::now();
        let mut worker = self.spawn(false)?;
        self.until(&mut worker, None, "prepared", PREPARATION)?;
        self.go(&mut worker)?;
        let ms = begun.elapsed().as_millis() as u64;
        tracing::info!(pid = worker.pid(), ms, "the worker is ready");
        Ok(worker)
    }

    /// Connects a prepared worker to the relays, and waits until its devices run, in the state after
    /// power-on.
    fn go(&mut self, worker: &mut Process) -> Result<(), KeeperError> {
        let sources = std::mem::take(&mut worker.sources);
        for (name, source) in sources {
            self.relays.connect(&name, source);
        }
        worker.is_used = true;
        let go = ToWorker::Go { state: None };
        say(worker, "go", &go, &SentFds::default())?;
        self.until(worker, None, "ready", START)?;
        self.relays.retain(&worker.served);
        Ok(())
    }

    /// Ends what outlives a worker that has died: writes to the kept descriptors what is to be written then. The
    /// clients are told that their devices are in reset only after that, unless they are those of a `living` one
    /// that is prepared.
    fn after_death(&self, living: Option<&Process>) {
        self.write_at_death();
        self.relays.worker_ended(living);
    }

    fn write_at_death(&self) {
        for (name, kept) in &self.kept {
            let Some(AtDeath { offset, bytes }) = &kept.at_death else {
                continue;
            };
            // Once: one that fails is of a device that is gone.
            match rustix::io::pwrite(&kept.fd, bytes, *offset) {
                Ok(len) if len == bytes.len() => {}
                Ok(len) => tracing::error!(name, len, "the last message was written in part"),
                Err(error) => tracing::warn!(name, "the last message: {error}"),
            }
        }
    }

    fn spawn(&mut self, update: bool) -> Result<Process, KeeperError> {
        self.last_id += 1;
        let started = Process::start(self.last_id, &mut self.command, &self.sender);
        let worker = started.map_err(|source| KeeperError::Io {
            what: "starting the worker",
            source,
        })?;
        let told = worker.tell_start(update, &self.kept, &self.notes, self.relays.names());
        told.map_err(|source| KeeperError::Message {
            what: "start",
            source,
        })?;
        Ok(worker)
    }

    /// Waits until a worker is as far as `goal`, and returns the message that says so. Messages of it
    /// and of `other` are carried out meanwhile.
    fn until(
        &mut self,
        worker: &mut Process,
        mut other: Option<&mut Process>,
        goal: &'static str,
        patience: Duration,
    ) -> Result<(ToKeeper, InheritedFds), KeeperError> {
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Event::Message(id, message, fds)) if id == worker.id => {
                    let reached = match &message {
                        ToKeeper::Prepared => "prepared",
                        ToKeeper::Precopied { .. } => "precopied",
                        ToKeeper::Preloaded => "preloaded",
                        ToKeeper::Frozen { .. } | ToKeeper::NotFrozen { .. } => "frozen",
                        ToKeeper::Ready => "ready",
                        _ => "",
                    };
                    if reached == goal {
                        return Ok((message, fds));
                    }
                    self.message(worker, message, fds);
                }
                Ok(Event::Message(id, message, fds)) => {
                    if let Some(other) = other.as_deref_mut().filter(|other| other.id == id) {
                        self.message(other, message, fds);
                    }
                }
                Ok(Event::Closed(id, error)) => {
                    let is_other = other.as_ref().is_some_and(|other| other.id == id);
                    if id != worker.id && !is_other {
                        continue;
                    }
                    if is_other || (worker.is_used && other.is_some()) {
                        // The loop that oversees the worker has to learn of it, and starts another one.
                        let _ = self.sender.send(Event::Closed(id, error));
                    }
                    return Err(KeeperError::Ended(match is_other {
                        true => "replaced",
                        false => goal,
                    }));
                }
                Ok(Event::Signal(SIGHUP)) => {
                    tracing::info!("a worker is being started already: an update follows");
                    self.update_follows = true;
                }
                Ok(Event::Signal(signal)) => {
                    // The caller's loop ends for it, once the devices are in order.
                    return Err(KeeperError::Signal(signal));
                }
                Ok(Event::Lost(Lost::Silent(command))) => {
                    // The relay has given up the worker in use, and waits for another one: its end follows.
                    let both = [Some(&mut *worker), other.as_deref_mut()];
                    if let Some(used) = both.into_iter().flatten().find(|one| one.is_used) {
                        hangs(used, command);
                    }
                }
                Ok(Event::Lost(Lost::Gone)) => {}
                Err(RecvTimeoutError::Timeout) => return Err(KeeperError::Late(goal, patience)),
                Err(RecvTimeoutError::Disconnected) => return Err(KeeperError::Ended(goal)),
            }
        }
    }

    /// Carries out a message of a worker.
    fn message(&mut self, worker: &mut Process, message: ToKeeper, mut fds: InheritedFds) {
        if worker.is_used && message.is_change() {
            self.changes += 1;
        }
        let done = match message {
            ToKeeper::Keep { name, fd, at_death } if self.kept.len() < MAX_KEPT => fds
                .share(fd)
                .map(|fd| drop(self.kept.insert(name, Kept { fd, at_death }))),
            ToKeeper::Note {
                name,
                text: Some(text),
            } if self.notes.len() < MAX_NOTES => {
                self.notes.insert(name, text);
                Ok(())
            }
            ToKeeper::Keep { name, .. }
            | ToKeeper::Note {
                name,
                text: Some(_),
            } => {
                tracing::error!(name, "too much to keep for the worker");
                Ok(())
            }
            ToKeeper::Note { name, text: None } => {
                self.notes.remove(&name);
                Ok(())
            }
            ToKeeper::Forget { name } => {
                self.kept.remove(&name);
                Ok(())
            }
            ToKeeper::Serve {
                name,
                listener,
                source,
            } => self.serve(worker, name, listener, source, &mut fds),
            ToKeeper::Unserve { name } => {
                worker.served.remove(&name);
                self.relays.remove(&name);
                Ok(())
            }
            // Of no interest at this time.
            ToKeeper::Prepared
            | ToKeeper::Precopied { .. }
            | ToKeeper::Preloaded
            | ToKeeper::Frozen { .. }
            | ToKeeper::NotFrozen { .. }
            | ToKeeper::Ready => Ok(()),
        };
        if let Err(error) = done {
            tracing::error!(pid = worker.pid(), "message of the worker: {error}");
        }
    }

    fn serve(
        &mut self,
        worker: &mut Process,
        name: String,
        listener: Option<adit_vfio_user::handover::SavedServer>,
        source: u32,
        fds: &mut InheritedFds,
    ) -> Result<(), HandoverError> {
        let source = fds.take(source)?;
        worker.served.insert(name.clone());
        let at_once = listener.is_some() || worker.is_used;
        if let Some(listener) = listener {
            self.relays.add(&name, listener, fds)?;
        }
        if at_once {
            self.relays.connect(&name, source);
        } else {
            worker.sources.insert(name, source);
        }
        Ok(())
    }
}

/// Ends a worker that does not answer a message of a client.
fn hangs(worker: &mut Process, command: impl std::fmt::Debug) {
    tracing::error!(pid = worker.pid(), ?command, "the worker hangs: killed");
    worker.kill();
}

/// Sends a message to a worker.
fn say(
    worker: &Process,
    what: &'static str,
    message: &ToWorker,
    fds: &SentFds<'_>,
) -> Result<(), KeeperError> {
    let told = worker.tell(message, fds);
    told.map_err(|source| KeeperError::Message { what, source })
}

/// An error with its causes.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
