// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The function as a whole: its slow path and its data plane under one lock.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_function::layout::RegisterLayout;
use adit_function::slow_path::{SlowPath, WriteEffect};
use adit_pipeline::p4::Engine;
use adit_uapi::regs::adi;
use adit_uapi::regs::dyn_ctl::ITR_NONE;
use adit_vfio_user::EventFd;
use parking_lot::{Mutex, MutexGuard};
use rustix::event::{eventfd, EventfdFlags};

use crate::control::{Control, Profile};
use crate::datapath::{Datapath, Limits, Progress};
use crate::dataplane::QueueKind;
use crate::ids::{AdiId, VectorId, VectorMapping};
use crate::mailbox::Mailbox;
use crate::memory::{Access, MapError};
use crate::pasid::{Root, RootQuery};
use crate::pci::{ConfigEffect, ConfigSpace, PciId, BAR2_LEN};
use crate::program::{Program, ProgramLog};
use crate::wire::Port;

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
        let datapath = Datapath::new(limits, wires)?.with_adis(profile.adi_pairs(), query)?;
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
    #[cfg(any(test, feature = "fuzzing"))]
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

    /// Handles a disconnected client: its memory and its eventfds are released.
    pub fn disconnect(&mut self) {
        self.reset();
        self.datapath.queues_mut().interrupts.clear_triggers();
        self.datapath.queues_mut().memory.clear();
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
    start: Instant,
}

impl Shared {
    /// Wraps a function.
    ///
    /// # Errors
    /// When the host has no eventfd left.
    pub fn new(function: Function) -> std::io::Result<Self> {
        Ok(Self {
            function: Mutex::new(function),
            wake: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
            stop: AtomicBool::new(false),
            start: Instant::now(),
        })
    }

    /// The time in nanoseconds since the device started.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Replaces the program by that of an engine, from the next frame on. Ports and queues are
    /// unchanged, and so are frames that wait for a driver or a wire.
    pub fn set_program(&self, engine: &Arc<Engine>) {
        let program = Program::new(engine);
        self.lock().set_program(program);
        self.wake();
    }

    /// Ages the program's entries, and logs its messages, until [`Shared::stop`] is called. Tables
    /// are scanned concurrently with the frames, which do not wait for it.
    pub fn age_entries(&self) {
        let mut messages = ProgramLog::default();
        while !self.stopping() {
            let engine = self.lock().datapath().engine().cloned();
            if let Some(engine) = engine {
                engine.expire(self.now());
                messages.log(&engine);
            }
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

    /// Stops the engine.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
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

#[cfg(test)]
mod adi_tests;
#[cfg(test)]
mod tests;
