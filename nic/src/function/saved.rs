// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The function's state for a successor of this process, by which the driver notices nothing.
//!
//! The slow path's part has the form of a composed device's (`vdcm/STATE.md`). The doorbell pages are not
//! part of it: the client has them mapped, and the successor maps the same file.

mod adis;

use std::os::fd::OwnedFd;

use adit_function::dataplane::check_positions;
use adit_function::snapshot::{RestoreError, SaveError, Snapshot};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Function;
use crate::datapath::QueuesState;
use crate::dataplane::QueueKind;

/// The state of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionState {
    /// The slow path: configuration space, MSI-X table, mailbox, control plane.
    pub slow_path: Snapshot,
    /// The positions of its queues.
    pub data_plane: QueuesState,
}

/// The reason why a function does not take over a state.
#[derive(Debug, Error)]
pub enum TakeOverError {
    /// The state is not one of this function.
    #[error(transparent)]
    State(#[from] RestoreError),
    /// The positions of queues do not fit the rest.
    #[error("data_plane.queues{at}: {problem}")]
    Positions {
        /// The path of the value.
        at: String,
        /// The value, and what would be right.
        problem: String,
    },
    /// The state of ADIs does not fit the rest.
    #[error("data_plane.adis{at}: {problem}")]
    Adis {
        /// The path of the value.
        at: String,
        /// The value, and what would be right.
        problem: String,
    },
    /// A latched interrupt is of no vector.
    #[error(
        "data_plane.pending: {vector}: the function has {count} vectors, from 0, and those of its ADIs"
    )]
    Vector {
        /// The vector.
        vector: u32,
        /// The number of vectors.
        count: u32,
    },
    /// The doorbell pages cannot be used.
    #[error("the doorbell pages")]
    Pages(#[source] std::io::Error),
}

impl Function {
    /// Saves the state. The data plane must not be polled until a successor has it or this function
    /// goes on.
    ///
    /// # Errors
    /// When the function is held in reset.
    pub fn save(&self) -> Result<FunctionState, SaveError> {
        Ok(FunctionState {
            slow_path: self.slow_path.save(&self.datapath)?,
            data_plane: self.datapath.save_queues(),
        })
    }

    /// Takes over a state, and the doorbell pages that its client has mapped. The function is in the
    /// state after power-on, but for the client's memory and eventfds, and is not polled yet.
    ///
    /// # Errors
    /// When the state is not one of this function, or impossible; the function is of no use then.
    pub fn restore(&mut self, saved: &FunctionState, pages: OwnedFd) -> Result<(), TakeOverError> {
        let enabled = enabled(&saved.slow_path);
        let queues = &saved.data_plane.queues;
        check_positions(queues, &enabled).map_err(|error| TakeOverError::Positions {
            at: error.at,
            problem: error.problem,
        })?;
        adis::check(saved, self.datapath.queues().interrupts.own())?;
        // The configuration of queues clears tails: of pages that nobody has yet.
        self.slow_path
            .restore(&saved.slow_path, &mut self.datapath)?;
        self.datapath.restore_queues(&saved.data_plane);
        let doorbells = &mut self.datapath.queues_mut().doorbells;
        doorbells.adopt(pages).map_err(TakeOverError::Pages)?;
        self.datapath.wake_adis();
        Ok(())
    }

    /// Continues after a state was restored: the predecessor has ended. The driver is told of all links:
    /// what it knows of them is what the predecessor saw last, and they may have changed before this
    /// process saw them.
    pub(crate) fn go_on(&mut self) {
        self.datapath.claim_wires();
        for vport in self.datapath.vports() {
            self.slow_path.link_changed(vport);
        }
        self.links_changed();
    }
}

/// The queues that are enabled according to the control plane, with the lengths of their rings.
fn enabled(slow_path: &Snapshot) -> Vec<(QueueKind, u32, u16)> {
    let control = &slow_path.control;
    let adis = control.adis.iter().flat_map(|adis| &adis.list);
    let vports = control.vports.iter().chain(adis.map(|adi| &adi.vport));
    let queues = vports.flat_map(|vport| &vport.queues);
    let mut enabled: Vec<_> = queues
        .filter(|queue| queue.enabled)
        .filter_map(|queue| Some((queue.kind, queue.index, queue.config?.ring().len)))
        .collect();
    enabled.sort_unstable();
    enabled
}
