// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit ping`: replies to requests on an ADI, and sends them.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_adi::{Adi, Buffer, Config, QueuePair, Wakeup};
use anyhow::{bail, ensure, Context, Result};

use crate::output::counted;
use crate::station::{Received, Station};
use crate::traffic_args::Ping;

/// The maximum number of frames received at once.
const BURST: usize = 32;
/// The maximum number of outstanding requests.
const MAX_OUTSTANDING: usize = 1024;
/// The interval of ARP requests, and the least time from the last one until the target counts as absent.
const ARP_INTERVAL: Duration = Duration::from_millis(500);
/// The minimum number of unanswered ARP requests until the target counts as absent.
const MIN_ARP_TRIES: u64 = 3;

pub(crate) fn run(args: &Ping) -> Result<ExitCode> {
    let name = args.adi.resolve()?;
    let adi = Adi::open(&name)?;
    let config = Config {
        pairs: 1,
        ..Config::default()
    };
    let mut pairs = adi.start(&config)?;
    let pair = pairs.pop().context("the ADI has no queues")?;
    let station = Station {
        mac: adi.info().mac,
        ip: args.ip,
        // Two bytes are sufficient to distinguish processes.
        id: std::process::id() as u16,
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let mut pinger = Pinger {
        args,
        station,
        pair,
        stop,
        peer: Peer::Unknown { arp_requests: 0 },
        first_arp: None,
        outstanding: VecDeque::new(),
        stats: Stats::default(),
    };
    if !args.quiet {
        let mac = pinger.station.mac.map(|b| format!("{b:02x}")).join(":");
        print(format_args!("{} is at {mac} ({name})", args.ip))?;
    }
    let result = pinger.run();
    if let Some(target) = args.target {
        match pinger.peer {
            Peer::Unknown { arp_requests } if arp_requests > 0 => {
                let requests = counted(arp_requests, "ARP request");
                print(format_args!(
                    "no answer to ARP from {target}: {requests} sent"
                ))?;
            }
            Peer::Unknown { .. } | Peer::Known(_) => pinger.stats.print()?,
        }
    }
    if let Err(error) = result {
        let fault = adi.fault().ok().filter(|fault| fault.reason.get() != 0);
        return match fault {
            Some(fault) => Err(error.context(format!(
                "a queue of the ADI was stopped: reason {}, address {:#x}",
                fault.reason.get(),
                fault.address.get()
            ))),
            None => Err(error),
        };
    }
    let lost = args.target.is_some() && pinger.stats.received < pinger.stats.sent.max(1);
    Ok(ExitCode::from(u8::from(lost)))
}

/// Prints a line. (`println!` panics when the reader has closed the pipe.)
fn print(line: fmt::Arguments<'_>) -> Result<()> {
    writeln!(io::stdout(), "{line}")?;
    Ok(())
}

#[derive(Default)]
struct Stats {
    sent: u64,
    received: u64,
    answered: u64,
    times: Vec<Duration>,
}

impl Stats {
    fn print(&mut self) -> Result<()> {
        let (sent, received) = (self.sent, self.received);
        let lost = (sent - received.min(sent)) * 100 / sent.max(1);
        print(format_args!(
            "{} sent, {received} received, {lost} % lost",
            counted(sent, "packet")
        ))?;
        self.times.sort_unstable();
        if let (Some(min), Some(max)) = (self.times.first(), self.times.last()) {
            let median = self.times[self.times.len() / 2];
            let us = |t: &Duration| t.as_nanos() as f64 / 1000.0;
            print(format_args!(
                "round trip: min {:.1}, median {:.1}, max {:.1} µs",
                us(min),
                us(&median),
                us(max)
            ))?;
        }
        Ok(())
    }
}

/// The state of the target's MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    /// It is unknown, after that many requests.
    Unknown { arp_requests: u64 },
    /// It is known.
    Known([u8; 6]),
}

struct Pinger<'a> {
    args: &'a Ping,
    station: Station,
    pair: QueuePair,
    stop: Arc<AtomicBool>,
    peer: Peer,
    /// The time of the first ARP request.
    first_arp: Option<Instant>,
    /// The sequence numbers of outstanding requests, and their send times.
    outstanding: VecDeque<(u16, Instant)>,
    stats: Stats,
}

impl Peer {
    fn is_unknown(self) -> bool {
        matches!(self, Self::Unknown { .. })
    }
}

/// The result of [`Pinger::send_request`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    /// An echo request was sent, or too many are under way.
    Echo,
    /// An ARP request was sent.
    Arp,
    /// The target has left enough ARP requests unanswered to count as absent.
    Absent,
}

/// Returns whether a target counts as absent: enough ARP requests are unanswered, and the first one for the
/// time in which a reply must come.
fn is_absent(args: &Ping, arp_requests: u64, waited: Duration) -> bool {
    let timeout = Duration::from_millis(args.timeout);
    waited >= timeout && arp_requests >= args.count.max(MIN_ARP_TRIES)
}

