// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The function as a whole: its slow path and its data plane under one lock.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use adit_conntrack::Tracker;
use adit_conntrack_rpc::Gate;
use adit_function::layout::RegisterLayout;
use adit_function::slow_path::{SlowPath, WriteEffect};
use adit_pipeline::p4::{Engine, TrackerError};
use adit_uapi::regs::adi;
use adit_uapi::regs::dyn_ctl::ITR_NONE;
use adit_vfio_user::EventFd;
use parking_lot::{Mutex, MutexGuard};
use rustix::event::{eventfd, EventfdFlags};

use crate::clock::Clock;
use crate::control::{Control, Profile};
use crate::datapath::{Datapath, Limits, Progress};
use crate::dataplane::QueueKind;
use crate::freezer::Freezer;
use crate::ids::{AdiId, VectorId, VectorMapping};
use crate::mailbox::Mailbox;
use crate::memory::{Access, MapError};
use crate::pasid::{Root, RootQuery, Translator};
use crate::pci::{ConfigEffect, ConfigSpace, PciId, BAR2_LEN};
use crate::program::{Program, ProgramLog};
use crate::wire::Port;

pub use saved::{FunctionState, TakeOverError};

/// The interval at which the tables are scanned for expired entries.
const AGING_INTERVAL: Duration = Duration::from_millis(250);

/// The vector of the mailbox.
pub const MAILBOX_VECTOR: VectorId = VectorId(0);
/// The interrupt of the mailbox, which is not throttled.
const MAILBOX_INTERRUPT: VectorMapping = VectorMapping {
    vector: MAILBOX_VECTOR,
    itr: ITR_NONE,
};

/// Event counters of the function itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FunctionCounters {
    /// Resets by register (PFSWR) or, of a VF, by message (RESET_VF).
    pub software_resets: u64,
    /// Function-level resets, and resets by the client.
    pub function_resets: u64,
    /// Kicks for which there is no ADI.
    pub stray_kicks: u64,
    /// Reads and writes of BAR0 at offsets without a register.
    pub stray_accesses: u64,
}

/// All of the device's state.
pub struct Function {
    slow_path: SlowPath,
    datapath: Datapath,
    counters: FunctionCounters,
}

impl Function {
    /// Creates a function in the state after power-on, with the resources of `profile`. The virtual
    /// ports are attached to `wires`; `query` finds the tables that translate the requests of its
    /// ADIs.
    ///
    /// # Errors
    /// When the host has no memory for the doorbell pages.
    pub fn new(
        id: PciId,
        profile: Profile,
        wires: Vec<Option<Box<dyn Port>>>,
        query: Option<RootQuery>,
    ) -> std::io::Result<Self> {
        Self::with_translator(id, profile, wires, Translator::new(query))
    }

    /// Creates a function like [`new`](Self::new) with an agent that translates the requests of its
    /// ADIs.
    ///
    /// # Errors
    /// When the host has no memory for the doorbell pages.
    pub fn with_translator(
        id: PciId,
        profile: Profile,
        wires: Vec<Option<Box<dyn Port>>>,
        translator: Translator,
    ) -> std::io::Result<Self> {
        Self::with_pages(id, profile, wires, translator, None)
    }

    /// Creates a function like [`with_translator`](Self::with_translator) with the file of the
    /// doorbell pages of a process that is gone, if there is one: its client still has them mapped.
    ///
    /// # Errors
    /// When the file has no such pages, or the host has no memory for them.
    pub fn with_pages(
        id: PciId,
        profile: Profile,
        wires: Vec<Option<Box<dyn Port>>>,
        translator: Translator,
        pages: Option<OwnedFd>,
    ) -> std::io::Result<Self> {
        let total = |kind| u32::from(profile.total_queues(kind));
        let limits = Limits {
            rx: total(QueueKind::Rx),
            tx: total(QueueKind::Tx),
            buffer: total(QueueKind::RxBuffer),
            vectors: u32::from(profile.vectors()),
            layout: profile.layout(),
        };
        let config =
            ConfigSpace::idpf(id, limits.vectors, limits.layout).map_err(std::io::Error::other)?;
        let datapath = Datapath::with_pages(limits, wires, pages)?;
        let datapath = datapath.with_adis(profile.adi_pairs(), translator)?;
        Ok(Self {
            slow_path: SlowPath::new(config, BAR2_LEN as usize, profile),
            datapath,
            counters: FunctionCounters::default(),
        })
    }

