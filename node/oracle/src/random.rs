// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Random traces: clients of a few services, whose endpoints come and go.
//!
//! A port that Linux chooses since another one is in use is random. So clients have ports of their own at
//! each address of a service, and endpoints answer only what has reached them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use adit_conntrack::Family;
use adit_conntrack_oracle::runner::{self, Numbers, Run};
use anyhow::Context;
use proptest::prelude::*;
use proptest::sample::select;

use crate::compare::Both;
use crate::trace;

/// A service of the traces.
struct Service {
    line: &'static str,
    name: &'static str,
    /// Where packets go: host and port.
    at: &'static [(&'static str, u16)],
    endpoints: [&'static str; 3],
    port: u16,
    is_udp: bool,
    /// External policy Local: sources remain.
    is_local: bool,
}

const SERVICES: [Service; 5] = [
    Service {
        line: "service web tcp at=S1,X1 port=80 node-port=30080",
        name: "web",
        at: &[("S1", 80), ("X1", 80), ("N1", 30080)],
        endpoints: ["R1", "R2", "R3"],
        port: 8080,
        is_udp: false,
        is_local: false,
    },
    Service {
        line: "service dns udp at=S2 port=53 node-port=30053",
        name: "dns",
        at: &[("S2", 53), ("N1", 30053)],
        endpoints: ["R1", "R2", "R3"],
        port: 5353,
        is_udp: true,
        is_local: false,
    },
    Service {
        line: "service local udp at=S3,X3 port=53 node-port=30054 external=local",
        name: "local",
        at: &[("S3", 53), ("X3", 53), ("N1", 30054)],
        endpoints: ["R1", "R2", "R3"],
        port: 5354,
        is_udp: true,
        is_local: true,
    },
    Service {
        line: "service far tcp at=S4,X4 port=80",
        name: "far",
        at: &[("S4", 80), ("X4", 80)],
        endpoints: ["O1", "O2", "O3"],
        port: 8081,
        is_udp: false,
        is_local: false,
    },
    Service {
        line: "service sticky udp at=S5 port=53 affinity=600",
        name: "sticky",
        at: &[("S5", 53)],
        endpoints: ["R1", "R2", "R3"],
        port: 5355,
        is_udp: true,
        is_local: false,
    },
];

/// Clients: the side, and the host.
const CLIENTS: [(&str, &str); 5] = [
    ("> ", "L1"),
    ("> ", "L2"),
    ("> ", "O5"),
    ("< ", "R1"),
    ("< ", "R2"),
];

/// The state of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Terminating,
    Ended,
    Unready,
    Gone,
}

impl State {
    fn serves(self) -> bool {
        matches!(self, State::Ready | State::Terminating)
    }
}

/// One of a client's flows to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct FlowId {
    service: usize,
    at: usize,
    client: usize,
    number: u16,
}

/// A step of a trace.
#[derive(Clone, Debug)]
enum Op {
    Request(FlowId, String),
    Reply(FlowId, String),
    /// A line as it is.
    Line(String),
    /// The states of a service's endpoints.
    Endpoints(usize, [State; 3]),
}

/// The states of a service's endpoints. One at most gets new connections, so that both sides choose it.
fn states(is_udp: bool) -> impl Strategy<Value = [State; 3]> {
    // A connection of TCP ends with its endpoint in the program: there it stays.
    let others = match is_udp {
        true => vec![
            State::Terminating,
            State::Unready,
            State::Ended,
            State::Gone,
        ],
        false => vec![State::Terminating, State::Unready],
    };
    let other = || select(others.clone());
    let ready = prop_oneof![6 => (0_usize..3).prop_map(Some), 1 => Just(None)];
    (ready, [other(), other(), other()]).prop_map(|(ready, mut states)| {
        match ready {
            Some(ready) => states[ready] = State::Ready,
            None => {
                let last = states.iter().position(|it| *it == State::Terminating);
                for (n, state) in states.iter_mut().enumerate() {
                    if *state == State::Terminating && Some(n) != last {
                        *state = State::Unready;
                    }
                }
            }
        }
        states
    })
}

fn flow_id() -> impl Strategy<Value = FlowId> {
    let service = 0..SERVICES.len();
    service.prop_flat_map(|service| {
        let at = 0..SERVICES[service].at.len();
        (at, 0..CLIENTS.len(), 0_u16..3).prop_map(move |(at, client, number)| FlowId {
            service,
            at,
            client,
            number,
        })
    })
}

/// An option that is usually missing.
fn rarely(option: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    prop_oneof![9 => Just(String::new()), 1 => option]
}

