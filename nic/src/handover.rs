// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state of a NIC that is replaced by another process without a reset.
//!
//! The old process copies what may be large, and goes on meanwhile: the entries of the program's tables, and the
//! connections. Then it freezes: nothing is polled, no control plane writes. Its state is a small document, and
//! files with what has changed since, and the program's other objects. The new process restores it, and goes on
//! once the keeper says so.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_conntrack_rpc::state::{self as connections, Restoring};
use adit_keeper::{file_of, read_file};
use adit_p4runtime::server::Server;
use adit_vfio_user::handover::InheritedFds;
use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedMutexGuard, OwnedRwLockWriteGuard};

use crate::datapath::{PortState, TotalsState};
use crate::function::Shared;

/// The version of [`NicState`]. It changes when an older release would misunderstand a newer state. The first
/// one has no learnt entries and no deletions of the program's own.
const VERSION: u32 = 2;
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=VERSION;
/// The time for a control plane to finish what it writes.
const TIMEOUT: Duration = Duration::from_millis(300);

/// The state of a NIC, without its function's.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NicState {
    /// [`VERSION`].
    version: u32,
    /// The counters of the virtual ports.
    ports: Vec<PortState>,
    /// The totals of ADIs. Absent if there is nothing to count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    totals: Option<TotalsState>,
    /// The descriptor of the program's state: `adit_p4runtime::server::Server::save_state`.
    program: u32,
    /// The descriptor of the connections: `adit_conntrack_rpc::state`.
    connections: u32,
}

/// A copy of what may be large of the state of a NIC, which goes on.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NicCopy {
    /// [`VERSION`].
    version: u32,
    /// The descriptor of the program's tables, if they are copied: `adit_p4runtime::server::Server::copy_state`.
    program: Option<u32>,
    /// The descriptor of the connections: `adit_conntrack_rpc::state::precopy`.
    connections: u32,
}

/// A record of the parts of the state that a successor has got in advance.
pub struct Copied {
    has_program: bool,
    connections: connections::Copied,
}

/// The parts of a state that were loaded in advance.
#[derive(Default)]
pub struct Loaded {
    has_program: bool,
    connections: Restoring,
}

impl NicCopy {
    /// Copies. The descriptors are added to `fds`.
    ///
    /// # Errors
    /// With the operation that failed.
    pub(crate) fn new(
        shared: &Shared,
        server: &Server,
        fds: &mut Vec<OwnedFd>,
    ) -> anyhow::Result<(Self, Copied)> {
        let mut add = |name, bytes: &[u8]| {
            fds.push(file_of(name, bytes).context("a file for the copy")?);
            anyhow::Ok(fds.len() as u32 - 1)
        };
        let program = server.copy_state(TIMEOUT).map_err(anyhow::Error::msg);
        let program = program.context("the tables of the program")?;
        let program = program.map(|bytes| add("program", &bytes)).transpose()?;
        let (bytes, connections) = connections::precopy(shared.connections(), &shared.clock());
        let copied = Copied {
            has_program: program.is_some(),
            connections,
        };
        let copy = Self {
            version: VERSION,
            program,
            connections: add("connections", &bytes)?,
        };
        Ok((copy, copied))
    }

    /// Restores the copy to a NIC that has not run yet, and will get the state.
    ///
    /// # Errors
    /// When it is of another version, or damaged; the NIC is of no use then.
    pub(crate) fn load(
        &self,
        shared: &Shared,
        server: &Server,
        fds: &mut InheritedFds,
    ) -> anyhow::Result<Loaded> {
        check_version(self.version)?;
        let mut loaded = Loaded::default();
        if let Some(program) = self.program {
            let tables = read_file(fds.take(program)?)?;
            let added = server.load_copy(&tables).map_err(anyhow::Error::msg);
            added.context("the tables of the program")?;
            loaded.has_program = true;
        }
        let tracked = read_file(fds.take(self.connections)?)?;
        let connections = &mut loaded.connections;
        let added = connections.add(shared.connections(), &shared.clock(), &tracked);
        added.context("the connections")?;
        Ok(loaded)
    }
}

fn check_version(version: u32) -> anyhow::Result<()> {
    if !VERSIONS.contains(&version) {
        anyhow::bail!("the state has version {version}: this release reads {VERSIONS:?}");
    }
    Ok(())
}

