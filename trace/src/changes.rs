// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The changes that a program makes to a packet's headers.

use adit_p4_frontend::ir::{Fields, Layout, Program};

use crate::proto::{Change, Header};
use crate::values::simple;

/// Returns whether a layout contains headers.
pub(crate) fn has_header(layout: &Layout) -> bool {
    match layout {
        Layout::Header(_) | Layout::Union(_) => true,
        Layout::Struct(fields) => fields.fields.iter().any(|f| has_header(&f.layout)),
        Layout::Stack(element, _) => has_header(element),
        _ => false,
    }
}

/// Returns the headers and fields that have changed.
pub(crate) fn changes(
    program: &Program,
    name: &str,
    layout: &Layout,
    old: &[u64],
    new: &[u64],
) -> Vec<Change> {
    let mut comparison = Comparison {
        program,
        found: Vec::new(),
    };
    comparison.compare(name, layout, old, new);
    comparison.found
}

struct Comparison<'a> {
    program: &'a Program,
    found: Vec<Change>,
}

impl Comparison<'_> {
    fn compare(&mut self, name: &str, layout: &Layout, old: &[u64], new: &[u64]) {
        let limbs = layout.limbs() as usize;
        let (Some(old), Some(new)) = (old.get(..limbs), new.get(..limbs)) else {
            return;
        };
        match layout {
            Layout::Struct(fields) | Layout::Union(fields) => self.each(name, fields, old, new),
            Layout::Stack(element, count) => {
                let size = element.limbs() as usize;
                for n in 0..*count as usize {
                    let from = 1 + n * size;
                    let name = format!("{name}[{n}]");
                    self.compare(&name, element, &old[from..], &new[from..]);
                }
            }
            Layout::Header(fields) => match (old[0] != 0, new[0] != 0) {
                (true, true) => self.each(name, fields, old, new),
                (false, true) => self.push(name, None, Some(self.header(fields, new))),
                (true, false) => self.push(name, Some(self.header(fields, old)), None),
                (false, false) => {}
            },
            _ if old != new => {
                let value = |limbs| Header {
                    fields: vec![simple(self.program, "", layout, limbs)],
                };
                self.push(name, Some(value(old)), Some(value(new)));
            }
            _ => {}
        }
    }

    fn push(&mut self, name: &str, before: Option<Header>, after: Option<Header>) {
        self.found.push(Change {
            name: name.to_owned(),
            before,
            after,
        });
    }

    fn each(&mut self, name: &str, fields: &Fields, old: &[u64], new: &[u64]) {
        for field in &fields.fields {
            let from = field.offset as usize;
            let name = format!("{name}.{}", field.name);
            self.compare(&name, &field.layout, &old[from..], &new[from..]);
        }
    }

    fn header(&self, fields: &Fields, limbs: &[u64]) -> Header {
        let fields = fields.fields.iter().map(|field| {
            let limbs = &limbs[field.offset as usize..];
            let name = format!("{}.{}", fields.name, field.name);
            simple(self.program, &name, &field.layout, limbs)
        });
        Header {
            fields: fields.collect(),
        }
    }
}
