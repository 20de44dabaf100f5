// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bit sets: the state of a packet (`ct_state`) and the status of a connection (`IPS_*`).

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

macro_rules! bit_set {
    ($(#[$doc:meta])* $name:ident($bits:ty) { $($(#[$bit_doc:meta])* $bit:ident = $value:expr, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub struct $name($bits);

        impl $name {
            /// No bit.
            pub const NONE: Self = Self(0);
            $($(#[$bit_doc])* pub const $bit: Self = Self($value);)*

            /// The set with these bits; unknown ones are kept.
            pub const fn from_bits(bits: $bits) -> Self {
                Self(bits)
            }

            /// The bits.
            pub const fn bits(self) -> $bits {
                self.0
            }

            /// Reports whether all bits of `other` are set.
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Reports whether a bit of `other` is set.
            pub const fn intersects(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }

            /// The set without the bits of `other`.
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// The bits of both sets.
            pub const fn union(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }

        impl BitOr for $name {
            type Output = Self;

            fn bitor(self, other: Self) -> Self {
                self.union(other)
            }
        }

        impl BitOrAssign for $name {
            fn bitor_assign(&mut self, other: Self) {
                *self = self.union(other);
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut rest = self.0;
                let mut separator = "";
                $(
                    if rest & $value != 0 {
                        rest &= !$value;
                        write!(f, "{separator}{}", $text)?;
                        separator = "|";
                    }
                )*
                if rest != 0 || separator.is_empty() {
                    write!(f, "{separator}{rest:#x}")?;
                }
                Ok(())
            }
        }
    };
}

bit_set! {
    /// The state of a packet, as OVS and OVN define `ct_state` (`include/uapi/linux/openvswitch.h`,
    /// `OVS_CS_F_*`).
    CtState(u8) {
        /// The packet begins a connection.
        NEW = 0x01, "new";
        /// The packet belongs to a connection that has seen packets in both directions.
        ESTABLISHED = 0x02, "est";
        /// The packet is related to another connection: an ICMP error, or an expected connection.
        RELATED = 0x04, "rel";
        /// The packet flows opposite to the one that created the connection.
        REPLY = 0x08, "rpl";
        /// The packet cannot be associated with a connection.
        INVALID = 0x10, "inv";
        /// The packet has passed the tracker.
        TRACKED = 0x20, "trk";
        /// The packet's source is translated: in the original direction the connection's source, in the
        /// reply's direction its destination.
        SRC_NAT = 0x40, "snat";
        /// The packet's destination is translated.
        DST_NAT = 0x80, "dnat";
    }
}

bit_set! {
    /// The status of a connection, as Linux numbers it
    /// (`include/uapi/linux/netfilter/nf_conntrack_common.h`, `enum ip_conntrack_status`).
    Status(u32) {
        /// The connection was expected by another one.
        EXPECTED = 1 << 0, "EXPECTED";
        /// Packets were seen in both directions.
        SEEN_REPLY = 1 << 1, "SEEN_REPLY";
        /// The connection is spared by early drop.
        ASSURED = 1 << 2, "ASSURED";
        /// The connection is in the table.
        CONFIRMED = 1 << 3, "CONFIRMED";
        /// The source is translated in the original direction.
        SRC_NAT = 1 << 4, "SRC_NAT";
        /// The destination is translated in the original direction.
        DST_NAT = 1 << 5, "DST_NAT";
        /// TCP sequence numbers are adjusted.
        SEQ_ADJUST = 1 << 6, "SEQ_ADJUST";
        /// Source translation has been decided.
        SRC_NAT_DONE = 1 << 7, "SRC_NAT_DONE";
        /// Destination translation has been decided.
        DST_NAT_DONE = 1 << 8, "DST_NAT_DONE";
        /// The connection has been removed from the table.
        DYING = 1 << 9, "DYING";
        /// The timeout is not refreshed by packets.
        FIXED_TIMEOUT = 1 << 10, "FIXED_TIMEOUT";
        /// The helper was assigned explicitly.
        HELPER = 1 << 13, "HELPER";
    }
}

bit_set! {
    /// Properties of an expectation, as Linux numbers them
    /// (`include/uapi/linux/netfilter/nf_conntrack_common.h`, `NF_CT_EXPECT_*`).
    ExpectFlags(u8) {
        /// It stays when a connection fulfils it.
        PERMANENT = 1 << 0, "PERMANENT";
        /// No connection fulfils it until its master activates it.
        INACTIVE = 1 << 1, "INACTIVE";
        /// A control plane has created it.
        USERSPACE = 1 << 2, "USERSPACE";
    }
}

impl Status {
    /// Source and destination translation.
    pub const NAT: Status = Status(Status::SRC_NAT.0 | Status::DST_NAT.0);
    /// Both translations have been decided.
    pub const NAT_DONE: Status = Status(Status::SRC_NAT_DONE.0 | Status::DST_NAT_DONE.0);
    /// Bits that control planes cannot change (`IPS_UNCHANGEABLE_MASK`).
    pub const UNCHANGEABLE: Status = Status(
        Status::NAT.0
            | Status::NAT_DONE.0
            | Status::EXPECTED.0
            | Status::CONFIRMED.0
            | Status::DYING.0
            | Status::SEQ_ADJUST.0
            | 1 << 11
            | 1 << 12
            | 1 << 14
            | 1 << 15,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_have_names() {
        let state = CtState::TRACKED | CtState::ESTABLISHED | CtState::REPLY;
        assert_eq!(format!("{state:?}"), "est|rpl|trk");
        assert_eq!(format!("{:?}", CtState::NONE), "0x0");
        assert_eq!(
            format!("{:?}", Status::ASSURED | Status::from_bits(1 << 30)),
            "ASSURED|0x40000000"
        );
    }

    #[test]
    fn sets_are_sets() {
        let both = Status::ASSURED | Status::SEEN_REPLY;
        assert!(both.contains(Status::ASSURED));
        assert!(!Status::ASSURED.contains(both));
        assert!(Status::ASSURED.intersects(both));
        assert_eq!(both.without(Status::ASSURED), Status::SEEN_REPLY);
        assert_eq!(Status::UNCHANGEABLE.bits(), 0xdbf9);
    }
}