    /// The layout of the registers.
    #[must_use]
    pub fn layout(&self) -> RegisterLayout {
        self.slow_path.layout()
    }

    /// The data plane.
    #[must_use]
    pub fn datapath(&self) -> &Datapath {
        &self.datapath
    }

    /// The data plane, for setup without a client.
    pub fn datapath_mut(&mut self) -> &mut Datapath {
        &mut self.datapath
    }

    /// The control plane.
    #[must_use]
    pub fn control(&self) -> &Control {
        self.slow_path.control()
    }

    /// The mailbox.
    #[must_use]
    pub fn mailbox(&self) -> &Mailbox {
        self.slow_path.mailbox()
    }

    /// The counters of the function itself.
    #[must_use]
    pub fn counters(&self) -> FunctionCounters {
        self.counters
    }

    /// Replaces the P4 program, from the next frame on.
    pub fn set_program(&mut self, program: Program) {
        self.datapath.set_program(program);
    }

    /// Runs one burst of the data plane; see [`Datapath::poll`].
    pub fn poll(&mut self, now: u64, wires: bool) -> Progress {
        self.datapath.poll(now, wires)
    }

    /// Reads the link states again, and notifies the driver of changes.
    pub fn links_changed(&mut self) {
        for vport in self.datapath.refresh_links() {
            self.slow_path.link_changed(vport);
        }
        self.serve_mailbox();
    }

    /// Reads configuration space.
    pub fn config_read(&self, offset: u64, data: &mut [u8]) {
        self.slow_path.config_read(offset, data);
    }

    /// Writes configuration space.
    pub fn config_write(&mut self, offset: u64, data: &[u8]) {
        if self.slow_path.config_write(offset, data) == ConfigEffect::FunctionLevelReset {
            self.reset();
        }
    }

    /// Reads a 32-bit register of BAR0.
    pub fn register_read(&mut self, offset: u64) -> u32 {
        if let Some(value) = self.datapath.queues().doorbells.read(offset) {
            return value;
        }
        let Ok(register) = u32::try_from(offset) else {
            return 0;
        };
        match self.slow_path.register_read(register) {
            Some(value) => value,
            None if self.in_kick_pages(register) => 0,
            None => {
                self.counters.stray_accesses += 1;
                0
            }
        }
    }

    /// Writes a 32-bit register of BAR0.
    pub fn register_write(&mut self, offset: u64, value: u32) {
        if self.datapath.queues().doorbells.write(offset, value) {
            return;
        }
        let Ok(register) = u32::try_from(offset) else {
            return;
        };
        match self.slow_path.register_write(register, value) {
            Some(WriteEffect::None) => {}
            Some(WriteEffect::Serve) => self.serve_mailbox(),
            Some(WriteEffect::Reset) => self.software_reset(),
            None if self.in_kick_pages(register) => self.kick(register),
            None => self.counters.stray_accesses += 1,
        }
    }

    fn in_kick_pages(&self, offset: u32) -> bool {
        let pages = u64::from(adi::KICK.base)..adi::KICK.end();
        self.layout().has_adis() && pages.contains(&offset.into())
    }

    /// Handles a write to a kick page.
    fn kick(&mut self, offset: u32) {
        let at = offset.wrapping_sub(adi::KICK_OFFSET);
        let id = adi::KICK.index(at.into());
        match id.and_then(|id| u16::try_from(id).ok()).map(AdiId) {
            Some(id) if self.datapath.kick(id) => {}
            _ => self.counters.stray_kicks += 1,
        }
    }

