// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest with all NICs, and the measurements that can be made of one of them.

use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use adit_qemu_tests::flavour::Flavour;
use adit_qemu_tests::guest::{Guest, GuestConfig, Outcome};
use adit_qemu_tests::nic::Nic;
use adit_qemu_tests::wire;
use anyhow::{bail, ensure, Context, Result};

use super::contender::Contender;
use super::cpu::{innermost, CpuTime, Processes};
use crate::build;

/// Timeout of a step in the guest, in addition to the time that it measures.
const SLACK: Duration = Duration::from_secs(60);

/// Source address of the sender on the wire; nothing replies to it.
const STRANGER: &str = "02:00:00:00:00:fe";

/// Time before a measurement window opens, so that it sees the steady state.
const SETTLE: Duration = Duration::from_millis(700);

/// A NIC as the guest sees it.
#[derive(Debug)]
pub(crate) struct Interface {
    name: String,
    mac: String,
    pub(crate) driver: String,
}

/// Direction of a stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Direction {
    GuestToHost,
    HostToGuest,
}

/// Packet rate and the CPU time used in the same window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PacketRate {
    pub(crate) per_second: f64,
    pub(crate) cpu_per_second: CpuTimePerSecond,
}

/// CPU seconds per second: without vCPU threads, and all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuTimePerSecond {
    pub(crate) device_side: f64,
    pub(crate) whole: f64,
    pub(crate) device: f64,
}

impl CpuTimePerSecond {
    fn new(used: CpuTime, window: Duration) -> Self {
        let seconds = window.as_secs_f64();
        Self {
            device_side: used.device_side() / seconds,
            whole: used.whole() / seconds,
            device: used.device / seconds,
        }
    }
}

/// The running guest.
pub(crate) struct Lab {
    pub(crate) guest: Guest,
    pub(crate) interfaces: Vec<Interface>,
    qemu: u32,
    /// The device process of each NIC that has one.
    devices: Vec<Option<u32>>,
    server: Child,
}

impl Lab {
    /// Boots the guest with these NICs, in the order of [`Contender::index`].
    pub(crate) fn start(nics: Vec<Nic>) -> Result<Self> {
        let (tree, image) = build::set_up(Flavour::Stock)?;
        let count = nics.len();
        let config = GuestConfig {
            nics,
            ..GuestConfig::default()
        };
        let mut guest = Guest::boot(&tree, &image, &config)?;
        let lines = in_guest(&mut guest, &["setup.sh", &count.to_string()], SLACK)?;
        let interfaces = lines
            .lines()
            .map(
                |line| match line.split_whitespace().collect::<Vec<_>>()[..] {
                    [name, mac, driver] => Ok(Interface {
                        name: name.into(),
                        mac: mac.into(),
                        driver: driver.into(),
                    }),
                    _ => bail!("setup.sh printed `{line}`"),
                },
            )
            .collect::<Result<Vec<_>>>()?;
        ensure!(interfaces.len() == count, "setup.sh printed\n{lines}");
        let server = guest
            .entrance()
            .command("iperf3")
            .arg("--server")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start iperf3 on the wire")?;
        let devices = (0..count)
            .map(|index| guest.nic(index).map(|process| innermost(process.id())))
            .collect();
        Ok(Self {
            qemu: innermost(guest.qemu_pid()),
            devices,
            guest,
            interfaces,
            server,
        })
    }

    /// Prepares a measurement: sets the contender's features, and resolves addresses.
    pub(crate) fn prepare(&mut self, contender: Contender) -> Result<()> {
        if contender.ours {
            let state = if contender.gro_hw { "on" } else { "off" };
            let dev = self.interface(contender).name.clone();
            self.run_in_guest(&["ethtool", "-K", &dev, "rx-gro-hw", state])?;
        }
        // Both ends resolve each other's addresses before anything is timed.
        let guest = wire::addresses(contender.index, 2).0;
        self.on_the_wire(&["ping", "-n", "-q", "-c", "2", "-i", "0.2", &guest])?;
        Ok(())
    }

