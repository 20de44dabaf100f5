// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command line of a NIC, for each program that has one.

use std::net::SocketAddr;
use std::path::PathBuf;

use adit_conntrack::ReservedRange;
use adit_p4_frontend::architectures::Architecture;
use adit_p4runtime::server::Address;
use clap::Args;

use crate::connections::{DEFAULT_CONNECTIONS, MAX_CONNECTIONS};
use crate::mac::MacAddr;
use crate::p4rt::P4Rt;
use crate::runtime::Setup;
use crate::wire::WireSpec;

/// The options of a NIC that do not depend on how it is attached.
#[derive(Args, Clone, Debug)]
pub struct NicArgs {
    /// Backend of a port: tap:NAME, unix:LOCAL[,REMOTE], pcap:IN,OUT (either may be -), or none.
    /// Repeat it for each further port.
    #[arg(long = "wire", value_name = "WIRE")]
    pub wires: Vec<WireSpec>,

    /// MAC address of the first port; the other ports have the following addresses.
    #[arg(long, value_name = "MAC", default_value = "02:ad:17:00:00:01")]
    pub mac: MacAddr,

    /// The P4 program for PNA that processes frames. Default: forwarding by address.
    #[arg(long, value_name = "FILE")]
    pub p4: Option<PathBuf>,

    /// Define a macro for the program (repeatable).
    #[arg(long, value_name = "NAME[=VALUE]", requires = "p4")]
    pub p4_define: Vec<String>,

    /// The program's architecture: pna (three blocks, version 0.7), pna-dpdk (four blocks), pna-tc,
    /// v1model. Default: that of the program's main.
    #[arg(long, value_name = "NAME", requires = "p4")]
    pub p4_arch: Option<Architecture>,

    /// Maximum number of tracked connections. Each takes up to 256 bytes, which are allocated at
    /// the start.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_CONNECTIONS,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CONNECTIONS)))]
    pub connections: u32,

    /// Ports that no source is translated to: PROTOCOL:PORT or PROTOCOL:FIRST-LAST, with tcp, udp or
    /// sctp, such as a node's services and tunnels (repeatable). `adit nat reserve` replaces them.
    #[arg(long, value_name = "PORTS")]
    pub reserve_ports: Vec<ReservedRange>,

    /// Serve P4Runtime at HOST:PORT or unix:PATH; without a value, at 127.0.0.1:9559.
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "127.0.0.1:9559")]
    pub p4rt: Option<Address>,

    /// P4Runtime device id.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "p4rt",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub p4rt_device: u64,

    /// Certificate for P4Runtime over TLS, as PEM.
    #[arg(long, value_name = "FILE", requires = "p4rt_key")]
    pub p4rt_cert: Option<PathBuf>,

    /// Key of the certificate, as PEM.
    #[arg(long, value_name = "FILE", requires = "p4rt_cert")]
    pub p4rt_key: Option<PathBuf>,

    /// CA certificates, as PEM: accept only clients whose certificates one of them has signed.
    #[arg(long, value_name = "FILE", requires = "p4rt_cert")]
    pub p4rt_client_ca: Option<PathBuf>,

    /// Serve Prometheus metrics over HTTP at this address, such as 127.0.0.1:9100.
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<SocketAddr>,
}

impl NicArgs {
    /// The options of the NIC. Without `--wire` it has one port, which is not connected.
    #[must_use]
    pub fn setup(self) -> Setup {
        let wires = match self.wires {
            wires if wires.is_empty() => vec![WireSpec::None],
            wires => wires,
        };
        Setup {
            wires,
            mac: self.mac,
            p4: self.p4,
            p4_options: adit_p4_frontend::Options {
                defines: self.p4_define.iter().map(|text| define(text)).collect(),
                architecture: self.p4_arch.unwrap_or_default(),
                ..adit_p4_frontend::Options::default()
            },
            connections: self.connections,
            reserved_ports: self.reserve_ports,
            p4rt: self.p4rt.map(|address| P4Rt {
                address,
                device_id: self.p4rt_device,
                certificate: self.p4rt_cert,
                key: self.p4rt_key,
                clients: self.p4rt_client_ca,
            }),
            metrics: self.metrics,
        }
    }
}

/// Parses a macro definition as C compilers do: without a value it is 1.
fn define(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, "1"));
    (name.to_owned(), value.to_owned())
}
