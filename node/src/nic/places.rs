// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Places in the network of a node: ports of pods, and addresses of the router.

use std::net::IpAddr;

use adit_p4runtime::client::ClientError;
use adit_p4runtime::proto::v1::{entity::Entity, TableEntry};

use super::{Nic, NicError};
use crate::program::{address, number};

/// A pod of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its port.
    pub port: u32,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// The MAC address that it knows its gateway by.
    pub gateway_mac: [u8; 6],
}

/// A MAC address of an entry, from which leading zeros may be missing.
fn mac(bytes: &[u8]) -> [u8; 6] {
    let mut mac = [0; 6];
    let known = bytes.len().min(6);
    mac[6 - known..].copy_from_slice(&bytes[bytes.len() - known..]);
    mac
}

impl Nic {
    /// The pod that has an address; `None` if none of this node has it.
    ///
    /// # Errors
    /// Fails when the call does.
    pub fn pod(&mut self, zone: u16, at: IpAddr) -> Result<Option<Pod>, NicError> {
        let program = self.device.program().clone();
        let wanted = program
            .local
            .entry(&[&zone.to_be_bytes(), &address(at)], None);
        let mut pod = None;
        self.client
            .read(vec![Entity::TableEntry(wanted)], |entity| {
                if let Entity::TableEntry(entry) = &entity {
                    let argument = |place| program.deliver.argument_of(entry, place);
                    if let (Some(port), Some(own), Some(gateway)) =
                        (argument(0), argument(1), argument(2))
                    {
                        pod = Some(Pod {
                            port: number(port) as u32,
                            mac: mac(own),
                            gateway_mac: mac(gateway),
                        });
                    }
                }
                Ok::<_, ClientError>(())
            })?;
        Ok(pod)
    }

    /// A MAC address of frames that are routed in a zone; `None` if none are.
    ///
    /// # Errors
    /// Fails when the call does.
    pub fn router(&mut self, zone: u16) -> Result<Option<[u8; 6]>, NicError> {
        let routers = self.device.program().routers.clone();
        let wanted = TableEntry {
            table_id: routers.id,
            ..TableEntry::default()
        };
        let mut all = Vec::new();
        self.client
            .read(vec![Entity::TableEntry(wanted)], |entity| {
                if let Entity::TableEntry(entry) = &entity {
                    if number(routers.value(entry, 0)) == u64::from(zone) {
                        all.push(mac(routers.value(entry, 1)));
                    }
                }
                Ok::<_, ClientError>(())
            })?;
        Ok(all.into_iter().min())
    }
}