/// A NIC that is frozen until this is dropped.
pub struct Freeze {
    shared: Arc<Shared>,
    _writes: OwnedMutexGuard<()>,
    _changes: OwnedRwLockWriteGuard<()>,
}

impl Freeze {
    /// Freezes a NIC.
    ///
    /// # Errors
    /// With a text when a control plane goes on writing for too long; nothing is frozen then.
    pub(crate) fn new(shared: &Arc<Shared>, server: &Server) -> Result<Self, String> {
        let writes = server
            .hold_writes(TIMEOUT)
            .ok_or("a client of P4Runtime writes")?;
        let until = Instant::now() + TIMEOUT;
        let changes = loop {
            match shared.gate().clone().try_write_owned() {
                Ok(held) => break held,
                Err(_) if Instant::now() >= until => {
                    return Err("a client changes connections".into());
                }
                Err(_) => std::thread::sleep(Duration::from_micros(100)),
            }
        };
        shared.freeze();
        // The successor takes over the clients before it reports that this process may end, which can so notice
        // the loss of its clients first, and closes its wires then.
        shared.lock().datapath_mut().release_wires();
        Ok(Self {
            shared: shared.clone(),
            _writes: writes,
            _changes: changes,
        })
    }

    /// The state of the NIC, whose descriptors are added to `fds`: with the changes since it was copied, if it
    /// was.
    ///
    /// # Errors
    /// With the operation that failed.
    pub(crate) fn save(
        &self,
        server: &Server,
        copied: Option<&Copied>,
        fds: &mut Vec<OwnedFd>,
    ) -> anyhow::Result<NicState> {
        let shared = &self.shared;
        let function = shared.lock();
        let ports = function.datapath().save_ports();
        let totals = function.datapath().save_totals();
        let waiting = function.datapath().frames_on_their_way();
        drop(function);
        if waiting > 0 {
            tracing::info!(
                waiting,
                "frames that wait for buffers, copies, fragments or a wire are lost"
            );
        }
        let mut add = |name, bytes: &[u8]| {
            fds.push(file_of(name, bytes).context("a file for the state")?);
            anyhow::Ok(fds.len() as u32 - 1)
        };
        let has_program = copied.is_some_and(|copied| copied.has_program);
        let program = server.save_state(has_program).map_err(anyhow::Error::msg);
        let program = add("program", &program.context("the state of the program")?)?;
        let copied = copied.map(|copied| &copied.connections);
        let tracked = connections::save(shared.connections(), &shared.clock(), copied);
        Ok(NicState {
            version: VERSION,
            ports,
            totals,
            program,
            connections: add("connections", &tracked)?,
        })
    }
}

impl Drop for Freeze {
    fn drop(&mut self) {
        self.shared.thaw();
    }
}

impl NicState {
    /// Restores the state to a NIC that has not run yet, and has the same ADIs, and the copy if there was one.
    ///
    /// # Errors
    /// When it is of another version, damaged, or does not fit; the NIC is of no use then.
    pub(crate) fn restore(
        &self,
        shared: &Shared,
        server: &Server,
        loaded: Loaded,
        fds: &mut InheritedFds,
    ) -> anyhow::Result<()> {
        check_version(self.version)?;
        let program = read_file(fds.take(self.program)?)?;
        let restored = server.restore_state(&program, loaded.has_program);
        let restored = restored.map_err(anyhow::Error::msg);
        restored.context("the state of the program")?;
        let tracked = read_file(fds.take(self.connections)?)?;
        let connections = loaded.connections;
        let restored = connections.finish(shared.connections(), &shared.clock(), &tracked);
        let restored = restored.context("the connections")?;
        if restored.without_master > 0 {
            let count = restored.without_master;
            tracing::info!(
                count,
                "expectations have ended with connections that expired"
            );
        }
        if let Some(layout) = restored.not_understood.layout {
            let count = restored.not_understood.entries;
            tracing::warn!(
                count,
                layout,
                "connections go on without TCP windows and the memory of helpers: the other release's layout \
                 of them is not known"
            );
        }
        let mut function = shared.lock();
        function.datapath_mut().restore_ports(&self.ports);
        if let Some(totals) = &self.totals {
            function.datapath_mut().restore_totals(totals);
        }
        drop(function);
        tracing::debug!(
            connections = restored.connections,
            expectations = restored.expectations,
            entries_len = program.len(),
            "state restored"
        );
        Ok(())
    }
}
