// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A driver for a composed device in a process of its own, over the `vfio_user` crate's client: for
//! tests of the daemon, and as an example for a container that has a device's socket and nothing
//! else.
//!
//! `vdev_client SOCKET ADDRESS [PAIRS]` sets up queue pairs (one by default) with the IPv4 address
//! ADDRESS and then executes the commands on its standard input, one a line. Each prints a line that
//! starts with `ok` or `error`. It answers ARP and echo requests while it executes `serve` or `flows`.

mod device;
mod frames;
#[allow(dead_code, reason = "its other functions are for tests")]
mod queues;
#[allow(dead_code, reason = "its other functions are for tests")]
mod vf;

use std::io::{BufRead, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use adit_function::vport;
use adit_uapi::virtchnl2::{op, RssKey};
use anyhow::{bail, ensure, Context, Result};
use zerocopy::little_endian::U16;
use zerocopy::IntoBytes;

use crate::device::Device;
use crate::frames::{Received, Station};
use crate::queues::Pair;
use crate::vf::Vf;

/// The length of the hash's key.
const RSS_KEY_LEN: u16 = vport::RSS_KEY_LEN as u16;
/// The time in which an answer must come.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The time in which the frames must come that another station was asked to send.
const PATIENCE: Duration = Duration::from_secs(60);

/// The time between looks at the queues if there are several: a thread sleeps on one vector.
const PAUSE: Duration = Duration::from_millis(1);

/// The driver: a function whose queue pairs may be up.
struct Driver {
    vf: Vf,
    /// The number of pairs.
    count: u16,
    /// Empty while the queues are down.
    pairs: Vec<Pair>,
    ip: Ipv4Addr,
}

impl Driver {
    fn start(device: Device, ip: Ipv4Addr, count: u16) -> Result<Self> {
        Ok(Self {
            vf: Vf::start_with(device, count)?,
            count,
            pairs: Vec::new(),
            ip,
        })
    }

    fn up(&mut self) -> Result<String> {
        self.pairs = Pair::start_all(&mut self.vf, self.count)?;
        if self.count > 1 {
            self.set_key()?;
        }
        let mac = self.station()?.mac.map(|byte| format!("{byte:02x}"));
        Ok(mac.join(":"))
    }

    /// Sets the key of the hash: with the initial one all flows have the same.
    fn set_key(&mut self) -> Result<()> {
        let header = RssKey {
            key_len: U16::new(RSS_KEY_LEN),
            ..RssKey::default()
        };
        let key: Vec<_> = (1..).take(RSS_KEY_LEN.into()).collect();
        let message = [header.as_bytes(), &key].concat();
        self.vf.ok(op::SET_RSS_KEY, &message).map(drop)
    }

    /// The first pair; fails if the queues are down.
    fn first(&mut self) -> Result<&mut Pair> {
        self.pairs.first_mut().context("the queues are not up")
    }

    fn station(&mut self) -> Result<Station> {
        let (mac, ip) = (self.first()?.mac, self.ip);
        Ok(Station { mac, ip })
    }

    /// Receives until `done` returns a value for a frame and the number of its queue, and answers
    /// requests meanwhile.
    fn receive<T>(
        &mut self,
        timeout: Duration,
        mut done: impl FnMut(&Received, usize) -> Option<T>,
    ) -> Result<Option<T>> {
        let end = Instant::now() + timeout;
        let station = self.station()?;
        loop {
            for (queue, pair) in self.pairs.iter_mut().enumerate() {
                while let Some(frame) = pair.receive(&mut self.vf)? {
                    let received = station.receive(&frame);
                    if let Received::Answer(answer) = &received {
                        pair.send(&mut self.vf, answer)?;
                    }
                    if let Some(value) = done(&received, queue) {
                        return Ok(Some(value));
                    }
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            match &mut self.pairs[..] {
                [pair] => pair.wait(&mut self.vf, left)?,
                pairs => {
                    for pair in pairs {
                        pair.wait(&mut self.vf, PAUSE.min(left))?;
                    }
                }
            }
        }
    }

    /// Receives `count` of UDP's datagrams; returns their number in each queue, also if fewer come.
    fn flows(&mut self, count: u32) -> Result<String> {
        let mut seen = vec![0_u32; self.pairs.len()];
        self.receive(PATIENCE, |received, queue| {
            seen[queue] += u32::from(matches!(received, Received::Datagram));
            (seen.iter().sum::<u32>() >= count).then_some(())
        })?;
        let seen: Vec<_> = seen.iter().map(u32::to_string).collect();
        Ok(seen.join(" "))
    }

    fn ping(&mut self, peer: Ipv4Addr, count: u16) -> Result<String> {
        let station = self.station()?;
        self.send(0, &station.who_has(peer))?;
        let mac = self
            .receive(TIMEOUT, |received, _| match received {
                Received::Neighbour(ip, mac) if *ip == peer => Some(*mac),
                _ => None,
            })?
            .with_context(|| format!("no answer to ARP from {peer}"))?;
        for sequence in 0..count {
            // The queues take turns.
            let queue = usize::from(sequence) % self.pairs.len();
            self.send(queue, &station.echo_request(mac, peer, sequence)?)?;
            let answered = self.receive(TIMEOUT, |received, _| match received {
                Received::Echo(from, got) if (*from, *got) == (peer, sequence) => Some(()),
                _ => None,
            })?;
            ensure!(answered.is_some(), "no answer to echo request {sequence}");
        }
        let mut interrupts = 0;
        for pair in &mut self.pairs {
            pair.settle(&mut self.vf)?;
            interrupts += pair.interrupts;
        }
        Ok(format!("{count} echo replies, {interrupts} interrupts"))
    }

    fn send(&mut self, queue: usize, frame: &[u8]) -> Result<()> {
        let pair = self.pairs.get_mut(queue).context("the queues are not up")?;
        pair.send(&mut self.vf, frame)
    }

    fn command(&mut self, line: &str) -> Result<String> {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["describe"] => self.vf.describe(),
            ["up"] => self.up(),
            ["down"] => {
                ensure!(self.pairs.len() == 1, "{} pairs are up", self.pairs.len());
                let pair = self.pairs.remove(0);
                pair.stop(&mut self.vf).map(|()| String::new())
            }
            ["ping", peer, count] => self.ping(peer.parse()?, count.parse()?),
            ["serve", count] => {
                let (mut answers, count) = (0_u32, count.parse()?);
                let all = self.receive(PATIENCE, |received, _| {
                    answers += u32::from(received.is_echo_reply());
                    (answers >= count).then_some(())
                })?;
                ensure!(all.is_some(), "{answers} echo requests have come");
                Ok(format!("{answers} answers"))
            }
            ["flows", count] => self.flows(count.parse()?),
            // Memory that no queue uses is mapped and unmapped under running queues.
            ["map", "more"] => self.vf.map_more().map(|()| String::new()),
            ["unmap", "more"] => self.vf.unmap_more().map(|()| String::new()),
            // The memory that all queues use.
            ["unmap", "all"] => self.vf.unmap_all().map(|()| String::new()),
            ["reset"] => {
                self.pairs.clear();
                self.vf.reset().map(|()| String::new())
            }
            // Waits until the device is in reset.
            ["await", "reset"] => self.vf.await_reset(TIMEOUT).map(|()| String::new()),
            ["restart"] => {
                self.pairs.clear();
                self.vf.restart(TIMEOUT).map(|()| String::new())
            }
            _ => bail!("unknown command {line:?}"),
        }
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: vdev_client SOCKET ADDRESS [PAIRS]";
    let socket = arguments.next().context(usage)?;
    let ip = arguments.next().context(usage)?;
    let count = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let device = Device::connect(Path::new(&socket))?;
    let mut driver = Driver::start(device, ip.parse()?, count)?;
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
