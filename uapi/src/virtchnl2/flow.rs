// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Flow steering: rules that direct a flow to a queue.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};

/// Maximum number of protocol headers in a pattern (VIRTCHNL2_MAX_NUM_PROTO_HDRS).
pub const MAX_NUM_PROTO_HDRS: usize = 4;
/// Maximum length of a raw pattern in bytes (VIRTCHNL2_MAX_SIZE_RAW_PACKET).
pub const MAX_SIZE_RAW_PACKET: usize = 256;
/// Maximum number of actions of a rule (VIRTCHNL2_MAX_NUM_ACTIONS).
pub const MAX_NUM_ACTIONS: usize = 8;
/// Maximum number of rules in a message: more do not fit into a mailbox buffer.
pub const MAX_FLOW_RULES: usize = 6;
/// Rule id for none: a rule that is not stored, or is found by its pattern.
pub const RULE_ID_NONE: u32 = 0xFFFF_FFFF;
/// Counter id that requests a new counter.
pub const CTR_ID_NEW: u32 = 0xFFFF_FFFF;

/// Actions as bits: one of them in [`RuleAction::action_type`], any of them in
/// [`super::CreateVport::sideband_flow_actions`] (virtchnl2_action_types).
pub mod flow_action {
    /// Drop.
    pub const DROP: u32 = 1 << 0;
    /// Pass to the next stage.
    pub const PASSTHRU: u32 = 1 << 1;
    /// To a receive queue.
    pub const QUEUE: u32 = 1 << 2;
    /// To a group of receive queues.
    pub const Q_GROUP: u32 = 1 << 3;
    /// Mark with a number.
    pub const MARK: u32 = 1 << 4;
    /// Count.
    pub const COUNT: u32 = 1 << 5;
}

named! {
    /// Values of [`FlowRuleInfo::status`] (virtchnl2_flow_rule_status).
    pub mod flow_rule_status: u32 {
        /// The rule was added or deleted.
        SUCCESS = 1;
        /// Out of resources.
        NORESOURCE = 2;
        /// The rule exists already.
        EXIST = 3;
        /// The operation timed out.
        TIMEOUT = 4;
        /// This type of flow cannot be matched.
        FLOW_TYPE_NOT_SUPPORTED = 5;
        /// These fields cannot be matched.
        MATCH_KEY_NOT_SUPPORTED = 6;
        /// There is no such action.
        ACTION_NOT_SUPPORTED = 7;
        /// The combination of actions is invalid.
        ACTION_COMBINATION_INVALID = 8;
        /// The action's parameter is invalid.
        ACTION_DATA_INVALID = 9;
        /// The rule was not added.
        NOT_ADDED = 10;
    }
}

