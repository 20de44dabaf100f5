// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who may write: for each role the client with the highest election id that was ever seen.

use std::collections::BTreeMap;

use tokio::sync::mpsc::Sender;
use tonic::{Code, Status};

use super::fault::{Fault, Result};
use crate::proto::{v1, Status as RpcStatus};

/// The most streams at a time.
const MAX_STREAMS: usize = 64;
/// The most roles that are remembered.
const MAX_ROLES: usize = 64;
/// The longest name of a role.
const MAX_NAME: usize = 256;

pub(crate) type Reply = std::result::Result<v1::StreamMessageResponse, Status>;

/// A client that has opened a stream.
struct Client {
    sender: Sender<Reply>,
    /// Its role and election id, once it has said them.
    role: Option<(String, v1::Role, Option<u128>)>,
}

/// All streams.
#[derive(Default)]
pub(crate) struct Arbitration {
    device_id: u64,
    clients: BTreeMap<u64, Client>,
    next: u64,
    /// The highest election id of each role.
    highest: BTreeMap<String, u128>,
    /// What clients did not take in time.
    pub(crate) lost: u64,
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

/// A role's name; older clients have numbers.
pub(crate) fn role_name(name: &str, id: u64) -> String {
    match (name.is_empty(), id) {
        (true, 1..) => format!("#{id}"),
        _ => name.to_owned(),
    }
}

impl Arbitration {
    pub(crate) fn new(device_id: u64) -> Arbitration {
        Arbitration {
            device_id,
            ..Arbitration::default()
        }
    }

    pub(crate) fn open(&mut self, sender: Sender<Reply>) -> Result<u64> {
        if self.clients.len() >= MAX_STREAMS {
            return Err(Fault::new(
                Code::ResourceExhausted,
                format!("{MAX_STREAMS} streams are open, which are the most"),
            ));
        }
        self.next += 1;
        let client = Client { sender, role: None };
        self.clients.insert(self.next, client);
        Ok(self.next)
    }

    pub(crate) fn close(&mut self, id: u64) {
        let Some(Client {
            role: Some((role, _, election)),
            ..
        }) = self.clients.remove(&id)
        else {
            return;
        };
        if election.is_some() && election == self.highest.get(&role).copied() {
            self.tell(&role);
        }
    }

    fn primary(&self, role: &str) -> Option<u64> {
        let highest = self.highest.get(role)?;
        let mut clients = self.clients.iter();
        let found = clients.find(|(_, client)| match &client.role {
            Some((r, _, Some(election))) => r == role && election == highest,
            _ => false,
        });
        found.map(|(id, _)| *id)
    }

    /// A client says who it is.
    pub(crate) fn arbitrate(&mut self, id: u64, said: &v1::MasterArbitrationUpdate) -> Result<()> {
        let shown = said.role.clone().unwrap_or_default();
        if shown.config.is_some() {
            return Err(Fault::unimplemented(
                "role.config: a role may do everything",
            ));
        }
        #[allow(deprecated, reason = "older clients say it so")]
        let role = role_name(&shown.name, shown.id);
        if role.len() > MAX_NAME {
            return Err(Fault::invalid(format!(
                "a role's name of {} bytes: {MAX_NAME} are the most",
                role.len()
            )));
        }
        let election = said.election_id.as_ref().map(number);
        if let Some(client) = self.clients.get(&id) {
            if client.role.as_ref().is_some_and(|(old, ..)| *old != role) {
                return Err(Fault::new(
                    Code::FailedPrecondition,
                    "a stream has one role: open another for another",
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
        if !self.highest.contains_key(&role) && self.highest.len() >= MAX_ROLES {
            return Err(Fault::new(Code::ResourceExhausted, "too many roles"));
        }
        let before = self.primary(&role);
        if let Some(client) = self.clients.get_mut(&id) {
            client.role = Some((role.clone(), shown, election));
        }
        if let Some(election) = election {
            let highest = self.highest.entry(role.clone()).or_insert(election);
            *highest = election.max(*highest);
        }
        match before == self.primary(&role) && before != Some(id) {
            true => self.answer(id, &role),
            false => self.tell(&role),
        }
        Ok(())
    }

    /// Tells all clients of a role who is the primary.
    fn tell(&mut self, role: &str) {
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
        let primary = self.primary(role);
        let (code, text) = match primary {
            Some(primary) if primary == id => (Code::Ok, "you are the primary"),
            Some(_) => (Code::AlreadyExists, "another client is the primary"),
            None => (Code::NotFound, "there is no primary"),
        };
        let Some(client) = self.clients.get(&id) else {
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
            election_id: self.highest.get(role).copied().map(message),
            status: Some(RpcStatus {
                code: code as i32,
                message: text.to_owned(),
                details: Vec::new(),
            }),
        };
        self.send(id, v1::stream_message_response::Update::Arbitration(update));
    }

    /// Sends to a client; one that does not read loses what it has no room for.
    pub(crate) fn send(&mut self, id: u64, update: v1::stream_message_response::Update) {
        let Some(client) = self.clients.get(&id) else {
            return;
        };
        let reply = v1::StreamMessageResponse {
            update: Some(update),
        };
        if client.sender.try_send(Ok(reply)).is_err() {
            self.lost += 1;
        }
    }

    /// Sends to the primaries of all roles; tells whether there was one.
    pub(crate) fn send_primaries(&mut self, update: &v1::stream_message_response::Update) -> bool {
        let roles: Vec<String> = self.highest.keys().cloned().collect();
        let mut sent = false;
        for role in roles {
            if let Some(id) = self.primary(&role) {
                self.send(id, update.clone());
                sent = true;
            }
        }
        sent
    }

    /// Whether that client is the primary of its role.
    pub(crate) fn is_primary(&self, id: u64) -> bool {
        let client = self.clients.get(&id);
        match client.and_then(|c| c.role.as_ref()) {
            Some((role, ..)) => self.primary(role) == Some(id),
            None => false,
        }
    }

    /// Refuses to let anybody write but the primary.
    pub(crate) fn check(&self, role: &str, election: Option<&v1::Uint128>) -> Result<()> {
        let denied = |why: &str| Err(Fault::new(Code::PermissionDenied, why));
        let Some(election) = election.map(number) else {
            return denied("a write needs an election_id");
        };
        match (self.primary(role), self.highest.get(role)) {
            (Some(_), Some(highest)) if *highest == election => Ok(()),
            (None, _) => denied("not the primary: the role has none, open a stream first"),
            _ => denied("not the primary: another client has a higher election_id"),
        }
    }
}
