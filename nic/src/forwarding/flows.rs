// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The classifier's side-band filter: rules of a virtual port that assign a flow to a queue.

use std::collections::HashMap;

use adit_pipeline::flow::{FlowError, FlowTable, Header};
use adit_pipeline::parse::Parsed;
use adit_uapi::virtchnl2::FlowRule;

/// The maximum number of rules of a port.
pub const MAX_FLOWS: usize = 1024;

/// The action on a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowAction {
    /// Assigned to a queue, an index into the port's RX queues.
    Queue(u32),
    /// Dropped.
    Drop,
}

/// The rules of a port, compiled and as the driver sent them.
#[derive(Clone, Debug)]
pub struct Flows {
    table: FlowTable<FlowAction>,
    rules: HashMap<u32, FlowRule>,
}

impl Default for Flows {
    fn default() -> Self {
        Self {
            table: FlowTable::new(MAX_FLOWS),
            rules: HashMap::new(),
        }
    }
}

impl Flows {
    /// Adds the rule with the driver's id `id`; `headers` are the headers that it matches.
    ///
    /// # Errors
    /// When it cannot be matched, exists already, or the table is full.
    pub fn add(
        &mut self,
        id: u32,
        rule: &FlowRule,
        headers: &[Header],
        action: FlowAction,
    ) -> Result<(), FlowError> {
        self.table.add(id, headers, rule.priority.get(), action)?;
        self.rules.insert(id, *rule);
        Ok(())
    }

    /// Removes a rule; returns false if there is none with that id.
    pub fn remove(&mut self, id: u32) -> bool {
        self.rules.remove(&id);
        self.table.remove(id).is_some()
    }

    /// A rule as the driver sent it.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<&FlowRule> {
        self.rules.get(&id)
    }

    /// The number of rules.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Returns whether there are no rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The action of the rule that matches the frame that begins with `front`, if any.
    #[must_use]
    pub fn lookup(&self, parsed: &Parsed, front: &[u8]) -> Option<FlowAction> {
        self.table.lookup(parsed, front).map(|(_, action)| action)
    }
}