fn datagram() -> impl Strategy<Value = String> {
    let length = prop_oneof![3 => 0_u16..40, 1 => 0_u16..1200];
    let orders = ["0,1,2", "0,2,1", "1,0,2", "1,2,0", "2,0,1", "2,1,0"];
    let fragments = select(orders.to_vec())
        .prop_map(|order| format!("udp len=100 fragments=40,80 order={order}"));
    prop_oneof![5 => length.prop_map(|it| format!("udp len={it}")), 1 => fragments]
}

fn segment(flags: Vec<&'static str>) -> impl Strategy<Value = String> {
    let isn = rarely(any::<u32>().prop_map(|it| format!(" isn={it}")));
    (select(flags), isn).prop_map(|(flags, isn)| format!("tcp {flags}{isn}"))
}

fn request() -> impl Strategy<Value = Op> {
    flow_id().prop_flat_map(|flow| {
        let body = match SERVICES[flow.service].is_udp {
            true => datagram().boxed(),
            false => {
                let flags = vec![
                    "S",
                    "S",
                    "S",
                    "A",
                    "A",
                    "PA len=20",
                    "PA len=20",
                    "FA",
                    "RA",
                    "SA",
                    "F",
                    "-",
                ];
                segment(flags).boxed()
            }
        };
        let bad = rarely(Just(" bad".to_owned()));
        (body, bad).prop_map(move |(body, bad)| Op::Request(flow, body + &bad))
    })
}

fn reply() -> impl Strategy<Value = Op> {
    flow_id().prop_flat_map(|flow| {
        let body = match SERVICES[flow.service].is_udp {
            true => datagram().boxed(),
            false => segment(vec!["SA", "SA", "A", "PA len=30", "FA", "R"]).boxed(),
        };
        body.prop_map(move |body| Op::Reply(flow, body))
    })
}

/// A packet to what is no service, or to none of its ports.
fn stranger() -> impl Strategy<Value = Op> {
    let body = prop_oneof![
        datagram(),
        segment(vec!["S", "A", "RA"]),
        (0_u8..20, 0_u8..3).prop_map(|(kind, code)| format!("icmp {kind}/{code} len=28")),
        Just("icmp echo len=9".to_owned()),
        Just("sctp INIT".to_owned()),
    ];
    let to = select(vec![
        "to=S1 dport=81",
        "to=S2 dport=80",
        "to=S9 dport=80",
        "to=N1 dport=9",
    ]);
    (select(CLIENTS.to_vec()), to, body).prop_map(|((side, host), to, body)| {
        Op::Line(format!("{side}{body} from={host} sport=900 {to} conn=9999"))
    })
}

/// The number of packets before it of which an error is about one.
const ERRORS_GO_BACK: usize = 3;

/// An error about what was sent before, as a router on the way has seen it: from the service, or to the
/// endpoint.
fn error() -> impl Strategy<Value = Op> {
    let kind = select(vec![
        "unreachable",
        "port",
        "too-big",
        "exceeded",
        "parameter",
    ]);
    let quote = (0_u16..90).prop_map(|it| format!(" quote={it}"));
    let quote = prop_oneof![2 => Just(String::new()), 1 => quote];
    let seen = select(vec![
        "",
        " qfrom=S1 qsport=80",
        " qfrom=S2 qsport=53",
        " qfrom=N1 qsport=30080",
        " qto=R1 qdport=8080",
        " qto=R1 qdport=5353",
        " qfrom=R200 qto=R1 qdport=8080",
    ]);
    let side = select(vec!["> ", "< "]);
    (side, kind, 0..ERRORS_GO_BACK, quote, seen).prop_map(|(side, kind, of, quote, seen)| {
        Op::Line(format!("{side}error {kind} of={of}{quote}{seen}"))
    })
}

fn endpoints() -> impl Strategy<Value = Op> {
    (0..SERVICES.len()).prop_flat_map(|service| {
        states(SERVICES[service].is_udp).prop_map(move |states| Op::Endpoints(service, states))
    })
}

/// The state of a trace that is being written.
struct Writer {
    states: [[State; 3]; SERVICES.len()],
    /// The endpoints of connections.
    chosen: BTreeMap<FlowId, usize>,
    lines: Vec<String>,
}