    /// Accepts the location of the IOMMU's tables: the response to the lookup of an era. Requests
    /// that waited for it continue.
    pub fn tables_found(&mut self, era: u64, root: Option<Root>) {
        if self
            .datapath
            .queues_mut()
            .translator
            .tables()
            .complete(era, root)
        {
            self.serve_mailbox();
        }
    }

    /// Handles a message to the control plane that does not come from the mailbox; returns its
    /// status, and writes the reply's payload to `reply`.
    pub fn request(&mut self, v_opcode: u32, payload: &[u8], reply: &mut Vec<u8>) -> u32 {
        (self.slow_path).request(v_opcode, payload, &mut self.datapath, reply)
    }

    /// Reads the BAR of the MSI-X table.
    pub fn msix_read(&self, offset: u64, data: &mut [u8]) {
        self.slow_path.msix_read(offset, data);
    }

    /// Writes the BAR of the MSI-X table.
    pub fn msix_write(&mut self, offset: u64, data: &[u8]) {
        self.slow_path.msix_write(offset, data);
    }

    /// Performs a function-level reset: of everything but the client's DMA mappings and eventfds.
    pub fn reset(&mut self) {
        self.counters.function_resets += 1;
        self.datapath.reset();
        self.slow_path.reset();
    }

    /// Performs a reset by register or message: all queues stop, and the mailbox is reset.
    fn software_reset(&mut self) {
        self.counters.software_resets += 1;
        self.datapath.reset();
        self.slow_path.reset_state();
    }

    /// Handles a disconnected client: its memory and its eventfds are released, and the doorbell pages
    /// that it may still have mapped are replaced by others ([`renew_pages`](Self::renew_pages)).
    ///
    /// # Errors
    /// When the host refuses other pages; everything else is done.
    pub fn disconnect(&mut self) -> std::io::Result<()> {
        self.reset();
        self.datapath.queues_mut().interrupts.clear_triggers();
        self.datapath.queues_mut().memory.clear();
        self.renew_pages()
    }

    /// Replaces the doorbell pages by those of a process that is gone, which its client still has
    /// mapped; they are zero afterwards.
    ///
    /// # Errors
    /// When the file has no such pages.
    pub fn inherit_pages(&mut self, pages: OwnedFd) -> std::io::Result<()> {
        let doorbells = &mut self.datapath.queues_mut().doorbells;
        doorbells.adopt(pages)?;
        doorbells.clear();
        Ok(())
    }

    /// Replaces the doorbell pages by those of a new file: whoever has mapped the old one reaches the
    /// function no longer.
    ///
    /// # Errors
    /// When the host refuses it; the former client may still ring doorbells.
    pub fn renew_pages(&mut self) -> std::io::Result<()> {
        self.datapath.queues_mut().doorbells.renew()
    }

    /// Maps memory for DMA.
    ///
    /// # Errors
    /// When it cannot be mapped.
    pub fn map(
        &mut self,
        iova: u64,
        len: u64,
        access: Access,
        fd: Option<(OwnedFd, u64)>,
    ) -> Result<(), MapError> {
        self.datapath.queues_mut().memory.map(iova, len, access, fd)
    }

    /// Unmaps memory. No access is in progress: every access holds the lock.
    ///
    /// # Errors
    /// When the range splits a mapped region.
    pub fn unmap(&mut self, iova: u64, len: u64) -> Result<(), MapError> {
        self.datapath.queues_mut().memory.unmap(iova, len)
    }

    /// Sets the eventfd of a vector.
    pub fn set_trigger(&mut self, vector: VectorId, trigger: Option<EventFd>) {
        self.datapath
            .queues_mut()
            .interrupts
            .set_trigger(vector, trigger);
    }

