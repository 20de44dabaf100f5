// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The step that is to blame for a packet's end.

use adit_p4_frontend::ir::Inst;
use adit_pipeline::p4::trace::Event;
use adit_pipeline::p4::DropReason;

use crate::proto::{step, Drop, Step};
use crate::record::Dropped;
use crate::translate::Translator;

/// The status of a commit that has succeeded, in `ConntrackStatus_t`.
const COMMITTED: &str = "COMMITTED";
/// Functions after whose call a packet is dropped.
const DROPS: [&str; 5] = [
    "drop_packet",
    "reject",
    "reject_with",
    "reject_behind",
    "mark_to_drop",
];

/// Explains a reason of the engine.
fn explanation(reason: DropReason) -> &'static str {
    match reason {
        DropReason::Program => "the program dropped it",
        DropReason::Rejected => "the program rejected it",
        DropReason::NotForwarded => {
            "the program did not forward it: no send_to_port, multicast, recirculate or \
             drop_packet"
        }
        DropReason::TooManyPasses => "it went through the pipeline too often",
        DropReason::TooLong => "the program ran for too long",
        DropReason::UnknownSession => "a copy was for a session that there is not",
        DropReason::UnknownGroup => "it was for a multicast group that there is not",
        DropReason::Assertion => "an assert or assume did not hold",
        DropReason::ControlQueueFull => "it was for the control plane, whose queue is full",
        DropReason::NotCommitted => "its connection could not be committed",
        DropReason::Helper => "its connection's helper needs all of an announcement in one packet",
        DropReason::Untranslatable => {
            "its connection is translated, and it could not be: a redirect, or other headers from \
             the IP header on than it had"
        }
    }
}

/// Explains the status of a commit that has failed.
fn status(name: &str) -> &'static str {
    match name {
        "NOT_TRACKED" => "there was no `track` before it",
        "INVALID" => "the packet has no connection",
        "TABLE_FULL" => "the table of connections is full (`adit-nic --connections`)",
        "ZONE_FULL" => "the zone has as many connections as its limit allows",
        "NAT_EXHAUSTED" => "all addresses and ports of the range that were tried are in use",
        "BAD_RANGE" => "the range of addresses or ports is not one",
        _ => "another connection has the tuple",
    }
}

/// The last step that passes a test, with its index.
fn last<'s, T>(steps: &'s [Step], found: impl Fn(&'s step::Step) -> Option<T>) -> Option<(u32, T)> {
    let steps = steps.iter().enumerate().rev();
    let mut found = steps.filter_map(|(n, step)| Some((n as u32, found(step.step.as_ref()?)?)));
    found.next()
}

/// The failure that the tracker has reported last, with the step.
fn tracker_failure(steps: &[Step]) -> Option<(u32, String)> {
    let (n, connection) = last(steps, |step| match step {
        step::Step::Connection(connection) => Some(connection),
        _ => None,
    })?;
    if !connection.status.is_empty() && connection.status != COMMITTED {
        let text = status(&connection.status);
        return Some((n, format!("commit returned {}: {text}", connection.status)));
    }
    let invalid = &connection.invalid;
    (!invalid.is_empty()).then(|| (n, format!("the connection tracker found: {invalid}")))
}

impl Translator {
    /// The step that is to blame for a drop, and why.
    pub(crate) fn blame(&self, dropped: &Dropped, events: &[Event], steps: &[Step]) -> Drop {
        let reason = match dropped {
            Dropped::Nic(reason, text) => {
                return Drop {
                    reason: (*reason).to_owned(),
                    step: None,
                    text: (*text).to_owned(),
                };
            }
            Dropped::Engine(reason) => *reason,
        };
        let mut text = explanation(reason).to_owned();
        let step = match reason {
            DropReason::Program | DropReason::Rejected => {
                let blamed = self.who_drops(events, steps);
                if let Some((_, why)) = &blamed {
                    text = why.clone();
                }
                if let Some((_, why)) = tracker_failure(steps) {
                    text = format!("{text}; {why}");
                }
                blamed.map(|(step, _)| step)
            }
            DropReason::NotCommitted => {
                let failure = tracker_failure(steps);
                if let Some((_, why)) = &failure {
                    text = format!("{text}: {why}");
                }
                failure.map(|(step, _)| step)
            }
            DropReason::Assertion => last(steps, |step| match step {
                step::Step::Log(_) => Some(()),
                _ => None,
            })
            .map(|(step, ())| step),
            _ => None,
        };
        Drop {
            reason: reason.name().to_owned(),
            step,
            text,
        }
    }

    /// The step that has called for the drop: the table or action that contains the call, or else
    /// the call itself.
    fn who_drops(&self, events: &[Event], steps: &[Step]) -> Option<(u32, String)> {
        let (call, name) = last(steps, |step| match step {
            step::Step::Call(call) if DROPS.contains(&call.name.as_str()) => Some(&call.name),
            _ => None,
        })?;
        let mut calls = events.iter().rev().filter_map(|event| match event {
            Event::Call(returned) => Some(returned.call),
            _ => None,
        });
        let program = self.program();
        let of = |call: u32| &program.calls[call as usize];
        let drops = calls.find(|c| DROPS.contains(&of(*c).name.as_str()))?;
        if !self.is_in_action(drops) {
            return Some((call, format!("{name} at {}", of(drops).place)));
        }
        last(&steps[..call as usize], |step| {
            match step {
            step::Step::Action(action) => Some(format!("{name} in the action `{action}`")),
            step::Step::Table(table) => Some(match table.hit {
                true => format!(
                    "{name} in the action `{}` of an entry of the table `{}`",
                    table.action, table.name
                ),
                false => format!(
                    "{name} in the default action `{}` of the table `{}`, which has no entry for it",
                    table.action, table.name
                ),
            }),
            _ => None,
        }
        })
    }

    /// Returns whether a call is in an action.
    fn is_in_action(&self, call: u32) -> bool {
        let program = self.program();
        let has = |inst: &Inst| matches!(inst, Inst::Extern { call: c } if *c == call);
        let mut functions = program.functions.iter().enumerate();
        let found = functions.find(|(_, function)| function.code.iter().any(has));
        found.is_some_and(|(n, function)| {
            let mut of_tables = program.tables.iter().flat_map(|t| &t.actions);
            let mut actions = program.control.actions.iter();
            of_tables.any(|a| a.function as usize == n) || actions.any(|a| a.name == function.name)
        })
    }
}
