// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tracing of a packet's path: states, tables, actions. For debugging of programs.
//!
//! A copy of the program is instrumented with calls of an internal extern ([`instrument`]), and then
//! interpreted like any other: the machine is unaware of it. The program itself has no such calls, so
//! that packets without a trace cost what they cost before, as machine code, at the same time and on
//! the same tables.

use std::collections::HashSet;
use std::mem::size_of;
use std::sync::Arc;

use adit_conntrack::{ConnectionRef, CtState, Direction, Invalid, Tuple};
use adit_p4_frontend::ir::{FunctionId, Inst, Layout, Program, Slot};

use super::code::Code;
use super::events::LogMessage;
use super::tables::EntryId;

/// Maximum number of events of a packet's trace, and of bytes that they take: a program may loop.
pub const MAX_TRACE: usize = 4096;
const MAX_BYTES: usize = 128 << 10;

/// The event recorded at a place in the code.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Mark {
    Block(u32),
    End(u32),
    State(String),
    Extract(String),
    Apply(u32),
    Action(FunctionId),
    /// The call with that index has returned.
    Called(u32),
}

/// An event on a packet's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The start of a program block, by its index; the values of its parameters, as limbs.
    Block(u32, Vec<Vec<u64>>),
    /// The end of a block.
    End(u32, Vec<Vec<u64>>),
    /// A transition of a parser to a state.
    State(String),
    /// The extraction of a header, by its name, before it takes place.
    Extract(String),
    /// The application of a table, by its index; the values of its keys.
    Apply(u32, Vec<Vec<u64>>),
    /// The start of an action, selected by the table applied last or called by its name.
    Action {
        /// Its name.
        name: String,
        /// The lookup's result, if a table selected the action.
        applied: Option<Applied>,
    },
    /// The return of an extern's call.
    Call(Box<Returned>),
    /// The return of a call of `Conntrack`.
    Connection(Box<OfConnection>),
    /// A message of the program, or of an assertion that does not hold.
    Log(LogMessage),
    /// The end of what is recorded: there were more events.
    Cut,
}

impl Event {
    /// The memory that it takes, about.
    fn bytes(&self) -> usize {
        let values = |values: &[Vec<u64>]| -> usize {
            let each = values.iter().map(|v| v.len() * 8 + size_of::<Vec<u64>>());
            each.sum()
        };
        let more = match self {
            Event::Block(_, list) | Event::End(_, list) | Event::Apply(_, list) => values(list),
            Event::State(text) | Event::Extract(text) => text.len(),
            Event::Action { name, applied } => {
                let arguments = applied.as_ref().map_or(0, |a| values(&a.arguments));
                name.len() + arguments
            }
            Event::Call(call) => {
                let all = call.arguments.iter().chain([&call.result]).flatten();
                size_of::<Returned>()
                    + all
                        .map(|v| v.len() * 8 + size_of::<Vec<u64>>())
                        .sum::<usize>()
            }
            Event::Connection(_) => size_of::<OfConnection>(),
            Event::Log(message) => message.place.len() + message.text.len(),
            Event::Cut => 0,
        };
        size_of::<Event>() + more
    }
}

/// The values of an extern's call after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Returned {
    /// The call, by its index in [`Program::calls`].
    pub call: u32,
    /// The values of its arguments, as limbs; `None` for texts, and for those that are omitted.
    pub arguments: Vec<Option<Vec<u64>>>,
    /// The value of its result, if it has one.
    pub result: Option<Vec<u64>>,
}

/// The connection of a packet after a call of `Conntrack`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfConnection {
    /// The result of a commit: a member of `ConntrackStatus_t`; `None` after `track` and `forget`.
    pub status: Option<u8>,
    /// Set after `forget`, which has ended the connection that the packet had.
    pub is_forgotten: bool,
    /// The zone.
    pub zone: u16,
    /// The packet's state.
    pub state: CtState,
    /// The reason for which the packet has no connection.
    pub invalid: Option<Invalid>,
    /// The packet's direction in its connection.
    pub direction: Option<Direction>,
    /// The connection in the table.
    pub connection: Option<ConnectionRef>,
    /// The tuple with which the packet leaves, if it is translated.
    pub translated: Option<Tuple>,
    /// The connection's mark.
    pub mark: u32,
}

/// The result of applying a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The table's index.
    pub table: u32,
    /// The entry that was hit.
    pub entry: Option<EntryId>,
    /// The action's index in the table.
    pub action: u32,
    /// The values of its parameters, as limbs.
    pub arguments: Vec<Vec<u64>>,
    /// The group that the entry has, and the member that the packet's hash selects in it.
    pub selected: Option<(u32, Option<u32>)>,
}

/// A program with trace points.
pub(super) struct Instrumented {
    pub(super) code: Code,
    /// One for each call behind those of the program.
    pub(super) marks: Vec<Mark>,
}

impl Instrumented {
    pub(super) fn new(program: &Program) -> Instrumented {
        let mut program = program.clone();
        let marks = instrument(&mut program);
        Instrumented {
            code: Code::new(&program),
            marks,
        }
    }
}

/// The events of a packet so far.
#[derive(Default)]
pub(super) struct Trace {
    events: Vec<Event>,
    bytes: usize,
    /// The program, while a packet is traced.
    pub(super) of: Option<Arc<Instrumented>>,
    /// Set if a table was applied whose action has not started.
    pub(super) is_applying: bool,
}

impl Trace {
    pub(super) fn of(instrumented: Arc<Instrumented>) -> Trace {
        Trace {
            of: Some(instrumented),
            ..Trace::default()
        }
    }

    /// Returns whether further events are recorded.
    pub(super) fn has_room(&self) -> bool {
        self.events.len() < MAX_TRACE && self.bytes < MAX_BYTES
    }

