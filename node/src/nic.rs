// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A NIC whose services are kept, over P4Runtime and the service of its connections.

mod counts;
mod places;
mod stale;

use adit_conntrack_rpc::client as conntrack;
use adit_conntrack_rpc::proto;
use adit_p4runtime::client::{self, Channel, Client, ClientError, Target, UpdateError};
use adit_p4runtime::proto::v1::{
    entity::Entity, update::Type, ActionProfileGroup, ActionProfileMember, TableEntry, Update,
};

use crate::desired::Skipped;
use crate::device::{Device, Plan, Planned, Scope, Setup};
use crate::model::Services;
use crate::numbers::Exhausted;
use crate::program::{number, OtherProgram, Program};
use crate::reconcile::Key;
pub use counts::Count;
pub use places::Pod;

/// The most updates of a request.
const BATCH: usize = 512;
/// The bit of a label that connections of the program have (`p4/node/types.p4`), bit 127.
const COMMITTED: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80];

/// An error of a NIC whose services are kept.
#[derive(Debug, thiserror::Error)]
pub enum NicError {
    /// A call failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Another program is loaded.
    #[error(transparent)]
    Program(#[from] OtherProgram),
    /// No number is free.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// Updates were refused. What was written before them stays, what was to come after them was
    /// not written.
    #[error("{count} updates were refused, the first: {first}")]
    Refused {
        /// Their number.
        count: usize,
        /// The first.
        first: String,
    },
    /// A call of the service of connections failed.
    #[error("the NIC's connections")]
    Connections(#[source] conntrack::CallError),
}

/// The outcome of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Entries, members and groups that were added.
    pub inserted: u64,
    /// Those that were modified.
    pub modified: u64,
    /// Those that were deleted.
    pub deleted: u64,
    /// Connections of UDP that were deleted, since their endpoint does not answer any more.
    pub connections: u64,
    /// Clients that are not bound to their endpoint any more.
    pub clients: u64,
    /// Notes of objects without effect.
    pub skipped: Vec<Skipped>,
}

impl Report {
    /// Returns whether nothing was written.
    pub fn is_empty(&self) -> bool {
        let all = [
            self.inserted,
            self.modified,
            self.deleted,
            self.connections,
            self.clients,
        ];
        all.iter().all(|count| *count == 0)
    }

    /// Adds what was done next. What has no effect is what was said last of it.
    pub fn and(&mut self, next: Report) {
        self.inserted += next.inserted;
        self.modified += next.modified;
        self.deleted += next.deleted;
        self.connections += next.connections;
        self.clients += next.clients;
        if !next.skipped.is_empty() {
            self.skipped = next.skipped;
        }
    }

    fn count(&mut self, update: &Update) {
        // Counters that are cleared are no entries.
        let entity = update.entity.as_ref().and_then(|it| it.entity.as_ref());
        if entity.is_none_or(|it| Key::of(it).is_none()) {
            return;
        }
        *match update.r#type() {
            Type::Insert => &mut self.inserted,
            Type::Delete => &mut self.deleted,
            _ => &mut self.modified,
        } += 1;
    }
}

/// A NIC whose services are kept.
pub struct Nic {
    client: Client,
    target: Target,
    device: Device,
    /// `None` until it is needed.
    connections: Option<conntrack::Client<Channel>>,
}

impl Nic {
    /// Connects to a NIC. [`Nic::read`] has to follow.
    ///
    /// # Errors
    /// Fails when the server cannot be reached, or its program is another one.
    pub fn connect(target: Target, setup: Setup) -> Result<Nic, NicError> {
        let mut client = Client::connect(target.clone())?;
        let program = Program::new(&client.p4info()?)?;
        Ok(Nic {
            client,
            target,
            device: Device::new(program, setup),
            connections: None,
        })
    }

    /// Becomes the only writer of its role, so that what is read stays true.
    ///
    /// # Errors
    /// Fails when another client is it for 30 s.
    pub fn claim(&mut self) -> Result<(), NicError> {
        Ok(self.client.write(Vec::new(), false)?)
    }

    /// Reads what the device has.
    ///
    /// # Errors
    /// Fails when the call does.
    pub fn read(&mut self) -> Result<(), NicError> {
        let program = self.device.program();
        let tables = [
            &program.endpoints,
            &program.backends,
            &program.sticky_members,
            &program.services,
            &program.addresses,
        ];
        let tables = tables.map(|table| {
            Entity::TableEntry(TableEntry {
                table_id: table.id,
                ..TableEntry::default()
            })
        });
        let action_profile_id = program.members;
        let mut wanted = tables.to_vec();
        wanted.push(Entity::ActionProfileMember(ActionProfileMember {
            action_profile_id,
            ..ActionProfileMember::default()
        }));
        wanted.push(Entity::ActionProfileGroup(ActionProfileGroup {
            action_profile_id,
            ..ActionProfileGroup::default()
        }));
        let mut entities = Vec::new();
        self.client.read(wanted, |entity| {
            entities.push(entity);
            Ok::<_, ClientError>(())
        })?;
        self.device.take(&entities);
        Ok(())
    }

