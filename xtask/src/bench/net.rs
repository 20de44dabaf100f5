// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Our NIC beside QEMU's own, in one boot, each on a TAP device of the same network name space.

use std::time::{Duration, Instant};

use adit_qemu_tests::guest::{Guest, GuestConfig, Outcome};
use adit_qemu_tests::nic::Nic;
use adit_qemu_tests::wire::{addresses, interface};
use anyhow::{ensure, Context, Result};
use serde_json::Value;

use super::report::Report;
use crate::build;

/// Ours first; then QEMU's device and the guest's module for it.
const PEERS: [(&str, &str); 3] = [
    ("virtio-net-pci", "virtio_net"),
    ("igb", "igb"),
    ("e1000e", "e1000e"),
];

const OURS: &str = "adit-nic";

/// Limit for one step, beyond the time it measures.
const SLACK: Duration = Duration::from_secs(60);

const PINGS: u32 = 500;

pub(crate) fn run(seconds: u64) -> Result<Report> {
    let (tree, image) = build::set_up()?;
    let mut nics = vec![Nic::Adit {
        binary: build::nic()?,
        args: Vec::new(),
    }];
    nics.extend(PEERS.map(|(device, _)| Nic::Qemu {
        device: device.to_owned(),
    }));
    let config = GuestConfig {
        nics,
        ..GuestConfig::default()
    };
    let guest = Guest::boot(&tree, &image, &config)?;
    let mut contestants = vec![OURS];
    contestants.extend(PEERS.map(|(device, _)| device));
    let mut report = Report::new("net", &contestants);
    report.conditions.insert("kernel", guest.kernel.clone());
    report
        .conditions
        .insert("accelerator", format!("{:?}", guest.accel));
    report.conditions.insert(
        "guest",
        format!("{} CPUs, {} MiB", config.cpus, config.memory_mib),
    );
    let host = std::thread::available_parallelism().map_or(0, usize::from);
    report.conditions.insert("host", format!("{host} CPUs"));
    report
        .conditions
        .insert("seconds per measurement", seconds.to_string());
    let mut bench = Bench { guest, seconds };
    for (_, module) in PEERS {
        bench.in_guest(&format!("modprobe {module}"))?;
    }
    for (index, who) in contestants.iter().enumerate() {
        eprintln!("measuring {who}…");
        if let Err(error) = bench.measure(index, who, &mut report) {
            report.failures.push(format!("{who}: {error:#}"));
        }
    }
    Ok(report)
}

struct Bench {
    guest: Guest,
    seconds: u64,
}

impl Bench {
    fn measure(&mut self, index: usize, who: &str, report: &mut Report) -> Result<()> {
        let dev = self.in_guest(&format!("nic-up {index}"))?;
        // What cannot be measured is told and leaves the rest alone.
        for (way, step) in [
            (
                "guest to wire",
                Self::send_small as fn(&mut Self, usize, &str) -> Result<(f64, f64)>,
            ),
            ("wire to guest", Self::receive_small),
        ] {
            match step(self, index, &dev) {
                Ok((rate, cost)) => {
                    report.add(who, &format!("64 B {way}"), "packets/s", true, rate);
                    report.add(who, &format!("64 B {way}, CPU"), "s/Mpacket", false, cost);
                }
                Err(error) => report
                    .failures
                    .push(format!("{who}, 64 B {way}: {error:#}")),
            }
        }
        for (way, flag) in [("guest to wire", ""), ("wire to guest", "-R")] {
            match self.tcp(index, flag) {
                Ok(rate) => report.add(who, &format!("TCP {way}"), "Mbit/s", true, rate),
                Err(error) => report.failures.push(format!("{who}, TCP {way}: {error:#}")),
            }
        }
        let (median, high) = self.ping(index)?;
        report.add(who, "ping, median", "µs", false, median);
        report.add(who, "ping, 99th percentile", "µs", false, high);
        Ok(())
    }

    /// The guest's packet generator; counted where the frames come out.
    fn send_small(&mut self, index: usize, dev: &str) -> Result<(f64, f64)> {
        let wire = interface(index);
        let seconds = self.seconds;
        let line = format!("pktgen-send {dev} 02:00:00:00:00:01 {seconds}");
        self.counted(
            move |bench| bench.in_guest(&line).map(drop),
            move |bench| bench.wire_received(&wire),
        )
    }

