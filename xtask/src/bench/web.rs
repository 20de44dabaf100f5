// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask bench web`: one HTTP server in the guest, on an ADI with TCP in user space, and on
//! kernel sockets as a node reaches a container: idpf, nftables DNAT and a veth pair.

use std::time::Duration;

use adit_qemu_tests::guest::Guest;
use anyhow::{ensure, Context, Result};
use serde_json::{json, Value};

use super::adi::{boot, in_turn};
use super::cpu::{innermost, CpuTime, Processes};
use super::lab::in_guest;
use super::net::load_average;
use super::results::{self, Column, Quantity, Results};
use super::Args;

/// Timeout of a step in the guest.
const LIMIT: Duration = Duration::from_secs(180);
/// Bytes of a response's body.
const BODIES: [u32; 2] = [100, 1500];
/// Connections at a time.
const CONNECTIONS: [u32; 5] = [1, 4, 16, 64, 256];

/// A server in the guest.
#[derive(Debug, Clone, Copy)]
struct Server {
    name: &'static str,
    address: &'static str,
    /// The NIC that leads to it.
    nic: usize,
}

const SERVERS: [Server; 2] = [
    Server {
        name: "adi",
        address: "10.99.0.3",
        nic: 0,
    },
    Server {
        name: "kernel",
        address: "10.99.1.2",
        nic: 1,
    },
];

const COLUMNS: [Column; 2] = [
    Column {
        name: SERVERS[0].name,
        ours: true,
    },
    Column {
        name: SERVERS[1].name,
        ours: false,
    },
];

/// Description of the contenders, for readers of the output.
const NOTE: &str = "\
The same server program (`adit httpd`, two threads) twice in one guest, asked in turn by wrk with one \
thread from the wire. adi: TCP in user space on two queue pairs of an ADI; kernel: epoll on kernel sockets \
in a network namespace, behind a second such NIC under idpf, nftables DNAT and a veth pair. Guest CPU: the \
time of QEMU's vCPU threads; NIC: that of the NIC's process. Interrupts and context switches: all of the \
guest, those of timers and between its CPUs included.";

pub(crate) fn run(args: &Args) -> Result<()> {
    let (rounds, seconds) = if args.quick { (1, 3) } else { (3, 6) };
    let rounds = args.rounds.unwrap_or(rounds).max(1);
    let load = load_average();
    println!("Booting a guest with two NICs…");
    let mut guest = boot(args.profile)?;
    in_guest(&mut guest, &["web.sh", "setup"], LIMIT)?;
    let mut results = Results::new(&COLUMNS);
    for round in 0..rounds {
        for body in BODIES {
            for connections in CONNECTIONS {
                for name in in_turn(round, &SERVERS.map(|it| it.name)) {
                    let window = Window {
                        body,
                        connections,
                        seconds,
                    };
                    let server = SERVERS.into_iter().find(|it| it.name == name);
                    let server = server.context("a server of this name")?;
                    match sample(&mut guest, server, window) {
                        Ok(sample) => sample.add(&mut results, name, window),
                        Err(error) => results.fail(format!("{name}, {window}: {error:#}")),
                    }
                }
            }
        }
    }
    let reports = in_guest(&mut guest, &["web.sh", "end"], LIMIT)?;
    println!(
        "Linux {}, {:?}, profile {:?}",
        guest.kernel, guest.accel, args.profile
    );
    println!("Medians of {rounds} rounds\n{}\n{NOTE}", results.table());
    let command: Vec<_> = std::env::args().skip(1).collect();
    let environment = json!({
        "command": format!("cargo xtask {}", command.join(" ")),
        "guest_kernel": guest.kernel,
        "accelerator": format!("{:?}", guest.accel),
        "profile": format!("{:?}", args.profile),
        "host_cpus": std::thread::available_parallelism()?.get(),
        "host_load_average_before": load,
        "host_load_average_after": load_average(),
        "rounds": rounds,
        "window": { "value": seconds, "unit": "s" },
        "note": NOTE,
    });
    let mut json = results.json("web", &environment);
    json["servers"] = servers(&reports)?;
    println!("\n{}", results::write("web", &json)?.display());
    Ok(())
}

/// Reads the servers' own counters, an object for each by its name.
fn servers(text: &str) -> Result<Value> {
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("the servers' counters are `{text}`"))
}

/// A measurement.
#[derive(Debug, Clone, Copy)]
struct Window {
    body: u32,
    connections: u32,
    seconds: u32,
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} B, {} conn.", self.body, self.connections)
    }
}

/// The figures of a window.
#[derive(Debug, PartialEq)]
struct Sample {
    requests: f64,
    seconds: f64,
    median_us: f64,
    p99_us: f64,
    cpu: CpuTime,
    events: Events,
}

/// Events of the whole guest.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Events {
    interrupts: f64,
    switches: f64,
}

