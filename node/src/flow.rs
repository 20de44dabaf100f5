// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Flows that a program puts on a queue of a virtual port, or gives a name: by addresses and ports, or
//! by the id of a QUIC connection.

use std::fmt;
use std::net::SocketAddr;

use adit_p4runtime::proto::v1::TableEntry;
use serde::{Serialize, Serializer};

use crate::program::{address, address_of, number, Program};

/// The P4 port of the virtual port 0 (`ADIT_FIRST_HOST_PORT` of `p4/include/adit.p4`).
const FIRST_HOST_PORT: u32 = 0x1000;
/// The longest id of a QUIC connection in bytes (RFC 9000, 17.2).
pub const MAX_QUIC_ID: usize = 20;

/// The fields that identify a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Match {
    /// Addresses and ports, as the receiver sees the packet.
    Tuple {
        /// The source.
        src: SocketAddr,
        /// The destination.
        dst: SocketAddr,
        /// The protocol's number.
        protocol: u8,
    },
    /// The destination's id of a QUIC connection, of 1 to 20 bytes.
    Quic {
        /// The id.
        #[serde(serialize_with = "hexadecimal")]
        quic_id: Vec<u8>,
    },
}

fn hexadecimal<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&Hexadecimal(bytes))
}

struct Hexadecimal<'b>(&'b [u8]);

impl fmt::Display for Hexadecimal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Match::Tuple { src, dst, protocol } => write!(f, "{src} {dst} {protocol}"),
            Match::Quic { quic_id } => write!(f, "quic {}", Hexadecimal(quic_id)),
        }
    }
}

/// A flow, and what its packets get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flow {
    /// The virtual port that receives it.
    pub vport: u32,
    /// The fields that identify it.
    #[serde(flatten)]
    pub by: Match,
    /// The receive queue, an index among the port's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<u16>,
    /// The number in receive descriptors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow_id: Option<u32>,
}

impl Flow {
    /// The entry of the flow. Without queue and number it has no action, as a deletion does not need
    /// one.
    pub fn entry(&self, program: &Program) -> TableEntry {
        let queue = self.queue.map(u16::to_be_bytes);
        let flow_id = self.flow_id.map(u32::to_be_bytes);
        let action = match (&queue, &flow_id) {
            (Some(queue), Some(id)) => program.classify.of_entry(&[queue, id]),
            (Some(queue), None) => program.to_queue.of_entry(&[queue]),
            (None, Some(id)) => program.to_flow.of_entry(&[id]),
            (None, None) => None,
        };
        let port = (FIRST_HOST_PORT.saturating_add(self.vport)).to_be_bytes();
        match &self.by {
            Match::Tuple { src, dst, protocol } => {
                let [from, to] = [src, dst].map(|it| (address(it.ip()), it.port().to_be_bytes()));
                let values: [&[u8]; 6] = [&port, &from.0, &to.0, &[*protocol], &from.1, &to.1];
                program.flows.entry(&values, action)
            }
            Match::Quic { quic_id } => {
                let mut id = [0; MAX_QUIC_ID];
                let length = quic_id.len().min(MAX_QUIC_ID);
                id[..length].copy_from_slice(&quic_id[..length]);
                let values: [&[u8]; 4] = [&port, &id[..16], &id[16..], &[length as u8]];
                program.quic.entry(&values, action)
            }
        }
    }

    /// The flow of an entry; `None` if it is not a virtual port's.
    pub fn read(program: &Program, entry: &TableEntry) -> Option<Flow> {
        let is_quic = entry.table_id == program.quic.id;
        let table = if is_quic {
            &program.quic
        } else {
            &program.flows
        };
        let value = |place| table.value(entry, place);
        let port = number(value(0)) as u32;
        let by = if is_quic {
            let mut id = [0; MAX_QUIC_ID];
            let (first, end) = (value(1), value(2));
            let (first, end) = (
                &first[first.len().saturating_sub(16)..],
                &end[end.len().saturating_sub(4)..],
            );
            id[16 - first.len()..16].copy_from_slice(first);
            id[MAX_QUIC_ID - end.len()..].copy_from_slice(end);
            let length = (number(value(3)) as usize).min(MAX_QUIC_ID);
            Match::Quic {
                quic_id: id[..length].to_vec(),
            }
        } else {
            let end = |at, port| SocketAddr::new(address_of(value(at)), number(value(port)) as u16);
            Match::Tuple {
                src: end(1, 4),
                dst: end(2, 5),
                protocol: number(value(3)) as u8,
            }
        };
        let argument =
            |action: &crate::program::Action, place| action.argument_of(entry, place).map(number);
        let queue = argument(&program.to_queue, 0).or(argument(&program.classify, 0));
        let flow_id = argument(&program.to_flow, 0).or(argument(&program.classify, 1));
        Some(Flow {
            vport: port.checked_sub(FIRST_HOST_PORT)?,
            by,
            queue: queue.map(|it| it as u16),
            flow_id: flow_id.map(|it| it as u32),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::tests::program;

    #[test]
    fn flows_are_read_as_they_are_written() {
        let tuple = Match::Tuple {
            src: "192.0.2.1:4000".parse().expect("an address"),
            dst: "10.244.1.5:80".parse().expect("an address"),
            protocol: 6,
        };
        let six = Match::Tuple {
            src: "[fd00::1]:1".parse().expect("an address"),
            dst: "[fd00::2]:65535".parse().expect("an address"),
            protocol: 17,
        };
        let quic = |length: u8| Match::Quic {
            quic_id: (0..length).collect(),
        };
        let actions = [(Some(3), None), (None, Some(7)), (Some(0), Some(u32::MAX))];
        for by in [tuple, six, quic(1), quic(8), quic(17), quic(20)] {
            for (queue, flow_id) in actions {
                let flow = Flow {
                    vport: 12,
                    by: by.clone(),
                    queue,
                    flow_id,
                };
                let entry = flow.entry(program());
                assert_eq!(Flow::read(program(), &entry), Some(flow));
            }
        }
    }
}
