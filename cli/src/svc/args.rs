// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The arguments of `adit svc`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use adit_node::desired::Node;
use adit_node::device::Setup;
use adit_node::manifest::address;
use adit_node::model::{Name, Protocol};
use adit_node::nic::{Nic, NicError};
use adit_p4runtime::client::{ClientError, Target};
use anyhow::{bail, Result};
use clap::{Args, Subcommand};

use super::trace::Trace;
use crate::server::Server;

/// The description of the command.
pub(crate) const ABOUT: &str = "\
Services of a container node, in a NIC that runs p4/k8s_node.p4

Files have documents in the shape of Kubernetes' Service (v1) and EndpointSlice \
(discovery.k8s.io/v1), or Lists of them, as kubectl prints them:

    kubectl get services,endpointslices -A -o yaml | adit svc apply --prune -f -

What is missing on the NIC is added, what is too many goes, what is right is not written again. New \
connections go to endpoints that are ready; if none is, to those that terminate and still serve. An \
endpoint that terminates keeps its connections. Connections of UDP whose endpoint does not serve any \
more are deleted, others are refused with their next packet.

Headless services, those of type ExternalName and those without ports are skipped.";

/// A command for services.
#[derive(Debug, Subcommand)]
pub(crate) enum SvcCommand {
    /// List the ports of services, with counts
    List(NicArgs),
    /// Show the addresses and endpoints of services, with counts
    Show {
        /// Their names: NAME (in the namespace default) or NAMESPACE/NAME
        #[arg(required = true, value_name = "SERVICE")]
        services: Vec<Name>,
        #[command(flatten)]
        nic: NicArgs,
    },
    /// Make services what files say
    Apply(Apply),
    /// Make a service with one port what the arguments say
    Set(Set),
    /// Delete services
    Delete(Delete),
    /// Keep services what files say, until SIGTERM or SIGINT
    ///
    /// Changes of the files are applied as they happen. A file that is wrong changes nothing until it
    /// is right again. A NIC that was restarted, or has another program, gets all services anew.
    Watch(Watch),
    /// Follow packets of a service: the endpoint that they get and why, translation, the way, and what
    /// drops or refuses them
    ///
    /// Packets are those that clients send to the service's addresses, plain or in tunnels, those that
    /// other nodes send to its endpoints, and the replies to both; or the first packet of one client, which is
    /// injected. `adit trace` has the same packets' steps through the program.
    Trace(Trace),
}

/// A NIC, and the way to connect to it.
#[derive(Debug, Args)]
pub(crate) struct NicArgs {
    #[command(flatten)]
    server: Server,
    /// The device's number
    #[arg(long, value_name = "N", default_value_t = 1)]
    device: u64,
    /// The role to write in, which has one writer at a time
    #[arg(long, default_value = "adit-svc")]
    role: String,
}

/// The node that the NIC is of.
#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// The node's name, as endpoints have it: those are local
    #[arg(long, value_name = "NAME", env = "ADIT_NODE")]
    node: Option<String>,
    /// An address of the node, where node ports are served (repeatable)
    #[arg(long = "node-address", value_name = "IP", value_parser = address)]
    node_addresses: Vec<IpAddr>,
    /// The zone of the services' addresses
    #[arg(long, value_name = "N", default_value_t = 0)]
    zone: u16,
    /// Answer ARP and neighbor discovery for services' addresses with this MAC address
    #[arg(long, value_name = "MAC", value_parser = mac)]
    mac: Option<[u8; 6]>,
}