impl Events {
    /// Reads the guest's counters.
    fn read(guest: &mut Guest) -> Result<Self> {
        let text = in_guest(guest, &["web.sh", "counts"], LIMIT)?;
        let [interrupts, switches] = serde_json::from_str(text.trim())
            .with_context(|| format!("web.sh counts printed `{text}`"))?;
        Ok(Self {
            interrupts,
            switches,
        })
    }

    fn since(self, earlier: Self) -> Self {
        Self {
            interrupts: self.interrupts - earlier.interrupts,
            switches: self.switches - earlier.switches,
        }
    }
}

fn sample(guest: &mut Guest, server: Server, window: Window) -> Result<Sample> {
    let processes = Processes {
        qemu: innermost(guest.qemu_pid()),
        device: guest.nic(server.nic).map(|process| innermost(process.id())),
    };
    let url = format!("http://{}/{}", server.address, window.body);
    let events = Events::read(guest)?;
    let before = processes.cpu_time()?;
    let output = guest
        .entrance()
        .command("wrk")
        .args(["--threads", "1", "--timeout", "10s"])
        .args(["--connections", &window.connections.to_string()])
        .args(["--duration", &format!("{}s", window.seconds)])
        .args(["--script", "/repo/qemu-tests/bench/web.lua", &url])
        .output()
        .context("cannot start wrk on the wire")?;
    let cpu = processes.cpu_time()? - before;
    let events = Events::read(guest)?.since(events);
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "wrk: {} {error}", output.status);
    parse(&text, cpu, events)
}

/// Reads wrk's last line, which web.lua prints.
fn parse(text: &str, cpu: CpuTime, events: Events) -> Result<Sample> {
    let line = text.lines().last().unwrap_or_default();
    let [requests, us, median_us, p99_us, failed]: [f64; 5] =
        serde_json::from_str(line).with_context(|| format!("wrk printed `{text}`"))?;
    ensure!(failed == 0.0, "{failed} of {requests} requests failed");
    ensure!(
        requests > 0.0 && us > 0.0 && cpu.vcpus > 0.0,
        "nothing was measured: `{line}`, {cpu:?}"
    );
    Ok(Sample {
        requests,
        seconds: us / 1e6,
        median_us,
        p99_us,
        cpu,
        events,
    })
}

impl Sample {
    fn add(&self, results: &mut Results, contender: &'static str, window: Window) {
        // Names live as long as the program; there are as many as rows in the table.
        let name = |what: &str| &*format!("{what}, {window}").leak();
        let rows = [
            (
                Quantity::higher(name("requests"), "1/s"),
                self.requests / self.seconds,
            ),
            (
                Quantity::lower(name("latency, median"), "us"),
                self.median_us,
            ),
            (Quantity::lower(name("latency, 99 %"), "us"), self.p99_us),
            (
                Quantity::higher(name("requests per guest CPU s"), "1/s"),
                self.requests / self.cpu.vcpus,
            ),
            (
                Quantity::lower(name("CPU of the NIC a request"), "us"),
                self.cpu.device * 1e6 / self.requests,
            ),
            (
                Quantity::lower(name("interrupts a request"), ""),
                self.events.interrupts / self.requests,
            ),
            (
                Quantity::lower(name("context switches a request"), ""),
                self.events.switches / self.requests,
            ),
        ];
        for (quantity, figure) in rows {
            results.add(contender, quantity, figure);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: CpuTime = CpuTime {
        device: 0.25,
        qemu: 1.0,
        vcpus: 0.5,
    };
    const EVENTS: Events = Events {
        interrupts: 3000.0,
        switches: 4000.0,
    };

    #[test]
    fn what_wrk_measured_is_read() {
        let sample = parse("noise\n[1000, 2000000, 150, 900, 0]\n", CPU, EVENTS).unwrap();
        let want = Sample {
            requests: 1000.0,
            seconds: 2.0,
            median_us: 150.0,
            p99_us: 900.0,
            cpu: CPU,
            events: EVENTS,
        };
        assert_eq!(sample, want);
    }

    #[test]
    fn a_window_with_failures_or_without_requests_is_no_figure() {
        for bad in [
            "",
            "[1, 2]",
            "[10, 2000000, 1, 1, 3]",
            "[0, 2000000, 0, 0, 0]",
        ] {
            assert!(parse(bad, CPU, EVENTS).is_err(), "{bad}");
        }
        assert!(parse("[10, 2000000, 1, 1, 0]", CpuTime::default(), EVENTS).is_err());
    }

    #[test]
    fn the_servers_counters_are_read() {
        let read = servers("noise\n{\"adi\": {\"tcp\": {\"sleeps\": 3}}}\n").unwrap();
        assert_eq!(read["adi"]["tcp"]["sleeps"], 3);
        assert!(servers("noise").is_err());
    }
}
