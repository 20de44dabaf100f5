// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Arbitration: for each role, only the client with the highest election id ever seen may write.

use std::collections::BTreeMap;
use std::sync::Arc;

use tonic::Code;

use super::connections::Peer;
use super::fault::{Fault, Result};
use super::outbox::{Outbox, Undelivered};
use crate::proto::v1::stream_message_response::Update;
use crate::proto::{v1, Status as RpcStatus};

/// The maximum number of concurrent streams.
const MAX_STREAMS: usize = 64;
/// The maximum number of concurrent streams of one peer.
const MAX_STREAMS_OF_PEER: usize = 48;
/// The maximum number of roles. When there are more, the one without a client that was used least
/// recently is forgotten, with its highest election id.
const MAX_ROLES: usize = 64;
/// The maximum length of a role's name in bytes.
const MAX_NAME: usize = 256;

/// A client that has opened a stream.
struct Client {
    outbox: Outbox,
    /// The role and election id, once the client has sent them.
    role: Option<(String, v1::Role, Option<u128>)>,
    /// Set while the last arbitration update did not fit into the outbox.
    owes_update: bool,
}

/// The state of a role, kept also while it has no client.
struct Role {
    /// The highest election id ever seen.
    highest: u128,
    /// The number of the last arbitration update for it, of all updates.
    last: u64,
}

/// All streams.
#[derive(Default)]
pub(crate) struct Arbitration {
    device_id: u64,
    clients: BTreeMap<u64, Client>,
    /// The peers of all streams, including those that have ended but whose last messages have not
    /// been taken.
    places: BTreeMap<u64, Peer>,
    next: u64,
    roles: BTreeMap<String, Role>,
    /// The number of arbitration updates with an election id.
    updates: u64,
    undelivered: Arc<Undelivered>,
}

fn number(id: &v1::Uint128) -> u128 {
    u128::from(id.high) << 64 | u128::from(id.low)
}

fn message(number: u128) -> v1::Uint128 {
    v1::Uint128 {
        high: (number >> 64) as u64,
        low: number as u64,
    }
}

/// Returns a role's name; older clients use numbers.
pub(crate) fn role_name(name: &str, id: u64) -> String {
    match (name.is_empty(), id) {
        (true, 1..) => format!("#{id}"),
        _ => name.to_owned(),
    }
}

impl Arbitration {
    pub(super) fn new(device_id: u64, undelivered: Arc<Undelivered>) -> Arbitration {
        Arbitration {
            device_id,
            undelivered,
            ..Arbitration::default()
        }
    }

    /// Adds a stream, which takes a place until [`Arbitration::leave`].
    pub(super) fn open(&mut self, outbox: Outbox, peer: Peer) -> Result<u64> {
        let theirs = self.places.values().filter(|p| **p == peer).count();
        let full = |most, whose| {
            Err(Fault::new(
                Code::ResourceExhausted,
                format!("{most} streams{whose} are open, which are the most"),
            ))
        };
        if self.places.len() >= MAX_STREAMS {
            return full(MAX_STREAMS, "");
        }
        if theirs >= MAX_STREAMS_OF_PEER {
            return full(MAX_STREAMS_OF_PEER, " from this address or user");
        }
        self.next += 1;
        self.places.insert(self.next, peer);
        let client = Client {
            outbox,
            role: None,
            owes_update: false,
        };
        self.clients.insert(self.next, client);
        Ok(self.next)
    }

    /// Frees the place of a stream.
    pub(super) fn leave(&mut self, id: u64) {
        self.places.remove(&id);
    }

    /// Removes the client of a stream.
    pub(crate) fn close(&mut self, id: u64) {
        let Some(Client {
            role: Some((role, _, election)),
            ..
        }) = self.clients.remove(&id)
        else {
            return;
        };
        if election.is_some() && election == self.highest(&role) {
            self.inform(&role);
        }
    }