impl Pinger<'_> {
    fn run(&mut self) -> Result<()> {
        let start = Instant::now();
        let end = self.args.deadline.map(|deadline| start + deadline);
        let interval = Duration::from_millis(self.args.interval);
        let timeout = Duration::from_millis(self.args.timeout);
        let spin = Duration::from_micros(self.args.spin);
        let mut next = start;
        let mut last_frame = start;
        let mut frames = Vec::with_capacity(BURST);
        while !self.stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            if end.is_some_and(|end| now >= end) {
                return Ok(());
            }
            while let Some(&(_, at)) = self.outstanding.front() {
                if now < at + timeout {
                    break;
                }
                self.outstanding.pop_front();
            }
            let idle = self.outstanding.is_empty();
            if let Some(target) = self.args.target {
                let wanted = self.stats.sent < self.args.count;
                if !wanted && idle {
                    return Ok(());
                }
                let due = !interval.is_zero() || idle || self.peer.is_unknown();
                if wanted && due && now >= next {
                    match self.send_request(target, now)? {
                        Request::Echo => next = now + interval,
                        Request::Arp => next = now + ARP_INTERVAL,
                        Request::Absent => return Ok(()),
                    }
                }
            }
            self.pair.rx.receive(&mut frames, BURST)?;
            if frames.is_empty() {
                if now < last_frame + spin {
                    std::hint::spin_loop();
                    continue;
                }
                let until = [
                    end,
                    Some(next),
                    self.outstanding.front().map(|o| o.1 + timeout),
                ];
                let until = until.into_iter().flatten().filter(|at| *at > now).min();
                let rest = until
                    .map(|at| at - now)
                    .unwrap_or(Duration::from_millis(200));
                match self.pair.wait(Some(rest.min(Duration::from_millis(200))))? {
                    Wakeup::Released => bail!("the ADI is taken away"),
                    Wakeup::Fault => bail!("the ADI has a fault"),
                    Wakeup::Ready | Wakeup::Timeout => continue,
                }
            }
            last_frame = now;
            for frame in &frames {
                self.received(frame)?;
            }
            frames.clear();
        }
        Ok(())
    }

    /// Sends the next echo request, or an ARP request while the target's MAC address is unknown.
    fn send_request(&mut self, target: Ipv4Addr, now: Instant) -> Result<Request> {
        let peer = match self.peer {
            Peer::Known(peer) => peer,
            Peer::Unknown { arp_requests } => {
                let first = *self.first_arp.get_or_insert(now);
                if is_absent(self.args, arp_requests, now.duration_since(first)) {
                    return Ok(Request::Absent);
                }
                let frame = self.station.who_has(target);
                self.send(&frame.context("an ARP request that cannot be")?)?;
                self.peer = Peer::Unknown {
                    arp_requests: arp_requests + 1,
                };
                return Ok(Request::Arp);
            }
        };
        if self.outstanding.len() >= MAX_OUTSTANDING {
            return Ok(Request::Echo);
        }
        let sequence = self.stats.sent as u16; // wraps, as sequence numbers do
        let payload = vec![0xA5; self.args.size.into()];
        let frame = self
            .station
            .echo_request((peer, target), sequence, &payload);
        self.send(&frame.context("an echo request that cannot be")?)?;
        self.outstanding.push_back((sequence, now));
        self.stats.sent += 1;
        Ok(Request::Echo)
    }

    fn received(&mut self, frame: &Buffer) -> Result<()> {
        match self.station.receive(frame) {
            Received::Answer(answer) => {
                self.send(&answer)?;
                self.stats.answered += 1;
            }
            Received::Neighbour(ip, mac) if Some(ip) == self.args.target => {
                self.peer = Peer::Known(mac);
            }
            Received::Echo {
                from,
                sequence,
                len,
            } => {
                let found = self.outstanding.iter().position(|o| o.0 == sequence);
                if let Some((_, at)) = found.and_then(|n| self.outstanding.remove(n)) {
                    let time = at.elapsed();
                    self.stats.received += 1;
                    self.stats.times.push(time);
                    if !self.args.quiet {
                        let us = time.as_nanos() as f64 / 1000.0;
                        print(format_args!(
                            "{len} bytes from {from}: seq={sequence} time={us:.1} µs"
                        ))?;
                    }
                }
            }
            Received::Neighbour(..) | Received::Nothing => {}
        }
        Ok(())
    }

    fn send(&mut self, frame: &[u8]) -> Result<()> {
        self.pair.tx.reclaim()?;
        let buffer = self.pair.pool().copy(frame);
        let buffer = buffer.context("no buffer is free: the ADI does not send")?;
        let sent = self.pair.tx.send(&mut std::iter::once(buffer))?;
        ensure!(sent == 1, "the ring is full: the ADI does not send");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        ping: Ping,
    }

    #[test]
    fn a_target_is_absent_after_enough_requests_and_the_timeout() {
        let args = |words: &str| {
            let words = format!("ping --adi a --ip 10.0.0.1 {words} 10.0.0.2");
            Words::try_parse_from(words.split_whitespace())
                .unwrap()
                .ping
        };
        let seconds = Duration::from_secs;
        let usual = args("");
        assert!(!is_absent(&usual, 3, seconds(9)));
        assert!(is_absent(&usual, 4, seconds(2)));
        assert!(is_absent(&args("-c 1"), 3, seconds(1)));
        let patient = args("-c 5 -W 30000");
        assert!(!is_absent(&patient, 50, seconds(29)));
        assert!(is_absent(&patient, 60, seconds(30)));
    }
}