    /// Returns the TCP goodput of one stream in bit/s, as measured by the receiver.
    pub(crate) fn goodput(
        &mut self,
        contender: Contender,
        direction: Direction,
        time: Duration,
    ) -> Result<f64> {
        let host = wire::addresses(contender.index, 1).0;
        let seconds = time.as_secs().to_string();
        let mut words = vec!["iperf3", "--client", &host, "--time", &seconds];
        words.extend(["--omit", "1", "--json", "--connect-timeout", "5000"]);
        if direction == Direction::HostToGuest {
            words.push("--reverse");
        }
        let text = self.run_in_guest(&words)?;
        let report: serde_json::Value =
            serde_json::from_str(&text).context("iperf3 printed no JSON")?;
        report["end"]["sum_received"]["bits_per_second"]
            .as_f64()
            .with_context(|| format!("iperf3 reports: {}", report["error"]))
    }

    /// Measures 64-byte frames sent by the guest, counted at the TAP device.
    pub(crate) fn transmit(&mut self, contender: Contender, time: Duration) -> Result<PacketRate> {
        let dev = self.interface(contender).name.clone();
        let seconds = (time + 2 * SETTLE).as_secs_f64().to_string();
        let remote = self.guest.start(&["pktgen-send", &dev, STRANGER, &seconds]);
        remote.input(&[]);
        let result = self.window_after_first(contender, time);
        let mut printed = Vec::new();
        let limit = Some(time + SLACK);
        let outcome = self
            .guest
            .follow(&remote, limit, &mut |frame| printed.extend(&frame.data))?;
        ensure!(
            outcome == Outcome::Exited(0),
            "pktgen-send: {outcome:?}\n{}",
            String::from_utf8_lossy(&printed)
        );
        result
    }

    /// Waits until frames arrive, then counts for `time`.
    fn window_after_first(&self, contender: Contender, time: Duration) -> Result<PacketRate> {
        let start = Instant::now();
        let first = self.frames_sent(contender)?;
        while self.frames_sent(contender)? < first + 1000 {
            ensure!(start.elapsed() < SLACK, "the guest sends nothing");
            sleep(Duration::from_millis(5));
        }
        sleep(SETTLE);
        let processes = self.processes(contender);
        let (frames, cpu, start) = (
            self.frames_sent(contender)?,
            processes.cpu_time()?,
            Instant::now(),
        );
        sleep(time);
        let (frames, cpu, window) = (
            self.frames_sent(contender)? - frames,
            processes.cpu_time()? - cpu,
            start.elapsed(),
        );
        Ok(PacketRate {
            per_second: frames as f64 / window.as_secs_f64(),
            cpu_per_second: CpuTimePerSecond::new(cpu, window),
        })
    }

    /// Measures 64-byte frames sent to the guest, offered at `rate` per second: those that its
    /// driver delivers.
    pub(crate) fn receive(
        &mut self,
        contender: Contender,
        rate: u32,
        time: Duration,
    ) -> Result<PacketRate> {
        let interface = self.interface(contender);
        let (dev, guest_mac) = (interface.name.clone(), interface.mac.clone());
        let address = wire::addresses(contender.index, 2).0;
        // The ports vary, so that a NIC with several queues can use them.
        let packet = format!(
            "{{ eth(da={guest_mac}, sa={STRANGER}), ipv4(sa=10.99.{}.9, da={address}), \
             udp(sp=dinc(1024, 1087), dp=9), fill(0, 18) }}",
            contender.index
        );
        let mut sender = self
            .guest
            .entrance()
            .command("trafgen")
            .args(["--dev", &wire::interface(contender.index), "--cpus", "1"])
            .args(["--rate", &format!("{rate}pps"), "--no-cpu-stats", &packet])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start trafgen on the wire")?;
        let result = self.count_received(contender, &dev, time);
        // nsenter(1) exits with its child, not the other way round.
        end(&mut sender);
        result
    }

    fn count_received(
        &mut self,
        contender: Contender,
        dev: &str,
        time: Duration,
    ) -> Result<PacketRate> {
        sleep(SETTLE);
        let processes = self.processes(contender);
        let (cpu, start) = (processes.cpu_time()?, Instant::now());
        let seconds = time.as_secs_f64().to_string();
        let text = in_guest(&mut self.guest, &["receive.sh", dev, &seconds], SLACK)?;
        let (cpu, window) = (processes.cpu_time()? - cpu, start.elapsed());
        let (frames, nanoseconds) = text
            .trim()
            .split_once(' ')
            .and_then(|(frames, time)| {
                Some((frames.parse::<f64>().ok()?, time.parse::<f64>().ok()?))
            })
            .with_context(|| format!("receive.sh printed `{text}`"))?;
        Ok(PacketRate {
            per_second: frames / nanoseconds * 1e9,
            cpu_per_second: CpuTimePerSecond::new(cpu, window),
        })
    }