    /// The known state of the device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The updates that a change takes.
    ///
    /// # Errors
    /// Fails when the program has no number for a service.
    pub fn plan(&mut self, scope: &Scope, services: &Services) -> Result<Plan, NicError> {
        Ok(self.device.plan(scope, services)?)
    }

    /// Makes the services of a scope what they should be; those that `services` does not have are
    /// removed. Connections and clients that are left without their endpoint go, too.
    ///
    /// # Errors
    /// Fails when an update is refused or a call fails. Then the device has to be read again.
    pub fn apply(&mut self, scope: &Scope, services: &Services) -> Result<Report, NicError> {
        let plan = self.device.plan(scope, services)?;
        let concerns_udp = plan.updates.iter().any(|it| self.device.concerns_udp(it));
        let sticky = self.device.program().sticky_members.id;
        let unbinds = plan.updates.iter().any(|it| {
            let is_sticky = matches!(table(&it.update), Some(id) if id == sticky);
            is_sticky && it.update.r#type() == Type::Delete
        });
        let mut report = Report {
            skipped: plan.skipped,
            ..Report::default()
        };
        for batch in plan.updates.chunks(BATCH) {
            self.write(batch, &mut report)?;
        }
        if concerns_udp {
            report.connections = self.forget_connections()?;
        }
        if unbinds {
            report.clients = self.forget_clients()?;
        }
        Ok(report)
    }

    /// The updates that a change would write.
    ///
    /// # Errors
    /// Fails when the program has no number for a service.
    pub fn dry_run(&mut self, scope: &Scope, services: &Services) -> Result<Report, NicError> {
        let plan = self.device.plan(scope, services)?;
        let mut report = Report {
            skipped: plan.skipped,
            ..Report::default()
        };
        plan.updates.iter().for_each(|it| report.count(&it.update));
        Ok(report)
    }

    /// Removes what an earlier run that did not end may have left beside the entries: connections
    /// and clients without their endpoint.
    ///
    /// # Errors
    /// Fails when a call does.
    pub fn sweep(&mut self) -> Result<Report, NicError> {
        Ok(Report {
            connections: self.forget_connections()?,
            clients: self.forget_clients()?,
            ..Report::default()
        })
    }

    fn write(&mut self, batch: &[Planned], report: &mut Report) -> Result<(), NicError> {
        let updates = batch.iter().map(|it| it.update.clone()).collect();
        let errors = match self.client.write(updates, false) {
            Ok(()) => Vec::new(),
            Err(ClientError::Updates(errors)) => errors,
            Err(error) => return Err(error.into()),
        };
        for (n, planned) in batch.iter().enumerate() {
            if !errors.iter().any(|error| error.index == n) {
                report.count(&planned.update);
                self.device.applied(planned);
            }
        }
        match errors.first() {
            None => Ok(()),
            Some(first) => Err(NicError::Refused {
                count: errors.len(),
                first: shown(first),
            }),
        }
    }

    /// Returns whether the device still has what is known of it: its server has not restarted and
    /// its program was not replaced.
    ///
    /// # Errors
    /// Fails when the device does not answer.
    pub fn is_current(&mut self) -> Result<bool, NicError> {
        let mut is_there = false;
        let (key, marker) = self.device.marker();
        let Some(known) = self.device.state().get(&key).cloned() else {
            return Ok(false);
        };
        self.client.read(vec![marker], |entity| {
            let mut read = crate::reconcile::State::default();
            read.insert(&entity);
            is_there |= read.get(&key) == Some(&known);
            Ok::<_, ClientError>(())
        })?;
        Ok(is_there)
    }
}

/// The client of the NIC's connections, which is connected when it is first needed.
fn connections<'c>(
    known: &'c mut Option<conntrack::Client<Channel>>,
    target: &Target,
) -> Result<&'c mut conntrack::Client<Channel>, NicError> {
    if let Some(client) = known {
        return Ok(client);
    }
    let (runtime, channel) = client::connect(&target.address, target.tls.as_ref())?;
    Ok(known.insert(conntrack::Client::new(runtime, channel)))
}

fn shown(error: &UpdateError) -> String {
    match error.message.is_empty() {
        true => error.code.description().to_owned(),
        false => error.message.clone(),
    }
}

fn table(update: &Update) -> Option<u32> {
    match update.entity.as_ref()?.entity.as_ref()? {
        Entity::TableEntry(entry) => Some(entry.table_id),
        _ => None,
    }
}

/// The endpoint in a connection's label: bits 0 to 31.
fn endpoint(connection: &proto::Connection) -> u32 {
    let mut bytes = connection.label.iter().take(4).copied().collect::<Vec<_>>();
    bytes.reverse();
    number(&bytes) as u32
}
