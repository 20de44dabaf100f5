// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit flow`: flows on queues of virtual ports, in a NIC that runs `p4/k8s_node.p4`.

use std::net::SocketAddr;

use adit_node::flow::{Flow, Match, MAX_QUIC_ID};
use adit_node::program::Program;
use adit_p4runtime::client::{Client, ClientError};
use adit_p4runtime::proto::v1::{
    self, entity::Entity, update::Type, CounterData, TableEntry, Update,
};
use anyhow::{bail, Context, Result};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::output::{print_all, Format, Row};
use crate::table::Device;

/// The description of the command.
pub(crate) const ABOUT: &str = "\
Flows on queues of virtual ports, in a NIC that runs p4/k8s_node.p4

A flow is known by addresses, protocol and ports, as its receiver sees the packets (behind DNAT), or by \
the connection id of QUIC, which stays while addresses and ports change. Its packets get a receive \
queue of the port, a number in their descriptors (32 bits of flexible metadata), or both:

    adit flow add --vport 5 --src 192.0.2.1:4000 --dst 10.244.1.5:80 --queue 3
    adit flow add --vport 5 --quic 0a1b2c3d4e5f6071 --queue 2 --flow-id 7";

/// A command for flows.
#[derive(Debug, Subcommand)]
pub(crate) enum FlowCommand {
    /// Add a flow, or change what its packets get
    Add {
        #[command(flatten)]
        flow: FlowArgs,
        /// The receive queue, an index among the port's
        #[arg(long, value_name = "N", required_unless_present = "flow_id")]
        queue: Option<u16>,
        /// The number in receive descriptors
        #[arg(long, value_name = "N")]
        flow_id: Option<u32>,
        #[command(flatten)]
        device: Device,
    },
    /// List flows, with counts
    List(Device),
    /// Delete a flow
    Delete {
        #[command(flatten)]
        flow: FlowArgs,
        #[command(flatten)]
        device: Device,
    },
}

/// The fields that identify a flow.
#[derive(Debug, Args)]
pub(crate) struct FlowArgs {
    /// The virtual port that receives it, by its id (`adit adi show`)
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u32).range(..0xE000))]
    vport: u32,
    /// The source: IP:PORT
    #[arg(
        long,
        value_name = "IP:PORT",
        requires = "dst",
        required_unless_present = "quic"
    )]
    src: Option<SocketAddr>,
    /// The destination: IP:PORT
    #[arg(long, value_name = "IP:PORT", requires = "src")]
    dst: Option<SocketAddr>,
    /// The protocol: tcp, udp, sctp or a number
    #[arg(long, default_value = "tcp", value_parser = protocol)]
    protocol: u8,
    /// The connection id of QUIC: 1 to 20 bytes in base 16
    #[arg(long, value_name = "HEX", conflicts_with_all = ["src", "dst"], value_parser = quic_id)]
    quic: Option<QuicId>,
}

/// The connection id of QUIC.
#[derive(Clone, Debug)]
struct QuicId(Vec<u8>);

fn protocol(text: &str) -> Result<u8, String> {
    let named = text.parse::<adit_node::model::Protocol>();
    let number = named
        .map(|it| it.number())
        .ok()
        .or_else(|| text.parse().ok());
    number.ok_or_else(|| "tcp, udp, sctp or a number up to 255 is wanted".to_owned())
}

fn quic_id(text: &str) -> Result<QuicId, String> {
    let wrong = || format!("1 to {MAX_QUIC_ID} bytes are wanted, each of two digits in base 16");
    let is_right = text.len() % 2 == 0 && text.bytes().all(|c| c.is_ascii_hexdigit());
    if !is_right || !(1..=MAX_QUIC_ID).contains(&(text.len() / 2)) {
        return Err(wrong());
    }
    let bytes = (0..text.len()).step_by(2);
    let bytes = bytes.map(|at| u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong()));
    bytes.collect::<Result<_, _>>().map(QuicId)
}

impl FlowArgs {
    fn flow(&self, queue: Option<u16>, flow_id: Option<u32>) -> Result<Flow> {
        let by = match (&self.quic, self.src, self.dst) {
            (Some(QuicId(quic_id)), _, _) => Match::Quic {
                quic_id: quic_id.clone(),
            },
            (None, Some(src), Some(dst)) if src.is_ipv4() == dst.is_ipv4() => Match::Tuple {
                src,
                dst,
                protocol: self.protocol,
            },
            (None, Some(src), Some(dst)) => {
                bail!("--src {src} and --dst {dst}: addresses of one family are wanted")
            }
            _ => bail!("--src and --dst, or --quic is wanted"),
        };
        Ok(Flow {
            vport: self.vport,
            by,
            queue,
            flow_id,
        })
    }
}

