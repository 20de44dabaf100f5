// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Groups of ADIs, whose queues are those of one virtual port.

use adit_uapi::virtchnl2::adi::{AdiGroup, GROUP_VECTOR};
use zerocopy::little_endian::U16;

use super::super::queue_set::State;
use super::super::{wire, Control, Refusal};
use super::{Adi, Adis};
use crate::dataplane::{DataPlane, QueueKind};
use crate::ids::{AdiId, VectorId, VportId};

/// The maximum number of ADIs of a group, with its leader.
pub const MAX_GROUP: u16 = 16;

/// The place of an ADI in a group.
#[derive(Debug, Default)]
pub(in super::super) struct Membership {
    /// The leader, if it is a member.
    pub(super) leader: Option<AdiId>,
    /// The members, if it is a leader.
    pub(super) members: Vec<AdiId>,
}

#[cfg(any(test, feature = "testing"))]
impl Membership {
    /// Returns whether it is a member.
    pub(in super::super) fn is_member(&self) -> bool {
        self.leader.is_some()
    }
}

#[cfg(any(test, feature = "testing"))]
impl Adis {
    /// The RX queues of the vport of each ADI, with those of the members that it leads.
    pub(in super::super) fn rx_queues(&self) -> std::collections::BTreeMap<u32, Vec<u32>> {
        let ids = (0..self.slots.len() as u16).map(AdiId);
        let adis = ids.filter_map(|id| Some((id, self.get(id).ok()?)));
        let of_group = |(id, adi): (AdiId, &Adi)| {
            for &member in &adi.group.members {
                let leader = self.get(member).map(|adi| adi.group.leader);
                assert_eq!(leader, Ok(Some(id)), "a member of a group knows its leader");
            }
            let all = [&[id], &adi.group.members[..]].concat();
            let adis = all.iter().flat_map(|&id| self.get(id));
            let queues = adis.flat_map(|adi| adi.vport.queues.allocated(QueueKind::Rx));
            (u32::from(id.0), queues.collect())
        };
        adis.map(of_group).collect()
    }
}

impl Adi {
    /// Returns whether its group can be changed: nothing of it is enabled, and it is not suspended.
    fn is_at_rest(&self) -> bool {
        let enabled = |slot: &super::super::queue_set::Slot| slot.state == State::Enabled;
        let runs = self.vport.queues.slots().any(|(_, slot)| enabled(slot));
        !(self.vport.enabled || self.suspended || runs)
    }
}

impl Adis {
    pub(super) fn get(&self, id: AdiId) -> Result<&Adi, Refusal> {
        let adi = self.slots.get(id.index()).and_then(Option::as_deref);
        adi.ok_or(Refusal::NoSuchVport)
    }

    /// An ADI and the members of its group. A member does not speak for its group.
    pub(super) fn led_by(&self, id: AdiId) -> Result<Vec<AdiId>, Refusal> {
        let group = &self.get(id)?.group;
        match group.leader {
            Some(_) => Err(Refusal::NotYours),
            None => Ok([&[id], &group.members[..]].concat()),
        }
    }

    /// The data plane's number of a vector that is numbered among those of an ADI's group
    /// ([`GROUP_VECTOR`]); `None` if there is no such vector or group.
    pub(super) fn vector_of_group(&self, id: AdiId, vector: u16) -> Option<VectorId> {
        let leader = self.get(id).ok()?.group.leader.unwrap_or(id);
        let members = &self.get(leader).ok()?.group.members;
        if members.is_empty() {
            return None;
        }
        let mut number = vector & !GROUP_VECTOR;
        for &id in std::iter::once(&leader).chain(members) {
            let own = self.get(id).ok()?.vport.adi?;
            match number.checked_sub(own.vectors) {
                None => return Some(own.first_vector.nth(number)),
                Some(rest) => number = rest,
            }
        }
        None
    }

    /// Checks that ADIs can be the members of a group with this leader.
    fn check_group(&self, id: AdiId, members: &[AdiId]) -> Result<(), Refusal> {
        let leader = self.get(id)?;
        if leader.group.leader.is_some() {
            return Err(Refusal::Taken);
        }
        for (at, &member) in members.iter().enumerate() {
            let adi = self.get(member)?;
            let place = |adi: &Adi| (adi.config.port, adi.config.vlan);
            let repeated = member == id || members[..at].contains(&member);
            if repeated || place(adi) != place(leader) {
                return Err(Refusal::BadField);
            }
            let other = adi.group.leader.is_some_and(|other| other != id);
            if other || !adi.group.members.is_empty() {
                return Err(Refusal::Taken);
            }
        }
        let involved = [&[id], &leader.group.members[..], members].concat();
        for id in involved {
            if !self.get(id)?.is_at_rest() {
                return Err(Refusal::Busy);
            }
        }
        Ok(())
    }
}

