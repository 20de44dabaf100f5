// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A machine for the selftests of P4 programs: a NIC for each, with entries.
//!
//! | NIC | MAC | wire | program |
//! |---|---|---|---|
//! | 0 | 02:ad:17:00:00:01 | TAP `wire0` | `vxlan.p4` |
//! | 1 | 02:ad:17:00:01:01 | TAP `wire1` | `classifier.p4` |
//! | 2 | 02:ad:17:00:02:01 | TAP `wire2` | `acl.p4` |
//! | 3 | 02:ad:17:00:03:01 | TAP `wire3` | `l3.p4` |
//! | 4 | 02:ad:17:00:04:01 | TAP `wire4`, TAP `wire4b` | set by a P4Runtime client |
//! | 5 | 02:ad:17:00:05:01 | TAP `wire5` | `conntrack.p4` |
//!
//! Addresses are 10.99.N.1 at the wire and 10.99.N.2 in the guest. The wire's end of NIC N must
//! have the MAC address 02:ad:17:ff:0N:01.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use adit_qemu_tests::guest::{Guest, GuestConfig};
use adit_qemu_tests::nic::Nic;
use adit_qemu_tests::paths;
use adit_qemu_tests::python::FINSY;
use anyhow::{ensure, Context, Result};

/// Folder of its selftests in the guest.
pub(super) const FOLDER: &str = "/repo/qemu-tests/selftests/p4";

/// Programs and their entries.
const PROGRAMS: [(&str, &[&str]); 4] = [
    (
        "vxlan.p4",
        &[
            "ENCAP_ENTRIES=((PortId_t) 0x1000, 0x020000007701): encapsulate(42, 0x0a630002, \
             0x0a630001, 0x02ad17000001, 0x02ad17ff0001, (PortId_t) 0);",
            "DECAP_ENTRIES=(0x0a630002, 42): decapsulate(ADIT_PORT_SWITCH);",
        ],
    ),
    (
        "classifier.p4",
        &[
            "IPV4_FLOW_ENTRIES=(0x0a630101, 0x0a630102, PROTO_UDP, 4000, 4000): to_queue(1); \
             (0x0a630101, 0x0a630102, PROTO_UDP, 4001, 4001): drop();",
            "QUIC_ENTRIES=(0x01020304050607080000000000000000, 0, 8): to_queue(1);",
        ],
    ),
    (
        "acl.p4",
        &[
            "IPV4_RULE_ENTRIES=(1, _, _, _, PROTO_UDP, _, _, 5000 .. 5009, _): deny(); \
           (0, _, _, 0x0a630201 &&& 0xffffffff, PROTO_TCP, _, _, 6000 .. 6000, _): deny();",
        ],
    ),
    (
        "l3.p4",
        &[
            "IPV4_ROUTE_ENTRIES=0x0a630302 &&& 0xffffffff: set_nexthop(1); \
             0x0a630300 &&& 0xffffff00: set_nexthop(2);",
            "NEXTHOP_ENTRIES=1: forward(0x02000000aa01, 0x02ad17000301, (PortId_t) 0x1000); \
             2: forward(0x02000000aa02, 0x02ad17ff0301, (PortId_t) 0);",
        ],
    ),
];

/// The program of the last NIC, its entries, and the addresses of its metrics and of its service, which
/// the guest reaches over the wire.
const CONNTRACK: [&str; 10] = [
    "--p4",
    "conntrack.p4",
    "--p4-define",
    "SERVICE_ENTRIES=(_, 0x0a630502 &&& 0xffffffff, _, PROTO_TCP, _, 8005 .. 8005): allow();",
    "--p4-define",
    "TRANSLATION_ENTRIES=(_, _, 0x0a630502 &&& 0xffffffff, _, PROTO_TCP, 6005 .. 6005): \
     masquerade(0x0a63054d, 0x0a63054d); \
     (_, _, 0x0a630502 &&& 0xffffffff, _, PROTO_UDP, 6006 .. 6006): \
     masquerade(0x0a63054d, 0x0a63054d);",
    "--metrics",
    "127.0.0.1:9906",
    "--p4rt",
    "0.0.0.0:9561",
];

/// The selftest of P4Runtime.
const P4RUNTIME: &str = "p4_runtime";
/// The programs that the client sets on the NIC.
const GIVEN: [&str; 2] = ["l3", "acl"];
/// Address of the NIC's P4Runtime server, and the port on which the client takes requests, in the
/// wire's network.
const SERVER: &str = "127.0.0.1:9559";
const REQUESTS: &str = "9560";

/// Returns the machine.
pub(super) fn config(binary: &Path) -> GuestConfig {
    let folder = paths::repo().join("p4");
    let with_programs = PROGRAMS.iter().map(|(program, defines)| {
        let program = folder.join(program).display().to_string();
        let mut args = vec![String::from("--p4"), program];
        for define in *defines {
            args.extend([String::from("--p4-define"), (*define).to_owned()]);
        }
        args
    });
    let given = ["--p4rt", SERVER, "--wire", "tap:wire4b"].map(String::from);
    let mut conntrack = CONNTRACK.map(String::from);
    conntrack[1] = folder.join(CONNTRACK[1]).display().to_string();
    let last = [given.to_vec(), conntrack.to_vec()];
    let nics = with_programs.chain(last).enumerate();
    let nics = nics.map(|(n, more)| {
        let mac = format!("02:ad:17:00:{n:02x}:01");
        let args = ["--queues", "2", "--mac", &mac].map(String::from);
        Nic::Adit {
            binary: binary.to_owned(),
            args: args.into_iter().chain(more).collect(),
        }
    });
    GuestConfig {
        nics: nics.collect(),
        ..GuestConfig::default()
    }
}

/// Starts the client that the selftest of P4Runtime sends requests to, if that selftest is
/// selected. It ends with the guest.
pub(super) fn client(guest: &Guest, adit: &Path, filter: &str) -> Result<Option<Child>> {
    if !P4RUNTIME.contains(filter) {
        return Ok(None);
    }
    let folder = paths::scratch()?.join(P4RUNTIME);
    for program in GIVEN {
        let to = folder.join(program);
        fs::create_dir_all(&to).with_context(|| format!("cannot create {}", to.display()))?;
        let source = paths::repo().join("p4").join(program).with_extension("p4");
        let mut compile = Command::new(adit);
        compile.args(["p4", "compile", "--to"]).arg(&to).arg(source);
        let output = compile.output()?;
        let why = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{program}.p4: {why}");
    }
    let log = fs::File::create(guest.run_folder().join("p4-client.log"))?;
    let script = paths::repo().join("qemu-tests/selftests/lib/controller.py");
    let mut client = guest.entrance().host_command(FINSY.python()?);
    client.arg(script).args([SERVER, REQUESTS]).arg(folder);
    client
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    let client = client
        .spawn()
        .context("cannot start the P4Runtime client")?;
    Ok(Some(client))
}
