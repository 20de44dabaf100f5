// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask bench net`: in one guest, our NIC compared to QEMU's virtio-net, igb and e1000e,
//! each on its own TAP device in the same network, one measured at a time.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Result};
use serde_json::{json, Value};

use super::contender::{nics, Contender, CONTENDERS};
use super::lab::{Direction, Lab, PacketRate};
use super::results::{self, percentile, Quantity, Results};
use super::Args;
use crate::build::{self, Profile};

const TCP_OUT: Quantity = Quantity::higher("TCP guest to host", "Gbit/s");
const TCP_IN: Quantity = Quantity::higher("TCP host to guest", "Gbit/s");
const PPS_OUT: Quantity = Quantity::higher("64 B frames guest to host", "packets/s");
const PPS_IN: Quantity = Quantity::higher("64 B frames host to guest", "packets/s");
const CPU_OUT: Quantity = Quantity::lower("CPU guest to host, no vCPU threads", "s/Mpacket");
const CPU_OUT_ALL: Quantity = Quantity::lower("CPU guest to host, QEMU + adit-nic", "s/Mpacket");
const CPU_IN: Quantity = Quantity::lower("CPU host to guest, no vCPU threads", "s/Mpacket");
const CPU_IN_ALL: Quantity = Quantity::lower("CPU host to guest, QEMU + adit-nic", "s/Mpacket");
const PING_MEDIAN: Quantity = Quantity::lower("ping, median", "us");
const PING_99: Quantity = Quantity::lower("ping, 99th percentile", "us");
const IDLE: Quantity = Quantity::lower("adit-nic, idle", "% of a CPU");

/// Explanation of the CPU figures, for readers of the output.
const CPU_NOTE: &str = "CPU: user + system time on the host in the same window. `no vCPU threads` \
counts adit-nic (for ours) and every QEMU thread but the vCPUs; QEMU's own models also work inside \
vCPU threads, on each register access, which that leaves out. `QEMU + adit-nic` counts all of QEMU, \
the guest's own instructions too, and adit-nic for ours.";

/// Durations and numbers of measurements.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) rounds: usize,
    stream: Duration,
    packets: Duration,
    pings: u32,
    idle: Duration,
}

impl Plan {
    pub(super) fn new(args: &Args) -> Self {
        let (rounds, stream, packets, idle) = if args.quick {
            (1, 2, 1, 2)
        } else {
            (3, 4, 2, 5)
        };
        Self {
            rounds: args.rounds.unwrap_or(rounds).max(1),
            stream: Duration::from_secs(stream),
            packets: Duration::from_secs(packets),
            pings: if args.quick { 200 } else { 500 },
            idle: Duration::from_secs(idle),
        }
    }
}

/// Rates at which frames are offered to the guest; the highest delivered rate counts, since a flood
/// takes the CPU from the receiver.
const OFFERED: [u32; 4] = [50_000, 100_000, 200_000, 400_000];

pub(crate) fn run(args: &Args) -> Result<()> {
    let plan = Plan::new(args);
    let contenders = chosen(&args.only)?;
    let start = Instant::now();
    let load = load_average();
    println!("Booting one guest with every NIC…");
    let mut lab = Lab::start(nics(&build::programs(Profile::Release)?.nic).to_vec())?;
    let drivers: Vec<_> = lab.interfaces.iter().map(|it| it.driver.as_str()).collect();
    println!(
        "Linux {} after {:.1} s with {:?}; drivers {}; {} rounds",
        lab.guest.kernel,
        lab.guest.boot_time.as_secs_f64(),
        lab.guest.accel,
        drivers.join(", "),
        plan.rounds
    );
    let mut results = Results::new(&CONTENDERS.map(|it| it.column()));
    for round in 0..plan.rounds {
        let idle = lab.idle(plan.idle)?;
        results.add("adit", IDLE, idle.device * 100.0);
        for contender in order(round, &contenders) {
            println!(
                "round {}/{}: {} ({:.0} s)",
                round + 1,
                plan.rounds,
                contender.name,
                start.elapsed().as_secs_f64()
            );
            if let Err(error) = measure(&mut lab, contender, plan, &mut results) {
                results.fail(format!(
                    "{}, round {}: {error:#}",
                    contender.name,
                    round + 1
                ));
            }
        }
    }
    println!(
        "\nMedians of {} rounds\n{}\n{CPU_NOTE}",
        plan.rounds,
        results.table()
    );
    let environment = environment(&lab, plan, &load)?;
    let path = results::write("net", &results.json("net", &environment))?;
    println!("Written to {}", path.display());
    Ok(())
}

/// Returns the requested contenders.
fn chosen(only: &[String]) -> Result<Vec<Contender>> {
    if let Some(unknown) = only
        .iter()
        .find(|&name| CONTENDERS.iter().all(|it| it.name != name))
    {
        let known: Vec<_> = CONTENDERS.iter().map(|it| it.name).collect();
        bail!("no contender `{unknown}`: there is {}", known.join(", "));
    }
    let wanted = |it: &Contender| only.is_empty() || only.iter().any(|name| name == it.name);
    Ok(CONTENDERS.into_iter().filter(wanted).collect())
}

/// Returns the contenders, with another one first in each round and every other round reversed:
/// other load on the machine should not always affect the same one.
pub(super) fn order(round: usize, contenders: &[Contender]) -> Vec<Contender> {
    let mut order = contenders.to_vec();
    if round % 2 == 1 {
        order.reverse();
    }
    order.rotate_left(round % contenders.len());
    order
}

