// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask guest`.

use std::io::{IsTerminal, Read, Write};
use std::time::Duration;

use adit_qemu_tests::end::End;
use adit_qemu_tests::flavour::Flavour;
use adit_qemu_tests::guest::{Guest, GuestConfig, Outcome};
use adit_qemu_tests::nic::Nic;
use adit_qemu_tests::proto::{Frame, Kind};
use anyhow::Result;

use crate::build::{self, Profile};
use crate::terminal::{self, RawMode};

/// Status for a process besides QEMU, such as adit-nic, that exited before the command did.
const PROCESS_DIED: u8 = 123;
/// Status for a guest that ended before the command did, unless it powered itself down.
const GUEST_ENDED: u8 = 125;
/// File in the guest with the name of the shell's terminal.
const TTY: &str = "/run/adit-shell-tty";
/// Status for a command that timed out, as in timeout(1).
const TIMED_OUT: u8 = 124;

/// The process that the guest's NIC is a device of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Via {
    /// `adit-nic`.
    #[default]
    Nic,
    /// `adit-vdcm`.
    Vdcm,
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The driver that the guest loads for its NIC at boot: idpf, adit (ours, built now), or none
    #[arg(long, default_value = "idpf")]
    driver: String,
    /// The kernel: stock (Debian's), or debug (built once, about 30 minutes), which detects errors
    /// in kernel code and has IOMMUFD
    #[arg(long, default_value_t)]
    kernel: Flavour,
    /// The profile that adit and adit-nic are built with
    #[arg(long, default_value_t)]
    profile: Profile,
    /// Give the emulated IOMMU first-stage page tables, which the kernel then uses
    #[arg(long)]
    first_stage: bool,
    /// NIC to plug in: adit, or one of QEMU's own models (virtio-net-pci, e1000e, igb, none)
    #[arg(long, default_value = "adit")]
    nic: String,
    /// The source of the NIC `adit`: nic (adit-nic's own function), or vdcm (a device that adit-vdcm
    /// composes out of an ADI of the NIC model)
    #[arg(long, value_enum, default_value_t)]
    via: Via,
    /// Register layout of a composed device: vf or siov
    #[arg(long, default_value = "vf")]
    vdev_layout: String,
    /// An argument for adit-nic, or adit-vdcm (repeatable)
    #[arg(long = "nic-arg", allow_hyphen_values = true)]
    nic_args: Vec<String>,
    /// An argument for QEMU (repeatable)
    #[arg(long = "qemu-arg", allow_hyphen_values = true)]
    qemu_args: Vec<String>,
    /// An argument for the kernel's command line (repeatable)
    #[arg(long = "kernel-arg")]
    kernel_args: Vec<String>,
    /// Boot without the NIC and with an empty root port, which QMP's device_add plugs it into (at
    /// monitor.sock in the run folder); ADIs need the NIC on the root bus
    #[arg(long)]
    hot_plug: bool,
    /// Continue when adit-nic exits; otherwise that ends the guest, with status 123
    #[arg(long)]
    keep_going: bool,
    /// The guest's memory in MiB
    #[arg(long, default_value_t = 2048)]
    memory: u32,
    /// The guest's CPUs
    #[arg(long, default_value_t = 2)]
    cpus: u32,
    /// End CMD after this many seconds, with status 124
    #[arg(long)]
    timeout: Option<u64>,
    /// The number of guests that run on this machine at the same time: operations may take so many times as long
    #[arg(long, default_value_t = 1)]
    pace: u32,
    /// The command to run in the guest as root [default: a shell on the terminal]
    #[arg(last = true)]
    command: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let (tree, image) = build::set_up(args.kernel)?;
    if args.driver == "adit" {
        build::module(&tree, args.kernel)?;
    }
    let programs = build::programs(args.profile)?;
    let nics = match args.nic.as_str() {
        "none" => Vec::new(),
        "adit" => vec![match args.via {
            Via::Nic => Nic::Adit {
                binary: programs.nic,
                args: args.nic_args.clone(),
            },
            Via::Vdcm => {
                let layout = format!("layout = \"{}\"", args.vdev_layout);
                let mut nic = Nic::composed(programs.vdcm, 0, &[layout]);
                if let Nic::Composed { args: own, .. } = &mut nic {
                    own.extend_from_slice(&args.nic_args);
                }
                nic
            }
        }],
        device => vec![Nic::Qemu {
            device: device.to_owned(),
        }],
    };
    let config = GuestConfig {
        memory_mib: args.memory,
        cpus: args.cpus,
        driver: args.driver.clone(),
        nics,
        kernel_args: args.kernel_args.clone(),
        qemu_args: args.qemu_args.clone(),
        first_stage: args.first_stage,
        hot_plug: args.hot_plug,
        nics_may_end: args.keep_going,
        pace: args.pace.max(1),
        ..GuestConfig::default()
    };
    let mut guest = Guest::boot(&tree, &image, &config)?;
    let outcome = if args.command.is_empty() {
        shell(&mut guest)?
    } else {
        guest.exec(
            &args.command,
            args.timeout.map(Duration::from_secs),
            pass_on,
        )?
    };
    Ok(match outcome {
        Outcome::Exited(status) => u8::try_from(status).unwrap_or(1),
        Outcome::TimedOut => {
            eprintln!(
                "error: the command did not end within {} s",
                args.timeout.unwrap_or(0)
            );
            TIMED_OUT
        }
        Outcome::Ended(End::PowerDown) => 0,
        Outcome::Ended(end) => {
            eprint!("error: {}", guest.report(&end));
            match end {
                End::ProcessDied { .. } => PROCESS_DIED,
                _ => GUEST_ENDED,
            }
        }
    })
}

/// Writes a frame's bytes to standard output or standard error.
pub(crate) fn pass_on(frame: &Frame) {
    // A closed reader is no reason to fail the command.
    let _ = match frame.kind {
        Kind::Stderr => std::io::stderr().write_all(&frame.data),
        _ => {
            let mut stdout = std::io::stdout();
            stdout.write_all(&frame.data).and_then(|()| stdout.flush())
        }
    };
}

/// Runs a shell: with a terminal in the guest if standard input is one here.
fn shell(guest: &mut Guest) -> Result<Outcome> {
    let terminal = std::io::stdin().is_terminal();
    let remote = if terminal {
        eprintln!(
            "Linux {} after {:.1} s. The repository is in /repo, /scratch is shared; `wire CMD` runs \
             CMD at the\nother end of the wire, and so does `cargo xtask wire -- CMD` here. Logs \
             in {}.\nLeave with `exit`, Ctrl-D or `poweroff`.",
            guest.kernel,
            guest.boot_time.as_secs_f64(),
            guest.run_folder().display()
        );
        let (columns, rows) = terminal::size();
        let term = std::env::var("TERM").unwrap_or_else(|_| "vt100".into());
        let inner = format!(
            "tty >{TTY}; stty columns {columns} rows {rows}; export TERM={term}; cd /repo; exec bash -i"
        );
        terminal::on_resize(guest.resizer(TTY))?;
        guest.start(&["script", "-q", "-f", "-e", "-c", &inner, "/dev/null"])
    } else {
        guest.start(&["bash"])
    };
    let input = remote.input_handle();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = std::io::stdin().read(&mut buffer) {
            input(&buffer[..length]);
        }
        input(&[]);
    });
    let _raw = terminal.then(RawMode::enter).transpose()?;
    guest.follow(&remote, None, &mut pass_on)
}
