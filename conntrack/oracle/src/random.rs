// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Random scripts, whose failures proptest shrinks.

use std::cell::RefCell;

use adit_conntrack::Family;
use anyhow::Context;
use proptest::prelude::*;

use crate::compare::compare;
use crate::kernel::Kernel;
use crate::runner::{self, Numbers, Run};
use crate::script;

/// The lines of a script.
type Lines = Vec<String>;

/// Beginnings of TCP connections, after which random segments are sent.
const TCP_BEGINNINGS: [&str; 6] = [
    "",
    "> tcp S",
    "> tcp S ws=7 sackok\n< tcp SA ws=2 sackok\n> tcp A",
    "> tcp S\n< tcp SA\n> tcp A\n> tcp PA len=100\n< tcp A\n< tcp PA len=300",
    "> tcp S\n< tcp SA\n> tcp A\n> tcp FA\n< tcp FA\n> tcp A",
    "> tcp A len=10\n< tcp A len=10",
];
/// Beginnings of SCTP associations.
const SCTP_BEGINNINGS: [&str; 4] = [
    "",
    "> sctp INIT",
    "> sctp INIT\n< sctp INIT_ACK\n> sctp COOKIE_ECHO\n< sctp COOKIE_ACK",
    "> sctp INIT\n< sctp INIT_ACK\n> sctp COOKIE_ECHO\n< sctp COOKIE_ACK\n> sctp SHUTDOWN",
];

/// Packets that can be quoted.
const MIXED_BEGINNINGS: [&str; 1] = ["> udp len=8\n< udp len=3\n> icmp echo"];

/// A kind of random scripts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Tcp,
    Sctp,
    Mixed,
    Nat,
}

fn side() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just(">"), Just("<")]
}

/// An option that is usually missing.
fn rarely(option: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    prop_oneof![4 => Just(String::new()), 1 => option]
}

fn segment() -> impl Strategy<Value = String> {
    let flags = prop_oneof![
        4 => Just("A"), 3 => Just("PA"), 3 => Just("S"), 3 => Just("SA"), 3 => Just("FA"),
        2 => Just("R"), 2 => Just("RA"), 1 => Just("F"), 1 => Just("FPA"), 1 => Just("SF"),
        1 => Just("-"), 1 => Just("SAEC"), 1 => Just("UA"),
    ];
    let length = prop_oneof![3 => Just(0_u32), 2 => 1_u32..300];
    let offset = prop_oneof![
        -3_i32..=3,
        -400_i32..=400,
        -20_000_i32..=20_000,
        -200_000_i32..=200_000,
        Just(-1),
        Just(1)
    ];
    let seq = rarely(offset.clone().prop_map(|it| format!(" seq={it}")));
    let ack = rarely(offset.prop_map(|it| format!(" ack={it}")));
    let window = prop_oneof![Just(0_u16), Just(1), Just(0xffff), any::<u16>()];
    let window = rarely(window.prop_map(|it| format!(" win={it}")));
    let extra = rarely(prop_oneof![
        (0_u8..=15).prop_map(|it| format!(" ws={it}")),
        Just(" sackok".into()),
        Just(" ts".into()),
        Just(" ws=3 sackok ts".into()),
        (-400_i32..400, 0_i32..400).prop_map(|(at, n)| format!(" sack={at},{}", at + n)),
        Just(" bad".into()),
        (1_u8..24).prop_map(|it| format!(" trim={it}")),
    ]);
    (side(), flags, length, seq, ack, window, extra).prop_map(
        |(side, flags, length, seq, ack, window, extra)| {
            format!("{side} tcp {flags} len={length}{seq}{ack}{window}{extra}")
        },
    )
}

fn sctp_packet() -> impl Strategy<Value = String> {
    let chunk = || {
        proptest::sample::select(vec![
            "DATA",
            "INIT",
            "INIT_ACK",
            "SACK",
            "HEARTBEAT",
            "HEARTBEAT_ACK",
            "ABORT",
            "SHUTDOWN",
            "SHUTDOWN_ACK",
            "ERROR",
            "COOKIE_ECHO",
            "COOKIE_ACK",
            "SHUTDOWN_COMPLETE",
            "ASCONF",
        ])
    };
    let second = rarely(chunk().prop_map(|it| format!("+{it}")));
    let extra = rarely(prop_oneof![
        Just(" T".into()),
        Just(" vtag=0".into()),
        (1_u32..4).prop_map(|it| format!(" vtag={it}")),
        (0_u32..4).prop_map(|it| format!(" itag={it}")),
        Just(" bad".into()),
        (1_u8..20).prop_map(|it| format!(" trim={it}")),
    ]);
    (side(), chunk(), second, extra)
        .prop_map(|(side, chunk, second, extra)| format!("{side} sctp {chunk}{second}{extra}"))
}

