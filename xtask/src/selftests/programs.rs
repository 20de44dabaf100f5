// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A machine for the selftests of P4 programs: a NIC for each, with entries.
//!
//! | NIC | MAC | wire | program |
//! |---|---|---|---|
//! | 0 | 02:ad:17:00:00:01 | TAP `wire0` | `vxlan.p4` |
//! | 1 | 02:ad:17:00:01:01 | TAP `wire1` | `classifier.p4` |
//! | 2 | 02:ad:17:00:02:01 | TAP `wire2` | `acl.p4` |
//! | 3 | 02:ad:17:00:03:01 | TAP `wire3` | `l3.p4` |
//!
//! Addresses are 10.99.N.1 at the wire and 10.99.N.2 in the guest. The wire's end of NIC N is to
//! have the MAC address 02:ad:17:ff:0N:01.

use std::path::Path;

use adit_qemu_tests::guest::GuestConfig;
use adit_qemu_tests::nic::Nic;
use adit_qemu_tests::paths;

/// Where its selftests are in the guest.
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

/// The machine.
pub(super) fn config(binary: &Path) -> GuestConfig {
    let folder = paths::repo().join("p4");
    let nics = PROGRAMS.iter().enumerate().map(|(n, (program, defines))| {
        let mut args = vec![
            String::from("--queues"),
            String::from("2"),
            String::from("--mac"),
            format!("02:ad:17:00:{n:02x}:01"),
            String::from("--p4"),
            folder.join(program).display().to_string(),
        ];
        for define in *defines {
            args.extend([String::from("--p4-define"), (*define).to_owned()]);
        }
        Nic::Adit {
            binary: binary.to_owned(),
            args,
        }
    });
    GuestConfig {
        nics: nics.collect(),
        ..GuestConfig::default()
    }
}
