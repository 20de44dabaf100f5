// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Counts of services.

use std::collections::HashMap;

use adit_conntrack_rpc::client::CallError;
use adit_conntrack_rpc::proto;
use adit_p4runtime::client::{ClientError, Code};
use adit_p4runtime::proto::v1::{entity::Entity, CounterData, CounterEntry, Index, TableEntry};

use super::{connections, endpoint, Nic, NicError, COMMITTED};
use crate::reconcile::Key;

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Nic {
    /// New connections of each frontend.
    ///
    /// # Errors
    /// Fails when the call does.
    pub fn opened(&mut self) -> Result<HashMap<Key, u64>, NicError> {
        let wanted = TableEntry {
            table_id: self.device.program().services.id,
            counter_data: Some(CounterData::default()),
            ..TableEntry::default()
        };
        let mut counts = HashMap::new();
        self.client
            .read(vec![Entity::TableEntry(wanted)], |entity| {
                if let (Entity::TableEntry(entry), Some(key)) = (&entity, Key::of(&entity)) {
                    let count = entry.counter_data.map_or(0, |it| it.packet_count);
                    counts.insert(key, count.unsigned_abs());
                }
                Ok::<_, ClientError>(())
            })?;
        Ok(counts)
    }

    /// Packets to the endpoints of services, from them, and packets that were refused, by the number
    /// of the service.
    ///
    /// # Errors
    /// Fails when the call does.
    pub fn counted(&mut self, services: &[u16]) -> Result<HashMap<u16, [Count; 3]>, NicError> {
        let counters = self.device.program().counters;
        let wanted = services.iter().flat_map(|service| {
            let index = Some(Index {
                index: (*service).into(),
            });
            counters.map(|counter_id| {
                Entity::CounterEntry(CounterEntry {
                    counter_id,
                    index,
                    data: None,
                })
            })
        });
        let mut found: HashMap<u16, [Count; 3]> = HashMap::new();
        self.client.read(wanted.collect(), |entity| {
            if let Entity::CounterEntry(entry) = entity {
                let place = counters.iter().position(|id| *id == entry.counter_id);
                let service = entry.index.and_then(|it| u16::try_from(it.index).ok());
                if let (Some(place), Some(service), Some(data)) = (place, service, entry.data) {
                    found.entry(service).or_default()[place] = Count {
                        packets: data.packet_count.unsigned_abs(),
                        bytes: data.byte_count.unsigned_abs(),
                    };
                }
            }
            Ok::<_, ClientError>(())
        })?;
        Ok(found)
    }

    /// Connections of each endpoint, by its number; `None` if the server has no tracker.
    ///
    /// # Errors
    /// Fails when the call does.
    pub fn connections(&mut self) -> Result<Option<HashMap<u32, u64>>, NicError> {
        let client = connections(&mut self.connections, &self.target)?;
        let request = proto::ListConnectionsRequest {
            filter: Some(proto::Filter {
                label: COMMITTED.to_vec(),
                ..proto::Filter::default()
            }),
            ..proto::ListConnectionsRequest::default()
        };
        let mut counts = HashMap::new();
        let listed = client.list(request, |connection| {
            *counts.entry(endpoint(&connection)).or_default() += 1;
            Ok::<_, CallError>(())
        });
        match listed {
            Err(error) if error.code == Code::Unimplemented => Ok(None),
            listed => listed.map(|()| Some(counts)).map_err(NicError::Connections),
        }
    }
}
