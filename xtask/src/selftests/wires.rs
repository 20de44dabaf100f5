// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A machine for the selftests about wires: two of our NICs, connected to each other, to QEMU and
//! to recordings.
//!
//! | port | MAC | wire |
//! |---|---|---|
//! | NIC 0, 0 | 02:ad:17:00:00:01 | TAP `wire0` |
//! | NIC 0, 1 | 02:ad:17:00:00:02 | UNIX sockets, to NIC 1 |
//! | NIC 0, 2 | 02:ad:17:00:00:03 | UNIX sockets, to QEMU's `-netdev dgram` behind a virtio-net |
//! | NIC 0, 3 | 02:ad:17:00:00:04 | recordings in `/scratch/wires` |
//! | NIC 1, 0 | 02:ad:17:00:01:01 | TAP `wire1` |
//! | NIC 1, 1 | 02:ad:17:00:01:02 | UNIX sockets, to NIC 0 |
//!
//! NIC 1 has the device id that DPDK's idpf driver matches.

use std::fs;
use std::path::Path;

use adit_qemu_tests::guest::GuestConfig;
use adit_qemu_tests::nic::Nic;
use adit_qemu_tests::paths;
use anyhow::{Context, Result};

/// Folder of its selftests in the guest.
pub(super) const FOLDER: &str = "/repo/qemu-tests/selftests/wires";

/// Number of frames of the recording, a quarter of a second apart: it begins with the device
/// process and must last until the test runs.
const FRAMES: u32 = 24_000;
const INTERVAL_MICROSECONDS: u32 = 250_000;

/// Returns the machine; also creates the recording that it replays.
pub(super) fn config(binary: &Path) -> Result<GuestConfig> {
    let folder = paths::scratch()?.join("wires");
    fs::create_dir_all(&folder)?;
    let input = folder.join("in.pcap");
    fs::write(&input, recording()).with_context(|| format!("{}", input.display()))?;
    let pcap = format!(
        "pcap:{},{}",
        input.display(),
        folder.join("out.pcap").display()
    );
    let nic = |args: &[&str]| Nic::Adit {
        binary: binary.to_owned(),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
    };
    let pair = "unix:{run}/pair.sock";
    let to_qemu = "unix:{run}/nic-end.sock,{run}/qemu-end.sock";
    let first = nic(&[
        "--queues", "2", "--wire", pair, "--wire", to_qemu, "--wire", &pcap,
    ]);
    let second = nic(&[
        "--queues",
        "2",
        "--wire",
        pair,
        "--mac",
        "02:ad:17:00:01:01",
        "--pci-id",
        "8086:1452",
    ]);
    let netdev = "dgram,id=wire,local.type=unix,local.path=/run/adit/qemu-end.sock,\
                  remote.type=unix,remote.path=/run/adit/nic-end.sock";
    let virtio = "virtio-net-pci,netdev=wire,mac=02:ad:17:00:02:01,addr=10";
    Ok(GuestConfig {
        nics: vec![first, second],
        qemu_args: ["-netdev", netdev, "-device", virtio]
            .map(String::from)
            .to_vec(),
        ..GuestConfig::default()
    })
}

/// Returns numbered frames of the experimental EtherType for port 3, as a classic pcap file
/// (draft-ietf-opsawg-pcap), times in microseconds.
fn recording() -> Vec<u8> {
    const LENGTH: u32 = 64;
    let mut file = Vec::new();
    for word in [0xA1B2_C3D4_u32, 4 << 16 | 2, 0, 0, 65535, 1] {
        file.extend(word.to_le_bytes());
    }
    for number in 0..FRAMES {
        let time = u64::from(number) * u64::from(INTERVAL_MICROSECONDS);
        let (seconds, microseconds) = ((time / 1_000_000) as u32, (time % 1_000_000) as u32);
        for word in [1_700_000_000 + seconds, microseconds, LENGTH, LENGTH] {
            file.extend(word.to_le_bytes());
        }
        file.extend([
            0x02, 0xAD, 0x17, 0, 0, 4, 0x02, 0, 0, 0, 0, 0x99, 0x88, 0xB5,
        ]);
        file.extend(number.to_be_bytes());
        file.resize(file.len() + LENGTH as usize - 18, 0xA5);
    }
    file
}