/// Files of services.
#[derive(Debug, Args)]
pub(crate) struct Files {
    /// A file, a folder of files (.yaml, .yml, .json), or `-` for standard input (repeatable)
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true)]
    pub(super) paths: Vec<PathBuf>,
    /// The namespace of objects without one
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    pub(super) namespace: String,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    #[command(flatten)]
    pub(super) files: Files,
    /// Delete the services that are in none of the files
    #[arg(long)]
    pub(super) prune: bool,
    /// Print what would be written
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) node: NodeArgs,
    #[command(flatten)]
    pub(super) nic: NicArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// Its name: NAME (in the namespace default) or NAMESPACE/NAME
    #[arg(value_name = "SERVICE")]
    pub(super) service: Name,
    /// An address, one of each family
    #[arg(long = "address", value_name = "IP", required = true, value_parser = address)]
    pub(super) addresses: Vec<IpAddr>,
    /// The port
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: u16,
    /// The protocol: TCP, UDP or SCTP
    #[arg(long, default_value_t)]
    pub(super) protocol: Protocol,
    /// An endpoint that takes connections (repeatable)
    #[arg(long = "endpoint", value_name = "IP:PORT", value_parser = endpoint)]
    pub(super) endpoints: Vec<SocketAddr>,
    /// An endpoint that terminates: it keeps its connections (repeatable)
    #[arg(long = "terminating", value_name = "IP:PORT", value_parser = endpoint)]
    pub(super) terminating: Vec<SocketAddr>,
    /// A client gets the same endpoint until it was silent for that many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86400))]
    pub(super) affinity: Option<u32>,
    /// The port of the node's addresses
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) node_port: Option<u16>,
    #[command(flatten)]
    pub(super) node: NodeArgs,
    #[command(flatten)]
    pub(super) nic: NicArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Their names: NAME (in the namespace default) or NAMESPACE/NAME
    #[arg(required_unless_present = "all", value_name = "SERVICE")]
    pub(super) services: Vec<Name>,
    /// Delete all services
    #[arg(long, conflicts_with = "services")]
    pub(super) all: bool,
    #[command(flatten)]
    pub(super) nic: NicArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    pub(super) files: Files,
    #[command(flatten)]
    pub(super) node: NodeArgs,
    #[command(flatten)]
    pub(super) nic: NicArgs,
}

fn endpoint(text: &str) -> Result<SocketAddr, String> {
    let wrong = |_| "an address and a port are wanted, such as 10.244.0.1:8080".to_owned();
    let at: SocketAddr = text.parse().map_err(wrong)?;
    match at.port() {
        0 => Err("the port 0 is none: 1 to 65535 is wanted".to_owned()),
        _ => address(&at.ip().to_string()).map(|_| at),
    }
}

fn mac(text: &str) -> Result<[u8; 6], String> {
    let parts: Vec<_> = text.split(':').collect();
    let bytes = parts.iter().map(|part| match part.len() {
        2 => u8::from_str_radix(part, 16).ok(),
        _ => None,
    });
    let bytes = bytes.collect::<Option<Vec<_>>>();
    let mac: Option<[u8; 6]> = bytes.and_then(|bytes| bytes.try_into().ok());
    match mac {
        Some(mac) if mac[0] & 1 == 0 && mac != [0; 6] => Ok(mac),
        _ => Err("a unicast MAC address such as 02:00:00:00:00:01 is wanted".to_owned()),
    }
}

impl NicArgs {
    /// The server and role to connect to.
    pub(super) fn target(&self) -> Result<Target> {
        Ok(Target {
            address: self.server.address.clone(),
            device_id: self.device,
            role: self.role.clone(),
            tls: self.server.tls()?,
        })
    }

    /// Connects, and reads what the NIC has.
    pub(super) fn reader(&self) -> Result<Nic> {
        let mut nic = Nic::connect(self.target()?, Setup::default())?;
        nic.read()?;
        Ok(nic)
    }

    /// Connects as the writer, and reads what the NIC has.
    pub(super) fn writer(&self, setup: Setup) -> Result<Nic> {
        let mut nic = Nic::connect(self.target()?, setup)?;
        nic.claim().map_err(|error| match error {
            NicError::Client(ClientError::Busy { .. }) => {
                anyhow::Error::from(error).context("is `adit svc watch` running?")
            }
            error => error.into(),
        })?;
        nic.read()?;
        Ok(nic)
    }
}

/// Refuses names of services that a NIC does not have.
pub(super) fn check(nic: &Nic, services: &[Name]) -> Result<()> {
    let known: Vec<_> = nic.device().names().collect();
    let Some(missing) = services.iter().find(|name| !known.contains(name)) else {
        return Ok(());
    };
    let known: Vec<_> = known.iter().map(ToString::to_string).collect();
    match known.is_empty() {
        true => bail!("the NIC has no service {missing}; it has none"),
        false => bail!(
            "the NIC has no service {missing}; it has: {}",
            known.join(", ")
        ),
    }
}

impl NodeArgs {
    pub(super) fn setup(&self) -> Setup {
        Setup {
            node: Node {
                name: self.node.clone().filter(|it| !it.is_empty()),
                addresses: self.node_addresses.clone(),
            },
            zone: self.zone,
            mac: self.mac,
        }
    }
}