    pub(super) fn push(&mut self, event: Event) {
        if self.has_room() {
            self.bytes += event.bytes();
            self.events.push(event);
            if !self.has_room() {
                self.events.push(Event::Cut);
            }
        }
    }

    pub(super) fn into_events(self) -> Vec<Event> {
        self.events
    }
}

/// Copies a value's limbs.
pub(super) fn limbs(frame: &[u64], slot: Slot, count: u32) -> Vec<u64> {
    frame[slot as usize..][..count as usize].to_vec()
}

/// Returns whether a call is recorded: what it does to the packet is not seen in headers.
fn is_recorded(program: &Program, call: u32) -> bool {
    let call = &program.calls[call as usize];
    let object = call.object.and_then(|at| program.externs.get(at as usize));
    match object.map_or("", |object| object.kind.as_str()) {
        "Counter" | "Meter" | "DirectMeter" | "meter" | "direct_meter" | "Conntrack"
        | "Register" => true,
        "" => matches!(
            call.name.as_str(),
            "drop_packet"
                | "reject"
                | "reject_with"
                | "reject_behind"
                | "is_answer"
                | "segments"
                | "fragment_packet"
                | "fragment_size"
                | "mark_to_drop"
                | "send_to_port"
                | "multicast"
                | "recirculate"
                | "recirculate_inner"
                | "mirror_packet"
                | "input_queue"
                | "set_queue"
                | "set_flow_id"
                | "set_hash"
                | "add_entry"
                | "add_entry_if"
                | "add_entry_for"
                | "set_entry_lifetime"
                | "log_msg"
                | "assert"
                | "assume"
        ),
        _ => false,
    }
}

/// Instruments a program with calls of the internal extern, whose indexes follow those of the
/// program's calls. Returns the marks, one for each call.
fn instrument(program: &mut Program) -> Vec<Mark> {
    let mut marks = Vec::new();
    let first = program.calls.len();
    let names: HashSet<&str> = program
        .control
        .actions
        .iter()
        .map(|a| a.name.as_str())
        .collect();
    let of_tables = program.tables.iter().flat_map(|t| &t.actions);
    let actions: HashSet<FunctionId> = of_tables.map(|a| a.function).collect();
    for n in 0..program.functions.len() {
        let function = &program.functions[n];
        let id = n as FunctionId;
        let block = program.blocks.iter().position(|b| b.function == id);
        let is_action = actions.contains(&id) || names.contains(function.name.as_str());
        let mut code = Vec::with_capacity(function.code.len());
        let mut moved = Vec::with_capacity(function.code.len());
        for (at, inst) in function.code.iter().enumerate() {
            moved.push(code.len() as u32);
            let mut note = |mark| {
                code.push(Inst::Extern {
                    call: (first + marks.len()) as u32,
                });
                marks.push(mark);
            };
            match block {
                Some(block) if at == 0 => note(Mark::Block(block as u32)),
                None if at == 0 && is_action => note(Mark::Action(id)),
                _ => {}
            }
            let labels = function.labels.iter();
            for (_, name) in labels.filter(|(place, _)| *place as usize == at) {
                // States of sub-parsers are distinguished by the parser's name.
                note(Mark::State(match block {
                    Some(_) => name.clone(),
                    None => {
                        let parser = function.name.rsplit('.').next().unwrap_or_default();
                        format!("{parser}.{name}")
                    }
                }));
            }
            match (inst, block) {
                (Inst::Apply { table, .. }, _) => note(Mark::Apply(*table)),
                (Inst::Extract { layout, dst, .. }, _) => {
                    note(Mark::Extract(name_of(program, *dst, *layout)));
                }
                (Inst::Return, Some(block)) => note(Mark::End(block as u32)),
                _ => {}
            }
            code.push(inst.clone());
            if let Inst::Extern { call } = inst {
                if is_recorded(program, *call) {
                    code.push(Inst::Extern {
                        call: (first + marks.len()) as u32,
                    });
                    marks.push(Mark::Called(*call));
                }
            }
        }
        for inst in &mut code {
            if let Inst::Jump { to } | Inst::Branch { to, .. } | Inst::IfEnding { to } = inst {
                *to = moved[*to as usize];
            }
        }
        program.functions[n].code = code;
    }
    marks
}

/// The name of the value at a slot: a part of a block's parameters, or else its type's name.
fn name_of(program: &Program, slot: Slot, layout: u32) -> String {
    let parameters = program.blocks.iter().flat_map(|b| &b.parameters);
    let mut paths =
        parameters.filter_map(|p| path(&p.layout, p.slot, slot).map(|path| (&p.name, path)));
    if let Some((name, path)) = paths.next() {
        return format!("{name}{path}");
    }
    match &program.layouts[layout as usize] {
        Layout::Header(fields) | Layout::Struct(fields) if !fields.name.is_empty() => {
            fields.name.clone()
        }
        _ => "a header".to_owned(),
    }
}

/// The path from a value to the header in it at `slot`.
fn path(layout: &Layout, base: Slot, slot: Slot) -> Option<String> {
    if !(base..base + layout.limbs().max(1)).contains(&slot) {
        return None;
    }
    match layout {
        Layout::Struct(fields) | Layout::Union(fields) => fields.fields.iter().find_map(|field| {
            let rest = path(&field.layout, base + field.offset, slot)?;
            Some(format!(".{}{rest}", field.name))
        }),
        Layout::Stack(element, count) => (0..*count).find_map(|n| {
            let rest = path(element, base + 1 + n * element.limbs(), slot)?;
            Some(format!("[{n}]{rest}"))
        }),
        Layout::Header(_) => (base == slot).then(String::new),
        _ => None,
    }
}