    /// The highest election id of each role, of those that were used least recently first.
    pub(super) fn roles(&self) -> Vec<(String, u128)> {
        let mut roles: Vec<_> = self.roles.iter().collect();
        roles.sort_by_key(|(_, role)| role.last);
        let ids = roles.into_iter();
        ids.map(|(name, role)| (name.clone(), role.highest))
            .collect()
    }

    /// Continues the roles of a predecessor of this process ([`roles`](Self::roles)): a client whose place
    /// another one has taken must not get it back because it connects sooner.
    pub(super) fn continue_roles(&mut self, roles: impl IntoIterator<Item = (String, u128)>) {
        for (name, highest) in roles.into_iter().take(MAX_ROLES) {
            self.updates += 1;
            let last = self.updates;
            self.roles.insert(name, Role { highest, last });
        }
    }

    /// The highest election id that a role has seen.
    fn highest(&self, role: &str) -> Option<u128> {
        self.roles.get(role).map(|role| role.highest)
    }

    /// Makes room for another role: removes the one without a client that was used least recently.
    fn forget_role(&mut self) {
        let has_client = |name: &String| {
            let mut roles = self.clients.values().filter_map(|c| c.role.as_ref());
            roles.any(|(role, ..)| role == name)
        };
        let unused = self.roles.iter().filter(|(name, _)| !has_client(name));
        let oldest = unused.min_by_key(|(_, role)| role.last);
        if let Some(name) = oldest.map(|(name, _)| name.clone()) {
            self.roles.remove(&name);
        }
    }

    fn primary(&self, role: &str) -> Option<u64> {
        let highest = self.highest(role)?;
        let mut clients = self.clients.iter();
        let found = clients.find(|(_, client)| match &client.role {
            Some((r, _, Some(election))) => r == role && *election == highest,
            _ => false,
        });
        found.map(|(id, _)| *id)
    }

    /// Handles a client's arbitration update.
    pub(crate) fn arbitrate(&mut self, id: u64, said: &v1::MasterArbitrationUpdate) -> Result<()> {
        let shown = said.role.clone().unwrap_or_default();
        if shown.config.is_some() {
            return Err(Fault::unimplemented(
                "role.config is not supported: a role may write everything but the tables of \
                 another role (@p4runtime_role)",
            ));
        }
        #[allow(deprecated, reason = "older clients use it")]
        let role = role_name(&shown.name, shown.id);
        if role.len() > MAX_NAME {
            return Err(Fault::invalid(format!(
                "a role's name of {} bytes: {MAX_NAME} are the most",
                role.len()
            )));
        }
        let election = said.election_id.as_ref().map(number);
        if let Some(client) = self.clients.get(&id) {
            if let Some((old, ..)) = client.role.as_ref().filter(|(old, ..)| *old != role) {
                return Err(Fault::new(
                    Code::FailedPrecondition,
                    format!(
                        "the stream has role \"{old}\": open another stream for role \"{role}\""
                    ),
                ));
            }
        }
        let is_used = self.clients.iter().any(|(other, client)| {
            let theirs = client.role.as_ref();
            *other != id
                && election.is_some()
                && theirs.is_some_and(|(r, _, e)| *r == role && *e == election)
        });
        if is_used {
            return Err(Fault::invalid(format!(
                "Election id {} already used by another client of this role",
                election.unwrap_or_default()
            )));
        }
        if !self.roles.contains_key(&role) && self.roles.len() >= MAX_ROLES {
            self.forget_role();
            if self.roles.len() >= MAX_ROLES {
                return Err(Fault::new(
                    Code::ResourceExhausted,
                    format!("role \"{role}\" is one more than the {MAX_ROLES} that have clients"),
                ));
            }
        }
        let before = self.primary(&role);
        if let Some(client) = self.clients.get_mut(&id) {
            client.role = Some((role.clone(), shown, election));
        }
        if let Some(election) = election {
            self.updates += 1;
            let entry = self.roles.entry(role.clone()).or_insert(Role {
                highest: election,
                last: 0,
            });
            entry.highest = election.max(entry.highest);
            entry.last = self.updates;
        }
        match before == self.primary(&role) && before != Some(id) {
            true => self.answer(id, &role),
            false => self.inform(&role),
        }
        Ok(())
    }

