// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A NIC in the process of its user, who owns its control plane: without a vfio-user client, a PF
//! driver and an IOMMU.
//!
//! The user creates ADIs and gets for each an [`Adi`]: messages, memory that its queues may access,
//! an eventfd for each vector, and a file that maps its doorbell pages and nothing else. The pages
//! are polled without kicks. Everything else is the NIC that `adit-nic` runs; its engine is a thread
//! of this process.
//!
//! Every call takes the lock of the device, like the handlers of a client's requests. So no DMA is in
//! progress when a call that takes memory or queues away returns.

mod adi;
mod messages;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use adit_conntrack::Tracker;
use adit_keeper::Store;
use adit_p4runtime::server::Server;
use adit_vfio_user::handover::InheritedFds;
use anyhow::Context;
use parking_lot::Mutex;
use rustix::event::{eventfd, EventfdFlags};
use thiserror::Error;

use crate::clock::Clock;
use crate::control::{AdiLimits, Profile};
use crate::function::{Function, Shared};
use crate::handover::{Copied, Freeze, Loaded, NicCopy, NicState};
use crate::ids::AdiId;
use crate::memory::MapError;
use crate::p4rt;
use crate::pasid::Translator;
use crate::pci::DEFAULT_ID;
use crate::report;
use crate::runtime::{Later, Servers, Setup, Threads};
use crate::wire::Port;
use adi::Open;

pub use adi::{Adi, MAX_REGISTERED_LEN, MAX_REGISTRATIONS};
pub use adit_function::adi::AdiSpec;
pub use messages::Created;

/// The number of queues of the function itself, which nobody uses.
const OWN_QUEUES: u16 = 1;

/// The reason why an operation failed.
#[derive(Debug, Error)]
pub enum Error {
    /// The control plane refused a message.
    #[error("message {opcode} was refused with status {}", status_name(*.status))]
    Refused {
        /// The message's opcode.
        opcode: u32,
        /// The status (`virtchnl2::status`).
        status: u32,
    },
    /// The message is not one for the owner of an ADI.
    #[error("message {0} is not one for the owner of an ADI")]
    NotForOwners(u32),
    /// The ADI was destroyed, or the NIC has stopped.
    #[error("the ADI is gone")]
    Gone,
    /// There is no such vector.
    #[error("vector {vector}: the ADI has {count}, from 0")]
    NoSuchVector {
        /// The requested vector.
        vector: u16,
        /// The number of vectors.
        count: u16,
    },
    /// A registration is not of whole pages.
    #[error(
        "{len:#x} bytes at {iova:#x}, from {offset:#x} of their file on, are not whole pages of 4 KiB"
    )]
    Unaligned {
        /// The first address.
        iova: u64,
        /// The length in bytes.
        len: u64,
        /// The offset in the file.
        offset: u64,
    },
    /// Too many registrations.
    #[error("the ADI has {MAX_REGISTRATIONS} registrations, which is the limit")]
    TooMany,
    /// Too much memory is registered.
    #[error("{len:#x} bytes more than the registered {registered:#x}: the limit is {MAX_REGISTERED_LEN:#x}")]
    TooLarge {
        /// The bytes to be registered.
        len: u64,
        /// The bytes that are registered.
        registered: u64,
    },
    /// There is no registration with this address and length.
    #[error("no registration begins at {iova:#x} and has {len:#x} bytes")]
    NotRegistered {
        /// The first address.
        iova: u64,
        /// The length in bytes.
        len: u64,
    },
    /// Memory cannot be registered.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The system failed an operation.
    #[error("{what}")]
    Io {
        /// The attempted operation.
        what: &'static str,
        /// The cause.
        source: io::Error,
    },
}

/// The name of a status.
fn status_name(status: u32) -> String {
    let name = adit_uapi::virtchnl2::status::name(status);
    name.map_or_else(|| status.to_string(), str::to_owned)
}

