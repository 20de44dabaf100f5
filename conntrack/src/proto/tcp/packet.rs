// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The effect of a segment on its connection (`nf_conntrack_tcp_packet`).

use super::state::{transition, Kind, TcpState, Transition};
use super::window::{check, Fit};
use super::{flags_of, peer_flag, Peer, Tcp};
use crate::bits::Status;
use crate::packet::tcp::{flag, is_before, Segment};
use crate::proto::{Context, Effects, Invalid, Outcome};
use crate::tuple::Direction;

use std::time::Duration;

/// An expiry that is not reduced by invalid FINs and resets, because it is near.
const NEAR_EXPIRY: Duration = Duration::from_secs(120);

/// Parses a message and checks what no valid segment violates, but for the checksum (`tcp_error`).
pub(crate) fn is_valid(message: &[u8]) -> Result<Segment<'_>, Invalid> {
    let segment = Segment::parse(message).ok_or(Invalid::Truncated)?;
    if segment.has_valid_flags() {
        Ok(segment)
    } else {
        Err(Invalid::TcpFlags)
    }
}

/// The state of a connection before its first segment is handled (`tcp_new`).
pub(crate) fn new(segment: &Segment<'_>, loose: bool) -> Result<Tcp, Invalid> {
    let mut tcp = Tcp::default();
    let window = u32::from(segment.window).max(1);
    let mut sender = Peer {
        end: segment.end,
        max_end: segment.end,
        max_window: window,
        ..Peer::default()
    };
    match transition(Direction::Original, Kind::of(segment), TcpState::None) {
        Transition::To(TcpState::SynSent) => sender.take_options(segment),
        Transition::To(_) if loose => {
            // The beginning was not seen: assume selective acknowledgements, and do not check windows,
            // whose scale is not known.
            sender.max_end = segment.end.wrapping_add(window);
            sender.flags = peer_flag::SACK_PERMITTED | peer_flag::BE_LIBERAL;
            tcp.flags[Direction::Reply as usize] = sender.flags;
        }
        Transition::To(_) => return Err(Invalid::TcpPickup),
        Transition::Ignore | Transition::Invalid => return Err(Invalid::TcpState),
    }
    tcp.set_peer(Direction::Original, sender);
    Ok(tcp)
}

/// Handles a segment of a connection.
pub(crate) fn handle(tcp: &mut Tcp, context: &Context<'_>, segment: &Segment<'_>) -> Outcome {
    let direction = context.direction;
    let kind = Kind::of(segment);
    let mut old = tcp.state;
    let mut new = match transition(direction, kind, old) {
        Transition::Invalid => return Outcome::Invalid(Invalid::TcpState),
        Transition::Ignore if resynchronize(tcp, direction, kind, segment) => {
            old = TcpState::SynSent;
            TcpState::SynRecv
        }
        Transition::Ignore => return ignore(tcp, direction, kind, segment, old),
        Transition::To(new) => new,
    };
    let mut check_window = true;
    match new {
        TcpState::SynSent if old >= TcpState::TimeWait => {
            // A new connection with the tuple of one that was closed or reset (RFC 9293, 3.6.1).
            let is_reset = tcp.last_direction == direction && tcp.last_kind == Kind::Rst;
            if tcp.has_flag(peer_flag::CLOSE_INIT) || is_reset {
                return Outcome::Replace;
            }
            return ignore(tcp, direction, kind, segment, old);
        }
        TcpState::TimeWait
            if old == TcpState::LastAck
                && kind == Kind::Ack
                && tcp.last_direction != direction
                && tcp.last_kind == Kind::Syn
                && tcp.last_flags & peer_flag::EXPECT_CHALLENGE_ACK != 0 =>
        {
            // A challenge ACK in answer to a SYN does not acknowledge the last FIN (RFC 5961, 4.2).
            tcp.last_flags &= !peer_flag::EXPECT_CHALLENGE_ACK;
            return Outcome::Accept(Effects::default());
        }
        TcpState::SynSent2 => tcp.last_flags |= peer_flag::SIMULTANEOUS_OPEN,
        TcpState::SynRecv
            if direction == Direction::Reply
                && kind == Kind::Ack
                && tcp.last_flags & peer_flag::SIMULTANEOUS_OPEN != 0 =>
        {
            new = TcpState::Established;
        }
        TcpState::Close if kind == Kind::Rst => match judge_reset(tcp, context, segment, old) {
            Reset::Invalid => return Outcome::Invalid(Invalid::TcpReset),
            Reset::Keep => new = old,
            Reset::Trusted => check_window = false,
            Reset::Check => {}
        },
        // What follows from the state alone.
        TcpState::None
        | TcpState::SynSent
        | TcpState::SynRecv
        | TcpState::Established
        | TcpState::FinWait
        | TcpState::CloseWait
        | TcpState::LastAck
        | TcpState::TimeWait
        | TcpState::Close => {}
    }
    if check_window {
        let liberal = context.settings.tcp_be_liberal;
        match check(tcp, direction, kind, segment, context.ack_offset, liberal) {
            Fit::Accept => {}
            Fit::Ignore => return Outcome::Accept(Effects::default()),
            Fit::Invalid => return out_of_window(tcp, context, kind),
        }
    }
    finish(tcp, context, segment, kind, old, new)
}