impl Writer {
    fn new() -> Self {
        let mut writer = Writer {
            states: [[State::Unready; 3]; SERVICES.len()],
            chosen: BTreeMap::new(),
            lines: SERVICES.iter().map(|it| it.line.to_owned()).collect(),
        };
        for service in 0..SERVICES.len() {
            let first = [State::Ready, State::Unready, State::Unready];
            writer.take(&Op::Endpoints(service, first));
        }
        // Packets that errors can be about, as many as they go back.
        let first = "> udp len=3 to=S2 dport=53 conn=9998";
        writer.lines.extend(vec![first.to_owned(); ERRORS_GO_BACK]);
        writer
    }

    fn take(&mut self, op: &Op) {
        match op {
            Op::Line(line) => self.lines.push(line.clone()),
            Op::Endpoints(service, states) => {
                self.states[*service] = *states;
                let of = &SERVICES[*service];
                let words = of.endpoints.iter().zip(states);
                let words = words.filter_map(|(host, state)| {
                    let state = match state {
                        State::Ready => "",
                        State::Terminating => "/terminating",
                        State::Ended => "/ended",
                        State::Unready => "/unready",
                        State::Gone => return None,
                    };
                    Some(format!("{host}:{}{state}", of.port))
                });
                let words: Vec<_> = words.collect();
                let line = format!("endpoints {} {}", of.name, words.join(" "));
                self.lines.push(line);
                // kube-proxy deletes connections of UDP whose endpoint does not serve any more.
                self.chosen.retain(|flow, at| {
                    flow.service != *service || !of.is_udp || states[*at].serves()
                });
            }
            Op::Request(flow, body) => {
                let states = &self.states[flow.service];
                let first = |wanted| states.iter().position(|it| *it == wanted);
                let usable = first(State::Ready).or(first(State::Terminating));
                let begins =
                    !body.starts_with("tcp") || body.starts_with("tcp S ") || body == "tcp S";
                if let (Some(endpoint), true) = (usable, begins) {
                    self.chosen.entry(*flow).or_insert(endpoint);
                }
                let (side, host) = CLIENTS[flow.client];
                let (to, port) = SERVICES[flow.service].at[flow.at];
                self.lines.push(format!(
                    "{side}{body} from={host} sport={} to={to} dport={port} conn={} as=left",
                    flow.port(),
                    flow.connection()
                ));
            }
            Op::Reply(flow, body) => {
                let Some(endpoint) = self.chosen.get(flow) else {
                    return;
                };
                let service = &SERVICES[flow.service];
                let from = service.endpoints[*endpoint];
                let side = if from.starts_with('R') { "< " } else { "> " };
                self.lines.push(format!(
                    "{side}{body} from={from} sport={} to={} dport={} conn={} as=right",
                    service.port,
                    flow.seen(from),
                    flow.port(),
                    flow.connection()
                ));
            }
        }
    }
}

impl FlowId {
    /// The client's port.
    fn port(self) -> u16 {
        2000 + 100 * self.client as u16 + 10 * self.at as u16 + self.number
    }

    /// The number of the connection's sequence numbers.
    fn connection(self) -> u16 {
        1000 * self.service as u16 + self.port() - 2000
    }

    /// The host that an endpoint sees as the source.
    fn seen(self, endpoint: &'static str) -> &'static str {
        let service = &SERVICES[self.service];
        let (side, host) = CLIENTS[self.client];
        let (to, _) = service.at[self.at];
        let is_here = endpoint.starts_with('R');
        let is_translated = match side {
            "< " => host == endpoint,
            _ if to.starts_with('S') => !is_here,
            _ => !service.is_local,
        };
        match (is_translated, is_here) {
            (false, _) => host,
            (true, true) => "R200",
            (true, false) => "L200",
        }
    }
}

/// Compares both sides on `count` random traces, which follow from `seed`.
pub(crate) fn run(both: &mut Both, count: u32, seed: u64) -> Run {
    let both = RefCell::new(both);
    let family = prop_oneof![Just(Family::V4), Just(Family::V6)];
    let op =
        prop_oneof![6 => request(), 6 => reply(), 1 => stranger(), 2 => error(), 2 => endpoints()];
    let strategy = (family, proptest::collection::vec(op, 1..40));
    let numbers = Numbers {
        count,
        seed,
        kind: 0x40,
        // Each takes several transactions of nftables.
        shrinks: 200,
    };
    runner::run(&strategy, numbers, |(family, ops)| {
        let name = format!("random, {family:?}");
        let mut writer = Writer::new();
        ops.iter().for_each(|op| writer.take(op));
        let trace = trace::parse(&name, false, &writer.lines, family)?;
        let trace = trace.context("trace of another family")?;
        both.borrow_mut().compare(&trace, false)
    })
}
