// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packets of many connections to services, and a core that processes them.

use std::time::{Duration, Instant};

use super::load::{port_of, service, Node, GATEWAY, SERVICE_PORT};
use adit_pipeline::p4::{Direction, Engine, Input, Output, Worker, FIRST_HOST_PORT};

/// Packets that are passed to the engine at once.
pub(super) const BATCH: usize = 32;
/// Offsets of the headers: Ethernet, IPv4, TCP.
const IP: usize = 14;
const TCP: usize = 34;
/// The length of the headers.
const HEADERS: usize = 54;

const SYN: u8 = 2;
const ACK: u8 = 16;

/// The packets that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A source that is refused first: the parser, the port.
    Martian,
    /// To another MAC address: also the filter of all packets.
    Switched,
    /// Of no connection, and not to a service: also the tracker, routes, filters, and no commit.
    Denied,
    /// Of established connections, to endpoints and back in turn: data.
    Established,
    /// Of established connections to endpoints.
    ToEndpoint,
    /// The first segments of connections to services.
    Opening,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Martian => "parse, port; dropped",
            Kind::Switched => "and filter; switched",
            Kind::Denied => "and tracker, route, firewall; denied",
            Kind::Established => "established, both directions",
            Kind::ToEndpoint => "established, to endpoints",
            Kind::Opening => "new connections",
        }
    }
}

/// The client's end of a connection.
fn client(n: u32) -> (u32, u16) {
    (0x6440_0000 + n / 8, 1024 + (n % 8) as u16 * 7919)
}

/// Established connections, by their number: the endpoint of each.
pub(super) struct Connections {
    endpoints: Vec<(u32, u16)>,
}

impl Connections {
    fn service(&self, n: u32, node: &Node) -> u32 {
        service(n.wrapping_mul(0x9e37_79b1) % node.services)
    }

    /// The number of connections.
    pub(super) fn count(&self) -> u32 {
        self.endpoints.len() as u32
    }

    /// Opens connections, with three segments each.
    pub(super) fn open(node: &Node, count: u32) -> Connections {
        let mut core = Core::new(node);
        let mut connections = Connections {
            endpoints: Vec::with_capacity(count as usize),
        };
        let mut frame = frame(64);
        for n in 0..count {
            let (address, port) = client(n);
            let service = (connections.service(n, node), SERVICE_PORT);
            aim(&mut frame, (address, port), service, SYN, [1000, 0]);
            let endpoint = core.one(0, &frame).expect("a first segment was dropped");
            let from = port_of(endpoint.0);
            aim(
                &mut frame,
                endpoint,
                (address, port),
                SYN | ACK,
                [2000, 1001],
            );
            let to = core.one(from, &frame).expect("an answer was dropped");
            assert_eq!(to, (address, port), "an answer went elsewhere");
            aim(&mut frame, (address, port), service, ACK, [1001, 2001]);
            assert_eq!(
                core.one(0, &frame),
                Some(endpoint),
                "a segment went elsewhere"
            );
            connections.endpoints.push(endpoint);
        }
        connections
    }
}

/// A frame with IPv4 and TCP of a size.
fn frame(bytes: usize) -> Vec<u8> {
    let mut frame = vec![0x5a; bytes];
    frame[..HEADERS].fill(0);
    frame[12] = 8;
    let length = (bytes - IP) as u16;
    frame[IP] = 0x45;
    frame[IP + 2..IP + 4].copy_from_slice(&length.to_be_bytes());
    frame[IP + 8] = 64;
    frame[IP + 9] = 6;
    frame[TCP + 12] = 0x50;
    frame[TCP + 14..TCP + 16].copy_from_slice(&[0xff, 0xff]);
    frame
}

/// Sets addresses, ports, flags, sequence and acknowledgement numbers. Checksums are the device's.
fn aim(frame: &mut [u8], from: (u32, u16), to: (u32, u16), flags: u8, numbers: [u32; 2]) {
    frame[..6].copy_from_slice(&GATEWAY.to_be_bytes()[2..]);
    frame[IP + 12..IP + 16].copy_from_slice(&from.0.to_be_bytes());
    frame[IP + 16..IP + 20].copy_from_slice(&to.0.to_be_bytes());
    frame[TCP..TCP + 2].copy_from_slice(&from.1.to_be_bytes());
    frame[TCP + 2..TCP + 4].copy_from_slice(&to.1.to_be_bytes());
    frame[TCP + 4..TCP + 8].copy_from_slice(&numbers[0].to_be_bytes());
    frame[TCP + 8..TCP + 12].copy_from_slice(&numbers[1].to_be_bytes());
    frame[TCP + 13] = flags;
}

fn input(port: u32, frame: &[u8]) -> Input<'_> {
    Input {
        direction: match port < FIRST_HOST_PORT {
            true => Direction::NetToHost,
            false => Direction::HostToNet,
        },
        // As of a frame whose checksums the device has verified.
        checksums_verified: true,
        ..Input::new(port, frame)
    }
}

/// A core that processes packets.
struct Core {
    worker: Worker,
    now_ns: u64,
}

impl Core {
    fn new(node: &Node) -> Core {
        Core {
            worker: Engine::worker(&node.engine),
            now_ns: 1_000_000_000,
        }
    }

