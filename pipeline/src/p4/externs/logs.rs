// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `log_msg`, `assert` and `assume`: messages about a packet, for the program's operator.

use adit_p4_frontend::ir::{Argument, Layout};

use super::op::Operand;
use super::{Call, Unsupported};
use crate::p4::bits;
use crate::p4::events::LogMessage;

/// A call of `log_msg`.
pub(in crate::p4) struct Log {
    place: String,
    /// The text before each value, and after the last one.
    texts: Vec<String>,
    values: Vec<Shown>,
}

/// A value in a message.
struct Shown {
    slot: u32,
    width: u32,
    /// The names of an enum's members.
    names: Vec<String>,
    signed: bool,
}

/// A call of `assert` or `assume`.
pub(in crate::p4) struct Assertion {
    place: String,
    name: String,
    check: Operand,
}

impl Log {
    pub(super) fn new(call: &Call<'_>) -> Result<Log, Unsupported> {
        let arguments = &call.call.arguments;
        let Some(Some(Argument::Text(text))) = arguments.first() else {
            return Err(call.unsupported());
        };
        let mut values = Vec::new();
        if let Some(Some(Argument::Value(slot, layout))) = arguments.get(1) {
            collect(layout, *slot, &call.program.errors, &mut values);
        }
        Ok(Log {
            place: call.call.place.clone(),
            texts: text.split("{}").map(str::to_owned).collect(),
            values,
        })
    }

    /// Formats the message: each `{}` is a value, in order. Values without a `{}` are omitted.
    pub(super) fn message(&self, frame: &[u64]) -> LogMessage {
        let mut text = String::new();
        let mut values = self.values.iter();
        for (n, part) in self.texts.iter().enumerate() {
            if n > 0 {
                match values.next() {
                    Some(value) => text += &value.text(frame),
                    None => text += "{}",
                }
            }
            text += part;
        }
        LogMessage {
            place: self.place.clone(),
            text,
        }
    }
}

/// Collects the scalar values of a layout, in order.
fn collect(layout: &Layout, slot: u32, errors: &[String], to: &mut Vec<Shown>) {
    let shown = |names: &[String], signed| Shown {
        slot,
        width: layout.bits(),
        names: names.to_vec(),
        signed,
    };
    match layout {
        Layout::Struct(fields) | Layout::Union(fields) | Layout::Header(fields) => {
            for field in &fields.fields {
                collect(&field.layout, slot + field.offset, errors, to);
            }
        }
        Layout::Stack(element, count) => {
            for n in 0..*count {
                collect(element, slot + 1 + n * element.limbs(), errors, to);
            }
        }
        Layout::Error => to.push(shown(errors, false)),
        Layout::Enum(members) => to.push(shown(members, false)),
        Layout::Bool => to.push(shown(&["false".to_owned(), "true".to_owned()], false)),
        Layout::Bits(_, signed) => to.push(shown(&[], *signed)),
        // The bits follow the length.
        Layout::Varbit(width) => to.push(Shown {
            slot: slot + 1,
            width: *width,
            names: Vec::new(),
            signed: false,
        }),
    }
}

impl Shown {
    fn text(&self, frame: &[u64]) -> String {
        let limbs = adit_p4_frontend::ir::limbs_of(self.width).max(1) as usize;
        let value = &frame[self.slot as usize..][..limbs];
        if let Some(name) = self.names.get(value[0] as usize) {
            return name.clone();
        }
        match (value, self.signed) {
            ([one], true) => bits::signed(*one, self.width).to_string(),
            ([one], false) => one.to_string(),
            (many, _) => {
                let digits = many.iter().rev().map(|limb| format!("{limb:016x}"));
                let digits = digits.collect::<String>();
                let digits = digits.trim_start_matches('0');
                format!("0x{}", if digits.is_empty() { "0" } else { digits })
            }
        }
    }
}

impl Assertion {
    pub(super) fn new(call: &Call<'_>, check: Operand) -> Assertion {
        Assertion {
            place: call.call.place.clone(),
            name: call.name.clone(),
            check,
        }
    }

    pub(super) fn holds(&self, frame: &[u64]) -> bool {
        self.check.get(frame) != 0
    }

    pub(super) fn message(&self) -> LogMessage {
        LogMessage {
            place: self.place.clone(),
            text: format!("`{}` does not hold", self.name),
        }
    }
}
