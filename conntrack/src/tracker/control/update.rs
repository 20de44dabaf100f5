// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Changes of connections by control planes (`ctnetlink_change_conntrack`).

use std::sync::atomic::Ordering;
use std::time::Duration;

use thiserror::Error;

use super::NewProto;
use crate::bits::Status;
use crate::entry::{Connection, Counters};
use crate::events::{Changes, Event};
use crate::helper::Helper;
use crate::table::ConnectionRef;
use crate::time::Time;
use crate::tracker::Tracker;
use crate::tuple::Direction;

/// The values of a connection that a control plane sets. What is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Bits of the status to set. Bits in [`Status::UNCHANGEABLE`] are ignored if they are the
    /// connection's already.
    pub status: Option<Status>,
    /// The time until the timeout.
    pub timeout: Option<Duration>,
    /// The mark: the bits, and a mask of those that are set.
    pub mark: Option<(u32, u32)>,
    /// The label: the bits, and a mask of those that are set.
    pub label: Option<(u128, u128)>,
    /// The state of the protocol.
    pub proto: NewProto,
    /// The helper; `None` takes it, and its expectations, away.
    pub helper: Option<Option<Helper>>,
}

/// The reason for which a connection is not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// It is not in the table, or its timeout has passed.
    #[error("connection is not in the table")]
    Missing,
    /// A bit of the status cannot be changed so: EXPECTED, CONFIRMED and DYING never, SEEN_REPLY and
    /// ASSURED not be taken away.
    #[error("status bits {0:?} cannot be changed so")]
    Status(Status),
    /// The state is that of another protocol.
    #[error("protocol state is of another protocol than the connection")]
    Proto,
    /// The connection has another helper.
    #[error("connection has the helper {}; take it away first", .0.name())]
    HelperBusy(Helper),
    /// The helper is not one for the connection's protocol and address family.
    #[error("helper {} does not read connections of this protocol and address family", .0.name())]
    Helper(Helper),
}

/// Bits of which a change is refused (`ctnetlink_change_status`).
const FIXED: Status =
    Status::from_bits(Status::EXPECTED.bits() | Status::CONFIRMED.bits() | Status::DYING.bits());
/// Bits that are not taken away.
const LASTING: Status = Status::from_bits(Status::SEEN_REPLY.bits() | Status::ASSURED.bits());

/// The bits that an update of a status sets.
fn new_bits(old: Status, wanted: Status) -> Result<Status, UpdateError> {
    let changed = Status::from_bits(old.bits() ^ wanted.bits());
    let refused = Status::from_bits(
        changed.bits() & FIXED.bits() | changed.bits() & LASTING.bits() & !wanted.bits(),
    );
    if refused != Status::NONE {
        return Err(UpdateError::Status(refused));
    }
    Ok(wanted.without(Status::UNCHANGEABLE))
}

impl Tracker {
    /// Changes a connection, and reports all its values, as ctnetlink does: a request is an event even if
    /// it changes nothing. Nothing is changed if a value is refused.
    ///
    /// # Errors
    ///
    /// An [`UpdateError`].
    pub fn change(
        &self,
        connection: ConnectionRef,
        update: &Update,
        now: Time,
    ) -> Result<(), UpdateError> {
        let keys = self.table.keys(connection).ok_or(UpdateError::Missing)?;
        let slot = self.table.slot(connection);
        let mut data = slot
            .lock(connection.generation)
            .filter(|_| slot.deadline() > now)
            .ok_or(UpdateError::Missing)?;
        let bits = match update.status {
            Some(wanted) => new_bits(slot.status(), wanted)?,
            None => Status::NONE,
        };
        if let Some(Some(helper)) = update.helper {
            let original = keys.tuple(Direction::Original);
            if !helper.applies_to(original.protocol(), original.family()) {
                return Err(UpdateError::Helper(helper));
            }
            match data.helper() {
                Some(other) if other != helper => return Err(UpdateError::HelperBusy(other)),
                Some(_) | None => {}
            }
        }
        if !update.proto.apply(&mut data.proto) {
            return Err(UpdateError::Proto);
        }
        slot.set_status(bits);
        let mut lost_helper = false;
        match update.helper {
            Some(Some(helper)) if data.helper().is_none() => {
                let extension = data.extension.get_or_insert_with(Box::default);
                extension.helper = Some(helper.into());
            }
            Some(None) => {
                lost_helper = data.helper().is_some();
                if let Some(extension) = &mut data.extension {
                    extension.helper = None;
                }
            }
            Some(Some(_)) | None => {}
        }
        if let Some((value, mask)) = update.mark {
            let old = slot.mark.load(Ordering::Relaxed);
            let new = old & !mask | value & mask;
            slot.mark.store(new, Ordering::Relaxed);
        }
        if let Some((value, mask)) = update.label {
            data.label = data.label.replace(value, mask);
        }
        let deadline = update.timeout.map(|timeout| now + timeout);
        let must_move = deadline.is_some_and(|deadline| slot.postpone(deadline, now));
        self.events.send(
            |mask| mask.update,
            || {
                let current = Connection::new(connection, &keys, slot, &data, now);
                Event::Update(current, Changes::ALL)
            },
        );
        drop(data);
        if must_move {
            self.table.rearm(connection);
        }
        if lost_helper {
            self.forget_expectations(connection);
            self.gre_keys.remove(connection);
        }
        Ok(())
    }

    /// A copy of a connection whose counters are zero afterwards (`IPCTNL_MSG_CT_GET_CTRZERO`), if it
    /// is there and its timeout has not passed.
    pub fn get_and_zero(&self, connection: ConnectionRef, now: Time) -> Option<Connection> {
        let keys = self.table.keys(connection)?;
        let slot = self.table.slot(connection);
        let mut data = slot.lock(connection.generation)?;
        if slot.deadline() <= now {
            return None;
        }
        let copy = Connection::new(connection, &keys, slot, &data, now);
        data.counters = [Counters::default(); 2];
        Some(copy)
    }
}
