// SPDX-License-Identifier: Apache-2.0 OR MIT
//! New connections: what a packet without one begins (`init_conntrack`).

use std::time::Duration;

use super::{nat_state, spare, Association, Input, Marks, Tracked, Tracker, Wanted};
use crate::bits::{CtState, Status};
use crate::entry::Data;
use crate::packet::Headers;
use crate::proto::{self, Context, Invalid, Outcome};
use crate::settings::{PolicyId, Settings};
use crate::table::Keys;
use crate::time::Time;
use crate::tuple::{Direction, Tuple};
use crate::zone::Zone;

/// A connection that is not in the table: it was created by a packet that is not committed yet.
#[derive(Clone)]
pub(crate) struct Pending {
    pub(crate) original: Tuple,
    pub(crate) keys: Keys,
    pub(crate) zone: Zone,
    pub(crate) status: Status,
    pub(super) policy: PolicyId,
    pub(crate) mark: u32,
    pub(super) timeout: Duration,
    pub(crate) data: Data,
    /// Its translation, which follows its master's, found no free tuple.
    pub(super) is_exhausted: bool,
    /// The hashes of its keys.
    pub(super) hashes: [u64; 2],
}

impl Tracker {
    /// Sets the tuple of the reply direction.
    pub(crate) fn set_reply(&self, pending: &mut Pending, reply: Tuple) {
        pending.keys = Keys::new(&pending.original, &reply, pending.zone);
        pending.hashes = self.table.hashes(&pending.keys);
        self.table.prefetch(pending.hashes[1]);
    }

    /// Makes the connection that a packet begins, and sets what `tracked`, which is that of a packet
    /// without a connection, has of it.
    #[inline(never)]
    #[allow(clippy::too_many_arguments)] // The packet, what is known of it, and its result.
    pub(super) fn create(
        &self,
        settings: &Settings,
        input: &Input<'_>,
        headers: &Headers,
        wanted: &Wanted,
        now: Time,
        tracked: &mut Tracked,
    ) -> Result<(), Invalid> {
        let Wanted { key, hash, .. } = wanted;
        let tuple = &Tuple::from_key(key);
        let reply = tuple.invert().ok_or(Invalid::IcmpType)?;
        let reply_key = reply.key(input.zone.id_in(Direction::Reply));
        let reply_hash = self.table.hash_reply((key, *hash), &reply_key);
        self.table.prefetch(reply_hash);
        let mut pending = spare::boxed(|| Pending {
            original: *tuple,
            keys: Keys([*key, reply_key]),
            zone: input.zone,
            status: Status::NONE,
            policy: input.policy,
            mark: 0,
            timeout: Duration::ZERO,
            data: Data {
                start: now,
                ..Data::default()
            },
            is_exhausted: false,
            hashes: [*hash, reply_hash],
        });
        self.apply_expectation(&mut pending, now);
        let context = Context {
            settings,
            timeouts: settings.policy(input.policy),
            now,
            direction: Direction::Original,
            status: pending.status,
            deadline: now,
            start: now,
            ack_offset: 0,
            icmp_type: tuple.icmp_type(),
            family: headers.family,
        };
        let message = headers.message(input.packet);
        let outcome = proto::handle(&mut pending.data.proto, &context, headers.protocol, message);
        match outcome {
            Outcome::Accept(effects) => {
                pending.timeout = effects.refresh.unwrap_or_default();
                if effects.refresh.is_some() {
                    pending.data.counters[Direction::Original as usize].count(headers.end);
                }
            }
            Outcome::Invalid(reason) | Outcome::InvalidButShorten(reason, _) => {
                spare::keep(pending);
                return Err(reason);
            }
            Outcome::Replace => {
                spare::keep(pending);
                return Err(Invalid::TcpState);
            }
        }
        let mut state = CtState::TRACKED | CtState::NEW;
        state |= nat_state(pending.status, Direction::Original);
        if pending.status.contains(Status::EXPECTED) {
            state |= CtState::RELATED;
        }
        let marks = Marks {
            mark: pending.mark,
            label: pending.data.label,
        };
        tracked.state = state;
        tracked.association = Association::New(pending);
        tracked.marks = marks;
        Ok(())
    }
}
