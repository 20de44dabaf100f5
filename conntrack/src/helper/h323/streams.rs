// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The streams of a channel: one of media at an even port, and one of their control at the next.

use super::address::Address;
use super::expect::{announced, is_own_translated, own, seen, set};
use super::{indices, H323};
use crate::helper::Session;
use crate::stats::DropReason;
use crate::tuple::{Endpoint, Protocol};

impl H323 {
    /// Expects both streams of an address of one of them (`expect_rtp_rtcp`).
    pub(super) fn expect_streams(
        &mut self,
        session: &mut Session<'_>,
        payload: &[u8],
        address: Address,
    ) -> Result<(), DropReason> {
        let Some(Endpoint { part: port, .. }) = own(session, payload, address) else {
            return Ok(());
        };
        let media = port & !1;
        let mut both = [media, media + 1].map(|port| announced(session, Protocol::UDP, port));
        if !is_own_translated(session) {
            let expected = session.expect_all(both);
            return expected.map(|_| ()).map_err(DropReason::Expectation);
        }
        for stream in &mut both {
            stream.nat = Some(session.follow_master(stream.dst.part));
        }
        // (`nat_rtp_rtcp`)
        if media == 0 {
            return Ok(());
        }
        let (this, other) = indices(session.packet.direction);
        let place = self
            .streams
            .iter_mut()
            .find(|ports| ports[this] == media || ports[this] == 0);
        let Some(place) = place else {
            return Ok(());
        };
        // Without a pair of ports, the message stays as it is.
        let Ok((translated, _)) = session.expect_free_pair(&mut both) else {
            return Ok(());
        };
        (place[this], place[other]) = (media, translated);
        let new = seen(session, translated | port & 1);
        set(session, address, new);
        Ok(())
    }
}
