// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The settings of both trackers.

use std::time::Duration;

use adit_conntrack::{SctpTimeouts, Settings, StreamTimeouts, TcpTimeouts, Timeouts};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Linux's defaults, but with timeouts of which no two are alike: what remains of one shows which it
/// was.
pub fn distinct() -> Settings {
    Settings {
        timeouts: Timeouts {
            tcp: TcpTimeouts {
                syn_sent: secs(110),
                // Cannot be set but by a policy.
                syn_sent2: secs(120),
                syn_recv: secs(60),
                established: secs(432_000),
                fin_wait: secs(140),
                close_wait: secs(70),
                last_ack: secs(30),
                time_wait: secs(130),
                close: secs(10),
                retrans: secs(300),
                unacknowledged: secs(310),
            },
            udp: StreamTimeouts {
                unreplied: secs(35),
                replied: secs(125),
            },
            icmp: secs(40),
            icmpv6: secs(45),
            sctp: SctpTimeouts {
                closed: secs(15),
                cookie_wait: secs(50),
                cookie_echoed: secs(55),
                established: secs(210),
                shutdown_sent: secs(65),
                shutdown_received: secs(75),
                shutdown_ack_sent: secs(80),
                heartbeat_sent: secs(85),
            },
            gre: StreamTimeouts {
                unreplied: secs(90),
                replied: secs(180),
            },
            generic: secs(600),
        },
        ..Settings::default()
    }
}
