// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Recording of trace points while a packet is traced.

use adit_conntrack::CtState;
use adit_p4_frontend::ir::{limbs_of, Argument};

use super::Environment;
use crate::p4::externs::{Call, ConntrackCall, MessageCall};
use crate::p4::trace::{limbs, Applied, Event, Mark, OfConnection, Returned};

/// No group.
const NO_GROUP: u32 = u32::MAX;

impl Environment<'_> {
    #[cold]
    pub(super) fn mark(&mut self, mark: usize, frame: &[u64]) {
        let Some(of) = self.local.trace.of.clone() else {
            return;
        };
        let Some(mark) = of.marks.get(mark) else {
            return;
        };
        if !self.local.trace.has_room() {
            return;
        }
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
                self.local.selected.0 = NO_GROUP;
                let keys = keys.iter();
                let keys = keys.map(|k| limbs(frame, k.slot, limbs_of(k.width)));
                Event::Apply(*table, keys.collect())
            }
            Mark::Action(function) => {
                let is_applying = std::mem::take(&mut self.local.trace.is_applying);
                let applied = self.local.applied.get().filter(|_| is_applying);
                let applied = applied.and_then(|(table, entry)| {
                    let (group, hash) = self.local.selected;
                    let of = &self.state.tables[table];
                    let selected = (group != NO_GROUP)
                        .then(|| (group, of.selected_member(group, hash, self.pin)));
                    let actions = &of.spec().actions;
                    let at = actions.iter().position(|a| a.function == *function)?;
                    let parameters = actions[at].parameters.iter();
                    Some(Applied {
                        table: table as u32,
                        entry,
                        action: at as u32,
                        arguments: parameters
                            .map(|p| limbs(frame, p.slot, limbs_of(p.width)))
                            .collect(),
                        selected,
                    })
                });
                let name = &self.state.program.functions[*function as usize].name;
                Event::Action {
                    name: name.clone(),
                    applied,
                }
            }
            Mark::Called(call) => match self.called(*call, frame) {
                Some(event) => event,
                None => return,
            },
        };
        self.local.trace.push(event);
    }

    /// The event of a call that has returned.
    fn called(&self, call: u32, frame: &[u64]) -> Option<Event> {
        let at = call as usize;
        match &self.state.calls[at] {
            Call::Conntrack(call) => self.connection(call, frame),
            Call::Message(MessageCall::Log(log)) => Some(Event::Log(log.message(frame))),
            Call::Message(MessageCall::Assert(assertion)) => {
                (!assertion.holds(frame)).then(|| Event::Log(assertion.message()))
            }
            _ => {
                let of = &self.state.program.calls[at];
                let value = |argument: &Option<Argument>| match argument {
                    Some(Argument::Value(slot, layout, _)) => {
                        Some(limbs(frame, *slot, layout.limbs()))
                    }
                    _ => None,
                };
                let result = of.result.as_ref();
                Some(Event::Call(Box::new(Returned {
                    call,
                    arguments: of.arguments.iter().map(value).collect(),
                    result: result.map(|(slot, layout)| limbs(frame, *slot, layout.limbs())),
                })))
            }
        }
    }

    /// The event of a call of `Conntrack`; `None` if there is no tracker.
    fn connection(&self, call: &ConntrackCall, frame: &[u64]) -> Option<Event> {
        let status = match call {
            ConntrackCall::Track { .. } | ConntrackCall::Forget(_) => None,
            ConntrackCall::Commit(call) => Some(call.result.get(frame) as u8),
        };
        let packet = self.local.tracked.as_ref();
        let tracked = packet.map(|packet| packet.tracked());
        // A commit without a packet that was tracked has a status only.
        if tracked.is_none() && status.is_none() {
            return None;
        }
        Some(Event::Connection(Box::new(OfConnection {
            status,
            is_forgotten: matches!(call, ConntrackCall::Forget(_)),
            zone: packet.map_or(0, |packet| packet.zone().id()),
            state: tracked.map_or(CtState::NONE, |t| t.state()),
            invalid: tracked.and_then(|t| t.invalid_reason()),
            direction: tracked.and_then(|t| t.direction()),
            connection: tracked.and_then(|t| t.connection()),
            translated: tracked.and_then(|t| t.translated()),
            mark: tracked.map_or(0, |t| t.mark()),
        })))
    }
}