wire! {
    /// A header to match (virtchnl2_proto_hdr): in wire format, with the significant bits set in
    /// the mask.
    pub struct ProtoHdr [136] {
        /// See [`super::proto_hdr`].
        0 => hdr_type: U32,
        /// Padding.
        4 => pad: [u8; 4],
        /// The header.
        8 => buffer_spec: [u8; 64],
        /// Mask of its significant bits.
        72 => buffer_mask: [u8; 64],
    }

    /// A packet to match (the other form of [`ProtoHdrs`], used when its count is 0).
    pub struct RawPattern [514] {
        /// Length of the pattern in bytes.
        0 => pkt_len: U16,
        /// The packet.
        2 => spec: [u8; 256],
        /// Mask of its significant bits.
        258 => mask: [u8; 256],
    }

    /// A pattern (virtchnl2_proto_hdrs).
    pub struct ProtoHdrs [552] {
        /// Tunnel level at which the headers begin: 0 outermost, 1 inside one tunnel, 2 inside two.
        /// 0 with a raw pattern.
        0 => tunnel_level: u8,
        /// Padding.
        1 => pad: [u8; 3],
        /// Headers in use; 0 for a raw pattern.
        4 => count: U32,
        /// The headers; with a count of 0 see [`ProtoHdrs::raw`].
        8 => proto_hdr: [ProtoHdr; 4],
    }

    /// An action (virtchnl2_rule_action).
    pub struct RuleAction [12] {
        /// One of [`flow_action`].
        0 => action_type: U32,
        /// Its parameter: queue, queue group, mark, or counter ([`CTR_ID_NEW`]).
        4 => act_conf: U32,
        /// Reserved.
        8 => reserved: [u8; 4],
    }

    /// Actions (virtchnl2_rule_action_set).
    pub struct RuleActionSet [100] {
        /// Actions in use, fewer than [`MAX_NUM_ACTIONS`].
        0 => count: U32,
        /// The actions.
        4 => actions: [RuleAction; 8],
    }

    /// A rule (virtchnl2_flow_rule).
    pub struct FlowRule [664] {
        /// The pattern.
        0 => proto_hdrs: ProtoHdrs,
        /// The actions.
        552 => action_set: RuleActionSet,
        /// Priority among rules.
        652 => priority: U32,
        /// Padding.
        656 => pad: [u8; 8],
    }

    /// A rule and the result for it (virtchnl2_flow_rule_info).
    pub struct FlowRuleInfo [672] {
        /// The driver's id for it, or [`RULE_ID_NONE`].
        0 => rule_id: U32,
        /// The rule; unused when deleting by id.
        4 => rule_cfg: FlowRule,
        /// See [`flow_rule_status`] (reply).
        668 => status: U32,
    }

    /// Header, followed by `count` × [`FlowRuleInfo`], at most [`MAX_FLOW_RULES`]
    /// (virtchnl2_flow_rule_add_del). [`super::op::ADD_FLOW_RULE`], [`super::op::DEL_FLOW_RULE`].
    pub struct FlowRuleAddDel [8] {
        /// Id of the vport.
        0 => vport_id: U32,
        /// Number of rules.
        4 => count: U32,
    }
}

impl ProtoHdrs {
    /// Returns the pattern in its raw form. Valid only if the count is 0.
    #[must_use]
    pub fn raw(&self) -> RawPattern {
        // The headers' 544 bytes begin with the raw form's 514.
        RawPattern::read_from_prefix(self.proto_hdr.as_bytes())
            .map_or_else(|_| RawPattern::default(), |(raw, _)| raw)
    }

    /// Makes this a raw pattern.
    pub fn set_raw(&mut self, raw: &RawPattern) {
        self.count = U32::ZERO;
        self.proto_hdr.as_mut_bytes()[..RawPattern::LEN].copy_from_slice(raw.as_bytes());
    }
}

const _: () = assert!(RawPattern::LEN <= MAX_NUM_PROTO_HDRS * ProtoHdr::LEN);
const _: () = assert!(
    FlowRuleAddDel::LEN + MAX_FLOW_RULES * FlowRuleInfo::LEN <= crate::mailbox::MAX_BUF_LEN
        && FlowRuleAddDel::LEN + (MAX_FLOW_RULES + 1) * FlowRuleInfo::LEN
            > crate::mailbox::MAX_BUF_LEN
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_pattern_share_their_place() {
        let mut raw = RawPattern {
            pkt_len: U16::new(256),
            ..RawPattern::default()
        };
        raw.spec[0] = 1;
        raw.mask[255] = 0xFF;
        let mut hdrs = ProtoHdrs {
            count: U32::new(4),
            ..ProtoHdrs::default()
        };
        hdrs.set_raw(&raw);
        assert_eq!((hdrs.raw(), hdrs.count.get()), (raw, 0));
        assert_eq!(hdrs.proto_hdr[0].hdr_type.get(), 0x1_0100);
        assert_eq!(hdrs.as_bytes()[8 + 513], 0xFF);
    }

    #[test]
    fn constants_are_the_arrays_lengths() {
        let rule = FlowRule::default();
        assert_eq!(rule.proto_hdrs.proto_hdr.len(), MAX_NUM_PROTO_HDRS);
        assert_eq!(rule.action_set.actions.len(), MAX_NUM_ACTIONS);
        assert_eq!(rule.proto_hdrs.raw().spec.len(), MAX_SIZE_RAW_PACKET);
    }
}
