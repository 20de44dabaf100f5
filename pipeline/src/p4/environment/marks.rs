// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Recording of trace points in traced programs.

use adit_p4_frontend::ir::limbs_of;

use super::Environment;
use crate::p4::trace::{limbs, Applied, Event, Mark};

impl Environment<'_> {
    pub(super) fn mark(&mut self, mark: usize, frame: &[u64]) {
        let Some(mark) = self.state.marks.get(mark) else {
            return;
        };
        let values = |block: u32| {
            let parameters = &self.state.program.blocks[block as usize].parameters;
            let values = parameters.iter();
            values
                .map(|p| limbs(frame, p.slot, p.layout.limbs()))
                .collect()
        };
        let event = match mark {
            Mark::Block(block) => Event::Block(*block, values(*block)),
            Mark::End(block) => Event::End(*block, values(*block)),
            Mark::State(name) => Event::State(name.clone()),
            Mark::Extract(name) => Event::Extract(name.clone()),
            Mark::Apply(table) => {
                let keys = &self.state.tables[*table as usize].spec().keys;
                self.local.trace.is_applying = true;
                let keys = keys.iter();
                let keys = keys.map(|k| limbs(frame, k.slot, limbs_of(k.width)));
                Event::Apply(*table, keys.collect())
            }
            Mark::Action(function) => {
                let is_applying = std::mem::take(&mut self.local.trace.is_applying);
                let applied = self.local.applied.filter(|_| is_applying);
                let applied = applied.and_then(|(table, entry)| {
                    let actions = &self.state.tables[table].spec().actions;
                    let at = actions.iter().position(|a| a.function == *function)?;
                    let parameters = actions[at].parameters.iter();
                    Some(Applied {
                        table: table as u32,
                        entry,
                        action: at as u32,
                        arguments: parameters
                            .map(|p| limbs(frame, p.slot, limbs_of(p.width)))
                            .collect(),
                    })
                });
                let name = &self.state.program.functions[*function as usize].name;
                Event::Action {
                    name: name.clone(),
                    applied,
                }
            }
        };
        self.local.trace.push(event);
    }
}
