// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask bench adi`: the cost of ADIs in the device model alone and in the guest's kernel,
//! by their number, and the performance of one of them compared to AF_XDP on idpf and a veth pair
//! in the same guest.

mod model;

use std::time::Duration;

use adit_qemu_tests::flavour::Flavour;
use adit_qemu_tests::guest::{Guest, GuestConfig};
use adit_qemu_tests::nic::Nic;
use anyhow::{Context, Result};
use serde_json::{json, Value};

use super::lab::in_guest;
use super::net::load_average;
use super::results::{self, Column, Quantity, Results};
use super::Args;
use crate::build::{self, Profile};

/// Numbers of ADIs that exist at the same time in the guest.
const POPULATIONS: [u32; 3] = [1, 100, 1000];
/// The driver that the ADIs are bound to: none, or the one that makes each a VFIO device.
const DRIVERS: [&str; 2] = ["none", "vfio"];
/// Timeout of a step in the guest.
const LIMIT: Duration = Duration::from_secs(300);

const COLUMNS: [Column; 3] = [
    Column {
        name: "adi",
        ours: true,
    },
    Column {
        name: "afxdp",
        ours: false,
    },
    Column {
        name: "veth",
        ours: false,
    },
];

/// Quantities that are measured, by their names in the script, and the columns that have them.
const FIGURES: [(&str, Quantity, &[&str]); 6] = [
    (
        "out",
        Quantity::higher("64 B frames to the wire", "packets/s"),
        &["adi", "afxdp"],
    ),
    (
        "in",
        Quantity::higher("64 B frames from the wire", "packets/s"),
        &["adi", "afxdp"],
    ),
    (
        "pair",
        Quantity::higher("64 B frames from one to another", "packets/s"),
        &["adi", "veth"],
    ),
    (
        "wire-rtt",
        Quantity::lower("round trip from the wire, median", "us"),
        &["adi", "afxdp"],
    ),
    (
        "wire-irq-rtt",
        Quantity::lower("round trip from the wire, asleep", "us"),
        &["adi"],
    ),
    (
        "pair-rtt",
        Quantity::lower("round trip between two, median", "us"),
        &["adi", "veth"],
    ),
];

/// Rates at which frames are offered from the wire; the highest delivered rate counts, since a
/// flood takes the CPU from the receiver.
const OFFERED: [u32; 3] = [50_000, 150_000, 400_000];

/// Description of the contenders, for readers of the output.
const NOTE: &str = "\
adi: `adit pktgen` and `adit ping` on one queue pair of an ADI; afxdp: DPDK's testpmd on an AF_XDP \
socket (zero-copy) of a second such NIC under idpf, one queue; both poll (asleep: the ADI's owner \
waits for an interrupt); veth: the kernel's pktgen and ping between two name spaces. All in one \
guest, one at a time, counted by the receiver.";

pub(crate) fn run(args: &Args) -> Result<()> {
    let (rounds, seconds, pings) = if args.quick { (1, 2, 200) } else { (3, 4, 500) };
    let rounds = args.rounds.unwrap_or(rounds).max(1);
    let load = load_average();
    println!("The device model alone…");
    let model = model::run()?;
    print!("{}", model::table(&model));

    println!("\nBooting a guest with two NICs…");
    let mut guest = boot(args.profile)?;
    in_guest(&mut guest, &["adi.sh", "setup"], LIMIT)?;
    let mut results = Results::new(&COLUMNS);
    let mut scale = Vec::new();
    for count in POPULATIONS {
        for driver in DRIVERS {
            let words = ["adi.sh", "scale", &count.to_string(), driver];
            let text = in_guest(&mut guest, &words, LIMIT)?;
            scale.push(population(count, driver, &text)?);
        }
    }
    for round in 0..rounds {
        for (what, quantity, contenders) in FIGURES {
            for contender in in_turn(round, contenders) {
                let name = format!("{contender}-{what}");
                let sample = match what {
                    "in" => best(&mut guest, &name, seconds),
                    "out" | "pair" => figure(&mut guest, &[&name, &seconds.to_string()]),
                    _ => figure(&mut guest, &[&name, &pings.to_string()]),
                };
                match sample {
                    Ok(sample) => results.add(contender, quantity, sample),
                    Err(error) => {
                        results.fail(format!("{contender}, {}: {error:#}", quantity.name));
                    }
                }
            }
        }
    }
    println!(
        "Linux {}, {:?}\n{}",
        guest.kernel,
        guest.accel,
        scale_table(&scale)
    );
    println!("Medians of {rounds} rounds\n{}\n{NOTE}", results.table());
    let command: Vec<_> = std::env::args().skip(1).collect();
    let environment = json!({
        "command": format!("cargo xtask {}", command.join(" ")),
        "guest_kernel": guest.kernel,
        "accelerator": format!("{:?}", guest.accel),
        "host_cpus": std::thread::available_parallelism()?.get(),
        "host_load_average_before": load,
        "host_load_average_after": load_average(),
        "profile": format!("{:?}", args.profile),
        "rounds": rounds,
        "packet_window": { "value": seconds, "unit": "s" },
        "offered_to_guest": { "value": OFFERED, "unit": "packets/s" },
        "pings": pings,
        "note": NOTE,
    });
    let mut json = results.json("adi", &environment);
    json["device_model"] = model;
    json["guest_scale"] = scale.into();
    println!("\n{}", results::write("adi", &json)?.display());
    Ok(())
}

