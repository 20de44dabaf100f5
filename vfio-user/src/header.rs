// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The header of every message (vfio-user.rst, "Header").

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The first 16 bytes of every message, in the host's byte order.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Header {
    /// The message ID, chosen by the sender of the command; the reply repeats it.
    pub id: u16,
    /// The number of a [`Command`], also in replies.
    pub command: u16,
    /// The length of the whole message in bytes, including this header.
    pub size: u32,
    /// The type in the low four bits, then [`NO_REPLY`](Self::NO_REPLY) and [`ERROR`](Self::ERROR).
    pub flags: u32,
    /// The errno, in replies with [`ERROR`](Self::ERROR).
    pub error: u32,
}

impl Header {
    /// The size of a header in bytes.
    pub const SIZE: usize = size_of::<Self>();
    /// Message type: a command.
    pub const TYPE_COMMAND: u32 = 0;
    /// Message type: a reply.
    pub const TYPE_REPLY: u32 = 1;
    /// The mask of the message type.
    pub const TYPE_MASK: u32 = 0xf;
    /// Flag of a command: no reply is requested, not even for an error.
    pub const NO_REPLY: u32 = 1 << 4;
    /// Flag of a reply: the command failed with the errno in `error`.
    pub const ERROR: u32 = 1 << 5;

    /// Returns the message type.
    pub const fn message_type(&self) -> u32 {
        self.flags & Self::TYPE_MASK
    }

    /// Returns whether the command must not be replied to.
    pub const fn no_reply(&self) -> bool {
        self.flags & Self::NO_REPLY != 0
    }

    /// Returns the number of bytes after the header; `None` if `size` is less than the header.
    pub const fn payload_len(&self) -> Option<usize> {
        (self.size as usize).checked_sub(Self::SIZE)
    }
}

/// The commands of the protocol (vfio-user.rst, "Commands").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
#[allow(missing_docs)] // The names are the specification's.
pub enum Command {
    Version = 1,
    DmaMap = 2,
    DmaUnmap = 3,
    DeviceGetInfo = 4,
    DeviceGetRegionInfo = 5,
    DeviceGetRegionIoFds = 6,
    DeviceGetIrqInfo = 7,
    DeviceSetIrqs = 8,
    RegionRead = 9,
    RegionWrite = 10,
    /// Sent from server to client only.
    DmaRead = 11,
    /// Sent from server to client only.
    DmaWrite = 12,
    DeviceReset = 13,
    /// Removed from the specification; early clients may still send it.
    DirtyPages = 14,
    RegionWriteMulti = 15,
    DeviceFeature = 16,
    MigDataRead = 17,
    MigDataWrite = 18,
}

impl Command {
    /// Returns the command with that number, if the specification has one.
    pub const fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Version,
            2 => Self::DmaMap,
            3 => Self::DmaUnmap,
            4 => Self::DeviceGetInfo,
            5 => Self::DeviceGetRegionInfo,
            6 => Self::DeviceGetRegionIoFds,
            7 => Self::DeviceGetIrqInfo,
            8 => Self::DeviceSetIrqs,
            9 => Self::RegionRead,
            10 => Self::RegionWrite,
            11 => Self::DmaRead,
            12 => Self::DmaWrite,
            13 => Self::DeviceReset,
            14 => Self::DirtyPages,
            15 => Self::RegionWriteMulti,
            16 => Self::DeviceFeature,
            17 => Self::MigDataRead,
            18 => Self::MigDataWrite,
            _ => return None,
        })
    }

    /// Returns whether the server supports the command, for devices that can do what it is for. All
    /// others are rejected with `ENOTSUP`.
    pub const fn is_supported(self) -> bool {
        !matches!(
            self,
            Self::DeviceGetRegionIoFds | Self::DmaRead | Self::DmaWrite | Self::DirtyPages
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_commands_agree() {
        for number in 0..=u16::MAX {
            let command = Command::from_number(number);
            assert_eq!(command.is_some(), (1..=18).contains(&number));
            assert!(command.is_none_or(|c| c as u16 == number));
        }
    }

    #[test]
    fn a_size_below_the_header_has_no_payload() {
        let of = |size| {
            Header {
                size,
                ..Header::default()
            }
            .payload_len()
        };
        assert_eq!(
            (of(0), of(15), of(16), of(20)),
            (None, None, Some(0), Some(4))
        );
    }
}
