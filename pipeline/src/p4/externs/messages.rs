// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `log_msg`, `assert` and `assume`: messages about a packet, for the program's operator.

use std::fmt::{self, Write};
use std::sync::Arc;

use adit_p4_frontend::ir::{Argument, Layout};

use super::operand::Operand;
use super::unresolved::Unresolved;
use crate::p4::bits;
use crate::p4::events::{LogMessage, MAX_MESSAGE};
use crate::p4::unsupported::Unsupported;

/// The end of a text that was truncated.
const ELLIPSIS: char = '…';

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
    names: Arc<[String]>,
    signed: bool,
}

/// A text of at most [`MAX_MESSAGE`] bytes; a longer one is truncated, and ends with an ellipsis.
#[derive(Default)]
struct Bounded(String);

impl Write for Bounded {
    /// Appends a text.
    ///
    /// # Errors
    /// When it was truncated: nothing may be appended any more.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() <= MAX_MESSAGE - self.0.len() {
            self.0.push_str(text);
            return Ok(());
        }
        let end = MAX_MESSAGE - ELLIPSIS.len_utf8();
        if let Some(room) = end.checked_sub(self.0.len()) {
            self.0.push_str(&text[..boundary(text, room)]);
        }
        self.0.truncate(boundary(&self.0, end));
        self.0.push(ELLIPSIS);
        Err(fmt::Error)
    }
}

/// The last char boundary of a text that is not after `at`.
fn boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at)
        .rev()
        .find(|n| text.is_char_boundary(*n))
        .unwrap_or(0)
}

/// Copies a text, truncated to the maximum length of a message.
fn bounded(text: &str) -> String {
    let mut copy = Bounded::default();
    // An error means that it is truncated.
    let _ = copy.write_str(text);
    copy.0
}

/// A call of `assert` or `assume`.
pub(in crate::p4) struct Assertion {
    place: String,
    name: String,
    check: Operand,
}

impl Log {
    pub(super) fn new(call: &Unresolved<'_>) -> Result<Log, Unsupported> {
        let arguments = &call.call.arguments;
        let Some(Some(Argument::Text(text))) = arguments.first() else {
            return Err(call.unsupported());
        };
        let mut values = Vec::new();
        if let Some(Some(Argument::Value(slot, layout, _))) = arguments.get(1) {
            let errors: Arc<[String]> = call.program.errors.as_slice().into();
            collect(layout, *slot, &errors, &mut values);
        }
        // No more is kept than makes a message too long, so that it is truncated. Each text but
        // the first follows at least one byte, of a value or of the braces.
        let mut room = MAX_MESSAGE + ELLIPSIS.len_utf8() + 1;
        let texts = text.split("{}").map_while(|part| {
            let end = boundary(part, room);
            let kept = (room > 0).then(|| part[..end].to_owned());
            room = room.saturating_sub(end + 1);
            kept
        });
        Ok(Log {
            place: bounded(&call.call.place),
            texts: texts.collect(),
            values,
        })
    }

    /// Formats the message: each `{}` is a value, in order. Values without a `{}` are omitted. A
    /// message longer than [`MAX_MESSAGE`] bytes is truncated, and ends with an ellipsis.
    pub(in crate::p4) fn message(&self, frame: &[u64]) -> LogMessage {
        let mut text = Bounded::default();
        // An error means that it is truncated.
        let _ = self.format(frame, &mut text);
        LogMessage {
            place: self.place.clone(),
            text: text.0,
        }
    }

    fn format(&self, frame: &[u64], to: &mut Bounded) -> fmt::Result {
        let mut values = self.values.iter();
        for (n, part) in self.texts.iter().enumerate() {
            if n > 0 {
                match values.next() {
                    Some(value) => value.format(frame, to)?,
                    None => to.write_str("{}")?,
                }
            }
            to.write_str(part)?;
        }
        Ok(())
    }
}

/// Collects the scalar values of a layout, in order, as many as may be in a message.
fn collect(layout: &Layout, slot: u32, errors: &Arc<[String]>, to: &mut Vec<Shown>) {
    if to.len() > MAX_MESSAGE {
        return;
    }
    let shown = |names: &Arc<[String]>, signed| Shown {
        slot,
        width: layout.bits(),
        names: names.clone(),
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
        Layout::Bool => {
            let names = ["false", "true"].map(str::to_owned);
            to.push(shown(&names.into(), false));
        }
        Layout::Bits(_, signed) => to.push(shown(&Arc::default(), *signed)),
        // The bits follow the length.
        Layout::Varbit(width) => to.push(Shown {
            slot: slot + 1,
            width: *width,
            names: Arc::default(),
            signed: false,
        }),
    }
}

impl Shown {
    fn format(&self, frame: &[u64], to: &mut Bounded) -> fmt::Result {
        let limbs = adit_p4_frontend::ir::limbs_of(self.width).max(1) as usize;
        let value = &frame[self.slot as usize..][..limbs];
        if let Some(name) = self.names.get(value[0] as usize) {
            return to.write_str(name);
        }
        match (value, self.signed) {
            ([one], true) => write!(to, "{}", bits::signed(*one, self.width)),
            ([one], false) => write!(to, "{one}"),
            (many, _) => {
                let mut limbs = many.iter().rev().skip_while(|limb| **limb == 0);
                write!(to, "0x{:x}", limbs.next().unwrap_or(&0))?;
                limbs.try_for_each(|limb| write!(to, "{limb:016x}"))
            }
        }
    }
}

impl Assertion {
    pub(super) fn new(call: &Unresolved<'_>, check: Operand) -> Assertion {
        Assertion {
            place: bounded(&call.call.place),
            name: call.name.clone(),
            check,
        }
    }

    pub(in crate::p4) fn holds(&self, frame: &[u64]) -> bool {
        self.check.get(frame) != 0
    }

    pub(in crate::p4) fn message(&self) -> LogMessage {
        LogMessage {
            place: self.place.clone(),
            text: format!("`{}` does not hold", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(texts: &[&str], values: Vec<Shown>) -> Log {
        Log {
            place: "x.p4:1:1".to_owned(),
            texts: texts.iter().map(|t| t.to_string()).collect(),
            values,
        }
    }

    #[test]
    fn messages_are_bounded_at_a_char_boundary() {
        let whole = "a".repeat(MAX_MESSAGE);
        assert_eq!(log(&[&whole], vec![]).message(&[]).text, whole);
        for long in ["a".repeat(MAX_MESSAGE + 1), "ä".repeat(MAX_MESSAGE)] {
            let text = log(&[&long], vec![]).message(&[]).text;
            assert!(text.len() <= MAX_MESSAGE, "{}", text.len());
            assert!(text.len() >= MAX_MESSAGE - 1, "{}", text.len());
            assert!(text.ends_with(ELLIPSIS), "{text}");
        }
    }

    #[test]
    fn values_are_bounded_too() {
        let wide = || Shown {
            slot: 0,
            width: 64 * 200,
            names: Arc::default(),
            signed: false,
        };
        let log = log(&["", " ", " "], vec![wide(), wide()]);
        let mut frame = vec![u64::MAX; 200];
        let text = log.message(&frame).text;
        assert_eq!(text.len(), MAX_MESSAGE);
        assert!(text.starts_with("0xffff") && text.ends_with(ELLIPSIS));
        frame.fill(0);
        assert_eq!(log.message(&frame).text, "0x0 0x0 ");
        frame[1] = 0x12;
        assert_eq!(
            log.message(&frame).text,
            "0x120000000000000000 0x120000000000000000 "
        );
    }
}
