// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The arguments of the command line, of which each command defines its own; help, completions and
//! the manual page are generated from them.

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::adi::AdiCommand;
use crate::ct::Ct;
use crate::flow::FlowCommand;
use crate::httpd::Httpd;
use crate::nat::NatCommand;
use crate::output::Format;
use crate::p4::P4Command;
use crate::svc::SvcCommand;
use crate::table::{CounterCommand, TableCommand};
use crate::trace::Trace;
use crate::traffic_args::{Ping, Pktgen};
use crate::vdev::VdevCommand;

/// Slices of a NIC (ADIs) for containers and virtual machines
#[derive(Debug, Parser)]
#[command(name = "adit", version, max_term_width = 100)]
pub(crate) struct Args {
    /// Output as tables or as JSON
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub(crate) output: Format,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// A command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Assignable Device Interfaces
    #[command(subcommand)]
    Adi(AdiCommand),
    /// Virtual PCI functions composed out of ADIs, for VMs and containers
    Vdev(VdevCommand),
    /// P4 programs: check, compile, list tables, run on packets, load into a NIC
    #[command(subcommand)]
    P4(P4Command),
    /// Entries of the tables of a NIC's P4 program, over P4Runtime
    #[command(subcommand, long_about = crate::table::SYNTAX)]
    Table(TableCommand),
    /// Counters of a NIC's P4 program, over P4Runtime
    Counter(CounterCommand),
    /// Follow packets through a NIC: parser, tables, connection tracking, translation, and the queue
    /// that they reach, or the entry or limit that drops them
    ///
    /// Packets are those that pass the filter as they enter the program, or injected ones. They are
    /// traced while others pass at full speed; without `adit trace`, tracing costs next to nothing.
    Trace(Trace),
    /// Connections of a NIC, with the command line of conntrack(8)
    ///
    /// Called as `conntrack`, the program is this command.
    #[command(disable_help_flag = true)]
    Ct(Ct),
    /// Services of a container node, in a NIC that runs p4/k8s_node.p4
    #[command(subcommand, long_about = crate::svc::ABOUT)]
    Svc(SvcCommand),
    /// Flows on queues of virtual ports, in a NIC that runs p4/k8s_node.p4
    #[command(subcommand, long_about = crate::flow::ABOUT)]
    Flow(FlowCommand),
    /// Ports that translation leaves alone, and addresses that have none left
    #[command(subcommand)]
    Nat(NatCommand),
    /// Send ARP and ICMP echo requests on an ADI, and reply to them
    Ping(Ping),
    /// Send and receive frames on an ADI as fast as possible, optionally from and to pcap files
    Pktgen(Pktgen),
    /// Serve files and a JSON echo over HTTP on an ADI, with TCP in user space, or on kernel sockets
    ///
    /// GET and HEAD serve the files of --root; /echo answers with what it was sent as JSON. The files are
    /// indexed and read at the start: a change needs a restart. The server ends on SIGTERM, after the
    /// requests that it has begun, and prints its counters then and on SIGUSR1.
    Httpd(Httpd),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, in roff
    Man,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn bad_words_are_refused() {
        let parse = |words: &str| Args::try_parse_from(words.split(' '));
        assert!(parse("adit adi create --queues 2 --mac 02:00:00:00:00:0a --cdi").is_ok());
        assert!(parse("adit svc set web --address 10.96.0.1 --port 80").is_ok());
        assert!(parse("adit svc trace shop/web --port http --client 10.0.0.1 --new -c 1").is_ok());
        assert!(parse("adit svc trace web --inject --client [fd00::1]:9 --from vport1").is_ok());
        assert!(parse("adit flow add --vport 5 --quic 0a1b --flow-id 7").is_ok());
        assert!(parse("adit vdev create --adi a --adi b --limit windows=9 --control /x").is_ok());
        assert!(parse("adit nat reserve tcp:30000-32767 udp:4789 --p4rt 127.0.0.1:1").is_ok());
        assert!(parse("adit nat reserve --none").is_ok());
        assert!(
            parse("adit trace --host 10.0.0.1 --l4-port 80 -p tcp --flags syn,!ack -c 1").is_ok()
        );
        assert!(parse("adit trace --port vport0 --queue 1 --inject 00").is_ok());
        for bad in [
            "adit adi create --queues 0",
            "adit adi create --queues 65",
            "adit ping --ip 10.99.0.3 -c 0 10.99.0.1",
            "adit adi create --mac 02:00:00:00:00",
            "adit adi create --mac 03:00:00:00:00:01",
            "adit adi create --name a/b",
            "adit adi destroy",
            "adit adi destroy a --all",
            "adit adi watch --interval 0",
            "adit vdev create --queues 0",
            "adit vdev create --mac 03:00:00:00:00:01",
            "adit vdev create --vlan 4095",
            "adit vdev create --pci-id 8086",
            "adit vdev create --adi web --port 1",
            "adit vdev create --limit windows",
            "adit vdev create --limit windows=x",
            "adit httpd --root /srv",
            "adit httpd --root /srv --address 10.99.0.3",
            "adit httpd --root /srv --listen [::]:80 --address 10.99.0.3/24",
            "adit httpd --address 10.99.0.3/24",
            "adit vdev destroy",
            "adit vdev destroy a --all",
            "adit vdev swap a 0",
            "adit svc apply",
            "adit svc show",
            "adit svc show a/b/c",
            "adit svc delete",
            "adit svc delete a --all",
            "adit svc set web --port 80",
            "adit svc set web --address 10.96.0.1 --port 0",
            "adit svc set web --address 10.96.0.1 --port 80 --endpoint 10.0.0.1",
            "adit svc set web --address 10.96.0.1 --port 80 --affinity 86401",
            "adit svc set web --address 10.96.0.1 --port 80 --protocol icmp",
            "adit svc set web --address 127.0.0.1 --port 80",
            "adit svc set web --address 10.96.0.1 --port 80 --endpoint 10.0.0.1:0",
            "adit svc watch",
            "adit svc trace",
            "adit svc trace web api",
            "adit svc trace web --inject",
            "adit svc trace web --inject --client 10.0.0.1 --new",
            "adit svc trace web --inject --client 10.0.0.1 --count 2",
            "adit svc trace web --client 10.0.0.0/8",
            "adit svc trace web --client 10.0.0.1:0",
            "adit svc trace web --port Http",
            "adit svc trace web --port 0",
            "adit svc trace web --at localhost",
            "adit svc trace web --rate 1001",
            "adit svc apply -f x --mac 01:00:00:00:00:01",
            "adit flow add --vport 5 --queue 1",
            "adit flow add --vport 5 --src 10.0.0.1:1 --queue 1",
            "adit flow add --vport 5 --src 10.0.0.1:1 --dst 10.0.0.2:2",
            "adit flow add --vport 5 --src 10.0.0.1:1 --dst 10.0.0.2:2 --quic 00 --queue 1",
            "adit flow add --vport 70000 --quic 00 --queue 1",
            "adit flow delete --vport 5 --quic 0",
            "adit nat reserve",
            "adit nat reserve icmp:1",
            "adit nat reserve tcp:2-1",
            "adit nat reserve --none tcp:1",
            "adit trace --host 10.0.0.0/33",
            "adit trace --flags syn,foo",
            "adit trace --rate 1001",
            "adit trace --inject 00",
            "adit trace --queue 1 --port 0",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
