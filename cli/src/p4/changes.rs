// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The changes that a program makes to a packet's headers.

use adit_p4_frontend::ir::{Fields, Layout};

use super::record::Change;
use crate::table::value::{form, show};

/// Returns whether a layout contains headers.
pub(super) fn has_header(layout: &Layout) -> bool {
    match layout {
        Layout::Header(_) | Layout::Union(_) => true,
        Layout::Struct(fields) => fields.fields.iter().any(|f| has_header(&f.layout)),
        Layout::Stack(element, _) => has_header(element),
        _ => false,
    }
}

/// Returns the headers and fields that have changed.
pub(super) fn changes(name: &str, layout: &Layout, old: &[u64], new: &[u64]) -> Vec<Change> {
    let mut found = Vec::new();
    compare(name, layout, old, new, &mut found);
    found
}

fn compare(name: &str, layout: &Layout, old: &[u64], new: &[u64], out: &mut Vec<Change>) {
    let limbs = layout.limbs() as usize;
    let (Some(old), Some(new)) = (old.get(..limbs), new.get(..limbs)) else {
        return;
    };
    match layout {
        Layout::Struct(fields) | Layout::Union(fields) => each(name, fields, old, new, out),
        Layout::Stack(element, count) => {
            let size = element.limbs() as usize;
            for n in 0..*count as usize {
                let from = 1 + n * size;
                let name = format!("{name}[{n}]");
                compare(&name, element, &old[from..], &new[from..], out);
            }
        }
        Layout::Header(fields) => match (old[0] != 0, new[0] != 0) {
            (true, true) => each(name, fields, old, new, out),
            (false, true) => out.push(Change {
                name: name.to_owned(),
                before: None,
                after: Some(header(fields, new)),
            }),
            (true, false) => out.push(Change {
                name: name.to_owned(),
                before: Some(header(fields, old)),
                after: None,
            }),
            (false, false) => {}
        },
        _ if old != new => out.push(Change {
            name: name.to_owned(),
            before: Some(simple(name, layout, old)),
            after: Some(simple(name, layout, new)),
        }),
        _ => {}
    }
}

fn each(name: &str, fields: &Fields, old: &[u64], new: &[u64], out: &mut Vec<Change>) {
    for field in &fields.fields {
        let from = field.offset as usize;
        let name = format!("{name}.{}", field.name);
        compare(&name, &field.layout, &old[from..], &new[from..], out);
    }
}

fn header(fields: &Fields, limbs: &[u64]) -> String {
    let words = fields.fields.iter().map(|field| {
        let name = format!("{}.{}", fields.name, field.name);
        let value = simple(&name, &field.layout, &limbs[field.offset as usize..]);
        format!("{}={value}", field.name)
    });
    format!("{{{}}}", words.collect::<Vec<_>>().join(" "))
}

fn simple(name: &str, layout: &Layout, limbs: &[u64]) -> String {
    let limbs = &limbs[..(layout.limbs() as usize).min(limbs.len())];
    match layout {
        Layout::Bool => (limbs[0] != 0).to_string(),
        Layout::Enum(members) => match members.get(limbs[0] as usize) {
            Some(member) => member.clone(),
            None => limbs[0].to_string(),
        },
        Layout::Varbit(_) => format!("{} bits", limbs[0]),
        _ => {
            let width = layout.bits();
            show(&bytes(limbs), width, form(name, width, &[]))
        }
    }
}

/// Converts limbs to bytes, the most significant first.
pub(super) fn bytes(limbs: &[u64]) -> Vec<u8> {
    limbs.iter().rev().flat_map(|l| l.to_be_bytes()).collect()
}