/// Datagrams, queries and errors about what was sent, of a few connections.
fn mixed_packet() -> impl Strategy<Value = String> {
    let conn = || rarely((1_u8..3).prop_map(|it| format!(" conn={it}")));
    let udp = (side(), 0_u16..64, conn(), rarely(Just(" bad".into())))
        .prop_map(|(side, length, conn, bad)| format!("{side} udp len={length}{conn}{bad}"));
    let kind = prop_oneof![
        3 => Just("echo".to_owned()), 3 => Just("reply".to_owned()),
        1 => (any::<u8>(), 0_u8..3).prop_filter_map("tracked", |(kind, code)| {
            // Discovery is not forwarded but answered; redirects are for the router itself.
            (kind != 137 && kind != 5).then(|| format!("{kind}/{code}"))
        }),
    ];
    let query = (side(), kind, 1_u8..3)
        .prop_map(|(side, kind, id)| format!("{side} icmp {kind} id={id} len=8"));
    let error = prop_oneof![
        Just("unreachable"),
        Just("port"),
        Just("too-big"),
        Just("exceeded"),
        Just("parameter")
    ];
    let quote = rarely((0_u16..80).prop_map(|it| format!(" quote={it}")));
    let extra = rarely(prop_oneof![
        Just(" host=1".to_owned()),
        Just(" to=L9".into()),
        Just(" to=R9".into()),
        Just(" bad".into())
    ]);
    let error =
        (side(), error, 0_usize..3, quote, extra).prop_map(|(side, kind, of, quote, extra)| {
            format!("{side} error {kind} of={of}{quote}{extra}")
        });
    let other = (
        side(),
        prop_oneof![Just(47), Just(50), Just(33), Just(4), Just(253)],
    )
        .prop_map(|(side, protocol)| format!("{side} ip {protocol} len=24"));
    prop_oneof![3 => udp, 3 => query, 3 => error, 1 => other, 1 => segment()]
}

/// Translation of both ends to one address and port each.
fn nat() -> impl Strategy<Value = Lines> {
    let line = |text: &str| text.to_owned();
    Just(vec![
        line("nat src to=R100 ports=2000-2000"),
        line("nat dst to=R9 ports=8080-8080"),
    ])
}

/// Packets of one connection whose ends are translated, and errors about it.
fn translated() -> impl Strategy<Value = String> {
    let packet = prop_oneof![
        3 => segment(),
        1 => sctp_packet(),
        2 => (side(), 0_u16..64).prop_map(|(side, length)| format!("{side} udp len={length}")),
    ];
    packet.prop_map(|packet| {
        if packet.starts_with('<') {
            format!("{packet} from=R9 sport=8080 to=R100 dport=2000")
        } else {
            packet
        }
    })
}

fn lines(kind: Kind) -> BoxedStrategy<Lines> {
    let with = |beginnings: &'static [&'static str], packet: BoxedStrategy<String>| {
        let beginning = proptest::sample::select(beginnings);
        (beginning, proptest::collection::vec(packet, 1..24)).prop_map(|(beginning, packets)| {
            beginning
                .lines()
                .map(str::to_owned)
                .chain(packets)
                .collect()
        })
    };
    match kind {
        Kind::Tcp => with(&TCP_BEGINNINGS, segment().boxed()).boxed(),
        Kind::Sctp => with(&SCTP_BEGINNINGS, sctp_packet().boxed()).boxed(),
        Kind::Nat => (nat(), proptest::collection::vec(translated(), 1..24))
            .prop_map(|(nat, lines)| nat.into_iter().chain(lines).collect())
            .boxed(),
        Kind::Mixed => with(&MIXED_BEGINNINGS, mixed_packet().boxed()).boxed(),
    }
}

/// Compares the trackers on `count` random scripts of a kind, which follow from `seed`.
pub(crate) fn run(kernel: &mut Kernel, kind: Kind, count: u32, seed: u64) -> Run {
    let kernel = RefCell::new(kernel);
    let family = prop_oneof![Just(Family::V4), Just(Family::V6)];
    let strategy = (family, lines(kind));
    let numbers = Numbers {
        count,
        seed,
        kind: kind as u8,
        shrinks: 2000,
    };
    runner::run(&strategy, numbers, |(family, lines)| {
        let name = format!("random, {family:?}");
        let trace = script::parse(&name, &lines.join("\n"), family)?;
        let trace = trace.context("trace of another family")?;
        compare(&mut kernel.borrow_mut(), &trace, false)
    })
}