/// Measures all quantities of one contender.
pub(super) fn measure(
    lab: &mut Lab,
    contender: Contender,
    plan: Plan,
    results: &mut Results,
) -> Result<()> {
    let name = contender.name;
    lab.prepare(contender)?;
    let mut note = |quantity: Quantity, result: Result<f64>| match result {
        Ok(figure) => results.add(name, quantity, figure),
        Err(error) => results.fail(format!("{name}, {}: {error:#}", quantity.name)),
    };
    let stream = |lab: &mut Lab, direction| {
        lab.goodput(contender, direction, plan.stream)
            .map(|bits| bits / 1e9)
    };
    note(TCP_IN, stream(lab, Direction::HostToGuest));
    if contender.gro_hw {
        return Ok(());
    }
    note(TCP_OUT, stream(lab, Direction::GuestToHost));
    let trips = lab.round_trips(contender, plan.pings);
    let at = |percent| match &trips {
        Ok(trips) => percentile(trips, percent).ok_or_else(|| anyhow::anyhow!("no reply")),
        Err(error) => Err(anyhow::anyhow!("{error:#}")),
    };
    note(PING_MEDIAN, at(50.0));
    note(PING_99, at(99.0));
    let sent = lab.transmit(contender, plan.packets);
    for (quantity, result) in rates(&sent, [PPS_OUT, CPU_OUT, CPU_OUT_ALL]) {
        note(quantity, result);
    }
    let received = best_received(lab, contender, plan);
    for (quantity, result) in rates(&received, [PPS_IN, CPU_IN, CPU_IN_ALL]) {
        note(quantity, result);
    }
    Ok(())
}

/// Returns the highest delivered rate at the offered rates; stops at one that the NIC does not come
/// near.
fn best_received(lab: &mut Lab, contender: Contender, plan: Plan) -> Result<PacketRate> {
    let mut best: Option<PacketRate> = None;
    for offered in OFFERED {
        let got = lab.receive(contender, offered, plan.packets)?;
        if best.is_none_or(|best| got.per_second > best.per_second) {
            best = Some(got);
        }
        if got.per_second < f64::from(offered) * 0.4 {
            break;
        }
    }
    best.ok_or_else(|| anyhow::anyhow!("nothing was offered"))
}

/// Returns packets per second, and the CPU time of a million of them without and with the vCPU
/// threads.
fn rates(rate: &Result<PacketRate>, what: [Quantity; 3]) -> Vec<(Quantity, Result<f64>)> {
    let [packets, device_side, whole] = what;
    let rate = match rate {
        Ok(rate) => rate,
        Err(error) => return vec![(packets, Err(anyhow::anyhow!("{error:#}")))],
    };
    let per_million = |cpu: f64| -> Result<f64> {
        ensure!(rate.per_second > 0.0, "no packets");
        Ok(cpu / rate.per_second * 1e6)
    };
    vec![
        (packets, Ok(rate.per_second)),
        (device_side, per_million(rate.cpu_per_second.device_side)),
        (whole, per_million(rate.cpu_per_second.whole)),
    ]
}

/// Returns a description of the machine and the measurements.
pub(super) fn environment(lab: &Lab, plan: Plan, load_before: &str) -> Result<Value> {
    let qemu = lab.on_the_wire(&["qemu-system-x86_64", "--version"])?;
    let iperf = lab.on_the_wire(&["iperf3", "--version"])?;
    let first = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    let command: Vec<_> = std::env::args().skip(1).collect();
    Ok(json!({
        "command": format!("cargo xtask {}", command.join(" ")),
        "guest_kernel": lab.guest.kernel,
        "host_kernel": first(&fs::read_to_string("/proc/sys/kernel/osrelease")?),
        "qemu": first(&qemu),
        "iperf3": first(&iperf),
        "accelerator": format!("{:?}", lab.guest.accel),
        "host_cpus": std::thread::available_parallelism()?.get(),
        "host_load_average_before": load_before,
        "host_load_average_after": load_average(),
        "rounds": plan.rounds,
        "stream": { "value": plan.stream.as_secs_f64(), "unit": "s" },
        "packet_window": { "value": plan.packets.as_secs_f64(), "unit": "s" },
        "offered_to_guest": { "value": OFFERED, "unit": "packets/s" },
        "pings": plan.pings,
        "ping_interval": { "value": 5, "unit": "ms" },
        "cpu_note": CPU_NOTE,
    }))
}

pub(super) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_has_all_contenders_and_a_start_of_its_own() {
        let all = chosen(&[]).unwrap();
        let names = |round| {
            order(round, &all)
                .iter()
                .map(|it| it.name)
                .collect::<Vec<_>>()
        };
        let sorted = |round| {
            let mut names = names(round);
            names.sort_unstable();
            names
        };
        assert_eq!(sorted(0), sorted(1));
        assert_ne!(names(0)[0], names(1)[0]);
        assert_ne!(names(1)[0], names(2)[0]);
    }

    #[test]
    fn contenders_are_chosen_by_name() {
        let only =
            |names: &[&str]| chosen(&names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>());
        assert_eq!(only(&["igb", "adit"]).unwrap().len(), 2);
        assert_eq!(only(&[]).unwrap().len(), CONTENDERS.len());
        assert!(only(&["e1000"]).unwrap_err().to_string().contains("e1000e"));
    }
}
