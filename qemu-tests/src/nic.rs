// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The NICs of a guest.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use serde_json::json;

use crate::process::Process;
use crate::sandbox::{Entrance, RUN};
use crate::wire::interface;

/// The PCI slot of the first NIC on the root bus: there it is a root-complex integrated endpoint,
/// which PASIDs require.
const FIRST_SLOT: usize = 5;

/// Timeout for a device process to listen, which it does once its P4 program is compiled.
const LISTENS: Duration = Duration::from_secs(60);

/// Address of `adit-nic`'s metrics, in the wire's network.
pub const METRICS: &str = "127.0.0.1:9905";

/// A NIC and its wire.
#[derive(Debug, Clone)]
pub enum Nic {
    /// Ours: a separate process.
    Adit {
        /// The device process.
        binary: PathBuf,
        /// Additional arguments for it. `{run}` in one stands for the run folder ([`RUN`] in the
        /// sandbox) as seen by the device process.
        args: Vec<String>,
    },
    /// A device that the vDCM composes out of an ADI of a NIC model in its own process.
    Composed {
        /// The daemon, `adit-vdcm`.
        daemon: PathBuf,
        /// Additional arguments for it, as for the device process.
        args: Vec<String>,
        /// Lines of the device's section in the daemon's configuration, besides its name and
        /// socket.
        settings: Vec<String>,
    },
    /// One of QEMU's own models, by its device name and properties.
    Qemu {
        /// As for `-device`.
        device: String,
    },
}

impl Nic {
    /// Returns QEMU's own virtio-net.
    pub fn virtio() -> Self {
        Self::Qemu {
            device: "virtio-net-pci".into(),
        }
    }

    /// Returns a composed device for NIC number `index`: with the address that the NIC's own function
    /// would have, which selftests send to, and additional settings.
    pub fn composed(daemon: PathBuf, index: usize, settings: &[String]) -> Self {
        let mut own = vec![
            format!("mac = \"02:ad:17:00:{index:02x}:01\""),
            "queues = 8".to_owned(),
        ];
        own.extend_from_slice(settings);
        Self::Composed {
            daemon,
            // The port of the NIC model needs another address than the device.
            args: vec!["--mac".into(), format!("02:ad:17:00:{index:02x}:f0")],
            settings: own,
        }
    }

    /// Returns QEMU's arguments for NIC number `index`: ours on the root bus, or with `hot_plug` an
    /// empty root port in the same slot, which QMP's `device_add` plugs it into.
    pub fn qemu_args(&self, index: usize, hot_plug: bool) -> Vec<String> {
        let slot = FIRST_SLOT + index;
        match self {
            Self::Adit { .. } | Self::Composed { .. } => {
                let device = if hot_plug {
                    // The window is for BAR0.
                    format!("pcie-root-port,id=port{index},slot={index},addr={slot:x},pref64-reserve=2G")
                } else {
                    let device = json!({
                        "driver": "vfio-user-pci",
                        "id": format!("nic{index}"),
                        "socket": { "path": format!("{RUN}/{}", socket_name(index)), "type": "unix" },
                        "addr": format!("{slot:x}"),
                        "x-no-posted-writes": true,
                    });
                    device.to_string()
                };
                vec!["-device".into(), device]
            }
            Self::Qemu { device } => {
                let tap = interface(index);
                vec![
                    "-netdev".into(),
                    format!("tap,id=net{index},ifname={tap},script=no,downscript=no,vhost=off"),
                    "-device".into(),
                    format!("{device},id=nic{index},netdev=net{index},addr={slot:x}"),
                ]
            }
        }
    }

    /// Starts the device process, if it has one, and waits until it listens.
    pub fn start(&self, index: usize, entrance: Entrance, run: &Path) -> Result<Option<Process>> {
        let (binary, args) = match self {
            Self::Adit { binary, args } => (binary, args),
            Self::Composed { daemon, args, .. } => (daemon, args),
            Self::Qemu { .. } => return Ok(None),
        };
        let socket = entrance.run_path(&socket_name(index));
        let log_name = format!("nic{index}.log");
        let log_path = run.join(&log_name);
        let log = File::create(&log_path)?;
        let mut command = entrance.host_command(binary);
        match self {
            Self::Composed { settings, .. } => {
                let config = format!("vdcm{index}.toml");
                let text = configuration(index, &socket, settings);
                fs::write(run.join(&config), text)?;
                command.arg("--embedded");
                command.arg("--config").arg(entrance.run_path(&config));
                let control = format!("vdcm{index}.sock");
                command.arg("--control").arg(entrance.run_path(&control));
            }
            Self::Adit { .. } | Self::Qemu { .. } => {
                command.arg("--socket").arg(&socket);
                command.arg("--qmp").arg(entrance.run_path("qmp.sock"));
            }
        }
        command
            .arg("--wire")
            .arg(format!("tap:{}", interface(index)));
        if index == 0 {
            command.args(["--metrics", METRICS]);
        }
        let run_path = entrance.run_path("");
        let args = args
            .iter()
            .map(|arg| arg.replace("{run}/", &run_path.to_string_lossy()));
        let mut child = command
            .args(args)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let start = Instant::now();
        while !socket.exists() {
            if let Some(status) = child.try_wait()? {
                let log = std::fs::read_to_string(&log_path).unwrap_or_default();
                bail!(
                    "{} ended before it listened ({status}):\n{log}",
                    binary.display()
                );
            }
            if start.elapsed() > LISTENS {
                bail!(
                    "{} does not listen on its socket after {} s",
                    binary.display(),
                    LISTENS.as_secs()
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Some(Process {
            name: format!(
                "{} (NIC {index})",
                binary.file_name().unwrap_or_default().to_string_lossy()
            ),
            log: log_name,
            child,
        }))
    }
}

/// Returns the configuration of a daemon with one device.
fn configuration(index: usize, socket: &Path, settings: &[String]) -> String {
    let mut lines = vec![
        "[[device]]".to_owned(),
        format!("name = \"nic{index}\""),
        format!("socket = \"{}\"", socket.display()),
    ];
    lines.extend_from_slice(settings);
    lines.push(String::new());
    lines.join("\n")
}

fn socket_name(index: usize) -> String {
    format!("nic{index}.sock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_nic_has_a_slot_and_a_wire_of_its_own() {
        let nic = Nic::Adit {
            binary: "adit-nic".into(),
            args: Vec::new(),
        };
        let args = nic.qemu_args(0, false).join(" ");
        assert!(
            args.contains(r#""addr":"5""#) && args.contains("/run/adit/nic0.sock"),
            "{args}"
        );
        let args = nic.qemu_args(0, true).join(" ");
        assert!(
            args.contains("pcie-root-port,id=port0,") && !args.contains("vfio-user-pci"),
            "{args}"
        );
        let args = Nic::virtio().qemu_args(11, false).join(" ");
        assert!(
            args.contains("ifname=wire11,") && args.ends_with(",addr=10"),
            "{args}"
        );
    }
}
