// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A machine whose NICs are devices that the vDCM composes out of ADIs. The first is driven by stock
//! `idpf` like the NIC's own function; the others have the id of a VF, by which DPDK finds its device, and
//! the third has the queues of two ADIs.

use std::fs;

use adit_qemu_tests::guest::GuestConfig;
use adit_qemu_tests::nic::Nic;
use adit_qemu_tests::tree::Tree;
use adit_qemu_tests::vfio_selftests;
use anyhow::Result;

use super::selection::Selection;
use crate::build::{self, Programs};

/// The folder of the selftests that run in no other machine.
pub(super) const FOLDER: &str = "/repo/qemu-tests/selftests/composed";

/// The selftests that also run in it: those of what an ADI can do and of what the daemon emulates.
/// Others can be run by hand (`cargo xtask guest --via vdcm`). `allmulticast`, `loopback`, `ntuple` and
/// `promisc` are about what the owner of an ADI does not have, `statistics` about counters that the
/// device keeps for its own virtual ports.
const NAMES: [&str; 14] = [
    "channels", "coalesce", "curl", "flr", "link", "mtu", "neigh", "ping", "rebind", "reload",
    "rings", "rss", "tcp", "xdp",
];

/// Returns those of them that are selected.
pub(super) fn names(which: &Selection) -> Vec<&'static str> {
    let wanted = |name: &&str| which.is_ordinary() && name.contains(which.filter);
    NAMES.into_iter().filter(wanted).collect()
}

/// Provides the kernel's selftests of VFIO in the folder that the guest shares.
pub(super) fn provide(tree: &Tree) -> Result<()> {
    for program in fs::read_dir(vfio_selftests::ensure(tree)?)? {
        let program = program?;
        let name = program.file_name();
        build::share(&program.path(), "vfio-selftests", &name.to_string_lossy())?;
    }
    Ok(())
}

/// Returns the machine with the first device, as a variant of another one.
pub(super) fn config(machine: GuestConfig, programs: &Programs) -> GuestConfig {
    GuestConfig {
        nics: vec![Nic::composed(programs.vdcm.clone(), 0, &[])],
        ..machine
    }
}

/// Adds the second device, and the third, out of a group of two ADIs, to the machine with the first. Both
/// have the id of a VF.
pub(super) fn with_others(machine: GuestConfig) -> GuestConfig {
    let mut nics = machine.nics;
    if let Some(Nic::Composed { daemon, .. }) = nics.first() {
        let id = r#"pci_id = "8086:145c""#.to_owned();
        let daemon = daemon.clone();
        nics.push(Nic::composed(daemon.clone(), 1, std::slice::from_ref(&id)));
        nics.push(Nic::composed(daemon, 2, &[id, "group = 2".to_owned()]));
    }
    GuestConfig { nics, ..machine }
}