/// An `Error::Io` of an operation.
fn failed<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Error {
    move |error| Error::Io {
        what,
        source: error.into(),
    }
}

/// The state that the NIC and its ADIs share.
struct Inner {
    shared: Arc<Shared>,
    server: Arc<Server>,
    /// The ADIs that are open. Locked after the function.
    open: Mutex<BTreeMap<AdiId, Arc<Open>>>,
}

impl Inner {
    fn new(
        function: Function,
        connections: Arc<Tracker>,
        clock: Clock,
        run: impl FnOnce(&Arc<Shared>) -> anyhow::Result<Arc<Server>>,
    ) -> anyhow::Result<Arc<Self>> {
        let shared = Arc::new(Shared::with_clock(function, connections, clock)?);
        let server = run(&shared)?;
        Ok(Arc::new(Self {
            shared,
            server,
            open: Mutex::default(),
        }))
    }

    /// Destroys all ADIs: the engine has stopped.
    fn end(&self) {
        let mut function = self.shared.lock();
        self.shared.stop();
        let open = std::mem::take(&mut *self.open.lock());
        open.values().for_each(|open| open.end(&mut function));
        function.datapath_mut().close_wires();
    }
}

/// A new eventfd, which is not readable.
fn event() -> Result<OwnedFd, Error> {
    let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
    eventfd(0, flags).map_err(failed("making an eventfd"))
}

/// Makes an eventfd readable.
fn set(event: &OwnedFd) {
    // The only error is a full counter, and then it is readable.
    let _ = rustix::io::write(event, &1_u64.to_ne_bytes());
}

/// A NIC. When it is dropped, its ADIs are gone.
pub struct Nic {
    inner: Arc<Inner>,
    running: Mutex<Running>,
    /// The copy for a successor.
    copied: Mutex<Option<Copied>>,
    /// The copy of a predecessor's state that has been loaded.
    loaded: Mutex<Option<Loaded>>,
}

/// The threads and servers of a NIC that runs.
#[derive(Default)]
struct Running {
    threads: Option<Threads>,
    _servers: Option<Servers>,
    _later: Option<Later>,
}

/// The options of a NIC whose process has a predecessor, or will have a successor.
#[derive(Clone)]
pub struct Succession {
    /// The state that outlives the process.
    pub store: Arc<Store>,
    /// The clock, which the first process has started.
    pub clock: Clock,
    /// Set if the predecessor runs until its state is taken over.
    pub takes_over: bool,
}

impl Nic {
    /// Starts a NIC with room for these ADIs.
    ///
    /// # Errors
    /// When one of the options cannot be used: a wire, the program, an address, a limit.
    pub fn start(setup: &Setup, limits: AdiLimits) -> anyhow::Result<Self> {
        Self::start_with(setup, limits, || {})
    }

    /// Starts a NIC like [`start`](Self::start). `ended` is called as by [`run`](Self::run).
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(
        setup: &Setup,
        limits: AdiLimits,
        ended: impl FnMut() + Send + 'static,
    ) -> anyhow::Result<Self> {
        let succession = Succession {
            store: Arc::default(),
            clock: Clock::start(),
            takes_over: false,
        };
        let nic = Self::prepare(setup, limits, &succession)?;
        nic.run(setup, &succession, ended)?;
        Ok(nic)
    }

    /// Creates a NIC that does not run yet, with the wires' lifelines of a predecessor. ADIs can be
    /// created.
    ///
    /// # Errors
    /// When one of the options cannot be used: a wire, the program, a limit.
    pub fn prepare(
        setup: &Setup,
        limits: AdiLimits,
        succession: &Succession,
    ) -> anyhow::Result<Self> {
        let (store, takes_over) = (&succession.store, succession.takes_over);
        let program = p4rt::Loaded::of_succession(setup, store, takes_over)?;
        let function = function(setup.macs(), setup.open_wires(store)?, limits)?;
        let inner = Inner::new(function, setup.tracker()?, succession.clock, |shared| {
            program.run(shared, setup.device_id(), store)
        })?;
        if !takes_over {
            inner.shared.lock().datapath_mut().claim_wires();
        }
        Ok(Self {
            inner,
            running: Mutex::default(),
            copied: Mutex::default(),
            loaded: Mutex::default(),
        })
    }

