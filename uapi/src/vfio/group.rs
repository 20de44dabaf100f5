// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Groups of ADIs, formed by an owner that has several of them open.
//!
//! The ioctl [`GROUP`] on the device of an ADI, the leader, makes the queues of other ADIs, the
//! members, those of its virtual port: what a group is, and which messages members lose, is
//! described at [`crate::virtchnl2::adi::AdiGroup`]. Each entry has a descriptor of the member's
//! device, which the driver checks to be open: whoever can name an ADI but does not have it cannot
//! take its queues, and a VFIO group's or an unbound device node's descriptor is not enough. Ids
//! stay relative to each ADI, but look-up tables of the leader (SET_RSS_LUT) number its RX queues
//! and then those of the members in their order.
//!
//! *Lifetime.* Resets by the owner (RESET_ADI, VFIO_DEVICE_RESET) leave the group as it is. It ends
//! when the device of any of its ADIs is closed for the last time (also by the death of the
//! process): the other ADIs are reset and taken away from their owner, as described in
//! [`super`], so that neither they nor the next owner of the closed one can use what was shared. A
//! reset of the function ends it, too.
//!
//! | errno | why |
//! |---|---|
//! | EINVAL | reserved fields or flags that are not 0, no members, `argsz` too small, a member that is given twice or is the leader, a descriptor that is not that of the open device of this ADI, an ADI on another port or VLAN |
//! | E2BIG | more than [`MAX_GROUP`] ADIs with the leader, or more than the device permits |
//! | ENXIO | this function has no ADI of that id |
//! | EBADF | the file descriptor is not open |
//! | EEXIST | one of the ADIs is in a group already |
//! | EBUSY | a queue or the vport of one of the ADIs is enabled, or it is suspended |
//! | EOPNOTSUPP | the device has no groups |
//! | EIO | one of the ADIs is gone |
//! | EFAULT, ENOMEM | as for any ioctl |

use zerocopy::little_endian::{I32, U32};

/// The ioctl's number: `_IO(0xAD, 1)`. It takes a [`Group`].
pub const GROUP: u32 = 0xAD01;
/// Maximum number of ADIs of a group, with its leader.
pub const MAX_GROUP: u32 = 16;

wire! {
    /// Argument of [`GROUP`], followed by `count` × [`GroupMember`].
    pub struct Group [16] {
        /// Length of the argument in bytes, including the entries.
        0 => argsz: U32,
        /// Reserved, 0.
        4 => flags: U32,
        /// Number of members besides the leader, 1 to [`MAX_GROUP`] − 1.
        8 => count: U32,
        /// Reserved, 0.
        12 => reserved: U32,
    }

    /// A member.
    pub struct GroupMember [8] {
        /// A descriptor of its device.
        0 => device_fd: I32,
        /// [`super::AdiInfo::device_adi_id`] of that device.
        4 => device_adi_id: U32,
    }
}
