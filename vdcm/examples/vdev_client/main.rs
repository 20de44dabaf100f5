// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A driver for a composed device in a process of its own, over the `vfio_user` crate's client: for
//! tests of the daemon, and as an example for a container that has a device's socket and nothing
//! else.
//!
//! `vdev_client SOCKET ADDRESS [PEER]` sets up a queue pair with the IPv4 address ADDRESS and then
//! executes the commands on its standard input, one a line. Each prints a line that starts with
//! `ok` or `error`. It answers ARP and echo requests while it executes `serve`.

mod device;
mod frames;
mod queues;
mod vf;

use std::io::{BufRead, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};

use crate::device::Device;
use crate::frames::{Received, Station};
use crate::queues::Pair;
use crate::vf::Vf;

/// The time in which an answer must come.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The driver: a function whose first queue pair may be up.
struct Driver {
    vf: Vf,
    pair: Option<Pair>,
    ip: Ipv4Addr,
}

impl Driver {
    fn start(device: Device, ip: Ipv4Addr) -> Result<Self> {
        let vf = Vf::start(device)?;
        Ok(Self { vf, pair: None, ip })
    }

    fn up(&mut self) -> Result<String> {
        let pair = Pair::start(&mut self.vf)?;
        let mac = pair.mac.map(|byte| format!("{byte:02x}")).join(":");
        self.pair = Some(pair);
        Ok(mac)
    }

    /// Receives until `done` returns a value, and answers requests meanwhile.
    fn receive<T>(
        &mut self,
        timeout: Duration,
        mut done: impl FnMut(&Received) -> Option<T>,
    ) -> Result<Option<T>> {
        let end = Instant::now() + timeout;
        loop {
            let pair = self.pair.as_mut().context("the queues are not up")?;
            let station = Station {
                mac: pair.mac,
                ip: self.ip,
            };
            while let Some(frame) = pair.receive(&mut self.vf)? {
                let received = station.receive(&frame);
                if let Received::Answer(answer) = &received {
                    pair.send(&mut self.vf, answer)?;
                }
                if let Some(value) = done(&received) {
                    return Ok(Some(value));
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            pair.wait(&mut self.vf, left)?;
        }
    }

    fn ping(&mut self, peer: Ipv4Addr, count: u16) -> Result<String> {
        let pair = self.pair.as_mut().context("the queues are not up")?;
        let station = Station {
            mac: pair.mac,
            ip: self.ip,
        };
        pair.send(&mut self.vf, &station.who_has(peer))?;
        let mac = self
            .receive(TIMEOUT, |received| match received {
                Received::Neighbour(ip, mac) if *ip == peer => Some(*mac),
                _ => None,
            })?
            .with_context(|| format!("no answer to ARP from {peer}"))?;
        for sequence in 0..count {
            let pair = self.pair.as_mut().context("the queues are not up")?;
            pair.send(&mut self.vf, &station.echo_request(mac, peer, sequence)?)?;
            let answered = self.receive(TIMEOUT, |received| match received {
                Received::Echo(from, got) if (*from, *got) == (peer, sequence) => Some(()),
                _ => None,
            })?;
            ensure!(answered.is_some(), "no answer to echo request {sequence}");
        }
        let pair = self.pair.as_mut().context("the queues are not up")?;
        pair.settle(&mut self.vf)?;
        Ok(format!(
            "{count} echo replies, {} interrupts",
            pair.interrupts
        ))
    }

    fn command(&mut self, line: &str) -> Result<String> {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["describe"] => self.vf.describe(),
            ["up"] => self.up(),
            ["down"] => {
                let pair = self.pair.take().context("the queues are not up")?;
                pair.stop(&mut self.vf).map(|()| String::new())
            }
            ["ping", peer, count] => self.ping(peer.parse()?, count.parse()?),
            ["serve", seconds] => {
                let time = Duration::from_secs(seconds.parse()?);
                let mut answers = 0;
                self.receive(time, |received| {
                    answers += u32::from(matches!(received, Received::Answer(_)));
                    None::<()>
                })?;
                Ok(format!("{answers} answers"))
            }
            // Memory that no queue uses is mapped and unmapped under running queues.
            ["map", "more"] => self.vf.map_more().map(|()| String::new()),
            ["unmap", "more"] => self.vf.unmap_more().map(|()| String::new()),
            // The memory that all queues use.
            ["unmap", "all"] => self.vf.unmap_all().map(|()| String::new()),
            ["reset"] => {
                self.pair = None;
                self.vf.reset().map(|()| String::new())
            }
            // Waits until the device is in reset.
            ["await", "reset"] => self.vf.await_reset(TIMEOUT).map(|()| String::new()),
            ["restart"] => {
                self.pair = None;
                self.vf.restart(TIMEOUT).map(|()| String::new())
            }
            _ => bail!("unknown command {line:?}"),
        }
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: vdev_client SOCKET ADDRESS";
    let socket = arguments.next().context(usage)?;
    let ip = arguments.next().context(usage)?;
    let mut driver = Driver::start(Device::connect(Path::new(&socket))?, ip.parse()?)?;
    println!("ok connected");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match driver.command(&line) {
            Ok(text) => println!("ok {line}: {text}"),
            Err(error) => println!("error {line}: {error:#}"),
        }
        std::io::stdout().flush()?;
    }
    Ok(())
}