    /// Starts it. `ended` is called when its engine has ended, for whatever reason; its ADIs are gone
    /// then. One that takes over is frozen until [`go_on`](Self::go_on).
    ///
    /// # Errors
    /// When an address cannot be used, or the system has no threads left.
    pub fn run(
        &self,
        setup: &Setup,
        succession: &Succession,
        mut ended: impl FnMut() + Send + 'static,
    ) -> anyhow::Result<()> {
        let Inner { shared, server, .. } = &*self.inner;
        let mut running = self.running.lock();
        if succession.takes_over {
            let stop = shared.clone();
            let later =
                Servers::start_after_predecessor(shared, setup, server, move || stop.stop());
            running._later = Some(later?);
        } else {
            running._servers = Some(Servers::start(shared, setup, server)?);
        }
        let inner = self.inner.clone();
        running.threads = Some(Threads::start(shared, move || {
            inner.end();
            ended();
        })?);
        Ok(())
    }

    /// Copies what may be large of its state for a successor, and goes on. The descriptors are added to `fds`.
    ///
    /// # Errors
    /// When the system has no memory or descriptors for it.
    pub fn precopy(&self, fds: &mut Vec<OwnedFd>) -> anyhow::Result<NicCopy> {
        let Inner { shared, server, .. } = &*self.inner;
        let (copy, copied) = NicCopy::new(shared, server, fds)?;
        *self.copied.lock() = Some(copied);
        Ok(copy)
    }

    /// Restores the copy of a predecessor to a NIC that does not run yet.
    ///
    /// # Errors
    /// When it does not fit; the NIC is of no use then.
    pub fn preload(&self, copy: &NicCopy, fds: &mut InheritedFds) -> anyhow::Result<()> {
        let Inner { shared, server, .. } = &*self.inner;
        *self.loaded.lock() = Some(copy.load(shared, server, fds)?);
        Ok(())
    }

