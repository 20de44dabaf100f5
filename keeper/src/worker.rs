// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The worker's side.

use std::collections::BTreeMap;
use std::io::{self, stdin};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use adit_vfio_user::handover::{HandoverError, InheritedFds, SentFds};
use adit_vfio_user::relay::{source, PassedClients};
use adit_vfio_user::{Config, Server};
use serde_json::Value;
use thiserror::Error;

use crate::protocol::{listen, tell, AtDeath, ToKeeper, ToWorker, VERSIONS};

/// The reason that a worker cannot go on.
#[derive(Debug, Error)]
pub enum WorkerError {
    /// The standard input is not a socket to a keeper.
    #[error("the standard input: is this process started by a keeper?")]
    Input(#[source] io::Error),
    /// The keeper has another version of the protocol.
    #[error("the keeper has version {0} of the protocol, this process {VERSIONS:?}")]
    Version(u32),
    /// The keeper sends something else than what comes next.
    #[error("the keeper sends {0} at the wrong time")]
    Order(String),
    /// The copy of the predecessor's state cannot be used.
    #[error("the copy of the predecessor's state: {0}")]
    Preload(String),
    /// A message was not transmitted.
    #[error("the keeper")]
    Keeper(#[from] HandoverError),
    /// The process is out of descriptors.
    #[error("a socket pair for clients: {0}")]
    Source(adit_vfio_user::Errno),
}

/// The initial state of a worker.
#[derive(Debug)]
pub struct Start {
    /// Set if a predecessor is still running, whose state will follow.
    pub update: bool,
    /// The descriptors that are kept, by name.
    pub kept: BTreeMap<String, Arc<OwnedFd>>,
    /// The notes of its predecessors, by name.
    pub notes: BTreeMap<String, String>,
}

/// The description of frozen devices: a value, and descriptors whose numbers it contains.
#[derive(Debug, Default)]
pub struct Frozen {
    /// The state.
    pub state: Value,
    /// Its descriptors, in the order of their numbers.
    pub fds: Vec<OwnedFd>,
}

/// The reason why devices are not handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    text: String,
    resets: bool,
}

impl Unfit {
    /// It is not possible now. The update fails, and may be tried again.
    #[must_use]
    pub fn busy(text: impl Into<String>) -> Self {
        let (text, resets) = (text.into(), false);
        Self { text, resets }
    }

    /// It is not possible for these devices. The update resets them.
    #[must_use]
    pub fn reset(text: impl Into<String>) -> Self {
        let (text, resets) = (text.into(), true);
        Self { text, resets }
    }
}

/// The way in which a worker begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Its devices begin with the state after power-on. Clients come with their first message.
    Anew,
    /// Its devices take over the state of its predecessor, which is frozen. The clients, with their
    /// windows and eventfds, come first, and have to be served; then the [`state`](Worker::state).
    TakeOver,
}

/// The devices of a worker, which its keeper controls.
pub trait Workload: Send {
    /// Copies what may be large of the devices' state, for a successor that is prepared; the devices go on. The
    /// state of the next [`freeze`](Self::freeze) need only have what has changed since. The default copies
    /// nothing.
    fn precopy(&mut self) -> Option<Frozen> {
        None
    }

    /// Stops the devices as they are, and describes them. Nothing of theirs may change afterwards, nor
    /// access a client's memory.
    ///
    /// # Errors
    /// If that is not possible; the devices go on.
    fn freeze(&mut self) -> Result<Frozen, Unfit>;

    /// Has frozen devices go on: those of a successor that has taken over their state, or of a worker
    /// whose successor has failed. Also called if they are not frozen. No other process has what is kept
    /// then: descriptors are as if this one had just taken them over.
    fn go_on(&mut self);

    /// Ends the frozen process, without touching what its successor has taken over. The default ends
    /// it at once.
    fn leave(&mut self) {
        std::process::exit(0);
    }

    /// Ends the process: the keeper is gone.
    fn abandoned(&mut self);
}

/// A workload without a state that a successor could take over: an update resets its devices.
/// The function is called when the keeper is gone.
pub struct Stateless<F>(pub F);

impl<F: FnMut() + Send> Workload for Stateless<F> {
    fn freeze(&mut self) -> Result<Frozen, Unfit> {
        Err(Unfit::reset(
            "these devices have no state to be handed over",
        ))
    }

    fn go_on(&mut self) {}

