// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Calls before they are resolved: access to their arguments, with the errors of those that are
//! not supported.

use adit_p4_frontend::ir::{Argument, Constant, ExternCall, Layout, Program};

use super::operand::Operand;
use crate::p4::unsupported::Unsupported;

/// The slot of an argument that is a value.
fn value_of(argument: Option<&Option<Argument>>) -> Option<(u32, &Layout)> {
    match argument?.as_ref()? {
        Argument::Value(slot, layout, _) => Some((*slot, layout)),
        Argument::Text(_) => None,
    }
}

/// A call to be resolved.
pub(super) struct Unresolved<'a> {
    pub(super) program: &'a Program,
    pub(super) call: &'a ExternCall,
    /// The name, for a method prefixed with the object's type.
    pub(super) name: String,
}

impl<'a> Unresolved<'a> {
    pub(super) fn new(program: &'a Program, call: &'a ExternCall) -> Unresolved<'a> {
        let name = match call.object {
            Some(object) => format!("{}.{}", program.externs[object as usize].kind, call.name),
            None => call.name.clone(),
        };
        Unresolved {
            program,
            call,
            name,
        }
    }

    pub(super) fn unsupported(&self) -> Unsupported {
        self.without(format!("`{}` with these arguments", self.name))
    }

    pub(super) fn without(&self, what: String) -> Unsupported {
        Unsupported {
            place: self.call.place.clone(),
            what,
        }
    }

    /// The number of arguments given; optional ones come last.
    pub(super) fn count(&self) -> usize {
        self.call.arguments.iter().flatten().count()
    }

    pub(super) fn value(&self, n: usize) -> Result<(u32, &'a Layout), Unsupported> {
        value_of(self.call.arguments.get(n)).ok_or_else(|| self.unsupported())
    }

    pub(super) fn operand(&self, n: usize) -> Result<Operand, Unsupported> {
        let (slot, layout) = self.value(n)?;
        Ok(Operand::new(slot, layout))
    }

    /// An optional argument.
    pub(super) fn optional(&self, n: usize) -> Result<Option<Operand>, Unsupported> {
        let given = matches!(self.call.arguments.get(n), Some(Some(_)));
        given.then(|| self.operand(n)).transpose()
    }

    /// A field of an argument that is a struct.
    pub(super) fn field(&self, n: usize, name: &str) -> Result<Operand, Unsupported> {
        let (slot, layout) = self.value(n)?;
        let fields = match layout {
            Layout::Struct(fields) => &fields.fields[..],
            _ => &[],
        };
        let field = fields.iter().find(|field| field.name == name);
        let field = field.ok_or_else(|| self.unsupported())?;
        Ok(Operand::new(slot + field.offset, &field.layout))
    }

    pub(super) fn result(&self) -> Result<Operand, Unsupported> {
        match &self.call.result {
            Some((slot, layout)) => Ok(Operand::new(*slot, layout)),
            None => Err(self.unsupported()),
        }
    }

    pub(super) fn object(&self) -> usize {
        self.call.object.unwrap_or(0) as usize
    }

    /// An argument of the object's constructor.
    pub(super) fn constructed(&self, n: usize) -> Option<&'a Constant> {
        self.program.externs.get(self.object())?.arguments.get(n)
    }
}
