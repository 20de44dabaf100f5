// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Window tracking: whether a segment fits what its receiver can take and has sent
//! (`tcp_in_window` in `nf_conntrack_proto_tcp.c`, after van Rooij, "Real Stateful TCP Packet
//! Filtering in IP Filter").

use super::state::{Kind, TcpState};
use super::{peer_flag, Peer, Tcp};
use crate::packet::tcp::{flag, is_after, is_before, Segment};
use crate::tuple::Direction;

/// The least distance that an acknowledgement may be behind the receiver's data.
const MIN_ACK_WINDOW: u32 = 66000;

/// The result of window tracking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// The segment is in the window.
    Accept,
    /// The segment may be valid for its receiver; it changes nothing.
    Ignore,
    /// The segment is outside of the window.
    Invalid,
}

impl Peer {
    /// Begins with the data of a SYN, or of a SYN with ACK.
    fn initialize(&mut self, receiver: &mut Peer, segment: &Segment<'_>, direction: Direction) {
        self.end = segment.end;
        self.max_end = segment.end;
        self.max_window = u32::from(segment.window).max(1);
        self.take_options(segment);
        // Both must send the option, so that windows are scaled in either direction (RFC 7323, 2.2).
        let scales = |peer: &Peer| peer.flags & peer_flag::WINDOW_SCALE != 0;
        if direction == Direction::Reply && !(scales(self) && scales(receiver)) {
            self.scale = 0;
            receiver.scale = 0;
        }
    }

    fn max_ack_window(&self) -> u32 {
        self.max_window.max(MIN_ACK_WINDOW)
    }
}

/// Checks a segment and updates what is known of both peers. `offset` is what sequence adjustment
/// adds to the data that the segment acknowledges.
pub(super) fn check(
    tcp: &mut Tcp,
    direction: Direction,
    kind: Kind,
    segment: &Segment<'_>,
    offset: i32,
    be_liberal: bool,
) -> Fit {
    let mut sender = tcp.peer(direction);
    let mut receiver = tcp.peer(direction.opposite());
    let fit = check_peers(
        tcp,
        &mut sender,
        &mut receiver,
        direction,
        kind,
        segment,
        offset,
        be_liberal,
    );
    tcp.set_peer(direction, sender);
    tcp.set_peer(direction.opposite(), receiver);
    fit
}

