// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask bench web`: one HTTP server in the guest, on an ADI with TCP in user space, and on
//! kernel sockets as a node reaches a container: idpf, nftables DNAT and a veth pair.

use std::time::Duration;

use adit_qemu_tests::guest::Guest;
use anyhow::{ensure, Context, Result};
use serde_json::json;

use super::adi::{boot, in_turn};
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
const CONTENDERS: [&str; 2] = ["adi", "kernel"];

const COLUMNS: [Column; 2] = [
    Column {
        name: CONTENDERS[0],
        ours: true,
    },
    Column {
        name: CONTENDERS[1],
        ours: false,
    },
];

/// Description of the contenders, for readers of the output.
const NOTE: &str = "\
The same server program (`adit httpd`, two threads) in one guest, one contender at a time, wrk with one \
thread from the wire. adi: TCP in user space on two queue pairs of an ADI; kernel: epoll on kernel sockets \
in a network namespace, behind a second such NIC under idpf, nftables DNAT and a veth pair. CPU: all \
of the guest's time that is not idle.";

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
                for contender in in_turn(round, &CONTENDERS) {
                    match sample(&mut guest, contender, body, connections, seconds) {
                        Ok(sample) => sample.add(&mut results, contender, body, connections),
                        Err(error) => results.fail(format!(
                            "{contender}, {body} B, {connections} connections: {error:#}"
                        )),
                    }
                }
            }
        }
    }
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
    let json = results.json("web", &environment);
    println!("\n{}", results::write("web", &json)?.display());
    Ok(())
}

/// The figures of a window.
#[derive(Debug, PartialEq)]
struct Sample {
    requests: f64,
    seconds: f64,
    median_us: f64,
    p99_us: f64,
    cpu_seconds: f64,
}

fn sample(
    guest: &mut Guest,
    contender: &str,
    body: u32,
    connections: u32,
    seconds: u32,
) -> Result<Sample> {
    let numbers = [body, connections, seconds].map(|it| it.to_string());
    let [body, connections, seconds] = &numbers;
    let words = ["web.sh", contender, body, connections, seconds];
    let text = in_guest(guest, &words, LIMIT)?;
    parse(&text)
}

/// Reads the script's last line.
fn parse(text: &str) -> Result<Sample> {
    let line = text.lines().last().unwrap_or_default();
    let [requests, us, median_us, p99_us, failed, cpu_seconds]: [f64; 6] =
        serde_json::from_str(line).with_context(|| format!("the script printed `{text}`"))?;
    ensure!(failed == 0.0, "{failed} of {requests} requests failed");
    ensure!(
        requests > 0.0 && us > 0.0 && cpu_seconds > 0.0,
        "nothing was measured: `{line}`"
    );
    Ok(Sample {
        requests,
        seconds: us / 1e6,
        median_us,
        p99_us,
        cpu_seconds,
    })
}

impl Sample {
    fn add(&self, results: &mut Results, contender: &'static str, body: u32, connections: u32) {
        // Names live as long as the program; there are as many as rows in the table.
        let name = |what: &str| &*format!("{what}, {body} B, {connections} conn.").leak();
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
                self.requests / self.cpu_seconds,
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

    #[test]
    fn what_the_script_measured_is_read() {
        let sample = parse("noise\n[1000, 2000000, 150, 900, 0, 0.5]\n").unwrap();
        let want = Sample {
            requests: 1000.0,
            seconds: 2.0,
            median_us: 150.0,
            p99_us: 900.0,
            cpu_seconds: 0.5,
        };
        assert_eq!(sample, want);
    }

    #[test]
    fn a_window_with_failures_or_without_requests_is_no_figure() {
        for bad in [
            "",
            "[1, 2]",
            "[10, 2000000, 1, 1, 3, 0.5]",
            "[0, 2000000, 0, 0, 0, 0.5]",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
