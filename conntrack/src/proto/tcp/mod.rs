// SPDX-License-Identifier: Apache-2.0 OR MIT
//! TCP (`nf_conntrack_proto_tcp.c`).

mod packet;
mod state;
mod window;

pub(crate) use packet::{handle, is_valid, new};
pub use state::TcpState;

use serde::{Deserialize, Serialize};

use crate::packet::tcp::{Segment, MAX_SCALE};
use crate::tuple::Direction;
use state::Kind;

/// Flags of a peer, as ctnetlink shows them (`IP_CT_TCP_FLAG_*`).
pub(crate) mod peer_flag {
    /// The peer has sent the window scale option.
    pub(crate) const WINDOW_SCALE: u8 = 0x01;
    /// The peer has permitted selective acknowledgements.
    pub(crate) const SACK_PERMITTED: u8 = 0x02;
    /// The peer was the first to send a FIN.
    pub(crate) const CLOSE_INIT: u8 = 0x04;
    /// The peer's segments are accepted outside of the window.
    pub(crate) const BE_LIBERAL: u8 = 0x08;
    /// The peer has sent data that is not acknowledged.
    pub(crate) const DATA_UNACKNOWLEDGED: u8 = 0x10;
    /// The highest acknowledgement is known.
    pub(crate) const MAX_ACK_SET: u8 = 0x20;
    /// Of the last SYN: its answer may be a challenge ACK (RFC 5961).
    pub(crate) const EXPECT_CHALLENGE_ACK: u8 = 0x40;
    /// Of the last SYN: the peers open simultaneously.
    pub(crate) const SIMULTANEOUS_OPEN: u8 = 0x80;
}

/// The state of one end of a connection (`struct ip_ct_tcp_state`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Peer {
    /// The highest sequence number that it has sent, plus one.
    end: u32,
    /// The end of the window that the other end has offered it.
    max_end: u32,
    /// The largest window that it has offered; zero before its first segment.
    max_window: u32,
    /// The highest acknowledgement that it has sent.
    max_ack: u32,
    /// The shift count of its windows.
    scale: u8,
    /// Bits of [`peer_flag`].
    flags: u8,
}

impl Peer {
    /// Takes the options of a SYN (`tcp_options`): a SYN without options changes nothing.
    fn take_options(&mut self, segment: &Segment<'_>) {
        if !segment.has_options() {
            return;
        }
        let options = segment.syn_options();
        self.scale = options.scale.unwrap_or(0);
        self.flags &= peer_flag::BE_LIBERAL;
        self.flags |= flags_of(&options);
    }

    /// Forgets everything but that the peer's segments are accepted outside of the window.
    fn reset(&mut self) {
        *self = Peer {
            flags: self.flags & peer_flag::BE_LIBERAL,
            ..Peer::default()
        };
    }
}

fn flags_of(options: &crate::packet::tcp::SynOptions) -> u8 {
    let mut flags = 0;
    if options.scale.is_some() {
        flags |= peer_flag::WINDOW_SCALE;
    }
    if options.sack_permitted {
        flags |= peer_flag::SACK_PERMITTED;
    }
    flags
}

/// The state of a TCP connection (`struct ip_ct_tcp`). The peers' fields are in columns, which
/// saves padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Tcp {
    end: [u32; 2],
    max_end: [u32; 2],
    max_window: [u32; 2],
    max_ack: [u32; 2],
    scale: [u8; 2],
    flags: [u8; 2],
    pub(crate) state: TcpState,
    /// The last segment: its direction, kind, sequence numbers and window.
    last_direction: Direction,
    last_kind: Kind,
    /// Repetitions of the last segment.
    retransmissions: u8,
    last_seq: u32,
    last_ack: u32,
    last_end: u32,
    last_window: u16,
    /// The options of a SYN while the tracker may be out of step with the peers.
    last_scale: u8,
    last_flags: u8,
}

impl Default for Tcp {
    fn default() -> Self {
        Tcp {
            end: [0; 2],
            max_end: [0; 2],
            max_window: [0; 2],
            max_ack: [0; 2],
            scale: [0; 2],
            flags: [0; 2],
            state: TcpState::None,
            last_direction: Direction::Original,
            last_kind: Kind::None,
            retransmissions: 0,
            last_seq: 0,
            last_ack: 0,
            last_end: 0,
            last_window: 0,
            last_scale: 0,
            last_flags: 0,
        }
    }
}

impl Tcp {
    /// Sets what a control plane knows of the connection: the state, the shift counts of both peers if
    /// both scale their windows, and flags with the masks of those that are set (`nlattr_to_tcp`).
    pub(crate) fn restore(
        &mut self,
        state: Option<TcpState>,
        scales: Option<[u8; 2]>,
        flags: [(u8, u8); 2],
    ) {
        self.state = state.unwrap_or(self.state);
        for (own, (bits, mask)) in self.flags.iter_mut().zip(flags) {
            *own = *own & !mask | bits & mask;
        }
        if self.flags[0] & self.flags[1] & peer_flag::WINDOW_SCALE != 0 {
            self.scale = scales
                .unwrap_or(self.scale)
                .map(|scale| scale.min(MAX_SCALE));
        }
    }

    /// Limits shift counts that come from elsewhere than a segment.
    pub(crate) fn limit_scales(&mut self) {
        self.scale = self.scale.map(|scale| scale.min(MAX_SCALE));
        self.last_scale = self.last_scale.min(MAX_SCALE);
    }

    fn peer(&self, direction: Direction) -> Peer {
        let at = direction as usize;
        Peer {
            end: self.end[at],
            max_end: self.max_end[at],
            max_window: self.max_window[at],
            max_ack: self.max_ack[at],
            scale: self.scale[at],
            flags: self.flags[at],
        }
    }

    fn set_peer(&mut self, direction: Direction, peer: Peer) {
        let at = direction as usize;
        self.end[at] = peer.end;
        self.max_end[at] = peer.max_end;
        self.max_window[at] = peer.max_window;
        self.max_ack[at] = peer.max_ack;
        self.scale[at] = peer.scale;
        self.flags[at] = peer.flags;
    }

    fn has_flag(&self, flag: u8) -> bool {
        (self.flags[0] | self.flags[1]) & flag != 0
    }

    /// The shift counts of both peers' windows.
    pub(crate) fn scales(&self) -> [u8; 2] {
        self.scale
    }

    /// The flags of both peers.
    pub(crate) fn peer_flags(&self) -> [u8; 2] {
        self.flags
    }

    /// The sequence number after the last byte of the original direction.
    pub(crate) fn original_end(&self) -> u32 {
        self.end[0]
    }

    /// Reports whether the connection is being closed.
    pub(crate) fn is_closing(&self) -> bool {
        self.state.is_closing()
    }

    fn count_retransmission(
        &mut self,
        direction: Direction,
        seq: u32,
        ack: u32,
        end: u32,
        window: u16,
    ) {
        if (
            self.last_direction,
            self.last_seq,
            self.last_ack,
            self.last_end,
            self.last_window,
        ) == (direction, seq, ack, end, window)
        {
            // Linux's counter wraps.
            self.retransmissions = self.retransmissions.wrapping_add(1);
        } else {
            self.last_direction = direction;
            self.last_seq = seq;
            self.last_ack = ack;
            self.last_end = end;
            self.last_window = window;
            self.retransmissions = 0;
        }
    }
}
