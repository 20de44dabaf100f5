// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A worker as seen by its keeper: a child process and the socket to it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_vfio_user::handover::{HandoverError, InheritedFds, SentFds};
use adit_vfio_user::relay::Lost;
use rustix::process::{kill_process, Pid, Signal};

use crate::protocol::{listen, tell, AtDeath, ToKeeper, ToWorker};

/// The number of a worker, from 1.
pub(crate) type WorkerId = u64;

/// A descriptor that is kept.
pub(crate) struct Kept {
    pub(crate) fd: Arc<OwnedFd>,
    pub(crate) at_death: Option<AtDeath>,
}

/// Something that happened to the keeper.
pub(crate) enum Event {
    /// A worker has sent a message.
    Message(WorkerId, ToKeeper, InheritedFds),
    /// A worker has closed its socket, or broken the protocol.
    Closed(WorkerId, HandoverError),
    /// A relay has given up its worker.
    Lost(Lost),
    /// The process has received a signal.
    Signal(i32),
}

/// A running worker. It is killed when this is dropped.
pub(crate) struct Process {
    pub(crate) id: WorkerId,
    child: Child,
    socket: UnixStream,
    /// The sources that it has offered, by the name of what it serves.
    pub(crate) sources: BTreeMap<String, OwnedFd>,
    /// The names of what it serves.
    pub(crate) served: BTreeSet<String>,
    /// Set once the relays use it.
    pub(crate) is_used: bool,
    pub(crate) started: Instant,
}

impl Process {
    /// Starts a worker, whose events go to `events`.
    pub(crate) fn start(
        id: WorkerId,
        command: &mut Command,
        events: &Sender<Event>,
    ) -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let child = command.stdin(Stdio::from(OwnedFd::from(theirs))).spawn()?;
        // The command keeps the worker's end otherwise, and its death would not be seen.
        command.stdin(Stdio::null());
        let process = Self {
            id,
            child,
            socket,
            sources: BTreeMap::new(),
            served: BTreeSet::new(),
            is_used: false,
            started: Instant::now(),
        };
        let (reader, events) = (process.socket.try_clone()?, events.clone());
        std::thread::Builder::new()
            .name("worker".into())
            .spawn(move || loop {
                let event = match listen(reader.as_fd()) {
                    Ok((message, fds)) => Event::Message(id, message, fds),
                    Err(error) => Event::Closed(id, error),
                };
                let ended = matches!(event, Event::Closed(..));
                if events.send(event).is_err() || ended {
                    break;
                }
            })?;
        Ok(process)
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends the first message.
    pub(crate) fn tell_start(
        &self,
        update: bool,
        kept: &BTreeMap<String, Kept>,
        notes: &BTreeMap<String, String>,
        served: Vec<String>,
    ) -> Result<(), HandoverError> {
        let mut fds = SentFds::default();
        let kept = kept
            .iter()
            .map(|(name, kept)| (name.clone(), fds.add(kept.fd.as_fd())))
            .collect();
        let start = ToWorker::Start {
            version: crate::VERSION,
            update,
            kept,
            notes: notes.clone(),
            served,
        };
        tell(self.socket.as_fd(), &start, &fds)
    }

    /// Sends a message.
    pub(crate) fn tell(&self, message: &ToWorker, fds: &SentFds<'_>) -> Result<(), HandoverError> {
        tell(self.socket.as_fd(), message, fds)
    }

    /// Returns whether the relay of this name was connected to it, at once when it began to serve that.
    pub(crate) fn is_connected(&self, name: &str) -> bool {
        self.served.contains(name) && !self.sources.contains_key(name)
    }

    /// Requests the termination of the process.
    pub(crate) fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    /// Ends the process at once.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
    }

    fn signal(&mut self, signal: Signal) {
        // The id of a child that has been waited for may be another process's.
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits for the end of the process, which is killed after `patience`.
    pub(crate) fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + patience;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Ok(None) => {
                    tracing::warn!(pid = self.pid(), "the worker does not end: killed");
                    self.kill();
                    return self.child.wait().ok();
                }
                Err(_) => return None,
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
            let _ = self.child.wait();
        }
    }
}