    /// Returns round-trip times in microseconds, from the wire to the guest and back.
    pub(crate) fn round_trips(&self, contender: Contender, count: u32) -> Result<Vec<f64>> {
        let (count, guest) = (count.to_string(), wire::addresses(contender.index, 2).0);
        let text =
            self.on_the_wire(&["ping", "-n", "-c", &count, "-i", "0.005", "-W", "2", &guest])?;
        Ok(times(&text))
    }

    /// Returns the CPU time that QEMU and the first NIC's process use when idle.
    pub(crate) fn idle(&self, time: Duration) -> Result<CpuTimePerSecond> {
        let processes = Processes {
            qemu: self.qemu,
            device: self.devices.first().copied().flatten(),
        };
        sleep(SETTLE);
        let (cpu, start) = (processes.cpu_time()?, Instant::now());
        sleep(time);
        let used = processes.cpu_time()? - cpu;
        Ok(CpuTimePerSecond::new(used, start.elapsed()))
    }

    /// Runs a command at the other end of the wire and returns its output.
    pub(crate) fn on_the_wire(&self, words: &[&str]) -> Result<String> {
        let (program, args) = words.split_first().context("no command")?;
        let output = self.guest.entrance().command(program).args(args).output()?;
        ensure!(
            output.status.success(),
            "`{}` on the wire: {} {}",
            words.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn interface(&self, contender: Contender) -> &Interface {
        &self.interfaces[contender.index]
    }

    fn processes(&self, contender: Contender) -> Processes {
        Processes {
            qemu: self.qemu,
            device: self.devices.get(contender.index).copied().flatten(),
        }
    }

    /// Returns the number of frames from the guest on the contender's wire: those that its TAP
    /// device received.
    fn frames_sent(&self, contender: Contender) -> Result<u64> {
        // This file shows the network of its process.
        let path = format!("/proc/{}/net/dev", self.qemu);
        let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        received(&text, &wire::interface(contender.index))
            .with_context(|| format!("{path} has no wire{}", contender.index))
    }

    fn run_in_guest(&mut self, words: &[&str]) -> Result<String> {
        output(&mut self.guest, words, SLACK)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        end(&mut self.server);
    }
}

/// Ends the process inside the namespaces; nsenter(1), which waits for it, follows.
fn end(child: &mut Child) {
    let inner = innermost(child.id());
    if let Some(pid) = i32::try_from(inner)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Runs a script of `qemu-tests/bench`.
pub(super) fn in_guest(guest: &mut Guest, words: &[&str], limit: Duration) -> Result<String> {
    let script = format!("/repo/qemu-tests/bench/{}", words.first().unwrap_or(&""));
    let mut all = vec![script.as_str()];
    all.extend(words.iter().skip(1));
    output(guest, &all, limit)
}

fn output(guest: &mut Guest, words: &[&str], limit: Duration) -> Result<String> {
    let (outcome, text) = guest.output(words, limit)?;
    ensure!(
        outcome == Outcome::Exited(0),
        "`{}` in the guest: {outcome:?}\n{}",
        words.join(" "),
        text.trim()
    );
    Ok(text)
}

/// Returns the number of packets that `interface` received, from `/proc/net/dev` (proc_pid_net(5)).
fn received(text: &str, interface: &str) -> Option<u64> {
    let fields = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(interface)?.strip_prefix(':'))?;
    fields.split_whitespace().nth(1)?.parse().ok()
}

/// Returns the times in the output of ping(8), in microseconds.
fn times(text: &str) -> Vec<f64> {
    text.lines()
        .filter_map(|line| {
            line.split_once("time=")?
                .1
                .strip_suffix(" ms")?
                .parse::<f64>()
                .ok()
        })
        .map(|milliseconds| milliseconds * 1000.0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_of_an_interface_are_found() {
        let text = "Inter-| Receive\n wire10: 1 2 0\n  wire1: 640 10 0 0 0 0 0 0 7 8 0\n";
        assert_eq!(received(text, "wire1"), Some(10));
        assert_eq!(received(text, "wire0"), None);
    }

    #[test]
    fn round_trips_are_read() {
        let text = "64 bytes from 10.99.0.2: icmp_seq=1 ttl=64 time=0.250 ms\n\
                    64 bytes from 10.99.0.2: icmp_seq=2 ttl=64 time=12 ms\nrtt min/avg\n";
        assert_eq!(times(text), [250.0, 12000.0]);
    }
}