    /// The host's packet generator; counted by the guest's driver.
    fn receive_small(&mut self, index: usize, dev: &str) -> Result<(f64, f64)> {
        let mac = self.in_guest(&format!("cat /sys/class/net/{dev}/address"))?;
        // An EtherType for experiments: the guest's stack drops it as soon as it has it.
        let frame =
            format!("{{ eth(da={mac}, sa=02:00:00:00:00:01, type=0x88b5), fill(0x55, 46) }}");
        let (wire, seconds, dev) = (interface(index), self.seconds, dev.to_owned());
        self.counted(
            move |bench| {
                let _ = bench
                    .guest
                    .entrance()
                    .command("timeout")
                    .args([
                        &seconds.to_string(),
                        "trafgen",
                        "-o",
                        &wire,
                        "--cpus",
                        "1",
                        &frame,
                    ])
                    .output()?;
                Ok(())
            },
            move |bench| Ok(bench.in_guest(&format!("nic-received {dev}"))?.parse()?),
        )
    }

    /// Packets per second and CPU seconds per million packets while `work` runs.
    fn counted(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<()>,
        count: impl Fn(&mut Self) -> Result<u64>,
    ) -> Result<(f64, f64)> {
        let before = count(self)?;
        let cpu = self.cpu_seconds()?;
        let start = Instant::now();
        work(self)?;
        let elapsed = start.elapsed().as_secs_f64().max(self.seconds as f64);
        let cpu = self.cpu_seconds()? - cpu;
        let packets = count(self)?.saturating_sub(before) as f64;
        ensure!(packets > 0.0, "no packet arrived");
        Ok((packets / elapsed, cpu / packets * 1e6))
    }

    fn tcp(&mut self, index: usize, flag: &str) -> Result<f64> {
        let (host, _) = addresses(index, 1);
        let mut server = self
            .guest
            .entrance()
            .command("iperf3")
            .args(["-s", "-1"])
            .stdout(std::process::Stdio::null())
            .spawn()?;
        let seconds = self.seconds;
        let line = format!(
            "for i in $(seq 30); do iperf3 -J -c {host} -t {seconds} {flag} >/tmp/iperf && break; \
             sleep 0.2; done; cat /tmp/iperf"
        );
        let text = self.in_guest(&line);
        let _ = server.kill();
        let _ = server.wait();
        let value: Value = serde_json::from_str(&text?).context("iperf3's report")?;
        let rate = value["end"]["sum_received"]["bits_per_second"].as_f64();
        Ok(rate.context("iperf3 measured nothing")? / 1e6)
    }

    /// Median and 99th percentile in microseconds.
    fn ping(&mut self, index: usize) -> Result<(f64, f64)> {
        let (host, _) = addresses(index, 1);
        let text = self.in_guest(&format!("ping -n -i 0.005 -c {PINGS} {host}"))?;
        let mut times: Vec<f64> = text
            .lines()
            .filter_map(|line| {
                line.split_once("time=")?
                    .1
                    .strip_suffix(" ms")?
                    .parse()
                    .ok()
            })
            .collect();
        ensure!(
            times.len() > PINGS as usize / 2,
            "{} of {PINGS} pings answered",
            times.len()
        );
        times.sort_by(f64::total_cmp);
        Ok((
            times[times.len() / 2] * 1e3,
            times[times.len() * 99 / 100] * 1e3,
        ))
    }

    /// CPU time of QEMU and of the device process since they started.
    fn cpu_seconds(&self) -> Result<f64> {
        // Fields 14 and 15 of /proc/PID/stat, in hundredths of a second, after the name.
        let script =
            "cat /proc/[0-9]*/stat | sed -n 's/^[0-9]* (\\(qemu-system-x86\\|adit-nic\\)) //p' | \
                      awk '{ sum += $12 + $13 } END { print sum / 100 }'";
        Ok(self.on_wire(&["bash", "-c", script])?.trim().parse()?)
    }

    fn wire_received(&self, wire: &str) -> Result<u64> {
        let text = self.on_wire(&["ip", "-s", "-j", "link", "show", wire])?;
        let value: Value = serde_json::from_str(&text)?;
        value[0]["stats64"]["rx"]["packets"]
            .as_u64()
            .context("ip shows no packet count")
    }

    fn on_wire(&self, words: &[&str]) -> Result<String> {
        let output = self
            .guest
            .entrance()
            .command(words[0])
            .args(&words[1..])
            .output()?;
        ensure!(
            output.status.success(),
            "`{}`: {}",
            words.join(" "),
            output.status
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn in_guest(&mut self, line: &str) -> Result<String> {
        let limit = SLACK + Duration::from_secs(self.seconds);
        let (outcome, text) = self.guest.output(&["bash", "-c", line], limit)?;
        ensure!(
            outcome == Outcome::Exited(0),
            "`{line}` in the guest: {outcome:?} {text}"
        );
        Ok(text.trim_end().to_owned())
    }
}