    fn abandoned(&mut self) {
        (self.0)();
    }
}

/// The connection of a worker to its keeper. Clones share it.
#[derive(Clone)]
pub struct Worker {
    socket: Arc<UnixStream>,
    /// Held for the time of a transmission.
    sending: Arc<Mutex<()>>,
    served: Arc<Mutex<Vec<String>>>,
}

impl Worker {
    /// Takes the socket to the keeper from the standard input, and waits for the keeper's start.
    ///
    /// # Errors
    /// Fails if there is no keeper, or one of another version.
    pub fn begin() -> Result<(Self, Start), WorkerError> {
        let socket = stdin().as_fd().try_clone_to_owned();
        Self::over(socket.map_err(WorkerError::Input)?.into())
    }

    /// The same over another socket.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn over(socket: UnixStream) -> Result<(Self, Start), WorkerError> {
        let (message, fds) = listen(socket.as_fd())?;
        let ToWorker::Start {
            version,
            update,
            kept,
            notes,
            served,
        } = message
        else {
            return Err(WorkerError::Order(format!("{message:?}")));
        };
        if !VERSIONS.contains(&version) {
            return Err(WorkerError::Version(version));
        }
        let kept = kept.into_iter();
        let kept: Result<_, _> = kept
            .map(|(name, fd)| Ok::<_, HandoverError>((name, fds.share(fd)?)))
            .collect();
        let worker = Self {
            socket: Arc::new(socket),
            sending: Arc::default(),
            served: Arc::new(Mutex::new(served)),
        };
        let start = Start {
            update,
            kept: kept?,
            notes,
        };
        Ok((worker, start))
    }

    /// Has the keeper hold a descriptor under a name.
    ///
    /// # Errors
    /// Fails without a keeper.
    pub fn keep(&self, name: &str, fd: BorrowedFd<'_>) -> Result<(), WorkerError> {
        self.keep_with(name, fd, None)
    }

    /// Has the keeper hold a descriptor under a name, and write something to it when a worker dies.
    ///
    /// # Errors
    /// Fails without a keeper.
    pub fn keep_with(
        &self,
        name: &str,
        fd: BorrowedFd<'_>,
        at_death: Option<AtDeath>,
    ) -> Result<(), WorkerError> {
        let mut fds = SentFds::default();
        let name = name.to_owned();
        let fd = fds.add(fd);
        self.tell(&ToKeeper::Keep { name, fd, at_death }, &fds)
    }

    /// Has the keeper close a descriptor.
    ///
    /// # Errors
    /// Fails without a keeper.
    pub fn forget(&self, name: &str) -> Result<(), WorkerError> {
        let name = name.to_owned();
        self.tell(&ToKeeper::Forget { name }, &SentFds::default())
    }

    /// Has the keeper hold a text under a name, or none any more.
    ///
    /// # Errors
    /// Fails without a keeper.
    pub fn note(&self, name: &str, text: Option<String>) -> Result<(), WorkerError> {
        let name = name.to_owned();
        self.tell(&ToKeeper::Note { name, text }, &SentFds::default())
    }

    /// Returns whether the keeper serves a socket of this name already.
    #[must_use]
    pub fn serves(&self, name: &str) -> bool {
        let served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        served.iter().any(|known| known == name)
    }

    /// Has the keeper serve the socket at `path`, which is bound unless it is served already. The
    /// clients come to the returned server.
    ///
    /// # Errors
    /// Fails when the socket cannot be bound, or without a keeper.
    pub fn serve(
        &self,
        name: &str,
        path: &std::path::Path,
        config: Config,
    ) -> Result<PassedClients, ServeError> {
        let (theirs, ours) = source().map_err(WorkerError::Source)?;
        let mut fds = SentFds::default();
        let server = match self.serves(name) {
            true => None,
            false => Some(Server::bind(path, config.clone())?),
        };
        let serve = ToKeeper::Serve {
            name: name.to_owned(),
            listener: server.as_ref().map(|server| server.save(&mut fds)),
            source: fds.add(theirs.as_fd()),
        };
        self.tell(&serve, &fds)?;
        drop(fds);
        if let Some(server) = server {
            server.leave();
            let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
            served.push(name.to_owned());
        }
        Ok(PassedClients::new(ours, config))
    }

    /// Has the keeper close a socket and its client.
    ///
    /// # Errors
    /// Fails without a keeper.
    pub fn unserve(&self, name: &str) -> Result<(), WorkerError> {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        served.retain(|known| known != name);
        let name = name.to_owned();
        self.tell(&ToKeeper::Unserve { name }, &SentFds::default())
    }

    /// Reports that everything is prepared to the keeper, and waits until the worker may begin. Before that,
    /// `preload` may be called with a [copy](Workload::precopy) of the predecessor's state.
    ///
    /// # Errors
    /// Fails without a keeper, and with the error of `preload`.
    pub fn prepared(
        &self,
        mut preload: impl FnMut(Value, InheritedFds) -> Result<(), String>,
    ) -> Result<Begin, WorkerError> {
        self.tell(&ToKeeper::Prepared, &SentFds::default())?;
        loop {
            match listen(self.socket.as_fd())? {
                (ToWorker::Go { state: None }, _) => return Ok(Begin::Anew),
                (ToWorker::Introduce, _) => return Ok(Begin::TakeOver),
                (ToWorker::Preload { state }, fds) => {
                    preload(state, fds).map_err(WorkerError::Preload)?;
                    self.tell(&ToKeeper::Preloaded, &SentFds::default())?;
                }
                (message, _) => return Err(WorkerError::Order(format!("{message:?}"))),
            }
        }
    }

    /// Waits for the state of the predecessor, after [`Begin::TakeOver`]. The clients' windows and
    /// eventfds have been set up then.
    ///
    /// # Errors
    /// Fails without a keeper, or when the predecessor goes on.
    pub fn state(&self) -> Result<(Value, InheritedFds), WorkerError> {
        match listen(self.socket.as_fd())? {
            (ToWorker::Go { state: Some(state) }, fds) => Ok((state, fds)),
            (message, _) => Err(WorkerError::Order(format!("{message:?}"))),
        }
    }

    /// Reports to the keeper that the devices run, or can go on with their predecessor's state once
    /// [`Workload::go_on`] is called; and executes its requests in a thread.
    ///
    /// # Errors
    /// Fails without a keeper, or without a thread left.
    pub fn ready(&self, mut workload: impl Workload + 'static) -> Result<(), WorkerError> {
        self.tell(&ToKeeper::Ready, &SentFds::default())?;
        let worker = self.clone();
        let orders = move || {
            while let Ok((message, _)) = listen::<ToWorker>(worker.socket.as_fd()) {
                if let Err(error) = worker.obey(&message, &mut workload) {
                    tracing::error!("an order of the keeper: {error}");
                    break;
                }
            }
            workload.abandoned();
        };
        let thread = std::thread::Builder::new().name("keeper".into());
        thread.spawn(orders).map_err(WorkerError::Input)?;
        Ok(())
    }

    fn obey(&self, order: &ToWorker, workload: &mut impl Workload) -> Result<(), WorkerError> {
        match order {
            ToWorker::Freeze => match workload.freeze() {
                Ok(Frozen { state, fds: owned }) => {
                    let mut fds = SentFds::default();
                    for fd in &owned {
                        fds.add(fd.as_fd());
                    }
                    self.tell(&ToKeeper::Frozen { state }, &fds)?;
                }
                Err(Unfit { text, resets }) => {
                    let message = ToKeeper::NotFrozen { text, resets };
                    self.tell(&message, &SentFds::default())?;
                }
            },
            ToWorker::Precopy => {
                let (state, owned) = match workload.precopy() {
                    Some(Frozen { state, fds }) => (Some(state), fds),
                    None => (None, Vec::new()),
                };
                let mut fds = SentFds::default();
                for fd in &owned {
                    fds.add(fd.as_fd());
                }
                self.tell(&ToKeeper::Precopied { state }, &fds)?;
            }
            ToWorker::GoOn => workload.go_on(),
            ToWorker::Leave => workload.leave(),
            ToWorker::Start { .. }
            | ToWorker::Preload { .. }
            | ToWorker::Introduce
            | ToWorker::Go { .. } => {
                return Err(WorkerError::Order(format!("{order:?}")));
            }
        }
        Ok(())
    }

    fn tell(&self, message: &ToKeeper, fds: &SentFds<'_>) -> Result<(), WorkerError> {
        let _one = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(tell(self.socket.as_fd(), message, fds)?)
    }
}

/// The reason that a socket is not served.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The keeper, or the way to it.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The socket cannot be bound.
    #[error(transparent)]
    Server(#[from] adit_vfio_user::ServerError),
}
