// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The standard metadata.

use adit_p4_frontend::ir::Layout;

use crate::p4::metadata::{field, Field};

/// The locations of the fields of `standard_metadata_t`.
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