#[allow(clippy::too_many_arguments)] // The values of one packet, between two functions.
fn check_peers(
    tcp: &mut Tcp,
    sender: &mut Peer,
    receiver: &mut Peer,
    direction: Direction,
    kind: Kind,
    segment: &Segment<'_>,
    offset: i32,
    be_liberal: bool,
) -> Fit {
    let (mut seq, mut end) = (segment.seq, segment.end);
    let mut ack = segment.ack.wrapping_sub(offset as u32);
    let mut sack = ack;
    if receiver.flags & peer_flag::SACK_PERMITTED != 0 {
        sack = segment.highest_sack().wrapping_sub(offset as u32);
    }
    let mut window = u32::from(segment.window);
    let is_syn = segment.has(flag::SYN);
    let is_ack = segment.has(flag::ACK);

    if sender.max_window == 0 {
        if is_syn {
            sender.initialize(receiver, segment, direction);
            if !is_ack {
                // A simultaneous open.
                return Fit::Accept;
            }
        } else {
            // The beginning was not seen: assume what the segment shows.
            sender.end = end;
            sender.max_window = (window << sender.scale).max(1);
            sender.max_end = end.wrapping_add(sender.max_window);
            if receiver.max_window == 0 {
                // Neither was the other direction: let the acknowledgement pass.
                receiver.end = sack;
                receiver.max_end = sack;
            } else if sack == receiver.end.wrapping_add(1) {
                // Most likely the answer to a keep-alive.
                receiver.end = receiver.end.wrapping_add(1);
            }
        }
    } else if is_syn
        && is_after(end, sender.end)
        && matches!(tcp.state, TcpState::SynSent | TcpState::SynRecv)
    {
        // The peer begins again, with larger sequence numbers (RFC 9293, 3.4).
        sender.initialize(receiver, segment, direction);
        if direction == Direction::Reply && !is_ack {
            return Fit::Accept;
        }
    }

    // A segment without an acknowledgement fits as if it had the right one. So does a reset with an
    // acknowledgement of zero, which some implementations send.
    if !is_ack || (segment.has(flag::RST) && ack == 0) {
        ack = receiver.end;
        sack = ack;
    }
    if segment.has(flag::RST) && seq == 0 && tcp.state == TcpState::SynSent {
        // The answer to a SYN.
        seq = sender.end;
        end = seq;
    }

    if let Some(fit) = misfit(sender, receiver, seq, end, sack, be_liberal) {
        return fit;
    }

    if !is_syn {
        window <<= sender.scale;
    }
    let reach = window.wrapping_add(sack.wrapping_sub(ack));
    sender.max_window = sender.max_window.max(reach);
    if is_after(end, sender.end) {
        sender.end = end;
        sender.flags |= peer_flag::DATA_UNACKNOWLEDGED;
    }
    if is_ack && (sender.flags & peer_flag::MAX_ACK_SET == 0 || is_after(ack, sender.max_ack)) {
        sender.max_ack = ack;
        sender.flags |= peer_flag::MAX_ACK_SET;
    }

    if receiver.max_window != 0 && is_after(end, sender.max_end) {
        receiver.max_window = receiver
            .max_window
            .wrapping_add(end.wrapping_sub(sender.max_end));
    }
    let edge = sack.wrapping_add(window);
    if is_after(edge, receiver.max_end.wrapping_sub(1)) {
        receiver.max_end = if window == 0 {
            edge.wrapping_add(1)
        } else {
            edge
        };
    }
    if ack == receiver.end {
        receiver.flags &= !peer_flag::DATA_UNACKNOWLEDGED;
    }

    if kind == Kind::Ack {
        tcp.count_retransmission(direction, seq, ack, end, segment.window);
    }
    Fit::Accept
}

/// The conditions I to IV of window tracking; absent if all hold. If `be_liberal`, the segment is
/// accepted, but does not change the peers, apart from what the first condition does.
fn misfit(
    sender: &mut Peer,
    receiver: &Peer,
    seq: u32,
    end: u32,
    sack: u32,
    be_liberal: bool,
) -> Option<Fit> {
    let liberal = be_liberal || sender.flags & peer_flag::BE_LIBERAL != 0;
    let otherwise = |fit| Some(if liberal { Fit::Accept } else { fit });
    let acks_seen_data = is_before(sack, receiver.end.wrapping_add(1));
    let oldest_ack = receiver
        .end
        .wrapping_sub(sender.max_ack_window())
        .wrapping_sub(1);
    let acks_recent_data = is_after(sack, oldest_ack);
    let oldest_data = sender.end.wrapping_sub(receiver.max_window).wrapping_sub(1);
    let is_recent = is_after(end, oldest_data);

    if !is_before(seq, sender.max_end.wrapping_add(1)) {
        let overshoot = end.wrapping_sub(sender.max_end).wrapping_add(1);
        if receiver.max_window != 0
            && is_recent
            && acks_recent_data
            && overshoot <= receiver.max_window
            && acks_seen_data
        {
            // More than the window permits. The receiver may take it all the same; then its
            // acknowledgements must be valid.
            sender.end = end;
            sender.flags |= peer_flag::DATA_UNACKNOWLEDGED;
            return otherwise(Fit::Ignore);
        }
        return otherwise(Fit::Invalid);
    }
    if !acks_seen_data {
        return otherwise(Fit::Invalid);
    }
    if receiver.max_window != 0 && !is_recent {
        return otherwise(Fit::Ignore);
    }
    if !acks_recent_data {
        return otherwise(Fit::Ignore);
    }
    None
}
