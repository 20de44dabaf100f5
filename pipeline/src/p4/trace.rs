// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tracing of a packet's path: states, tables, actions. For debugging of programs.
//!
//! A program to be traced is instrumented with calls of an internal extern ([`instrument`]), and
//! then runs like any other: the machine is unaware of it, and programs without these calls have no
//! overhead.

use std::collections::HashSet;

use adit_p4_frontend::ir::{ExternCall, FunctionId, Inst, Layout, Program, Slot};

use super::tables::EntryId;

/// Name of the internal extern; a program's own cannot contain a space.
pub(super) const MARK: &str = "trace mark";
/// Maximum number of events of a packet's trace: a program may loop.
pub const MAX_TRACE: usize = 4096;

/// The event recorded at a place in the code.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Mark {
    Block(u32),
    End(u32),
    State(String),
    Extract(String),
    Apply(u32),
    Action(FunctionId),
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
}

/// The events of a packet so far.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) events: Vec<Event>,
    /// Set if a table was applied whose action has not started.
    pub(super) is_applying: bool,
}

impl Trace {
    pub(super) fn push(&mut self, event: Event) {
        if self.events.len() < MAX_TRACE {
            self.events.push(event);
        }
    }
}

/// Copies a value's limbs.
pub(super) fn limbs(frame: &[u64], slot: Slot, count: u32) -> Vec<u64> {
    frame[slot as usize..][..count as usize].to_vec()
}

/// Instruments a program with calls of the internal extern. Returns the marks, one for each call.
pub(super) fn instrument(program: &mut Program) -> Vec<Mark> {
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
        }
        for inst in &mut code {
            if let Inst::Jump { to } | Inst::Branch { to, .. } | Inst::IfEnding { to } = inst {
                *to = moved[*to as usize];
            }
        }
        program.functions[n].code = code;
    }
    let call = ExternCall {
        place: String::new(),
        object: None,
        name: MARK.to_owned(),
        arguments: Vec::new(),
        result: None,
    };
    program.calls.extend(marks.iter().map(|_| call.clone()));
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
