// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit svc trace`: follows packets to a service, and its replies.

mod arrival;
mod explain;
mod frame;
mod steps;
mod text;
mod to;
mod wanted;

use std::fmt;
use std::io::{BufWriter, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use adit_node::device::{FrontendView, PortView};
use adit_node::manifest::address;
use adit_node::model::{Family, Name, Protocol};
use adit_node::nic::Nic;
use adit_p4runtime::client::connect;
use adit_pipeline::p4::FIRST_HOST_PORT;
use adit_trace::client::Client;
use adit_trace::proto::{InjectRequest, WatchRequest};
use anyhow::{bail, ensure, Result};
use clap::Args;

use super::args::{check, NicArgs};
use crate::output::{counted, Format};
use crate::trace::filter::port;
use explain::Explanation;
use wanted::Wanted;

/// The age from which on what the NIC has is read again when a packet comes: endpoints change.
const MAX_AGE: Duration = Duration::from_secs(5);
/// The port at which clients that are no pods of this node arrive: the first wire.
const WIRE: u32 = 0;

/// The packets to follow, and the NIC.
#[derive(Debug, Args)]
pub(crate) struct Trace {
    /// Its name: NAME (in the namespace default) or NAMESPACE/NAME
    #[arg(value_name = "SERVICE")]
    service: Name,
    /// Its port: the name, or the number that clients use; by default, all ports
    #[arg(long, value_name = "NAME|N", value_parser = service_port)]
    port: Option<ServicePort>,
    /// Its address; by default, all addresses: of the cluster, external ones, and the node's
    #[arg(long, value_name = "IP", value_parser = address)]
    at: Option<IpAddr>,
    /// The client's address, and its port
    #[arg(long, value_name = "IP[:PORT]", value_parser = client)]
    client: Option<Peer>,
    /// Send the first packet of a connection (TCP: a SYN) as --client through the NIC, and follow it. It
    /// is like the client's own: it reaches the endpoint, and the connection is tracked
    #[arg(long, requires = "client", conflicts_with_all = ["new", "requests", "count", "rate"])]
    inject: bool,
    /// The port of the NIC at which packets enter, replies as well: 0 for the first wire, `vport0` or 4096
    /// for the first virtual port; by default, any, and of an injected one the pod's, or the first wire
    #[arg(long, value_name = "N|vportN", value_parser = port)]
    from: Option<u32>,
    /// Follow only packets of clients; of TCP, only those that open a connection
    #[arg(long)]
    new: bool,
    /// Follow only packets of clients, neither replies nor ICMP errors about them
    #[arg(long)]
    requests: bool,
    /// Stop after this many packets; by default, at an interrupt
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Follow at most this many packets in a second; those beyond are counted
    #[arg(long, value_name = "N", default_value_t = adit_trace::DEFAULT_RATE,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(adit_trace::MAX_RATE)))]
    rate: u32,
    #[command(flatten)]
    nic: NicArgs,
}

/// A port of a service, as people name it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ServicePort {
    Name(String),
    Number(u16),
}

impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServicePort::Name(name) => f.write_str(name),
            ServicePort::Number(number) => number.fmt(f),
        }
    }
}

fn service_port(text: &str) -> Result<ServicePort, String> {
    let is_part = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    match text.parse::<u16>() {
        Ok(1..) => Ok(ServicePort::Number(text.parse().unwrap_or_default())),
        Err(_) if !text.is_empty() && text.bytes().all(is_part) => {
            Ok(ServicePort::Name(text.to_owned()))
        }
        _ => Err("the name of a port, or a number from 1 to 65535, is wanted".to_owned()),
    }
}

/// A client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Peer {
    address: IpAddr,
    port: Option<u16>,
}

fn client(text: &str) -> Result<Peer, String> {
    let peer = match text.parse::<SocketAddr>() {
        Ok(at) if at.port() == 0 => return Err("the port 0 is none".to_owned()),
        Ok(at) => Peer {
            address: at.ip(),
            port: Some(at.port()),
        },
        Err(_) => Peer {
            address: text.parse().map_err(|_| {
                "an address is wanted, or an address and a port, such as 10.244.0.7:40000"
                    .to_owned()
            })?,
            port: None,
        },
    };
    address(&peer.address.to_string()).map(|_| peer)
}

