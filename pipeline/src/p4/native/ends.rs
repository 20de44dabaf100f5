// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Values that are known at the ends of blocks, and kept for the blocks behind them.

use std::collections::BTreeMap;

use adit_p4_frontend::ir::Slot;
use cranelift_codegen::ir::Value;

use super::graph::Graph;
use super::inline::{Inlined, Node};

/// The known value of a slot, and whether it differs from memory.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub(super) value: Value,
    pub(super) is_new: bool,
    /// Set if it is the constant 0.
    pub(super) is_zero: bool,
}

/// Maximum number of values known at the end of a block that are kept for the blocks behind it.
const MAX_KEPT: usize = 1024;

/// The same of all ends of a function.
pub(super) const MAX_KEPT_IN_ALL: usize = 64 << 10;

/// The values known at the end of a block.
pub(super) struct Ended {
    pub(super) known: BTreeMap<Slot, Known>,
    /// Those known after a failed extraction, if these are fewer.
    pub(super) failed: Option<BTreeMap<Slot, Known>>,
}

impl Ended {
    /// Keeps those of slots that are read later; none if these are too many: their blocks load them.
    pub(super) fn keep(&mut self, is_live: impl Fn(Slot) -> bool) {
        for known in std::iter::once(&mut self.known).chain(&mut self.failed) {
            known.retain(|slot, _| is_live(*slot));
            if known.len() > MAX_KEPT {
                known.clear();
            }
        }
    }

    /// The number of values.
    fn len(&self) -> usize {
        self.known.len() + self.failed.as_ref().map_or(0, BTreeMap::len)
    }
}

/// The ends of blocks that others are still to be translated behind.
#[derive(Default)]
pub(super) struct Ends {
    /// By block, with the number of blocks behind it that are still to be translated.
    ends: BTreeMap<usize, (Ended, usize)>,
    /// The number of values that are kept, and the largest that it has been.
    kept: usize,
    pub(super) most: usize,
}

impl Ends {
    pub(super) fn add(&mut self, block: usize, mut ended: Ended, behind: usize) {
        if behind > 0 {
            if self.kept + ended.len() > MAX_KEPT_IN_ALL {
                ended.keep(|_| false);
            }
            self.kept += ended.len();
            self.most = self.most.max(self.kept);
            self.ends.insert(block, (ended, behind));
        }
    }

    /// Notes that a block behind others is being translated.
    pub(super) fn release(&mut self, before: &[usize]) {
        for block in before {
            if let Some((ended, behind)) = self.ends.get_mut(block) {
                *behind -= 1;
                if *behind == 0 {
                    self.kept -= ended.len();
                    self.ends.remove(block);
                }
            }
        }
    }

    /// The values known at the start of a block: those that are known at the ends of all blocks before it
    /// are one value, which they have from a block that is before all of them. Values known at the end of a
    /// block have been stored if they are live.
    pub(super) fn inherited(
        &self,
        n: usize,
        graph: &Graph,
        code: &Inlined<'_>,
    ) -> BTreeMap<Slot, Known> {
        let mut ways = graph.blocks[n].before.iter().flat_map(|before| {
            let (Ended { known, failed }, _) = &self.ends[before];
            let last = &code.nodes[graph.blocks[*before].nodes.end - 1];
            let (goes_on, fails) = match (last, failed) {
                (Node::Parse { to, .. }, Some(_)) => {
                    let next = graph.at[graph.blocks[*before].nodes.end] as usize;
                    (next == n, graph.at[*to as usize] as usize == n)
                }
                _ => (true, false),
            };
            let failed = failed.as_ref().filter(|_| fails);
            goes_on.then_some(known).into_iter().chain(failed)
        });
        let Some(first) = ways.next() else {
            return BTreeMap::new();
        };
        let mut inherited = first.clone();
        for other in ways {
            inherited.retain(|slot, known| {
                other
                    .get(slot)
                    .is_some_and(|other| other.value == known.value)
            });
        }
        inherited
            .values_mut()
            .for_each(|known| known.is_new = false);
        inherited
    }
}
