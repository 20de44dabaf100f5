// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Traces: the packets that both trackers are fed, and what happens between them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use adit_conntrack::testing::Flow;
use adit_conntrack::{Family, Settings};

use crate::policy::Policy;

/// The side of the tracker from which a packet comes. Hosts of each side are in a network of their
/// own: 10.0.1.0/24 and fd00:1::/64 on the left, 10.0.2.0/24 and fd00:2::/64 on the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

impl Side {
    /// The number of the side in the addresses of its hosts.
    fn number(self) -> u8 {
        match self {
            Side::Left => 1,
            Side::Right => 2,
        }
    }

    /// The other side.
    pub(crate) fn opposite(self) -> Self {
        match self {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
        }
    }

    /// The address of a host.
    pub(crate) fn host(self, family: Family, host: u8) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(10, 0, self.number(), host).into(),
            Family::V6 => {
                Ipv6Addr::new(0xfd00, self.number().into(), 0, 0, 0, 0, 0, host.into()).into()
            }
        }
    }
}

/// The flow from a port of the first host on the left to a port of the first host on the right.
pub(crate) fn flow(family: Family, src_port: u16, dst_port: u16) -> Flow {
    Flow {
        src: Side::Left.host(family, 1),
        src_port,
        dst: Side::Right.host(family, 1),
        dst_port,
    }
}

/// A packet of a trace.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: Side,
    /// The bytes from the IP header on.
    pub(crate) bytes: Vec<u8>,
    /// The packet is to the server's port: its connection gets the trace's helper.
    pub(crate) to_server: bool,
    /// The line of the script.
    pub(crate) text: String,
}

/// A step of a trace.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Packet(Packet),
    /// Time passes.
    Wait(Duration),
    /// The timeout of each connection is set.
    SetTimeout(Duration),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Packet(packet) => f.write_str(&packet.text),
            Step::Wait(duration) => write!(f, "wait {}", duration.as_secs_f64()),
            Step::SetTimeout(timeout) => write!(f, "timeout {}", timeout.as_secs()),
        }
    }
}

/// A trace.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) name: String,
    pub(crate) settings: Settings,
    pub(crate) policy: Policy,
    /// The first version of Linux that does what the trace shows.
    pub(crate) since: (u32, u32),
    /// Hosts that are in neither side's network, and their sides.
    pub(crate) hosts: Vec<(IpAddr, Side)>,
    pub(crate) steps: Vec<Step>,
}