/// Boots a guest with two NICs of ours and the module, and binds none of them.
pub(super) fn boot(profile: Profile) -> Result<Guest> {
    let (tree, image) = build::set_up(Flavour::Stock)?;
    build::module(&tree, Flavour::Stock)?;
    let binary = build::programs(profile)?.nic;
    // Two functions have the same ids: the first, which has ADIs, is given its own id.
    let nics = [vec!["--requester-id".into(), "00:05.0".into()], Vec::new()];
    let nics = nics.map(|args| Nic::Adit {
        binary: binary.clone(),
        args,
    });
    let config = GuestConfig {
        driver: "none".into(),
        nics: nics.into(),
        ..GuestConfig::default()
    };
    Guest::boot(&tree, &image, &config)
}

/// Returns the contenders, with another one first in each round.
pub(super) fn in_turn(round: usize, contenders: &[&'static str]) -> Vec<&'static str> {
    let mut contenders = contenders.to_vec();
    let first = round % contenders.len();
    contenders.rotate_left(first);
    contenders
}

/// Returns the figure measured by the script.
fn figure(guest: &mut Guest, words: &[&str]) -> Result<f64> {
    let mut all = vec!["adi.sh"];
    all.extend(words);
    let text = in_guest(guest, &all, LIMIT)?;
    // Other programs may have printed something before.
    let last = text.lines().last().unwrap_or_default();
    last.parse()
        .with_context(|| format!("`adi.sh {}` printed `{text}`", words.join(" ")))
}

/// Returns the highest delivered rate at the offered rates.
fn best(guest: &mut Guest, name: &str, seconds: u32) -> Result<f64> {
    let mut best = 0.0_f64;
    for offered in OFFERED {
        let got = match figure(guest, &[name, &seconds.to_string(), &offered.to_string()]) {
            // This rate is too high for it, but a lower one was not.
            Err(_) if best > 0.0 => break,
            other => other?,
        };
        best = best.max(got);
        if got < f64::from(offered) * 0.4 {
            break;
        }
    }
    Ok(best)
}

/// Parses the cost of creating `count` ADIs: the script's last line, an array.
fn population(count: u32, driver: &str, text: &str) -> Result<Value> {
    let line = text.lines().last().unwrap_or_default();
    let [create, destroy, both, bytes]: [Option<f64>; 4] = serde_json::from_str(line)
        .with_context(|| format!("`adi.sh scale {count} {driver}` printed `{text}`"))?;
    Ok(json!({
        "adis": count,
        "driver": driver,
        "create_us": create,
        "destroy_us": destroy,
        "create_and_destroy_us": both,
        "bytes_each": bytes,
    }))
}

fn scale_table(scale: &[Value]) -> String {
    let mut text = format!(
        "{:>8} {:>8} {:>12} {:>12} {:>12} {:>12}\n",
        "ADIs", "driver", "create µs", "destroy µs", "both µs", "bytes each"
    );
    for row in scale {
        let number = |key: &str| row[key].as_f64().map_or("-".into(), |n| format!("{n:.0}"));
        text += &format!(
            "{:>8} {:>8} {:>12} {:>12} {:>12} {:>12}\n",
            number("adis"),
            row["driver"].as_str().unwrap_or_default(),
            number("create_us"),
            number("destroy_us"),
            number("create_and_destroy_us"),
            number("bytes_each"),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_population_took_is_read_and_shown() {
        let rows = [
            population(1, "none", "[null, null, 5100, -4096]\n").unwrap(),
            population(100, "vfio", "noise\n[2100, 900, 3000, 5324]\n").unwrap(),
        ];
        let table = scale_table(&rows);
        let lines: Vec<_> = table.lines().collect();
        let cells = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(cells(lines[1]), "1 none - - 5100 -4096", "{table}");
        assert_eq!(cells(lines[2]), "100 vfio 2100 900 3000 5324", "{table}");
        assert!(population(1, "none", "devlink answers: Invalid argument\n").is_err());
    }

    #[test]
    fn whatever_is_measured_has_a_column_and_each_is_first_in_turn() {
        for (_, _, contenders) in FIGURES {
            for name in contenders {
                assert!(COLUMNS.iter().any(|it| it.name == *name), "{name}");
            }
            if let [first, second] = contenders {
                assert_eq!(in_turn(2, contenders), [*first, *second]);
                assert_eq!(in_turn(1, contenders), [*second, *first]);
            }
        }
    }
}
