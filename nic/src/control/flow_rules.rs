// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Flow steering: rules that put a flow on a queue.

use super::{Control, Refusal};
use crate::dataplane::DataPlane;

/// Flags of a vport whose flows can be steered.
pub(super) const VPORT_FLAGS: u16 = 0;
/// Flow types that rules can match.
pub(super) const FLOWS: u64 = 0;
/// What rules can do.
pub(super) const ACTIONS: u32 = 0;
/// Most rules of a vport.
pub(super) const MAX_RULES: u32 = 0;

impl Control {
    pub(super) fn add_flow_rules(
        &mut self,
        _payload: &[u8],
        _dp: &mut impl DataPlane,
        _reply: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        Err(Refusal::NotOffered)
    }

    pub(super) fn get_flow_rules(
        &mut self,
        _payload: &[u8],
        _dp: &mut impl DataPlane,
        _reply: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        Err(Refusal::NotOffered)
    }

    pub(super) fn del_flow_rules(
        &mut self,
        _payload: &[u8],
        _dp: &mut impl DataPlane,
        _reply: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        Err(Refusal::NotOffered)
    }
}
