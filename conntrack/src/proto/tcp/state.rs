// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The states of a TCP connection and the transitions between them
//! (`tcp_conntracks` in `nf_conntrack_proto_tcp.c`).

use serde::{Deserialize, Serialize};

use crate::packet::tcp::{flag, Segment};
use crate::settings::TcpTimeouts;
use crate::tuple::Direction;

use std::time::Duration;

/// The state of a TCP connection, as Linux numbers it
/// (`include/uapi/linux/netfilter/nf_conntrack_tcp.h`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[repr(u8)]
pub enum TcpState {
    /// Nothing was seen.
    #[default]
    None = 0,
    /// A SYN was seen.
    SynSent = 1,
    /// A SYN with ACK was seen.
    SynRecv = 2,
    /// An ACK was seen.
    Established = 3,
    /// A FIN was seen.
    FinWait = 4,
    /// An ACK was seen after a FIN.
    CloseWait = 5,
    /// A FIN was seen after a FIN.
    LastAck = 6,
    /// The last ACK was seen.
    TimeWait = 7,
    /// A reset was seen.
    Close = 8,
    /// SYNs were seen in both directions: a simultaneous open.
    SynSent2 = 9,
}

const _: () = {
    let mut number = 0;
    while number < TcpState::ALL.len() {
        assert!(TcpState::ALL[number] as usize == number);
        number += 1;
    }
};

impl TcpState {
    /// All states, by number.
    pub const ALL: [TcpState; 10] = [
        TcpState::None,
        TcpState::SynSent,
        TcpState::SynRecv,
        TcpState::Established,
        TcpState::FinWait,
        TcpState::CloseWait,
        TcpState::LastAck,
        TcpState::TimeWait,
        TcpState::Close,
        TcpState::SynSent2,
    ];

    /// The name that conntrack(8) shows.
    pub fn name(self) -> &'static str {
        match self {
            TcpState::None => "NONE",
            TcpState::SynSent => "SYN_SENT",
            TcpState::SynRecv => "SYN_RECV",
            TcpState::Established => "ESTABLISHED",
            TcpState::FinWait => "FIN_WAIT",
            TcpState::CloseWait => "CLOSE_WAIT",
            TcpState::LastAck => "LAST_ACK",
            TcpState::TimeWait => "TIME_WAIT",
            TcpState::Close => "CLOSE",
            TcpState::SynSent2 => "SYN_SENT2",
        }
    }

    /// The timeout after a packet that leads to this state.
    pub(super) fn timeout(self, timeouts: &TcpTimeouts) -> Duration {
        match self {
            // No packet leads to this state.
            TcpState::None => timeouts.syn_sent,
            TcpState::SynSent => timeouts.syn_sent,
            TcpState::SynRecv => timeouts.syn_recv,
            TcpState::Established => timeouts.established,
            TcpState::FinWait => timeouts.fin_wait,
            TcpState::CloseWait => timeouts.close_wait,
            TcpState::LastAck => timeouts.last_ack,
            TcpState::TimeWait => timeouts.time_wait,
            TcpState::Close => timeouts.close,
            TcpState::SynSent2 => timeouts.syn_sent2,
        }
    }

    /// Reports whether the connection is being closed (`tcp_can_early_drop`).
    pub(super) fn is_closing(self) -> bool {
        matches!(
            self,
            TcpState::FinWait
                | TcpState::LastAck
                | TcpState::TimeWait
                | TcpState::Close
                | TcpState::CloseWait
        )
    }
}

/// The kind of a segment in the state table: the first of reset, SYN, FIN and ACK that it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub(super) enum Kind {
    Syn = 0,
    SynAck = 1,
    Fin = 2,
    Ack = 3,
    Rst = 4,
    #[default]
    None = 5,
}

impl Kind {
    pub(super) fn of(segment: &Segment<'_>) -> Self {
        if segment.has(flag::RST) {
            Kind::Rst
        } else if segment.has(flag::SYN) {
            if segment.has(flag::ACK) {
                Kind::SynAck
            } else {
                Kind::Syn
            }
        } else if segment.has(flag::FIN) {
            Kind::Fin
        } else if segment.has(flag::ACK) {
            Kind::Ack
        } else {
            Kind::None
        }
    }
}

/// The result of the state table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transition {
    To(TcpState),
    /// The segment may be valid for the peers, but the state does not follow it.
    Ignore,
    Invalid,
}

/// The transition of a segment in `direction`.
pub(super) fn transition(direction: Direction, kind: Kind, state: TcpState) -> Transition {
    TRANSITIONS[direction as usize][kind as usize][state as usize]
}

const SS: Transition = Transition::To(TcpState::SynSent);
const SR: Transition = Transition::To(TcpState::SynRecv);
const ES: Transition = Transition::To(TcpState::Established);
const FW: Transition = Transition::To(TcpState::FinWait);
const CW: Transition = Transition::To(TcpState::CloseWait);
const LA: Transition = Transition::To(TcpState::LastAck);
const TW: Transition = Transition::To(TcpState::TimeWait);
const CL: Transition = Transition::To(TcpState::Close);
const S2: Transition = Transition::To(TcpState::SynSent2);
const IG: Transition = Transition::Ignore;
const IV: Transition = Transition::Invalid;

/// By direction, kind of segment, and state.
#[rustfmt::skip]
const TRANSITIONS: [[[Transition; 10]; 6]; 2] = [
    [
        //        NO  SS  SR  ES  FW  CW  LA  TW  CL  S2
        /* SYN */ [SS, SS, IG, IG, IG, IG, IG, SS, SS, S2],
        /* S/A */ [IV, IV, SR, IV, IV, IV, IV, IV, IV, SR],
        /* FIN */ [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV],
        /* ACK */ [ES, IV, ES, ES, CW, CW, TW, TW, CL, IV],
        /* RST */ [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL],
        /* --- */ [IV, IV, IV, IV, IV, IV, IV, IV, IV, IV],
    ],
    [
        //        NO  SS  SR  ES  FW  CW  LA  TW  CL  S2
        /* SYN */ [IV, S2, IV, IV, IV, IV, IV, SS, IV, S2],
        /* S/A */ [IV, SR, IG, IG, IG, IG, IG, IG, IG, SR],
        /* FIN */ [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV],
        /* ACK */ [IV, IG, SR, ES, CW, CW, TW, TW, CL, IG],
        /* RST */ [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL],
        /* --- */ [IV, IV, IV, IV, IV, IV, IV, IV, IV, IV],
    ],
];
