// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The classifier's side-band filter: rules of a virtual port that put a flow on a queue.

use std::collections::HashMap;

use adit_pipeline::flow::{FlowError, FlowTable, Header};
use adit_pipeline::parse::Parsed;
use adit_uapi::virtchnl2::FlowRule;

/// Most rules of a port.
pub const MAX_FLOWS: usize = 1024;

/// What happens to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowAction {
    /// It goes to a queue, an index into the port's RX queues.
    Queue(u32),
    /// It is dropped.
    Drop,
}

/// The rules of a port, and how the driver said them.
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
    /// Adds the rule that the driver calls `id`; `headers` is what it matches.
    ///
    /// # Errors
    /// When it cannot be matched, is there already, or there is no room.
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

    /// Takes a rule away; false when there is none of that id.
    pub fn remove(&mut self, id: u32) -> bool {
        self.rules.remove(&id);
        self.table.remove(id).is_some()
    }

    /// A rule as the driver said it.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<&FlowRule> {
        self.rules.get(&id)
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// What happens to the frame that begins with `front`, if a rule says so.
    #[must_use]
    pub fn lookup(&self, parsed: &Parsed, front: &[u8]) -> Option<FlowAction> {
        self.table.lookup(parsed, front).map(|(_, action)| action)
    }
}
