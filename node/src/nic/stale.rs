// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Connections and clients that are left without their endpoint.

use std::net::IpAddr;

use adit_conntrack_rpc::client::CallError;
use adit_conntrack_rpc::proto;
use adit_p4runtime::client::{ClientError, Code, UpdateError};
use adit_p4runtime::proto::v1::{self, entity::Entity, update::Type, TableEntry, Update};

use super::{connections, endpoint, shown, Nic, NicError, BATCH, COMMITTED};
use crate::desired::Frontend;
use crate::model::Protocol;

impl Nic {
    /// Deletes connections of UDP whose endpoint does not answer any more, as kube-proxy does: their
    /// senders would never get an error. Returns their number.
    pub(super) fn forget_connections(&mut self) -> Result<u64, NicError> {
        let mut stale = Vec::new();
        let device = &self.device;
        let filter = proto::Filter {
            protocol: Some(Protocol::Udp.number().into()),
            label: COMMITTED.to_vec(),
            ..proto::Filter::default()
        };
        let client = connections(&mut self.connections, &self.target)?;
        let request = proto::ListConnectionsRequest {
            filter: Some(filter),
            ..proto::ListConnectionsRequest::default()
        };
        let listed = client.list(request, |connection| {
            let destination = destination(&connection);
            if destination.is_some_and(|at| device.is_stale(endpoint(&connection), &at)) {
                stale.push(connection.id);
            }
            Ok::<_, CallError>(())
        });
        match listed {
            // A server without a tracker has no connections.
            Err(error) if error.code == Code::Unimplemented => return Ok(0),
            listed => listed.map_err(NicError::Connections)?,
        }
        let mut deleted = 0;
        for id in stale {
            let filter = proto::Filter {
                id: Some(id),
                ..proto::Filter::default()
            };
            let each = |_| {
                deleted += 1;
                Ok::<_, CallError>(())
            };
            client.delete(filter, each).map_err(NicError::Connections)?;
        }
        Ok(deleted)
    }

    /// Deletes clients' entries whose endpoint gets no more connections. Returns their number.
    pub(super) fn forget_clients(&mut self) -> Result<u64, NicError> {
        let program = self.device.program();
        let wanted = TableEntry {
            table_id: program.affinity.id,
            ..TableEntry::default()
        };
        let mut unbound = Vec::new();
        let device = &self.device;
        self.client
            .read(vec![Entity::TableEntry(wanted)], |entity| {
                if let Entity::TableEntry(entry) = &entity {
                    if !device.is_sticky(entry) {
                        unbound.push(delete(entity));
                    }
                }
                Ok::<_, ClientError>(())
            })?;
        let mut deleted = 0;
        for batch in unbound.chunks(BATCH) {
            let errors = match self.client.write(batch.to_vec(), false) {
                Ok(()) => Vec::new(),
                Err(ClientError::Updates(errors)) => errors,
                Err(error) => return Err(error.into()),
            };
            // Silence may have ended some of them meanwhile.
            let wrong = |error: &&UpdateError| error.code != Code::NotFound;
            if let Some(first) = errors.iter().find(wrong) {
                return Err(NicError::Refused {
                    count: errors.len(),
                    first: shown(first),
                });
            }
            deleted += (batch.len() - errors.len()) as u64;
        }
        Ok(deleted)
    }
}

fn delete(entity: Entity) -> Update {
    Update {
        r#type: Type::Delete as i32,
        entity: Some(v1::Entity {
            entity: Some(entity),
        }),
    }
}

/// The destination of a connection's first packet.
fn destination(connection: &proto::Connection) -> Option<Frontend> {
    let tuple = connection.original.as_ref()?;
    let to = tuple.dst.as_ref()?;
    let address = match *to.address {
        [a, b, c, d] => IpAddr::from([a, b, c, d]),
        _ => IpAddr::from(<[u8; 16]>::try_from(&*to.address).ok()?),
    };
    Some(Frontend {
        address,
        port: u16::try_from(to.part).ok()?,
        protocol: Protocol::of_number(u8::try_from(tuple.protocol).ok()?)?,
    })
}