/// A flow with its counts.
#[derive(Serialize)]
struct FlowRow {
    #[serde(flatten)]
    flow: Flow,
    packets: u64,
    bytes: u64,
}

impl Row for FlowRow {
    const HEAD: &'static [&'static str] = &[
        "VPORT", "FLOW", "PROTOCOL", "QUEUE", "FLOW ID", "PACKETS", "BYTES",
    ];

    fn cells(&self) -> Vec<String> {
        let or_none =
            |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |it| it.to_string());
        let (flow, protocol) = match &self.flow.by {
            Match::Tuple { src, dst, protocol } => {
                let name = adit_node::model::Protocol::of_number(*protocol);
                let name = name.map_or_else(|| protocol.to_string(), |it| it.to_string());
                (format!("{src} -> {dst}"), name)
            }
            quic => (quic.to_string(), "QUIC".to_owned()),
        };
        vec![
            self.flow.vport.to_string(),
            flow,
            protocol,
            or_none(self.flow.queue.map(u32::from)),
            or_none(self.flow.flow_id),
            self.packets.to_string(),
            self.bytes.to_string(),
        ]
    }
}

pub(crate) fn run(command: &FlowCommand, format: Format) -> Result<()> {
    match command {
        FlowCommand::Add {
            flow,
            queue,
            flow_id,
            device,
        } => add(&flow.flow(*queue, *flow_id)?, device),
        FlowCommand::List(device) => list(device, format),
        FlowCommand::Delete { flow, device } => delete(&flow.flow(None, None)?, device),
    }
}

fn connect(device: &Device) -> Result<(Client, Program)> {
    let mut client = device.client()?;
    let program = Program::new(&client.p4info()?)?;
    Ok((client, program))
}

fn write(client: &mut Client, kind: Type, entry: TableEntry) -> Result<(), ClientError> {
    let update = Update {
        r#type: kind as i32,
        entity: Some(v1::Entity {
            entity: Some(Entity::TableEntry(entry)),
        }),
    };
    client.write(vec![update], false)
}

/// The cause of the failure of the only update, which the error leaves to who knows the update.
fn cause(error: ClientError) -> anyhow::Error {
    match &error {
        ClientError::Updates(errors) => match errors.first() {
            Some(first) if !first.message.is_empty() => anyhow::anyhow!("{}", first.message),
            Some(first) => anyhow::anyhow!("{}", first.code.description()),
            None => error.into(),
        },
        _ => error.into(),
    }
}

fn add(flow: &Flow, device: &Device) -> Result<()> {
    let (mut client, program) = connect(device)?;
    let entry = flow.entry(&program);
    match write(&mut client, Type::Insert, entry.clone()) {
        Err(ClientError::Updates(errors))
            if errors
                .iter()
                .all(|it| it.code == adit_p4runtime::client::Code::AlreadyExists) =>
        {
            write(&mut client, Type::Modify, entry)
        }
        result => result,
    }
    .map_err(cause)
    .with_context(|| format!("the flow {} of the virtual port {}", flow.by, flow.vport))
}

fn delete(flow: &Flow, device: &Device) -> Result<()> {
    let (mut client, program) = connect(device)?;
    write(&mut client, Type::Delete, flow.entry(&program))
        .map_err(cause)
        .with_context(|| format!("the flow {} of the virtual port {}", flow.by, flow.vport))
}

fn list(device: &Device, format: Format) -> Result<()> {
    let (mut client, program) = connect(device)?;
    let wanted = [&program.flows, &program.quic].map(|table| {
        Entity::TableEntry(TableEntry {
            table_id: table.id,
            counter_data: Some(CounterData::default()),
            ..TableEntry::default()
        })
    });
    let mut rows = Vec::new();
    client.read(wanted.to_vec(), |entity| {
        if let Entity::TableEntry(entry) = entity {
            let count = entry.counter_data.unwrap_or_default();
            rows.extend(Flow::read(&program, &entry).map(|flow| FlowRow {
                flow,
                packets: count.packet_count.unsigned_abs(),
                bytes: count.byte_count.unsigned_abs(),
            }));
        }
        anyhow::Ok(())
    })?;
    print_all(&rows, format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_quic_are_bytes_in_base_16() {
        assert_eq!(quic_id("0aFF").expect("an id").0, [0x0A, 0xFF]);
        for wrong in ["", "0", "0g", "é0", &"00".repeat(21)] {
            assert!(quic_id(wrong).is_err(), "{wrong}");
        }
        assert_eq!(protocol("udp"), Ok(17));
        assert_eq!(protocol("47"), Ok(47));
        assert!(protocol("256").is_err());
    }
}
