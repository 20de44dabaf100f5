// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The machine of a container node: a NIC with `k8s_node.p4`, which the module drives.

use std::path::Path;

use adit_qemu_tests::guest::GuestConfig;
use adit_qemu_tests::nic::Nic;
use adit_qemu_tests::paths;

/// Folder of its selftests in the guest.
pub(crate) const SELFTESTS: &str = "/repo/qemu-tests/selftests/node";

/// The NIC's arguments besides the program: its P4Runtime server, in the wire's network, its number of
/// queues, and the size of the connection table, of which the program asks no more.
const ARGS: [&str; 8] = [
    "--p4rt",
    "127.0.0.1:9559",
    "--queues",
    "2",
    "--connections",
    "65536",
    "--p4-define",
    "CONNECTIONS=65536",
];

/// Returns the machine.
pub(crate) fn config(binary: &Path) -> GuestConfig {
    let program = paths::repo().join("p4/k8s_node.p4");
    let program = [String::from("--p4"), program.display().to_string()];
    GuestConfig {
        driver: String::from("adit"),
        nics: vec![Nic::Adit {
            binary: binary.to_owned(),
            args: program.into_iter().chain(ARGS.map(String::from)).collect(),
        }],
        ..GuestConfig::default()
    }
}