/// A SYN with ACK that acknowledges the SYN that was ignored: the peers are in step, the tracker is
/// not. Continues with the ignored SYN's values. Returns whether the segment is one.
fn resynchronize(tcp: &mut Tcp, direction: Direction, kind: Kind, segment: &Segment<'_>) -> bool {
    if kind != Kind::SynAck
        || tcp.last_kind != Kind::Syn
        || tcp.last_direction == direction
        || segment.ack != tcp.last_end
    {
        return false;
    }
    let last = tcp.last_direction;
    tcp.last_flags &= !peer_flag::EXPECT_CHALLENGE_ACK;
    let sender = Peer {
        end: tcp.last_end,
        max_end: tcp.last_end,
        max_window: u32::from(tcp.last_window).max(1),
        scale: tcp.last_scale,
        flags: tcp.last_flags,
        ..tcp.peer(last)
    };
    tcp.set_peer(last, sender);
    let mut receiver = tcp.peer(direction);
    receiver.reset();
    tcp.set_peer(direction, receiver);
    true
}

/// Lets a segment pass that the state does not follow, and notes its values: its answer may show
/// that it was valid.
fn ignore(
    tcp: &mut Tcp,
    direction: Direction,
    kind: Kind,
    segment: &Segment<'_>,
    state: TcpState,
) -> Outcome {
    tcp.last_kind = kind;
    tcp.last_direction = direction;
    tcp.last_seq = segment.seq;
    tcp.last_end = segment.end;
    tcp.last_window = segment.window;
    if kind == Kind::Syn && direction == Direction::Original {
        let options = segment.syn_options();
        tcp.last_flags = flags_of(&options);
        tcp.last_scale = options.scale.unwrap_or(0);
        if state == TcpState::LastAck {
            tcp.last_flags |= peer_flag::EXPECT_CHALLENGE_ACK;
        }
    }
    if state == TcpState::SynSent && kind == Kind::Ack && direction == Direction::Reply {
        // Possibly a challenge ACK in answer to the SYN.
        tcp.last_ack = segment.ack;
    }
    Outcome::Accept(Effects::default())
}

/// The kinds of a reset.
enum Reset {
    /// Its sequence number is before what its receiver has acknowledged.
    Invalid,
    /// Its sequence number is not exactly the expected one: its receiver may answer with a
    /// challenge ACK.
    Keep,
    /// It answers a segment that was let through: the window is not that of the peers.
    Trusted,
    /// The window decides.
    Check,
}

fn judge_reset(tcp: &Tcp, context: &Context<'_>, segment: &Segment<'_>, old: TcpState) -> Reset {
    let direction = context.direction;
    if tcp.is_closing() {
        // The tuple may be in use again, so that what is known of the windows is out of date.
        return Reset::Trusted;
    }
    let mut result = Reset::Check;
    let receiver = tcp.peer(direction.opposite());
    let is_established =
        tcp.state == TcpState::Established && context.status.contains(Status::ASSURED);
    if receiver.flags & peer_flag::MAX_ACK_SET != 0 && tcp.last_kind != Kind::Syn {
        let seq = segment.seq;
        if seq == 0 && !is_established {
            // Most likely the answer to a SYN that was let through.
            return Reset::Check;
        }
        if is_before(seq, receiver.max_ack) && !context.settings.tcp_ignore_invalid_rst {
            return Reset::Invalid;
        }
        if !is_established || seq == receiver.max_ack {
            return Reset::Check;
        }
        let follows_data =
            tcp.last_kind == Kind::Ack && tcp.last_direction == direction && seq == tcp.last_end;
        if follows_data {
            return Reset::Check;
        }
        result = Reset::Keep;
    }
    let answers_syn = context.status.contains(Status::SEEN_REPLY)
        && tcp.last_kind == Kind::Syn
        && tcp.last_direction != direction;
    let answers_ack = !context.status.contains(Status::ASSURED) && tcp.last_kind == Kind::Ack;
    if (answers_syn || answers_ack) && segment.ack == tcp.last_end {
        return trusted(result);
    }
    let answers_challenge = old == TcpState::SynSent
        && tcp.last_kind == Kind::Ack
        && tcp.last_direction == Direction::Reply
        && segment.seq == tcp.last_ack;
    if answers_challenge {
        return trusted(result);
    }
    result
}

