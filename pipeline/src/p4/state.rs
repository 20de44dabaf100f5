// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state of a loaded program, shared by workers and control planes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

use adit_p4_frontend::ir::Program;

use super::connections::Connections;
use super::events::{ControlPacket, Digest, Events, Idle, LogMessage};
use super::externs::Call;
use super::hash::Hashes;
use super::memory::Epochs;
use super::objects::{Object, ValueSet};
use super::packets::DropReason;
use super::rejections::Rejections;
use super::replication::Replication;
use super::tables::Table;

/// State shared by workers and control planes.
pub(super) struct State {
    pub(super) program: Program,
    pub(super) epochs: Arc<Epochs>,
    pub(super) tables: Vec<Table>,
    pub(super) objects: Vec<Object>,
    pub(super) value_sets: Vec<ValueSet>,
    pub(super) connections: Connections,
    pub(super) calls: Vec<Call>,
    pub(super) replication: Replication,
    pub(super) digests: Events<Digest>,
    pub(super) logs: Events<LogMessage>,
    pub(super) idle: Events<Idle>,
    pub(super) packets_in: Events<ControlPacket>,
    pub(super) packets_out: Events<ControlPacket>,
    pub(super) hashes: Hashes,
    pub(super) flow_id: AtomicU64,
    /// The CPU port; a value above 32 bits: none.
    pub(super) cpu_port: AtomicU64,
    pub(super) rejections: Rejections,
    pub(super) drops: [AtomicU64; DropReason::ALL.len()],
}

impl State {
    pub(super) fn count_drop(&self, reason: DropReason) {
        if let Some(count) = self.drops.get(reason as usize) {
            count.fetch_add(1, Relaxed);
        }
    }
}