impl Control {
    pub(in super::super) fn set_adi_group(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
    ) -> Result<(), Refusal> {
        let (header, rest) = wire::header::<AdiGroup>(payload)?;
        let ids = match header.num_members.get() {
            0 => &[],
            count => wire::elements::<U16>(rest, count)?,
        };
        if ids.len() >= usize::from(MAX_GROUP) {
            return Err(Refusal::OutOfRange);
        }
        let leader = AdiId(header.adi_id.get());
        let members: Vec<_> = ids.iter().map(|id| AdiId(id.get())).collect();
        self.adis.check_group(leader, &members)?;
        self.unmap_vectors_of_group(leader, dp);
        self.group(leader, members, dp);
        Ok(())
    }

    /// Replaces the group of an ADI.
    fn group(&mut self, leader: AdiId, members: Vec<AdiId>, dp: &mut impl DataPlane) {
        let Some(adi) = self.adis.get_mut(leader) else {
            return;
        };
        let vport = adi.config.vport;
        let former = std::mem::replace(&mut adi.group.members, members.clone());
        for id in former {
            if let Some(adi) = self.adis.get_mut(id) {
                adi.group.leader = None;
            }
        }
        let mut vports = Vec::with_capacity(members.len());
        for id in members {
            if let Some(adi) = self.adis.get_mut(id) {
                adi.group.leader = Some(leader);
                vports.push(adi.config.vport);
            }
        }
        dp.set_group(vport, &vports);
    }

    /// Restores the group of an ADI that was recreated, which is not suspended: a member is as its
    /// leader is.
    pub(super) fn regroup(&mut self, id: AdiId, dp: &mut impl DataPlane) {
        let Ok(adi) = self.adis.get(id) else { return };
        let leader = adi.group.leader.unwrap_or(id);
        let Ok(adi) = self.adis.get(leader) else {
            return;
        };
        let (members, suspended) = (adi.group.members.clone(), adi.suspended);
        if members.is_empty() {
            return;
        }
        self.group(leader, members.clone(), dp);
        for id in members {
            if let Some(adi) = self.adis.get_mut(id) {
                if adi.suspended != suspended {
                    adi.suspended = suspended;
                    dp.set_suspended(adi.config.vport, suspended);
                }
            }
        }
    }

    /// Takes an ADI that is to be destroyed out of its group, which ends if it is the leader. Members
    /// of a group that ends stay suspended if they are.
    pub(super) fn leave_group(
        &mut self,
        id: AdiId,
        dp: &mut impl DataPlane,
    ) -> Result<(), Refusal> {
        let group = &self.adis.get(id)?.group;
        let (leader, left) = match group.leader {
            Some(leader) => {
                let mut left = self.adis.get(leader)?.group.members.clone();
                left.retain(|&member| member != id);
                (leader, left)
            }
            None if group.members.is_empty() => return Ok(()),
            None => (id, Vec::new()),
        };
        self.unmap_vectors_of_group(leader, dp);
        self.group(leader, left, dp);
        Ok(())
    }

    /// Unmaps the queues of a group from vectors that are numbered among those of the group.
    fn unmap_vectors_of_group(&mut self, leader: AdiId, dp: &mut impl DataPlane) {
        for id in self.adis.led_by(leader).unwrap_or_default() {
            if let Some(adi) = self.adis.get_mut(id) {
                let queues = &mut adi.vport.queues;
                queues.unmap(|vector| vector & GROUP_VECTOR != 0, dp);
            }
        }
    }

    /// The data plane's number of a vector that is numbered among those of the group of a vport's ADI.
    pub(in super::super) fn vector_of_group(
        &self,
        vport: VportId,
        vector: u16,
    ) -> Option<VectorId> {
        self.adis.vector_of_group(self.adi_of(vport)?, vector)
    }

    /// The number of RX queues of the members of the group that an ADI leads.
    pub(in super::super) fn rx_queues_of_members(&self, vport: VportId) -> usize {
        let Some(Ok(adi)) = self.adi_of(vport).map(|id| self.adis.get(id)) else {
            return 0;
        };
        let members = adi.group.members.iter().map(|&id| self.adis.get(id));
        let queues = members.flatten().map(|adi| &adi.vport.queues);
        queues.map(|it| it.allocated(QueueKind::Rx).len()).sum()
    }

    /// Returns whether a vport is that of a member of a group.
    pub(in super::super) fn is_led(&self, vport: VportId) -> bool {
        let adi = self.adi_of(vport).map(|id| self.adis.get(id));
        matches!(adi, Some(Ok(adi)) if adi.group.leader.is_some())
    }

    /// The ADI that a vport can be of.
    fn adi_of(&self, vport: VportId) -> Option<AdiId> {
        let id = vport.0.checked_sub(self.profile.vports().into())?;
        u16::try_from(id).ok().map(AdiId)
    }
}