    /// Processes a frame. Returns where it is sent, unless it is dropped.
    fn one(&mut self, port: u32, frame: &[u8]) -> Option<(u32, u16)> {
        let mut to = None;
        self.now_ns += 100;
        self.worker
            .process(self.now_ns, &[input(port, frame)], &mut |_, output| {
                if let Output::Sent(sent) = output {
                    let word = |at: usize| sent.headers.get(at..at + 4)?.try_into().ok();
                    let address = word(IP + 16).map(u32::from_be_bytes);
                    let ports = word(TCP).map(u32::from_be_bytes);
                    to = address.zip(ports.map(|ports| ports as u16));
                }
            });
        to
    }
}

/// A core that processes packets of random connections.
pub(super) struct Forwarder<'a> {
    core: Core,
    node: &'a Node,
    connections: &'a Connections,
    kind: Kind,
    frames: Vec<(u32, Vec<u8>)>,
    random: u64,
    /// The number of the next new connection.
    next: u32,
    sent: u64,
}

/// The figures of a measurement.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    /// By the median batch.
    pub(super) mpps: f64,
    pub(super) batch_ns: f64,
    /// Of single packets, with the time of reading the clock.
    pub(super) p50_ns: u64,
    pub(super) p99_ns: u64,
    pub(super) p99_9_ns: u64,
    /// Packets that were sent, in percent.
    pub(super) sent_percent: f64,
}

impl<'a> Forwarder<'a> {
    pub(super) fn new(
        node: &'a Node,
        connections: &'a Connections,
        kind: Kind,
        sizes: &[usize],
        first_new: u32,
    ) -> Forwarder<'a> {
        Forwarder {
            core: Core::new(node),
            node,
            connections,
            kind,
            frames: (0..BATCH)
                .map(|n| (0, frame(sizes[n % sizes.len()])))
                .collect(),
            random: 0x1234_5678_9abc_def1,
            next: first_new,
            sent: 0,
        }
    }

    /// The number of the next new connection.
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    fn aim(&mut self) {
        for at in 0..self.frames.len() {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let count = self.connections.endpoints.len() as u64;
            let n = (self.random % count) as u32;
            let service = (self.connections.service(n, self.node), SERVICE_PORT);
            let (port, frame) = &mut self.frames[at];
            *port = 0;
            match self.kind {
                Kind::Martian => aim(frame, (0x7f00_0001, 1), service, ACK, [1, 1]),
                Kind::Switched => {
                    aim(frame, client(n), service, ACK, [1, 1]);
                    frame[5] ^= 0xff;
                }
                Kind::Denied => aim(frame, client(n), (0x0af4_0001 + n % 250, 9), SYN, [1, 0]),
                Kind::Established if self.random >> 40 & 1 == 1 => {
                    let endpoint = self.connections.endpoints[n as usize];
                    *port = port_of(endpoint.0);
                    aim(frame, endpoint, client(n), ACK, [2001, 1001]);
                }
                Kind::Established | Kind::ToEndpoint => {
                    aim(frame, client(n), service, ACK, [1001, 2001]);
                }
                Kind::Opening => {
                    let n = self.next;
                    self.next += 1;
                    let service = self.connections.service(n, self.node);
                    aim(frame, client(n), (service, SERVICE_PORT), SYN, [1000, 0]);
                }
            }
        }
    }

    /// Processes a batch and returns its duration in nanoseconds.
    pub(super) fn batch(&mut self) -> u64 {
        self.aim();
        let frames = &self.frames;
        let inputs: [Input<'_>; BATCH] = std::array::from_fn(|n| input(frames[n].0, &frames[n].1));
        let mut sent = 0;
        let before = Instant::now();
        self.core
            .worker
            .process(self.core.now_ns, &inputs, &mut |_, output| {
                sent += u64::from(matches!(output, Output::Sent(_)));
            });
        let ns = before.elapsed().as_nanos() as u64;
        self.core.now_ns += ns;
        self.sent += sent;
        ns
    }

    /// Processes a batch packet by packet.
    fn singles(&mut self, times: &mut Vec<u64>) {
        self.aim();
        for (port, frame) in &self.frames {
            let before = Instant::now();
            let mut sent = 0;
            let input = [input(*port, frame)];
            self.core
                .worker
                .process(self.core.now_ns, &input, &mut |_, output| {
                    sent += u64::from(matches!(output, Output::Sent(_)));
                });
            let ns = before.elapsed().as_nanos() as u64;
            self.core.now_ns += ns;
            self.sent += sent;
            times.push(ns);
        }
    }

    /// Measures batches, then single packets, for `time` each, or until `limit` packets.
    pub(super) fn measure(&mut self, time: Duration, limit: usize) -> Rate {
        let (mut batches, mut singles) = (Vec::new(), Vec::new());
        let start = Instant::now();
        while start.elapsed() < time && batches.len() * BATCH < limit {
            batches.push(self.batch());
        }
        let start = Instant::now();
        while start.elapsed() < time && singles.len() < limit {
            self.singles(&mut singles);
        }
        let packets = batches.len() * BATCH + singles.len();
        batches.sort_unstable();
        singles.sort_unstable();
        let at = |times: &[u64], part: f64| {
            let n = (times.len().saturating_sub(1) as f64 * part) as usize;
            times.get(n).copied().unwrap_or_default()
        };
        // By the median: preemption of the core says nothing about the program.
        let batch_ns = at(&batches, 0.5) as f64 / BATCH as f64;
        Rate {
            mpps: 1000.0 / batch_ns.max(0.001),
            batch_ns,
            p50_ns: at(&singles, 0.5),
            p99_ns: at(&singles, 0.99),
            p99_9_ns: at(&singles, 0.999),
            sent_percent: 100.0 * self.sent as f64 / packets.max(1) as f64,
        }
    }
}
