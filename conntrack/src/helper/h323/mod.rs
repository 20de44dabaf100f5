// SPDX-License-Identifier: Apache-2.0 OR MIT
//! H.323 (ITU-T; `nf_conntrack_h323_main.c`, `nf_nat_h323.c`): three helpers, of registration with a
//! gatekeeper (RAS), of call signalling (Q.931) and of the control of channels (H.245). Each announces
//! connections of the next.
//!
//! As Linux does by default, calls are expected from the gatekeeper only.

mod address;
mod channel;
mod expect;
mod per;
mod ras;
mod registration;
mod shapes;
mod signal;
mod streams;
#[cfg(test)]
mod tests;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod writer;

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::Session;
use crate::stats::DropReason;
use crate::tuple::Direction;
use channel::Opened;
use per::Reader;
use signal::{Kind, Signal};

/// The most streams of a connection that are translated (`H323_RTP_CHANNEL_MAX`).
const MAX_STREAMS: usize = 4;
/// The length of the header of a message in a segment (TPKT, RFC 1006).
const TPKT: usize = 4;

/// The state of a connection (`struct nf_ct_h323_master`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct H323 {
    /// The port of the connection that was announced last, by direction: as announced, and as translated.
    signalling: [u16; 2],
    /// The ports of streams, likewise.
    streams: [[u16; 2]; MAX_STREAMS],
    /// The seconds for which a registration lasts.
    lifetime: u32,
    /// The length of a message whose header was alone in the last segment, by direction.
    awaited: [u16; 2],
}

/// The index of a direction, and of the opposite one.
fn indices(direction: Direction) -> (usize, usize) {
    (direction as usize, direction.opposite() as usize)
}

/// The messages of a segment (`get_tpkt_data`).
struct Messages<'a> {
    payload: &'a [u8],
    /// The end of the last message; absent before the first, or behind the last one.
    last: Option<usize>,
}

impl H323 {
    /// Reads a segment of call signalling (`q931_help`).
    pub(super) fn read_signals(&mut self, session: &mut Session<'_>) -> Result<(), DropReason> {
        self.read_messages(session, |state, session, payload, message| {
            let read = Reader::new(payload, message).and_then(|q931| {
                let mut reader = signal::user_user(q931, payload)?;
                signal::user_information(&mut reader)
            });
            match read {
                Ok(signal) => state.follow(session, payload, &signal).map(|()| true),
                Err(per::Malformed) => Ok(false),
            }
        })
    }

    /// Reads a segment of the control of channels (`h245_help`).
    pub(super) fn read_control(&mut self, session: &mut Session<'_>) -> Result<(), DropReason> {
        self.read_messages(session, |state, session, payload, message| {
            let read = Reader::new(payload, message);
            match read.and_then(|mut reader| channel::message(&mut reader)) {
                Ok(opened) => {
                    let mut opened = opened.iter();
                    opened
                        .try_for_each(|opened| state.expect_channels(session, payload, opened))
                        .map(|()| true)
                }
                Err(per::Malformed) => Ok(false),
            }
        })
    }

    /// Passes the messages of a segment to `each`, until one cannot be read.
    fn read_messages<'a>(
        &mut self,
        session: &mut Session<'a>,
        each: impl Fn(&mut Self, &mut Session<'a>, &'a [u8], Range<usize>) -> Result<bool, DropReason>,
    ) -> Result<(), DropReason> {
        if !session.is_established() {
            return Ok(());
        }
        let direction = session.packet.direction as usize;
        let Some(payload) = session.received() else {
            self.awaited[direction] = 0;
            return Ok(());
        };
        let mut messages = Messages {
            payload,
            last: None,
        };
        while let Some(message) = messages.next(&mut self.awaited[direction]) {
            if !each(self, session, payload, message)? {
                break;
            }
        }
        Ok(())
    }

    /// Expects what a message announces, and translates its addresses (`process_q931`).
    fn follow(
        &mut self,
        session: &mut Session<'_>,
        payload: &[u8],
        signal: &Signal,
    ) -> Result<(), DropReason> {
        if signal.kind == Kind::Forwarded {
            if let Some(address) = signal.forwarded {
                self.expect_forwarded(session, payload, address)?;
            }
        } else {
            if let Some(address) = signal.h245 {
                self.expect_control(session, payload, address)?;
            }
            self.translate_parties(session, payload, signal);
            for opened in &signal.fast_start {
                self.expect_channels(session, payload, opened)?;
            }
        }
        for opened in &signal.tunnelled {
            self.expect_channels(session, payload, opened)?;
        }
        Ok(())
    }

    /// Expects the streams and the connection of channels (`process_olc`, `process_olca`).
    fn expect_channels(
        &mut self,
        session: &mut Session<'_>,
        payload: &[u8],
        opened: &Opened,
    ) -> Result<(), DropReason> {
        for channel in opened.channels.iter().flatten() {
            for address in [channel.media, channel.control].into_iter().flatten() {
                self.expect_streams(session, payload, address)?;
            }
        }
        match opened.t120 {
            Some(address) => self.expect_t120(session, payload, address),
            None => Ok(()),
        }
    }
}

impl Messages<'_> {
    /// The next message. `awaited` is the length of a message whose header was in the segment before, or
    /// is alone in this one.
    fn next(&mut self, awaited: &mut u16) -> Option<Range<usize>> {
        let start = self.last.unwrap_or(0);
        let rest = &self.payload[start..];
        let is_first = self.last.is_none();
        let header = rest
            .first_chunk::<TPKT>()
            .filter(|header| header.starts_with(&[3, 0]));
        let expected = usize::from(std::mem::take(awaited));
        let length = match header {
            Some(&[_, _, high, low]) => usize::from(u16::from_be_bytes([high, low])),
            None => {
                let is_whole = is_first && (1..=rest.len()).contains(&expected);
                return is_whole.then(|| self.take(0, expected));
            }
        };
        if length < TPKT || !is_first && rest.len() == TPKT {
            return None;
        }
        if length > rest.len() {
            if rest.len() == TPKT {
                *awaited = (length - TPKT) as u16;
            }
            return None;
        }
        Some(self.take(start + TPKT, start + length))
    }

    fn take(&mut self, start: usize, end: usize) -> Range<usize> {
        self.last = Some(end);
        start..end
    }
}
