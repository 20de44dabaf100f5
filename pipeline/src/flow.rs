// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Flow steering: rules that determine the action for the frames of a flow.
//!
//! A rule is a chain of protocol headers as on the wire, each with a mask of the bits to compare:
//! the form of virtchnl2's `virtchnl2_proto_hdrs`. Rules with the same headers and masks form a
//! group with one hash table (tuple space search), so a lookup costs one probe for each group,
//! independent of the number of rules. Both numbers are bounded, since the rules' author is
//! untrusted.

mod key;

use std::collections::hash_map::{Entry, HashMap};

pub use key::{Header, Proto, HEADER_BYTES};
use key::{Key, Shape};

use crate::parse::Parsed;

/// Maximum number of groups in one table, which bounds the cost of a lookup.
pub const MAX_GROUPS: usize = 32;

/// Reasons why a rule was not added. The table is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlowError {
    /// The number is in use.
    #[error("there is a rule {0} already")]
    RuleExists(u32),
    /// Another rule matches exactly the same frames.
    #[error("rule {0} matches the same frames")]
    SameMatch(u32),
    /// The table is full.
    #[error("{0} rules are there, and there is room for no more")]
    Full(usize),
    /// Rules have too many different masks.
    #[error("rules with {MAX_GROUPS} different masks are there: reuse the masks of one of them")]
    TooManyGroups,
    /// A rule needs headers.
    #[error("the rule names no header")]
    NoHeaders,
    /// Headers must be ordered from the outer to the inner, one for each layer.
    #[error("{inner:?} cannot follow {outer:?} in a rule")]
    Order {
        /// The header before.
        outer: Proto,
        /// The offending header.
        inner: Proto,
    },
    /// A mask covers bytes that are not matched.
    #[error("mask of {proto:?} is set at byte {at}: only the first {len} are matched", len = proto.header_len())]
    Mask {
        /// The header.
        proto: Proto,
        /// The first byte of its mask that is out of range.
        at: usize,
    },
}

/// A rule in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule<A> {
    priority: u32,
    id: u32,
    action: A,
}

/// Rules with the same headers and mask.
#[derive(Clone, Debug)]
struct Group<A> {
    shape: Shape,
    rules: HashMap<Key, Rule<A>>,
}

/// The rules of one virtual port. `A` is the type of a rule's action.
#[derive(Clone, Debug)]
pub struct FlowTable<A> {
    groups: Vec<Group<A>>,
    /// The group and key of each rule.
    places: HashMap<u32, (Shape, Key)>,
    max_rules: usize,
}

impl<A: Copy> FlowTable<A> {
    /// Creates an empty table with capacity for `max_rules`.
    pub fn new(max_rules: usize) -> FlowTable<A> {
        FlowTable {
            groups: Vec::new(),
            places: HashMap::new(),
            max_rules,
        }
    }

    /// Adds a rule. Of several rules that match a frame, the one with the lowest `priority` value
    /// wins, then the one with the lowest `rule_id`, which is ethtool's order of locations.
    ///
    /// Bits of a header's value outside of its mask are ignored.
    pub fn add(
        &mut self,
        rule_id: u32,
        headers: &[Header],
        priority: u32,
        action: A,
    ) -> Result<(), FlowError> {
        if self.places.contains_key(&rule_id) {
            return Err(FlowError::RuleExists(rule_id));
        }
        let (shape, key) = Shape::of(headers)?;
        if self.places.len() >= self.max_rules {
            return Err(FlowError::Full(self.places.len()));
        }
        let group = match self.groups.iter().position(|g| g.shape == shape) {
            Some(at) => &mut self.groups[at],
            None if self.groups.len() >= MAX_GROUPS => return Err(FlowError::TooManyGroups),
            None => {
                self.groups.push(Group {
                    shape,
                    rules: HashMap::new(),
                });
                self.groups.last_mut().ok_or(FlowError::TooManyGroups)?
            }
        };
        match group.rules.entry(key) {
            Entry::Occupied(other) => return Err(FlowError::SameMatch(other.get().id)),
            Entry::Vacant(place) => place.insert(Rule {
                priority,
                id: rule_id,
                action,
            }),
        };
        self.places.insert(rule_id, (shape, key));
        Ok(())
    }

    /// Removes a rule. Returns its action, or `None` if there is no such rule.
    pub fn remove(&mut self, rule_id: u32) -> Option<A> {
        let (shape, key) = self.places.remove(&rule_id)?;
        let at = self.groups.iter().position(|g| g.shape == shape)?;
        let rule = self.groups[at].rules.remove(&key)?;
        if self.groups[at].rules.is_empty() {
            self.groups.swap_remove(at);
        }
        Some(rule.action)
    }

    /// Removes all rules.
    pub fn clear(&mut self) {
        self.groups.clear();
        self.places.clear();
    }

    /// Number of rules.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Finds the rule for the frame that begins with `front` and was parsed into `p`. Returns its
    /// number and its action.
    pub fn lookup(&self, p: &Parsed, front: &[u8]) -> Option<(u32, A)> {
        if self.groups.is_empty() {
            return None;
        }
        let frame = Key::of_frame(p, front)?;
        let rules = self.groups.iter().filter(|g| g.shape.fits(p));
        let found = rules.filter_map(|g| g.rules.get(&g.shape.mask(&frame)));
        found
            .min_by_key(|r| (r.priority, r.id))
            .map(|r| (r.id, r.action))
    }
}

#[cfg(test)]
mod tests;