    /// Removes all eventfds.
    pub fn clear_triggers(&mut self) {
        self.datapath.queues_mut().interrupts.clear_triggers();
    }

    fn serve_mailbox(&mut self) {
        let datapath = &mut self.datapath;
        let served = self.slow_path.serve(datapath);
        if served.reset {
            self.software_reset();
        } else if served.posted {
            datapath.queues_mut().raise(MAILBOX_INTERRUPT);
        }
    }
}

/// The function, and the state that its threads share besides it.
pub struct Shared {
    function: Mutex<Function>,
    wake: OwnedFd,
    stop: AtomicBool,
    freezer: Freezer,
    clock: Clock,
    /// Beside the function: connections outlast its resets and its programs.
    connections: Arc<Tracker>,
    /// Passed by control planes that change connections.
    gate: Gate,
}

impl Shared {
    /// Wraps a function, whose connections are those of a tracker.
    ///
    /// # Errors
    /// When the host has no eventfd left.
    pub fn new(function: Function, connections: Arc<Tracker>) -> std::io::Result<Self> {
        Self::with_clock(function, connections, Clock::start())
    }

    /// Wraps a function like [`new`](Self::new), with a clock that has been started before.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_clock(
        function: Function,
        connections: Arc<Tracker>,
        clock: Clock,
    ) -> std::io::Result<Self> {
        Ok(Self {
            function: Mutex::new(function),
            wake: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
            stop: AtomicBool::new(false),
            freezer: Freezer::default(),
            clock,
            connections,
            gate: Gate::default(),
        })
    }

    /// The time in nanoseconds since the device started.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// The clock of the device.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The tracker of the device's connections. Its time is that of [`Shared::now`].
    #[must_use]
    pub fn connections(&self) -> &Arc<Tracker> {
        &self.connections
    }

    /// The gate of control planes that change connections.
    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Replaces the program by that of an engine, from the next frame on. Ports and queues are
    /// unchanged, and so are frames that wait for a driver or a wire. Its connections are the device's.
    ///
    /// # Errors
    /// When the program needs more connections than the device's table has.
    pub fn set_program(&self, engine: &Arc<Engine>) -> Result<(), TrackerError> {
        engine.set_tracker(self.connections.clone())?;
        let program = Program::new(engine);
        if self.lock().datapath().is_traced() {
            // No packet has to wait for that.
            engine.prepare_trace();
        }
        self.lock().set_program(program);
        self.wake();
        Ok(())
    }

    /// Ages the program's entries, and logs its messages, until [`Shared::stop`] is called. Tables
    /// are scanned concurrently with the frames, which do not wait for it.
    pub fn age_entries(&self) {
        let mut messages = ProgramLog::default();
        while !self.stopping() {
            self.freezer.step(|| {
                let engine = self.lock().datapath().engine().cloned();
                if let Some(engine) = engine {
                    engine.expire(self.now());
                    messages.log(&engine);
                }
            });
            std::thread::park_timeout(AGING_INTERVAL);
        }
    }

    /// Locks the function. The engine yields the lock after each burst.
    pub fn lock(&self) -> MutexGuard<'_, Function> {
        self.function.lock()
    }

    /// Wakes the engine.
    pub fn wake(&self) {
        // The only error is a full counter, and then the engine is awake.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// Freezes the device: when this returns, the engine polls nothing, and neither entries nor
    /// connections age, until [`thaw`](Self::thaw).
    pub fn freeze(&self) {
        self.freezer.freeze();
        // The engine looks before it polls again.
        drop(self.lock());
    }

    /// Ends [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        self.freezer.thaw();
        self.wake();
    }

    pub(crate) fn freezer(&self) -> &Freezer {
        &self.freezer
    }

    /// Stops the engine.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.freezer.end();
        self.wake();
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    pub(crate) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    pub(crate) fn drain_wake(&self) {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
    }
}

mod saved;

#[cfg(test)]
mod adi_tests;
#[cfg(test)]
mod tests;
