// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Settings: timeouts, and the strictness of the checks of TCP.

use std::time::Duration;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The timeouts of TCP, by the state that a packet leads to (`nf_conntrack_proto_tcp.c`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are the states' names.
pub struct TcpTimeouts {
    pub syn_sent: Duration,
    pub syn_recv: Duration,
    pub established: Duration,
    pub fin_wait: Duration,
    pub close_wait: Duration,
    pub last_ack: Duration,
    pub time_wait: Duration,
    pub close: Duration,
    pub syn_sent2: Duration,
    /// After retransmissions without an answer, or a window of zero.
    pub retrans: Duration,
    /// While data is not acknowledged.
    pub unacknowledged: Duration,
}

/// The timeouts of a protocol whose connections are replied or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamTimeouts {
    /// Packets in one direction only.
    pub unreplied: Duration,
    /// Packets in both directions.
    pub replied: Duration,
}

/// The timeouts of SCTP, by the state that a packet leads to (`nf_conntrack_proto_sctp.c`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are the states' names.
pub struct SctpTimeouts {
    pub closed: Duration,
    pub cookie_wait: Duration,
    pub cookie_echoed: Duration,
    pub established: Duration,
    pub shutdown_sent: Duration,
    pub shutdown_received: Duration,
    pub shutdown_ack_sent: Duration,
    pub heartbeat_sent: Duration,
}

/// A timeout policy: how long a connection stays after a packet. The default is Linux's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP, by state.
    pub tcp: TcpTimeouts,
    /// UDP: replied once packets were seen in both directions for 2 s.
    pub udp: StreamTimeouts,
    /// ICMP queries.
    pub icmp: Duration,
    /// ICMPv6 queries.
    pub icmpv6: Duration,
    /// SCTP, by state.
    pub sctp: SctpTimeouts,
    /// GRE.
    pub gre: StreamTimeouts,
    /// All other protocols.
    pub generic: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            tcp: TcpTimeouts {
                syn_sent: secs(120),
                syn_recv: secs(60),
                established: secs(5 * 24 * 3600),
                fin_wait: secs(120),
                close_wait: secs(60),
                last_ack: secs(30),
                time_wait: secs(120),
                close: secs(10),
                syn_sent2: secs(120),
                retrans: secs(300),
                unacknowledged: secs(300),
            },
            udp: StreamTimeouts {
                unreplied: secs(30),
                replied: secs(120),
            },
            icmp: secs(30),
            icmpv6: secs(30),
            sctp: SctpTimeouts {
                closed: secs(10),
                cookie_wait: secs(3),
                cookie_echoed: secs(3),
                established: secs(210),
                shutdown_sent: secs(3),
                shutdown_received: secs(3),
                shutdown_ack_sent: secs(3),
                heartbeat_sent: secs(30),
            },
            gre: StreamTimeouts {
                unreplied: secs(30),
                replied: secs(180),
            },
            generic: secs(600),
        }
    }
}

/// The number of a timeout policy: 0 is [`Settings::timeouts`], others count from 1 in
/// [`Settings::policies`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PolicyId(pub u16);

/// The rules for packets. The default is Linux's (`Documentation/networking/nf_conntrack-sysctl`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Transport checksums are verified (`nf_conntrack_checksum`).
    pub checksum: bool,
    /// TCP connections whose beginning was not seen are picked up (`nf_conntrack_tcp_loose`).
    pub tcp_loose: bool,
    /// Only resets outside of the window are invalid (`nf_conntrack_tcp_be_liberal`).
    pub tcp_be_liberal: bool,
    /// Resets with a sequence number before the window are valid
    /// (`nf_conntrack_tcp_ignore_invalid_rst`).
    pub tcp_ignore_invalid_rst: bool,
    /// Retransmissions without an answer before the timeout is reduced
    /// (`nf_conntrack_tcp_max_retrans`).
    pub tcp_max_retrans: u8,
    /// The timeouts of connections without a policy of their own.
    pub timeouts: Timeouts,
    /// Further timeout policies.
    pub policies: Vec<Timeouts>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            checksum: true,
            tcp_loose: true,
            tcp_be_liberal: false,
            tcp_ignore_invalid_rst: false,
            tcp_max_retrans: 3,
            timeouts: Timeouts::default(),
            policies: Vec::new(),
        }
    }
}

impl Settings {
    /// The timeouts of a policy; the default's if there is none with the number.
    pub fn policy(&self, policy: PolicyId) -> &Timeouts {
        match usize::from(policy.0).checked_sub(1) {
            Some(index) => self.policies.get(index).unwrap_or(&self.timeouts),
            None => &self.timeouts,
        }
    }
}
