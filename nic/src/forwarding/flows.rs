// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The classifier's side-band filter: rules of a virtual port that assign a flow to a queue.

use adit_function::vport::{FlowAction, FlowRuleError};
use adit_pipeline::flow::{FlowError, Header, Proto};
use adit_pipeline::parse::Parsed;
use adit_uapi::virtchnl2::{proto_hdr, FlowRule, ProtoHdr, ProtoHdrs};

use super::Forwarding;

impl Forwarding {
    /// Adds the rule with the driver's id `id`.
    ///
    /// # Errors
    /// When it cannot be matched, exists already, or the table is full.
    pub fn add_flow_rule(
        &mut self,
        id: u32,
        rule: &FlowRule,
        action: FlowAction,
    ) -> Result<(), FlowRuleError> {
        let headers = headers(&rule.proto_hdrs)?;
        self.flows
            .add(id, &headers, rule.priority.get(), action)
            .map_err(|error| match error {
                FlowError::RuleExists(_) | FlowError::SameMatch(_) => FlowRuleError::Exists,
                FlowError::Full(_) | FlowError::TooManyGroups => FlowRuleError::NoSpace,
                FlowError::NoHeaders | FlowError::Order { .. } => FlowRuleError::Headers,
                FlowError::Mask { .. } => FlowRuleError::Mask,
            })?;
        self.config.rules.insert(id, *rule);
        Ok(())
    }

    /// Removes a rule; returns false if there is none with that id.
    pub fn remove_flow_rule(&mut self, id: u32) -> bool {
        self.config.rules.remove(&id);
        self.flows.remove(id).is_some()
    }

    /// The action of the rule that matches the frame that begins with `front`, if any.
    pub(super) fn flow(&self, parsed: &Parsed, front: &[u8]) -> Option<FlowAction> {
        self.flows.lookup(parsed, front).map(|(_, action)| action)
    }
}

/// The headers that a rule matches. Raw patterns and headers inside of
/// tunnels cannot be matched.
fn headers(hdrs: &ProtoHdrs) -> Result<Vec<Header>, FlowRuleError> {
    let count = usize::try_from(hdrs.count.get()).unwrap_or(usize::MAX);
    match hdrs.proto_hdr.get(..count) {
        Some(named) if hdrs.tunnel_level == 0 => named.iter().map(header).collect(),
        _ => Err(FlowRuleError::Headers),
    }
}

fn header(hdr: &ProtoHdr) -> Result<Header, FlowRuleError> {
    let proto = match u16::try_from(hdr.hdr_type.get()) {
        Ok(proto_hdr::MAC) => Proto::Ethernet,
        Ok(proto_hdr::IPV4) => Proto::Ipv4,
        Ok(proto_hdr::IPV6) => Proto::Ipv6,
        Ok(proto_hdr::TCP) => Proto::Tcp,
        Ok(proto_hdr::UDP) => Proto::Udp,
        Ok(proto_hdr::SCTP) => Proto::Sctp,
        _ => return Err(FlowRuleError::Headers),
    };
    Ok(Header {
        proto,
        spec: hdr.buffer_spec,
        mask: hdr.buffer_mask,
    })
}