    /// Notifies all clients of a role of the current primary.
    fn inform(&mut self, role: &str) {
        let of_role = self.clients.iter().filter(|(_, c)| {
            let theirs = c.role.as_ref();
            theirs.is_some_and(|(r, ..)| r == role)
        });
        let ids: Vec<u64> = of_role.map(|(id, _)| *id).collect();
        for id in ids {
            self.answer(id, role);
        }
    }

    fn answer(&mut self, id: u64, role: &str) {
        let (primary, highest) = (self.primary(role), self.highest(role));
        let (code, text) = match primary {
            Some(primary) if primary == id => (Code::Ok, "you are the primary"),
            Some(_) => (Code::AlreadyExists, "another client is the primary"),
            None => (Code::NotFound, "there is no primary"),
        };
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let Some((_, shown, _)) = &client.role else {
            return;
        };
        let shown = shown.clone();
        let is_named = shown != v1::Role::default();
        let update = v1::MasterArbitrationUpdate {
            device_id: self.device_id,
            role: is_named.then_some(shown),
            election_id: highest.map(message),
            status: Some(RpcStatus {
                code: code as i32,
                message: text.to_owned(),
                details: Vec::new(),
            }),
        };
        client.owes_update = !client.outbox.send(Update::Arbitration(update));
    }

    /// Sends the arbitration updates that did not fit into outboxes before, with the current state.
    pub(super) fn send_owed(&mut self) {
        let owed = self.clients.iter().filter_map(|(id, client)| {
            let (role, ..) = client.role.as_ref()?;
            (client.owes_update && client.outbox.has_room()).then(|| (*id, role.clone()))
        });
        let owed: Vec<_> = owed.collect();
        for (id, role) in owed {
            self.answer(id, &role);
        }
    }

    /// Sends a message to a client, or counts it if the outbox is full.
    pub(super) fn send(&mut self, id: u64, update: Update) -> bool {
        let Some(client) = self.clients.get(&id) else {
            return false;
        };
        if !client.outbox.has_room() {
            self.undelivered.count(&update);
            return false;
        }
        client.outbox.send(update)
    }

    /// Returns the primaries of all roles.
    pub(super) fn primaries(&self) -> Vec<u64> {
        let roles = self.roles.keys();
        roles.filter_map(|role| self.primary(role)).collect()
    }

    /// Returns whether a primary's outbox has space for a message.
    pub(super) fn has_taker(&self) -> bool {
        let mut primaries = self.primaries().into_iter();
        primaries.any(|id| self.clients.get(&id).is_some_and(|c| c.outbox.has_room()))
    }

    /// Sends a message to the primaries of all roles; returns those that took it.
    pub(super) fn send_primaries(&mut self, update: &Update) -> Vec<u64> {
        let mut primaries = self.primaries();
        if primaries.is_empty() {
            self.undelivered.count(update);
        }
        primaries.retain(|id| self.send(*id, update.clone()));
        primaries
    }

    /// Returns whether that client has a role.
    pub(super) fn has_role(&self, id: u64) -> bool {
        self.clients.get(&id).is_some_and(|c| c.role.is_some())
    }

    /// Returns whether that client is the primary of its role.
    pub(crate) fn is_primary(&self, id: u64) -> bool {
        let client = self.clients.get(&id);
        match client.and_then(|c| c.role.as_ref()) {
            Some((role, ..)) => self.primary(role) == Some(id),
            None => false,
        }
    }

