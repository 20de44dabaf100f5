// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The verdicts of `p4/k8s_node.p4` on packets (`verdict_t` in `p4/node/types.p4`), by which it counts them.

/// A verdict on a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Its number, an index of the counter `verdicts`.
    pub number: u8,
    /// Its name.
    pub name: &'static str,
    /// An explanation.
    pub text: &'static str,
}

/// The lowest number of a verdict that drops or refuses.
const FIRST_DROP: u8 = 16;

/// Defines verdicts.
macro_rules! verdicts {
    ($($number:literal $name:ident $text:literal;)*) => {
        /// All verdicts, in the order of their numbers.
        pub const ALL: &[Verdict] = &[$(Verdict {
            number: $number,
            name: stringify!($name),
            text: $text,
        }),*];
    };
}
verdicts! {
    0 ESTABLISHED "its connection is known";
    1 OPENED "it has opened a connection";
    2 RELATED "it is an ICMP error, or of a connection that a helper expects";
    3 HOST "it is for the host's own stack";
    4 SWITCHED "it is not routed: the layer 2 stage has it";
    5 ANSWERED "ARP or neighbor discovery was answered, or a packet that came through a tunnel";
    6 DECAPSULATED "it came out of a tunnel";
    7 CONTROL "an entry of `firewall` sends it to the control plane";
    8 NO_NEXTHOP "its next hop has no entry: the control plane has it";
    16 MALFORMED "a header is malformed";
    17 MARTIAN "it has an address that no packet on a wire may have, or that no router passes on";
    18 SPOOFED "its port may not send from its source: `sources` has no entry";
    19 ACL "an entry of `acl` denies it";
    20 POLICED "it exceeds a policer of `acl`";
    21 FRAGMENT "it is a fragment that could not be held";
    22 INVALID "the connection tracker finds it invalid";
    23 FIREWALL "`firewall` or `decisions` denies it";
    24 INGRESS "the pod's `ingress_acl` denies it";
    25 NO_ENDPOINT "the service has no endpoint that takes connections";
    26 NO_PORT "the address is a service's, and none of its ports is that one";
    27 NOT_LOCAL "the traffic policy is Local, and no endpoint on this node takes connections";
    28 ENDPOINT_GONE "the endpoint of its connection does not exist any more";
    29 NO_ROUTE "there is no route";
    30 TTL "its hops are used up";
    31 NO_SNAT "its source must be masqueraded, and `snat` has no address for that";
    32 NOT_COMMITTED "the connection tracker has no place for its connection";
    33 NOT_ROUTED "it is for no router, and comes from a port that is not switched";
    34 TOO_BIG "it is too big for its next hop, and may not be fragmented";
    35 CONGESTED "a router has marked the packet of its tunnel, and its sender reads no marks";
    36 EXTENSIONS "it has too many or too long extension headers of IPv6, or ends in them or in the header behind them";
}

impl Verdict {
    /// The verdict with that number.
    pub fn of(number: u64) -> Option<&'static Verdict> {
        ALL.iter().find(|it| u64::from(it.number) == number)
    }

    /// Returns whether the packet is dropped or refused.
    pub fn drops(&self) -> bool {
        self.number >= FIRST_DROP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_those_of_the_program() {
        let source = include_str!("../../p4/node/types.p4");
        let defined = source.lines().filter_map(|line| {
            let (name, rest) = line
                .strip_prefix("const verdict_t VERDICT_")?
                .split_once(" = ")?;
            Some((name, rest.split_once(';')?.0.parse::<u8>().ok()?))
        });
        let ours = ALL.iter().map(|it| (it.name, it.number));
        assert_eq!(ours.collect::<Vec<_>>(), defined.collect::<Vec<_>>());
        let dropped = ALL.iter().filter(|it| it.drops());
        assert_eq!(dropped.map(|it| it.name).next(), Some("MALFORMED"));
    }
}
