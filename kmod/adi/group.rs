// SPDX-License-Identifier: GPL-2.0

//! A group of ADIs, whose queues are those of the leader's virtual port: its members, and the
//! messages that form and end it. Free of kernel dependencies, so that the host tests compile the
//! same source.

use adit_uapi::{
    vfio,
    virtchnl2::adi::AdiGroup, //
};
use core::mem::size_of;
use zerocopy::IntoBytes;

use crate::ids::AdiId;

/// Maximum number of ADIs of a group, with its leader.
pub(crate) const MAX_ADIS: usize = vfio::MAX_GROUP as usize;

/// The reason why ADIs cannot be a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request contradicts itself, or has a reserved field set.
    Malformed,
    /// An ADI is given twice.
    Repeated,
    /// There are more ADIs than a group can have.
    TooMany,
}

impl Refusal {
    /// Returns the errno (include/uapi/asm-generic/errno-base.h).
    pub(crate) const fn errno(self) -> i32 {
        match self {
            Self::Malformed | Self::Repeated => 22,
            Self::TooMany => 7,
        }
    }
}

/// Returns the number of members that an owner's request lists, which is from 1 to what a group can
/// have besides its leader.
pub(crate) fn members_listed(request: &vfio::Group) -> Result<usize, Refusal> {
    let count = request.count.get();
    if request.flags.get() != 0 || request.reserved.get() != 0 || count == 0 {
        return Err(Refusal::Malformed);
    }
    if count >= vfio::MAX_GROUP {
        return Err(Refusal::TooMany);
    }
    // CAST: a small number, checked above.
    let count = count as usize;
    let len = vfio::Group::LEN + count * vfio::GroupMember::LEN;
    match request.argsz.get() as usize >= len {
        true => Ok(count),
        false => Err(Refusal::Malformed),
    }
}

/// The ADIs of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// The leader, then the members, of which the first `len` are set.
    adis: [AdiId; MAX_ADIS],
    len: usize,
}

impl Group {
    /// Returns a group of its leader alone.
    pub(crate) const fn led_by(leader: AdiId) -> Self {
        Self {
            adis: [leader; MAX_ADIS],
            len: 1,
        }
    }

    /// Adds a member.
    pub(crate) fn add(&mut self, member: AdiId) -> Result<(), Refusal> {
        if self.adis().contains(&member) {
            return Err(Refusal::Repeated);
        }
        let slot = self.adis.get_mut(self.len).ok_or(Refusal::TooMany)?;
        *slot = member;
        self.len += 1;
        Ok(())
    }

    /// Returns the leader.
    pub(crate) const fn leader(&self) -> AdiId {
        self.adis[0]
    }

    /// Returns its ADIs, the leader first.
    pub(crate) fn adis(&self) -> &[AdiId] {
        self.adis.get(..self.len).unwrap_or_default()
    }

    /// Writes the message of `SET_ADI_GROUP` that forms it, and returns its bytes.
    pub(crate) fn form<'a>(&self, payload: &'a mut [u8; FORM_LEN]) -> &'a [u8] {
        let members = self.adis().get(1..).unwrap_or_default();
        let head = AdiGroup {
            adi_id: self.leader().0.into(),
            // CAST: a small number.
            num_members: (members.len() as u16).into(),
        };
        let (start, rest) = payload.split_at_mut(AdiGroup::LEN);
        start.copy_from_slice(head.as_bytes());
        let ids = rest.chunks_exact_mut(size_of::<u16>());
        for (bytes, member) in ids.zip(members) {
            bytes.copy_from_slice(&member.0.to_le_bytes());
        }
        let len = AdiGroup::LEN + size_of_val(members);
        payload.get(..len).unwrap_or_default()
    }

    /// Returns the message of `SET_ADI_GROUP` that ends it.
    pub(crate) fn end(&self) -> AdiGroup {
        AdiGroup {
            adi_id: self.leader().0.into(),
            ..AdiGroup::default()
        }
    }
}

/// Maximum length of [`Group::form()`]'s message in bytes.
pub(crate) const FORM_LEN: usize = AdiGroup::LEN + (MAX_ADIS - 1) * size_of::<u16>();