/// A frontend of the service, with its protocol.
#[derive(Clone, Copy, Debug)]
struct At<'p> {
    frontend: &'p FrontendView,
    protocol: Protocol,
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.frontend.address, self.protocol)
    }
}

fn list<T: fmt::Display>(all: impl IntoIterator<Item = T>) -> String {
    let all: Vec<_> = all.into_iter().map(|it| it.to_string()).collect();
    all.join(", ")
}

impl Trace {
    /// The ports of the service on the NIC.
    fn ports(&self, nic: &Nic) -> Result<Vec<PortView>> {
        check(nic, std::slice::from_ref(&self.service))?;
        let mut ports = nic.device().ports();
        let name = &self.service;
        ports.retain(|it| (&it.namespace, &it.name) == (&name.namespace, &name.name));
        Ok(ports)
    }

    /// The frontends that are meant, those of the cluster's addresses first.
    fn frontends<'p>(&self, ports: &'p [PortView]) -> Result<Vec<At<'p>>> {
        let of = |it: &'p PortView| {
            let protocol = it.protocol;
            let all = it.frontends.iter();
            all.map(move |frontend| At { frontend, protocol })
        };
        let service = &self.service;
        let all: Vec<_> = ports.iter().flat_map(of).collect();
        ensure!(
            !all.is_empty(),
            "the service {service} has no address on the NIC"
        );
        let mut found: Vec<_> = match &self.port {
            None => all.clone(),
            Some(ServicePort::Name(name)) => ports
                .iter()
                .filter(|it| it.port == *name)
                .flat_map(of)
                .collect(),
            Some(ServicePort::Number(number)) => {
                let is_it = |at: &&At| at.frontend.address.port() == *number;
                all.iter().filter(is_it).copied().collect()
            }
        };
        if let Some(port) = self.port.as_ref().filter(|_| found.is_empty()) {
            let named = ports.iter().map(|it| it.port.as_str());
            let names: Vec<_> = named.filter(|name| !name.is_empty()).collect();
            let names = match names.is_empty() {
                true => String::new(),
                false => format!("{}; ", list(names)),
            };
            bail!(
                "the service {service} has no port `{port}`; it has: {names}{}",
                list(&all)
            );
        }
        if let Some(at) = self.at {
            let before = list(&found);
            found.retain(|it| it.frontend.address.ip() == at);
            ensure!(
                !found.is_empty(),
                "the service {service} is not at {at}; it is at: {before}"
            );
        }
        if let Some(client) = self.client {
            let (before, family) = (list(&found), Family::of(client.address));
            found.retain(|it| Family::of(it.frontend.address.ip()) == family);
            ensure!(
                !found.is_empty(),
                "the client {} is not of the family of the service {service}, which is at: {before}",
                client.address
            );
        }
        found.sort_by_key(|it| it.frontend.kind);
        Ok(found)
    }
}

fn print(explanation: &Explanation, format: Format) -> Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    match format {
        Format::Table => text::write(explanation, &mut out)?,
        Format::Json => {
            serde_json::to_writer(&mut out, explanation)?;
            writeln!(out)?;
        }
    }
    Ok(out.flush()?)
}