    /// Has a NIC that does not run yet begin without the state of its predecessor, which has ended.
    ///
    /// # Errors
    /// When it has loaded a copy of that: another one is to be started.
    pub fn begin_anew(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.loaded.lock().is_none(),
            "the predecessor's state does not come"
        );
        self.claim_wires();
        Ok(())
    }

    /// Freezes it, for a successor.
    ///
    /// # Errors
    /// With a text when a control plane goes on writing for too long.
    pub fn freeze(&self) -> Result<Freeze, String> {
        Freeze::new(&self.inner.shared, &self.inner.server)
    }

    /// The state of a NIC that is frozen, except its ADIs'. Its descriptors are added to `fds`.
    ///
    /// # Errors
    /// With the operation that failed.
    pub fn save(&self, freeze: &Freeze, fds: &mut Vec<OwnedFd>) -> anyhow::Result<NicState> {
        let copied = self.copied.lock().take();
        freeze.save(&self.inner.server, copied.as_ref(), fds)
    }

    /// Has a NIC that does not run yet wait for [`go_on`](Self::go_on).
    pub fn hold(&self) {
        self.inner.shared.freeze();
    }

    /// Restores the state of a predecessor to a NIC that does not run yet, and has the same ADIs.
    ///
    /// # Errors
    /// When the state does not fit; the NIC is of no use then.
    pub fn restore(&self, state: &NicState, fds: &mut InheritedFds) -> anyhow::Result<()> {
        let loaded = self.loaded.lock().take().unwrap_or_default();
        state.restore(&self.inner.shared, &self.inner.server, loaded, fds)
    }

    /// Has it go on after [`hold`](Self::hold), or after a successor could not take it over: the wires are
    /// its own then.
    pub fn go_on(&self) {
        *self.copied.lock() = None;
        self.inner.server.forget_copy();
        self.claim_wires();
        self.inner.shared.thaw();
    }

    /// Makes the wires of a predecessor its own, which has ended.
    fn claim_wires(&self) {
        self.inner.shared.lock().datapath_mut().claim_wires();
    }

    /// A NIC without threads, whose function the caller polls.
    #[cfg(test)]
    fn still(
        macs: Vec<[u8; 6]>,
        wires: Vec<Option<Box<dyn Port>>>,
        limits: AdiLimits,
    ) -> anyhow::Result<Self> {
        let function = function(macs, wires, limits)?;
        let program = p4rt::Loaded::of_engine(crate::program::Program::standard_engine()?, false)?;
        let connections = crate::connections::tracker(1)?;
        let inner = Inner::new(function, connections, Clock::start(), |shared| {
            program.run(shared, 1, &Arc::default())
        })?;
        Ok(Self {
            inner,
            running: Mutex::default(),
            copied: Mutex::default(),
            loaded: Mutex::default(),
        })
    }

    /// Creates an ADI and opens it. It is destroyed when it is dropped.
    ///
    /// # Errors
    /// Fails when the NIC refuses it (another vport has the address, or there are no such resources),
    /// has stopped, or the system has no resources left.
    pub fn create_adi(&self, spec: &AdiSpec) -> Result<Adi, Error> {
        Adi::create(&self.inner, spec, None)
    }

    /// Creates an ADI like [`create_adi`](Self::create_adi) over the file of the doorbell pages of one
    /// that has ended with its process: its driver still has them mapped. They are zero then.
    ///
    /// # Errors
    /// As [`create_adi`](Self::create_adi), and when the file is not one of as many pages.
    pub fn recreate_adi(&self, spec: &AdiSpec, pages: OwnedFd) -> Result<Adi, Error> {
        Adi::create(&self.inner, spec, Some(pages))
    }

    /// Destroys an ADI although it is open: its owner finds it gone. Returns false if there is none.
    pub fn destroy_adi(&self, id: AdiId) -> bool {
        adi::destroy(&self.inner, id)
    }

    /// The ids of the ADIs.
    #[must_use]
    pub fn adis(&self) -> Vec<AdiId> {
        self.inner.open.lock().keys().copied().collect()
    }

    /// The number of ports.
    #[must_use]
    pub fn ports(&self) -> u16 {
        self.inner.shared.lock().control().profile().vports()
    }

    /// The tracker of the NIC's connections.
    #[must_use]
    pub fn connections(&self) -> &Arc<Tracker> {
        self.inner.shared.connections()
    }

    /// The counters of the NIC, as Prometheus metrics.
    #[must_use]
    pub fn metrics(&self) -> String {
        let shared = &self.inner.shared;
        report::prometheus(&shared.lock(), shared.connections(), None)
    }

    /// Stops it. Its ADIs are gone then.
    ///
    /// # Errors
    /// When its engine has failed.
    pub fn stop(self) -> anyhow::Result<()> {
        let running = std::mem::take(&mut *self.running.lock());
        running.threads.map_or(Ok(()), Threads::stop)
    }
}

impl Drop for Nic {
    fn drop(&mut self) {
        drop(std::mem::take(&mut *self.running.lock()));
        self.inner.end();
    }
}

/// The function of the NIC. Nobody drives it but for its ADIs.
fn function(
    macs: Vec<[u8; 6]>,
    wires: Vec<Option<Box<dyn Port>>>,
    limits: AdiLimits,
) -> anyhow::Result<Function> {
    let profile = Profile::new(macs, OWN_QUEUES)?.with_adis(limits)?;
    let translator = Translator::of_registered_memory();
    Function::with_translator(DEFAULT_ID, profile, wires, translator)
        .context("making the doorbell pages")
}
