// SPDX-License-Identifier: GPL-2.0

//! The ioctl that forms a group of ADIs: reads the list of members, and takes their files.

use adit_uapi::vfio::{
    Group,
    GroupMember, //
};
use kernel::{
    fs::LocalFile,
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};
use zerocopy::FromBytes;

use super::state::State;
use crate::{
    adi::{
        group,
        Candidate, //
    },
    ids::AdiId, //
};

/// Handles GROUP: makes the ADI the leader of a group.
pub(super) fn form(state: &State, arg: UserPtr) -> Result {
    state.check_alive()?;
    let formed = read_list(arg)
        .and_then(|candidates| state.adi.lead(&candidates, || state.is_alive()))
        .inspect_err(|_| state.adi.groups().count_refused())?;
    state.set_vport_rx_queues(formed);
    Ok(())
}

/// Reads the list that the caller has passed.
fn read_list(arg: UserPtr) -> Result<KVec<Candidate>> {
    let mut bytes = [0; Group::LEN];
    UserSlice::new(arg, bytes.len())
        .reader()
        .read_slice(&mut bytes)?;
    let head = Group::read_from_bytes(&bytes).map_err(|_| EINVAL)?;
    let count =
        group::members_listed(&head).map_err(|refusal| Error::from_errno(-refusal.errno()))?;
    let len = count * GroupMember::LEN;
    let mut reader = UserSlice::new(arg.wrapping_byte_add(Group::LEN), len).reader();
    let mut candidates = KVec::with_capacity(count, GFP_KERNEL)?;
    for _ in 0..count {
        let mut bytes = [0; GroupMember::LEN];
        reader.read_slice(&mut bytes)?;
        let member = GroupMember::read_from_bytes(&bytes).map_err(|_| EINVAL)?;
        let fd = u32::try_from(member.device_fd.get()).map_err(|_| EBADF)?;
        let id = u16::try_from(member.device_adi_id.get()).map_err(|_| ENXIO)?;
        let file = LocalFile::fget(fd)?;
        let id = AdiId(id);
        candidates.push(Candidate { id, file }, GFP_KERNEL)?;
    }
    Ok(candidates)
}
