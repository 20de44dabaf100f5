// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Groups of ADIs: several ADIs as one virtual port, which has the queues of all.

use zerocopy::little_endian::U16;

/// Set in [`QueueVector::vector_id`](crate::virtchnl2::QueueVector) for a queue of a group: the other bits
/// number the vectors of all its ADIs, the leader's first, then those of the members in their order.
pub const GROUP_VECTOR: u16 = 1 << 15;

wire! {
    /// Sets the members of an ADI's group, with the ADI as its leader; `num_members` × id of an ADI
    /// follow. Without members, the group ends. A message of the PF, which has the permission of the
    /// owners: the members' queues get the frames for the leader, and send as the leader.
    ///
    /// In a group the vport of the leader is that of all: its addresses, RSS, counters and
    /// suspension. Its RX queues, which look-up tables number, are its own and then those of the
    /// members in their order; TX queues likewise. A member keeps its PASID, its vectors, its faults
    /// and the messages about its queues. It is suspended and resumed with the leader, and its vport
    /// cannot be enabled: SUSPEND_ADI, RESUME_ADI and ENABLE_VPORT for it are refused with EACCES.
    ///
    /// A queue can be mapped to a vector of another ADI of the group ([`GROUP_VECTOR`]). When the members
    /// change, such queues are unmapped.
    ///
    /// RESET_ADI leaves a group as it is, so that a table can name queues that do not run: frames for
    /// them are dropped. The destruction of a member removes its queues from the group, that of the
    /// leader ends the group.
    ///
    /// Refused without a change: with ENXIO when there is no such ADI, EINVAL for an ADI that is given
    /// twice or is on another port or VLAN than the leader, EEXIST for one that belongs to another
    /// group, ERANGE for more members than [`super::AdiCaps::max_group`] permits, EBUSY while a queue or
    /// vport of the group is enabled or the ADI is suspended. [`super::op::SET_ADI_GROUP`].
    pub struct AdiGroup [4] {
        /// Id of the leader.
        0 => adi_id: U16,
        /// Number of members that follow, besides the leader.
        2 => num_members: U16,
    }
}
