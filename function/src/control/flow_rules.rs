// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Flow steering: rules that assign a flow to a queue, or drop it.
//!
//! The rules of a message are independent: the reply is a success and has a status for each rule
//! (`virtchnl2_flow_rule_status`), because a driver reads no payload of a failed reply.

use adit_uapi::virtchnl2::cap::flow;
use adit_uapi::virtchnl2::{
    flow_action, flow_rule_status as status, proto_hdr, vport_flags, FlowRule, FlowRuleAddDel,
    FlowRuleInfo, ProtoHdr, ProtoHdrs, RuleActionSet, MAX_FLOW_RULES, RULE_ID_NONE,
};
use zerocopy::little_endian::U32;
use zerocopy::IntoBytes;

use super::{wire, Control, Refusal};
use crate::dataplane::{DataPlane, QueueKind};
use crate::ids::VportId;
use crate::vport::{FlowAction, FlowRuleError, MAX_FLOWS};

/// Flags of a vport that supports flow steering.
pub(super) const VPORT_FLAGS: u16 = vport_flags::SIDEBAND_FLOW_STEER;
/// Flow types that rules can match.
pub(super) const FLOWS: u64 = flow::IPV4_TCP
    | flow::IPV4_UDP
    | flow::IPV4_SCTP
    | flow::IPV4_OTHER
    | flow::IPV6_TCP
    | flow::IPV6_UDP
    | flow::IPV6_SCTP
    | flow::IPV6_OTHER;
/// The actions that rules support.
pub(super) const ACTIONS: u32 = flow_action::QUEUE | flow_action::DROP;
/// The maximum number of rules of a vport.
pub(super) const MAX_RULES: u32 = MAX_FLOWS as u32;

impl Control {
    pub(super) fn add_flow_rules(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
        reply: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        self.each_rule(payload, dp, reply, |dp, queues, id, info| {
            add(dp, queues, id, info).err().unwrap_or(status::SUCCESS)
        })
    }

    pub(super) fn get_flow_rules(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
        reply: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        self.each_rule(payload, dp, reply, |dp, _, id, info| {
            match dp.vport(id).rules.get(&info.rule_id.get()) {
                Some(rule) => {
                    info.rule_cfg = *rule;
                    status::SUCCESS
                }
                None => status::NOT_ADDED,
            }
        })
    }

    pub(super) fn del_flow_rules(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
        reply: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        self.each_rule(payload, dp, reply, |dp, _, id, info| {
            match dp.remove_flow_rule(id, info.rule_id.get()) {
                true => status::SUCCESS,
                false => status::NOT_ADDED,
            }
        })
    }

    /// Performs an action on each rule of a message, given the data plane, the number of the
    /// vport's RX queues and its id; the action returns the rule's status.
    fn each_rule<D: DataPlane>(
        &mut self,
        payload: &[u8],
        dp: &mut D,
        reply: &mut Vec<u8>,
        mut act: impl FnMut(&mut D, usize, VportId, &mut FlowRuleInfo) -> u32,
    ) -> Result<(), Refusal> {
        let (header, rest) = wire::header::<FlowRuleAddDel>(payload)?;
        let infos = wire::elements::<FlowRuleInfo>(rest, header.count.get())?;
        if infos.len() > MAX_FLOW_RULES {
            return Err(Refusal::OutOfRange);
        }
        let id = VportId(header.vport_id.get());
        let queues = self.own_vport(id)?.queues.allocated(QueueKind::Rx).len();
        reply.extend_from_slice(header.as_bytes());
        for info in infos {
            let mut info = *info;
            info.status = U32::new(act(dp, queues, id, &mut info));
            reply.extend_from_slice(info.as_bytes());
        }
        Ok(())
    }
}

/// Adds one rule of a vport with `queues` RX queues; the error is its status.
fn add(
    dp: &mut impl DataPlane,
    queues: usize,
    vport: VportId,
    info: &FlowRuleInfo,
) -> Result<(), u32> {
    let id = info.rule_id.get();
    if id == RULE_ID_NONE {
        // It could never be removed.
        return Err(status::NOT_ADDED);
    }
    let action = checked(&info.rule_cfg, queues)?;
    dp.add_flow_rule(vport, id, &info.rule_cfg, action)
        .map_err(|error| match error {
            FlowRuleError::Exists => status::EXIST,
            FlowRuleError::NoSpace => status::NORESOURCE,
            FlowRuleError::Headers => status::FLOW_TYPE_NOT_SUPPORTED,
            FlowRuleError::Mask => status::MATCH_KEY_NOT_SUPPORTED,
        })
}

/// The action of a rule of a vport with `queues` RX queues; the error is its status.
pub(super) fn checked(rule: &FlowRule, queues: usize) -> Result<FlowAction, u32> {
    if !has_known_headers(&rule.proto_hdrs) {
        return Err(status::FLOW_TYPE_NOT_SUPPORTED);
    }
    action(&rule.action_set, queues)
}

/// Returns whether all headers of a rule are of [`FLOWS`]. Raw patterns and headers inside of tunnels
/// are not. Checked before the action, whose status would otherwise hide this one.
fn has_known_headers(hdrs: &ProtoHdrs) -> bool {
    let count = usize::try_from(hdrs.count.get()).unwrap_or(usize::MAX);
    let known = |hdr: &ProtoHdr| {
        u16::try_from(hdr.hdr_type.get()).is_ok_and(|hdr| {
            use proto_hdr::{IPV4, IPV6, MAC, SCTP, TCP, UDP};
            matches!(hdr, MAC | IPV4 | IPV6 | TCP | UDP | SCTP)
        })
    };
    let named = hdrs.proto_hdr.get(..count);
    hdrs.tunnel_level == 0 && named.is_some_and(|named| named.iter().all(known))
}

/// The single action of a rule; the error is its status.
fn action(set: &RuleActionSet, queues: usize) -> Result<FlowAction, u32> {
    let count = usize::try_from(set.count.get()).unwrap_or(usize::MAX);
    let actions = set
        .actions
        .get(..count)
        .ok_or(status::ACTION_NOT_SUPPORTED)?;
    if actions
        .iter()
        .any(|a| !matches!(a.action_type.get(), flow_action::QUEUE | flow_action::DROP))
    {
        return Err(status::ACTION_NOT_SUPPORTED);
    }
    let [action] = actions else {
        return Err(status::ACTION_COMBINATION_INVALID);
    };
    match (action.action_type.get(), action.act_conf.get()) {
        (flow_action::DROP, _) => Ok(FlowAction::Drop),
        (_, queue) if (queue as usize) < queues => Ok(FlowAction::Queue(queue)),
        _ => Err(status::ACTION_DATA_INVALID),
    }
}
