// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fields of the architecture's metadata, and user metadata that is kept for another pass.

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

    /// The field in values that begin elsewhere.
    pub(super) fn of(&self, values: &[u64], base: u32) -> u64 {
        self.get(values, base)
    }
}

pub(super) fn field(fields: &Fields, name: &str) -> Option<Field> {
    let field = fields.fields.iter().find(|f| f.name == name)?;
    (field.layout.limbs() == 1).then_some(Field {
        offset: field.offset,
        width: field.layout.bits(),
    })
}

/// Copies the fields of a `@field_list`, whatever structure they are in.
pub(super) fn keep(layout: &Layout, list: u32, from: &[u64], to: &mut [u64]) {
    let Layout::Struct(fields) = layout else {
        return;
    };
    for field in &fields.fields {
        let range = field.offset as usize..(field.offset + field.layout.limbs()) as usize;
        if field.field_lists.contains(&list) {
            to[range.clone()].copy_from_slice(&from[range]);
        } else {
            keep(&field.layout, list, &from[range.clone()], &mut to[range]);
        }
    }
}
