// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fields of the standard metadata, and user metadata that is kept for another pass.

use adit_p4_frontend::ir::{Fields, Layout};

/// A field of one limb.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Field {
    offset: u32,
    width: u32,
}

impl Field {
    pub(super) fn set(&self, frame: &mut [u64], base: u32, value: u64) {
        let value = value & crate::p4::bits::mask(self.width);
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

/// Where the fields of `standard_metadata_t` are.
#[derive(Clone, Debug)]
pub(super) struct Standard {
    pub(super) limbs: u32,
    pub(super) ingress_port: Field,
    pub(super) egress_spec: Field,
    pub(super) egress_port: Field,
    pub(super) instance_type: Field,
    pub(super) packet_length: Field,
    pub(super) ingress_timestamp: Field,
    pub(super) egress_timestamp: Field,
    pub(super) mcast_grp: Field,
    pub(super) egress_rid: Field,
    pub(super) checksum_error: Field,
    pub(super) parser_error: Field,
}

impl Standard {
    pub(super) fn new(layout: &Layout) -> Option<Standard> {
        let Layout::Struct(fields) = layout else {
            return None;
        };
        Some(Standard {
            limbs: fields.limbs,
            ingress_port: field(fields, "ingress_port")?,
            egress_spec: field(fields, "egress_spec")?,
            egress_port: field(fields, "egress_port")?,
            instance_type: field(fields, "instance_type")?,
            packet_length: field(fields, "packet_length")?,
            ingress_timestamp: field(fields, "ingress_global_timestamp")?,
            egress_timestamp: field(fields, "egress_global_timestamp")?,
            mcast_grp: field(fields, "mcast_grp")?,
            egress_rid: field(fields, "egress_rid")?,
            checksum_error: field(fields, "checksum_error")?,
            parser_error: field(fields, "parser_error")?,
        })
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