/// A reset whose window is not checked. One that leaves the state is checked in any case: only
/// established connections have such, and theirs answers no SYN.
fn trusted(result: Reset) -> Reset {
    match result {
        Reset::Keep => Reset::Keep,
        _ => Reset::Trusted,
    }
}

/// A segment outside of the window. If both peers have sent a FIN or a reset that did not fit, the
/// connection is most likely dead: it does not stay for days (`nf_tcp_handle_invalid`).
fn out_of_window(tcp: &mut Tcp, context: &Context<'_>, kind: Kind) -> Outcome {
    let reason = Invalid::TcpWindow;
    let may_be_dead = context.status.contains(Status::ASSURED)
        && !context.status.contains(Status::FIXED_TIMEOUT)
        && matches!(kind, Kind::Rst | Kind::Fin);
    if !may_be_dead {
        return Outcome::Invalid(reason);
    }
    if tcp.last_direction == context.direction || !matches!(tcp.last_kind, Kind::Fin | Kind::Rst) {
        tcp.last_kind = kind;
        tcp.last_direction = context.direction;
        return Outcome::Invalid(reason);
    }
    let timeout = context.timeouts.tcp.unacknowledged;
    let expires_in = context.deadline.since(context.now);
    if expires_in >= NEAR_EXPIRY && expires_in > timeout {
        return Outcome::InvalidButShorten(reason, timeout);
    }
    Outcome::Invalid(reason)
}

/// Takes a segment that fits: the new state, and the timeout that follows from it.
#[inline(always)]
fn finish(
    tcp: &mut Tcp,
    context: &Context<'_>,
    segment: &Segment<'_>,
    kind: Kind,
    old: TcpState,
    new: TcpState,
) -> Outcome {
    tcp.last_kind = kind;
    tcp.last_direction = context.direction;
    tcp.state = new;
    if old != new && new == TcpState::FinWait {
        tcp.flags[context.direction as usize] |= peer_flag::CLOSE_INIT;
    }
    let timeouts = &context.timeouts.tcp;
    let of_state = new.timeout(timeouts);
    let mut timeout = if tcp.retransmissions >= context.settings.tcp_max_retrans
        && of_state > timeouts.retrans
    {
        timeouts.retrans
    } else if kind == Kind::Rst {
        timeouts.close
    } else if tcp.has_flag(peer_flag::DATA_UNACKNOWLEDGED) && of_state > timeouts.unacknowledged {
        timeouts.unacknowledged
    } else if tcp.last_window == 0 && of_state > timeouts.retrans {
        timeouts.retrans
    } else {
        of_state
    };
    let mut effects = Effects {
        state_changed: old != new,
        ..Effects::default()
    };
    if !context.status.contains(Status::SEEN_REPLY) {
        if segment.has(flag::RST) {
            // Nothing but a reset answered: the connection never was.
            return Outcome::Accept(Effects {
                kill: true,
                ..effects
            });
        }
        if kind == Kind::Syn && old == TcpState::SynSent {
            // Repeated SYNs do not keep a connection.
            return Outcome::Accept(effects);
        }
        if new == TcpState::Established {
            // Picked up, and not answered.
            timeout = timeout.min(timeouts.unacknowledged);
        }
    } else if !context.status.contains(Status::ASSURED)
        && matches!(old, TcpState::SynRecv | TcpState::Established)
        && new == TcpState::Established
    {
        effects.assured = true;
    }
    effects.refresh = Some(timeout);
    Outcome::Accept(effects)
}
