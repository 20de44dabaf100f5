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
pub enum Side {
    /// Clients.
    Left,
    /// Servers.
    Right,
}

/// A network, by its number in the addresses of its hosts: 10.0.NUMBER.0/24 and fd00:NUMBER::/64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network(pub u8);

impl Network {
    /// The letters of networks in scripts, from the number 1 on.
    const LETTERS: [char; 6] = ['L', 'R', 'O', 'S', 'X', 'N'];

    /// The network with a letter.
    pub fn of_letter(letter: char) -> Option<Self> {
        let at = Self::LETTERS.iter().position(|it| *it == letter)?;
        Some(Network(at as u8 + 1))
    }

    /// The address of a host.
    pub fn host(self, family: Family, host: u8) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(10, 0, self.0, host).into(),
            Family::V6 => Ipv6Addr::new(0xfd00, self.0.into(), 0, 0, 0, 0, 0, host.into()).into(),
        }
    }
}

impl Side {
    /// The network of the side's hosts.
    fn network(self) -> Network {
        match self {
            Side::Left => Network(1),
            Side::Right => Network(2),
        }
    }

    /// The other side.
    pub fn opposite(self) -> Self {
        match self {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
        }
    }

    /// The address of a host.
    pub fn host(self, family: Family, host: u8) -> IpAddr {
        self.network().host(family, host)
    }
}

/// The flow from a port of the first host on the left to a port of the first host on the right.
pub fn flow(family: Family, src_port: u16, dst_port: u16) -> Flow {
    Flow {
        src: Side::Left.host(family, 1),
        src_port,
        dst: Side::Right.host(family, 1),
        dst_port,
    }
}

/// A packet of a trace.
#[derive(Clone, Debug)]
pub struct Packet {
    /// The side that it comes from.
    pub from: Side,
    /// The bytes from the IP header on.
    pub bytes: Vec<u8>,
    /// The packet is to the server's port: its connection gets the trace's helper.
    pub to_server: bool,
    /// The line of the script.
    pub text: String,
}

/// A step of a trace.
#[derive(Clone, Debug)]
pub enum Step {
    /// A packet arrives.
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
pub struct Trace {
    /// Its name, with the family.
    pub name: String,
    /// The settings of both trackers.
    pub settings: Settings,
    /// The rules.
    pub policy: Policy,
    /// The first version of Linux that does what the trace shows.
    pub since: (u32, u32),
    /// Hosts that are in neither side's network, and their sides.
    pub hosts: Vec<(IpAddr, Side)>,
    /// The steps.
    pub steps: Vec<Step>,
}
