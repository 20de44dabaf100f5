// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fields of the architecture's metadata, and user metadata that is preserved for another pass.

use std::ops::Range;

use adit_p4_frontend::ir::{Fields, Layout};

/// A field of one limb.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Field {
    offset: u32,
    width: u32,
}

impl Field {
    pub(super) fn set(&self, frame: &mut [u64], base: u32, value: u64) {
        let value = value & super::bits::mask(self.width);
        frame[(base + self.offset) as usize] = value;
    }

    pub(super) fn get(&self, frame: &[u64], base: u32) -> u64 {
        frame[(base + self.offset) as usize]
    }
}

pub(super) fn field(fields: &Fields, name: &str) -> Option<Field> {
    let field = fields.fields.iter().find(|f| f.name == name)?;
    (field.layout.limbs() == 1).then_some(Field {
        offset: field.offset,
        width: field.layout.bits(),
    })
}

/// The limbs of a list's fields, in order; adjacent fields form one run.
#[derive(Clone, Debug, Default)]
struct List {
    number: u32,
    runs: Vec<Range<usize>>,
}

/// The number of an empty list; numbers of `@field_list` have eight bits.
pub(super) const NO_FIELDS: u32 = u32::MAX;

/// The fields of the user metadata in each `@field_list`, at any nesting depth.
#[derive(Clone, Debug, Default)]
pub(super) struct FieldLists(Vec<List>);

impl FieldLists {
    pub(super) fn new(layout: &Layout) -> FieldLists {
        let mut lists = FieldLists::default();
        lists.collect(layout, 0, &[]);
        lists
    }

    /// Collects fields; `kept` are the lists that an enclosing structure is in.
    fn collect(&mut self, layout: &Layout, at: u32, kept: &[u32]) {
        let Layout::Struct(fields) = layout else {
            return;
        };
        for field in &fields.fields {
            let from = (at + field.offset) as usize;
            let to = from + field.layout.limbs() as usize;
            for number in field.field_lists.iter().filter(|n| !kept.contains(n)) {
                self.add(*number, from..to);
            }
            let kept = [kept, &field.field_lists].concat();
            self.collect(&field.layout, at + field.offset, &kept);
        }
    }

    fn add(&mut self, number: u32, run: Range<usize>) {
        let found = self.0.iter().position(|list| list.number == number);
        let at = found.unwrap_or_else(|| {
            let runs = Vec::new();
            self.0.push(List { number, runs });
            self.0.len() - 1
        });
        let runs = &mut self.0[at].runs;
        match runs.last_mut() {
            // A field may name the same list twice.
            Some(last) if last.end >= run.end => {}
            Some(last) if last.end == run.start => last.end = run.end,
            _ => runs.push(run),
        }
    }

    fn runs(&self, list: u32) -> &[Range<usize>] {
        let found = self.0.iter().find(|l| l.number == list);
        found.map_or(&[], |list| &list.runs)
    }

    /// Copies the fields of a list.
    pub(super) fn copy(&self, list: u32, from: &[u64], to: &mut [u64]) {
        for run in self.runs(list) {
            to[run.clone()].copy_from_slice(&from[run.clone()]);
        }
    }

    /// Clears all values except the fields of a list.
    pub(super) fn retain(&self, list: Option<u32>, values: &mut [u64]) {
        let mut at = 0;
        for run in list.map_or(&[][..], |list| self.runs(list)) {
            values[at..run.start].fill(0);
            at = run.end;
        }
        values[at..].fill(0);
    }
}
