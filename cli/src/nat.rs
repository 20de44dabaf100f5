// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit nat`: the ports that no source is translated to, and the addresses that have none left.

use adit_conntrack::{Protocol, ReservedRange};
use adit_conntrack_rpc::client::Client;
use adit_conntrack_rpc::proto;
use adit_p4runtime::client::{self, Channel};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::output::{print_all, Format, Row};
use crate::server::Server;

/// A command about translation.
#[derive(Debug, Subcommand)]
pub(crate) enum NatCommand {
    /// List the ports that no source is translated to
    Reserved(Nat),
    /// Replace the ports that no source is translated to
    ///
    /// Connections that have one of them keep it. The NIC keeps the ports until it ends: its option
    /// --reserve-ports has those of its start.
    Reserve(Reserve),
    /// List the addresses for which connections were refused, since all ports were in use or reserved
    Exhausted(Nat),
}

/// The NIC.
#[derive(Debug, Args)]
pub(crate) struct Nat {
    #[command(flatten)]
    server: Server,
}

/// The ports to be reserved.
#[derive(Debug, Args)]
pub(crate) struct Reserve {
    /// Ports as PROTOCOL:PORT or PROTOCOL:FIRST-LAST, with tcp, udp or sctp
    #[arg(value_name = "PORTS", required_unless_present = "none")]
    ports: Vec<ReservedRange>,
    /// Reserve none
    #[arg(long, conflicts_with = "ports")]
    none: bool,
    #[command(flatten)]
    server: Server,
}

/// A range of reserved ports.
#[derive(Serialize)]
struct PortsRow {
    ports: String,
}

impl Row for PortsRow {
    const HEAD: &'static [&'static str] = &["PORTS"];

    fn cells(&self) -> Vec<String> {
        vec![self.ports.clone()]
    }
}

/// An address without free ports.
#[derive(Serialize)]
struct ExhaustedRow {
    address: String,
    refused: u64,
}

impl Row for ExhaustedRow {
    const HEAD: &'static [&'static str] = &["ADDRESS", "REFUSED"];

    fn cells(&self) -> Vec<String> {
        vec![self.address.clone(), self.refused.to_string()]
    }
}

pub(crate) fn run(command: &NatCommand, format: Format) -> Result<()> {
    match command {
        NatCommand::Reserved(nat) => {
            let request = proto::GetReservedPortsRequest {};
            print_ports(connect(&nat.server)?.reserved_ports(request)?, format)
        }
        NatCommand::Reserve(reserve) => {
            let range = |range: &ReservedRange| proto::PortRange {
                protocol: range.protocol.0.into(),
                first: range.first.into(),
                last: range.last.into(),
            };
            let ports = reserve.ports.iter().map(range).collect();
            let request = proto::SetReservedPortsRequest { ports };
            let set = connect(&reserve.server)?.set_reserved_ports(request)?;
            print_ports(set, format)
        }
        NatCommand::Exhausted(nat) => {
            let statistics = connect(&nat.server)?.statistics(proto::GetStatisticsRequest {})?;
            let rows = statistics.nat_exhausted.into_iter();
            let rows = rows.map(|counter| ExhaustedRow {
                address: counter.name,
                refused: counter.value,
            });
            print_all(&rows.collect::<Vec<_>>(), format)
        }
    }
}

fn connect(server: &Server) -> Result<Client<Channel>> {
    let (runtime, channel) = client::connect(&server.address, server.tls()?.as_ref())
        .context("the NIC's connections")?;
    Ok(Client::new(runtime, channel))
}

fn print_ports(ports: proto::ReservedPorts, format: Format) -> Result<()> {
    let row = |range: proto::PortRange| {
        let narrow = |field: &str, value: u32| {
            u16::try_from(value).with_context(|| format!("{field} {value} from the NIC"))
        };
        let protocol = u8::try_from(range.protocol)
            .with_context(|| format!("protocol {} from the NIC", range.protocol))?;
        let range = ReservedRange {
            protocol: Protocol(protocol),
            first: narrow("port", range.first)?,
            last: narrow("port", range.last)?,
        };
        Ok(PortsRow {
            ports: range.to_string(),
        })
    };
    let rows = ports.ports.into_iter().map(row).collect::<Result<Vec<_>>>();
    print_all(&rows?, format)
}