pub(crate) fn run(trace: &Trace, format: Format) -> Result<()> {
    let mut nic = trace.nic.reader()?;
    let ports = trace.ports(&nic)?;
    let frontends = trace.frontends(&ports)?;
    let target = trace.nic.target()?;
    let (runtime, channel) = connect(&target.address, target.tls.as_ref())?;
    let mut client = Client::new(runtime, channel);
    if let (true, Some(peer)) = (trace.inject, trace.client) {
        let request = injection(trace, &mut nic, &frontends, peer)?;
        let mut packet = client.inject(request)?;
        packet.number = 1;
        let explanation = Explanation::new(&packet, &trace.service, nic.device());
        return print(&explanation, format);
    }
    let wanted = Wanted::new(trace, &ports, &frontends)?;
    let mut filters = wanted.filters.into_iter();
    let mut watch = client.watch(WatchRequest {
        filter: filters.next(),
        further: filters.collect(),
        // Some are not shown.
        count: 0,
        rate: trace.rate,
    })?;
    // From here on none is missed.
    eprintln!("following packets to {}", wanted.text);
    let mut read = Instant::now();
    let mut left = trace.count.unwrap_or(u64::MAX);
    let mut shown = 0;
    while left > 0 {
        let Some(response) = client.next(&mut watch)? else {
            break;
        };
        if let Some(packet) = &response.packet {
            if read.elapsed() >= MAX_AGE {
                nic.read()?;
                read = Instant::now();
            }
            let mut explanation = Explanation::new(packet, &trace.service, nic.device());
            if !explanation.is_direct() {
                shown += 1;
                left -= 1;
                explanation.packet = shown;
                print(&explanation, format)?;
            }
        }
        if response.lost > 0 {
            eprintln!(
                "{} of the service and {} not followed: see --rate",
                counted(response.lost, "packet"),
                if response.lost == 1 { "was" } else { "were" }
            );
        }
    }
    Ok(())
}

/// The first packet of a client's connection to one of the frontends.
fn injection(trace: &Trace, nic: &mut Nic, frontends: &[At], peer: Peer) -> Result<InjectRequest> {
    let Some(at) = frontends.first() else {
        bail!("the service {} has no address on the NIC", trace.service);
    };
    let port = |at: &At| (at.frontend.address.port(), at.protocol);
    // A node port leads to the same port of the service.
    let of_kind = frontends
        .iter()
        .filter(|it| it.frontend.kind == at.frontend.kind);
    let several: Vec<_> = of_kind.filter(|it| port(it) != port(at)).collect();
    if !several.is_empty() {
        bail!(
            "the service {} has several ports: name one with --port: {}",
            trace.service,
            list([at].into_iter().chain(several))
        );
    }
    let zone = at.frontend.zone;
    let pod = nic.pod(zone, peer.address)?;
    let pod = pod.filter(|pod| trace.from.is_none_or(|from| from == pod.port));
    let port = match (trace.from, pod) {
        (Some(from), _) => from,
        (None, Some(pod)) => pod.port,
        (None, None) => WIRE,
    };
    let router = match pod {
        Some(pod) => Some(pod.gateway_mac),
        None => nic.router(zone)?,
    };
    let Some(router) = router else {
        bail!(
            "the NIC routes no frames: the table `routers` has no entry in the zone {zone}, which \
             node setup writes"
        );
    };
    let from = SocketAddr::new(peer.address, peer.port.unwrap_or_else(frame::any_port));
    let from_mac = pod.map_or(frame::CLIENT, |pod| pod.mac);
    if port < FIRST_HOST_PORT {
        eprintln!("injecting a packet at the wire {port}, from {from}");
    } else {
        let vport = port - FIRST_HOST_PORT;
        eprintln!("injecting a packet at the virtual port {vport}, from {from}");
    }
    Ok(InjectRequest {
        port,
        data: frame::first((from_mac, router), (from, at.frontend.address), at.protocol),
        queue: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_and_ports_are_read() {
        let four = [10, 0, 0, 1].into();
        let peer = |address, port| Ok(Peer { address, port });
        assert_eq!(client("10.0.0.1"), peer(four, None));
        assert_eq!(client("10.0.0.1:9"), peer(four, Some(9)));
        let six = "fd00::1".parse().expect("an address");
        assert_eq!(client("fd00::1"), peer(six, None));
        assert_eq!(client("[fd00::1]:9"), peer(six, Some(9)));
        for bad in [
            "",
            "x",
            "10.0.0.1:0",
            "127.0.0.1",
            "::",
            "224.0.0.1:9",
            "10.0.0.1:x",
        ] {
            assert!(client(bad).is_err(), "{bad}");
        }
        assert_eq!(service_port("80"), Ok(ServicePort::Number(80)));
        assert_eq!(
            service_port("http-2"),
            Ok(ServicePort::Name("http-2".to_owned()))
        );
        for bad in ["", "0", "a b", "A", "-1.5"] {
            assert!(service_port(bad).is_err(), "{bad}");
        }
    }
}
