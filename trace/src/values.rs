// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Values of a program as messages.

use adit_p4_frontend::ir::{Layout, Program};

use crate::proto::Value;

/// A value of `width` bits.
pub(crate) fn number(name: &str, width: u32, limbs: &[u64]) -> Value {
    let bytes: Vec<u8> = limbs.iter().rev().flat_map(|l| l.to_be_bytes()).collect();
    let spare = bytes
        .len()
        .saturating_sub(width.div_ceil(8).max(1) as usize);
    Value {
        name: name.to_owned(),
        width,
        value: bytes[spare..].to_vec(),
        text: String::new(),
    }
}

/// The value of a simple layout.
pub(crate) fn simple(program: &Program, name: &str, layout: &Layout, limbs: &[u64]) -> Value {
    let limbs = &limbs[..(layout.limbs() as usize).min(limbs.len())];
    let first = limbs.first().copied().unwrap_or_default();
    let named = match layout {
        Layout::Bool => Some((first != 0).to_string()),
        Layout::Enum(members) => members.get(first as usize).cloned(),
        Layout::Error => program.errors.get(first as usize).cloned(),
        Layout::Varbit(_) => Some(format!("{first} bits")),
        _ => None,
    };
    match named {
        Some(text) => Value {
            name: name.to_owned(),
            width: layout.bits(),
            value: Vec::new(),
            text,
        },
        None => number(name, layout.bits(), limbs),
    }
}

/// The simple values of a layout, each with its path behind `name`.
pub(crate) fn flat(
    program: &Program,
    name: &str,
    layout: &Layout,
    limbs: &[u64],
    to: &mut Vec<Value>,
) {
    match layout {
        Layout::Struct(fields) | Layout::Union(fields) | Layout::Header(fields) => {
            for field in &fields.fields {
                let name = match name {
                    "" => field.name.clone(),
                    name => format!("{name}.{}", field.name),
                };
                let from = limbs.get(field.offset as usize..).unwrap_or_default();
                flat(program, &name, &field.layout, from, to);
            }
        }
        Layout::Stack(..) => {}
        layout => to.push(simple(program, name, layout, limbs)),
    }
}