    /// Rejects writes of clients other than the primary.
    pub(crate) fn check(&self, role: &str, election: Option<&v1::Uint128>) -> Result<()> {
        let denied = |why: String| Err(Fault::new(Code::PermissionDenied, why));
        let Some(election) = election.map(number) else {
            return denied(format!(
                "the request has no election_id: only the primary of role \"{role}\" may write"
            ));
        };
        let Some(highest) = self.highest(role) else {
            return denied(format!(
                "role \"{role}\" has no primary: no client has sent an election_id for it on a \
                 stream"
            ));
        };
        if election < highest {
            return denied(format!(
                "election_id {election} is below {highest}, the highest that role \"{role}\" has \
                 seen"
            ));
        }
        if election > highest {
            return denied(format!(
                "election_id {election} is above {highest}, the highest that role \"{role}\" has \
                 seen: send it on a stream first (MasterArbitrationUpdate)"
            ));
        }
        match self.primary(role) {
            Some(_) => Ok(()),
            None => denied(format!(
                "the stream of the primary of role \"{role}\", with election_id {highest}, has \
                 ended: open a stream first"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::outbox::outbox;

    #[test]
    fn a_stream_has_a_place_until_its_messages_are_taken() {
        let mut all = Arbitration::new(1, Arc::default());
        let mut open = || all.open(outbox().0, Peer::User(1)).map_err(|f| f.code);
        let ids: Vec<u64> = (0..MAX_STREAMS_OF_PEER)
            .map(|_| open().expect("a place"))
            .collect();
        assert_eq!(open(), Err(Code::ResourceExhausted));
        ids.iter().for_each(|id| all.close(*id));
        let mut open = || all.open(outbox().0, Peer::User(1)).map_err(|f| f.code);
        assert_eq!(open(), Err(Code::ResourceExhausted));
        all.leave(ids[0]);
        assert!(all.open(outbox().0, Peer::User(1)).is_ok());
    }

    fn arbitrate(all: &mut Arbitration, role: &str, election: u64) -> (u64, Result<()>) {
        let peer = Peer::User(election as u32 % 2);
        let id = all.open(outbox().0, peer).expect("a place");
        let update = v1::MasterArbitrationUpdate {
            role: Some(v1::Role {
                name: role.to_owned(),
                ..Default::default()
            }),
            election_id: Some(message(election.into())),
            ..Default::default()
        };
        let done = all.arbitrate(id, &update);
        (id, done)
    }

    #[test]
    fn the_place_of_a_primary_is_its_own_in_the_next_process() {
        let mut all = Arbitration::new(1, Arc::default());
        for (role, election) in [("b", 7), ("a", 1 << 40), ("b", 9)] {
            assert!(arbitrate(&mut all, role, election).1.is_ok());
        }
        let roles = all.roles();
        assert_eq!(roles, [("a".to_owned(), 1 << 40), ("b".to_owned(), 9)]);
        let mut next = Arbitration::new(1, Arc::default());
        next.continue_roles(roles.clone());
        assert_eq!(next.roles(), roles);
        let (former, done) = arbitrate(&mut next, "b", 8);
        assert!(done.is_ok() && !next.is_primary(former));
        assert!(next.check("b", Some(&message(8))).is_err());
        let (primary, _) = arbitrate(&mut next, "b", 9);
        assert!(next.is_primary(primary));
    }

    #[test]
    fn roles_without_clients_make_room_for_others() {
        let mut all = Arbitration::new(1, Arc::default());
        let (kept, done) = arbitrate(&mut all, "kept", 9);
        assert!(done.is_ok());
        for n in 0..10 * MAX_ROLES as u64 {
            let (id, done) = arbitrate(&mut all, &format!("role {n}"), n);
            assert!(done.is_ok(), "{n}: {done:?}");
            assert!(all.is_primary(id));
            all.close(id);
            all.leave(id);
        }
        assert_eq!(all.roles.len(), MAX_ROLES);
        // A role with a client keeps its election id, and so do those that were used last.
        assert!(all.is_primary(kept));
        let last = format!("role {}", 10 * MAX_ROLES - 1);
        assert_eq!(all.highest(&last), Some(10 * MAX_ROLES as u128 - 1));
        assert_eq!(all.highest("role 0"), None);
    }
}
