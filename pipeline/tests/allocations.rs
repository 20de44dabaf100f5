// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packets do not allocate memory: once a worker has run all paths of a program, processing further
//! packets allocates nothing, with machine code and with the interpreter.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use adit_p4_frontend::ir::{Chosen, Match, Program};
use adit_p4_frontend::source::Includes;
use adit_p4_frontend::{compile, Options};
use adit_pipeline::p4::events::MAX_EVENTS;
use adit_pipeline::p4::replication::{CloneSession, CloneTo, Replica};
use adit_pipeline::p4::tables::{Action, Entry};
use adit_pipeline::p4::{Engine, Input, Output, Worker, FIRST_HOST_PORT};
use adit_pipeline::reject::Answer;

/// The ingress port of our packets.
const PORT: u32 = 3;

/// The system's allocator, with a count of each thread's allocations.
struct Counting;

thread_local! {
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: all calls are forwarded to the system's allocator, which upholds the contract; counting
// uses a thread-local that neither allocates nor unwinds. The default methods (`realloc` and
// `alloc_zeroed`) call these two.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A terminating thread's counter may be destroyed already.
        let _ = ASKED.try_with(|asked| asked.set(asked.get() + 1));
        // SAFETY: the caller upholds the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds the contract of `dealloc`; `start` came from `alloc` above,
        // which is the system's.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn asked() -> u64 {
    ASKED.with(Cell::get)
}

struct Beside;

impl Includes for Beside {
    fn include(&self, path: &str, _: Option<&str>) -> Result<Option<(String, String)>, String> {
        let text = match path {
            "v1model-skeleton.p4" => include_str!("../../p4/tests/v1model-skeleton.p4"),
            "tunnel.p4" => include_str!("../../p4/tunnel.p4"),
            _ => return Ok(None),
        };
        Ok(Some((path.to_owned(), text.to_owned())))
    }
}

fn program(text: &str, defines: &[(&str, &str)]) -> Program {
    let define = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let options = Options {
        defines: defines.iter().map(define).collect(),
        ..Options::default()
    };
    let compiled = compile("allocations.p4", text, &Beside, &options);
    let rendered = compiled.diagnostics.render(&compiled.sources);
    compiled.program.unwrap_or_else(|| panic!("{rendered}"))
}

/// Creates a group, and sessions with their own copies and with the group's.
fn replicate(engine: &Engine) {
    let replicas =
        [(1, 100), (2, 100), (2, 200)].map(|(port, instance)| Replica { port, instance });
    let replication = engine.replication();
    replication.insert_group(7, &replicas).unwrap();
    let session = CloneSession {
        to: CloneTo::Replicas(replicas[..2].to_vec()),
        truncate: Some(40),
    };
    replication.insert_session(5, session).unwrap();
    replication
        .insert_session(6, CloneSession::group(7))
        .unwrap();
    // The switch floods packets from the port of our packets to that group.
    let floods = engine
        .tables()
        .iter()
        .find(|t| t.spec().name.ends_with(".floods"));
    if let Some(floods) = floods {
        let flood_to = Chosen {
            action: 0,
            arguments: vec![vec![7]],
        };
        let entry = Entry {
            keys: vec![Match::Exact(vec![PORT.into()])],
            priority: 0,
            action: Action::Direct(flood_to),
            idle_timeout_ns: None,
            opaque: Vec::new(),
        };
        floods.insert(&entry, 0).unwrap();
    }
}

/// Builds valid frames, and short packets whose first bytes select the operations.
fn packets() -> Vec<Vec<u8>> {
    let ethernet = |ty: [u8; 2]| [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &ty].concat();
    let ipv4 = |protocol| {
        let mut header = vec![0x45, 0, 0, 100, 0, 0, 0, 0, 64, protocol, 0, 0];
        header.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        header
    };
    let payload = [0x5a; 80];
    let udp = [0x12, 0x34, 0x12, 0xb5, 0, 88, 0, 0];
    let mut ipv6 = vec![0x60, 0, 0, 0, 0, 88, 17, 64];
    ipv6.extend([0xfd; 32]);
    let mut packets = vec![
        [&ethernet([8, 0])[..], &ipv4(17), &udp, &payload].concat(),
        [&ethernet([8, 0])[..], &ipv4(6), &payload].concat(),
        [&ethernet([0x86, 0xdd])[..], &ipv6, &udp, &payload].concat(),
        [&ethernet([8, 6])[..], &payload].concat(),
        vec![1, 2, 3],
        Vec::new(),
    ];
    for op in 0..20 {
        packets.push(vec![op, 0, 1, 0, 0]);
        // Other flows.
        packets.push(vec![op, 9, op, 0, 0, 0, 0]);
        packets.push([&[op, 0, op, 0, 0, 0, 0][..], &payload].concat());
    }
    packets
}

/// Processes packets one by one and in batches. Returns the number sent.
fn round(worker: &mut Worker, now_ns: u64, inputs: &[Input<'_>]) -> usize {
    let mut sent = 0;
    let mut count = |_, output: Output<'_>| sent += usize::from(matches!(output, Output::Sent(_)));
    for input in inputs {
        worker.process(now_ns, std::slice::from_ref(input), &mut count);
    }
    worker.process(now_ns, inputs, &mut count);
    sent
}

fn takes_nothing(name: &str, program: &Program) {
    let packets = packets();
    let inputs: Vec<_> = packets
        .iter()
        .map(|packet| Input::new(PORT, packet))
        .collect();
    let engines = [Engine::load, Engine::load_interpreted];
    for (engine, how) in engines.into_iter().zip(["machine code", "interpreted"]) {
        let engine = Arc::new(engine(program.clone()).unwrap());
        replicate(&engine);
        let mut worker = Engine::worker(&engine);
        // Warm-up: buffers reach their final capacity; learning tables and queues become full.
        let mut now_ns = 0;
        for n in 0..1000 {
            now_ns += 1000;
            round(&mut worker, now_ns, &inputs);
            let waiting = engine.digests().waiting();
            if n > 20 && [0, MAX_EVENTS].contains(&waiting) {
                break;
            }
        }
        let before = asked();
        let mut sent = 0;
        for _ in 0..20 {
            now_ns += 1000;
            sent += round(&mut worker, now_ns, &inputs);
        }
        assert_eq!(asked() - before, 0, "{name}, {how}: {sent} packets left");
        assert!(sent > 0, "{name}, {how}: no packet has left");
    }
}

#[test]
fn programs_that_copy_and_go_round() {
    for (name, text) in [
        ("replication", include_str!("../../p4/tests/replication.p4")),
        ("pna", include_str!("../../p4/tests/pna.p4")),
        ("all at once", ALL_AT_ONCE),
    ] {
        takes_nothing(name, &program(text, &[]));
    }
}

/// Events for control planes and learnt flows allocate memory, except when their queue or table is
/// full.
#[test]
fn what_finds_no_room() {
    for (name, text) in [
        ("l2", include_str!("../../p4/l2.p4")),
        ("digests", include_str!("../../p4/tests/digests.p4")),
        ("timeouts", include_str!("../../p4/tests/timeouts.p4")),
    ] {
        takes_nothing(name, &program(text, &[]));
    }
}

#[test]
fn programs_for_the_nic() {
    let rule = [(
        "IPV4_RULE_ENTRIES",
        "(1, _, _, _, 17, _, _, _, _): police(3);",
    )];
    let route = [
        (
            "IPV4_ROUTE_ENTRIES",
            "0x0a000000 &&& 0xff000000: set_nexthop(1);",
        ),
        ("NEXTHOP_ENTRIES", "1: forward(1, 2, (PortId_t) 1);"),
    ];
    let flow = [(
        "IPV4_FLOW_ENTRIES",
        "(0x0a000001, 0x0a000002, 17, 0x1234, 0x12b5): to_queue(1);",
    )];
    for (name, text, defines) in [
        ("default", include_str!("../../p4/default.p4"), &[][..]),
        ("acl", include_str!("../../p4/acl.p4"), &rule),
        ("l3", include_str!("../../p4/l3.p4"), &route),
        ("classifier", include_str!("../../p4/classifier.p4"), &flow),
        ("vxlan", include_str!("../../p4/vxlan.p4"), &[]),
        (
            "checksums",
            include_str!("../../p4/tests/checksums.p4"),
            &[],
        ),
        (
            "checksums-pna",
            include_str!("../../p4/tests/checksums-pna.p4"),
            &[],
        ),
        ("parsing", include_str!("../../p4/tests/parsing.p4"), &[]),
        ("stacks", include_str!("../../p4/tests/stacks.p4"), &[]),
        (
            "value-sets",
            include_str!("../../p4/tests/value-sets.p4"),
            &[],
        ),
        (
            "arithmetic",
            include_str!("../../p4/tests/arithmetic.p4"),
            &[],
        ),
    ] {
        takes_nothing(name, &program(text, defines));
    }
}

/// A frame with UDP over IPv4 without a checksum. Its source and destination are addresses and ports.
fn datagram(source: ([u8; 4], u16), destination: ([u8; 4], u16)) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, 0, 100, 0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend([source.0, destination.0].concat());
    frame.extend([source.1, destination.1].map(u16::to_be_bytes).concat());
    frame.extend([0, 80, 0, 0]);
    frame.extend([0x5a; 72]);
    frame
}

/// A packet that begins a connection allocates memory, those of known connections do not: as they
/// are, or translated.
#[test]
fn packets_of_known_connections() {
    let translate = [(
        "TRANSLATION_ENTRIES",
        "(_, _, 0x0a000001 &&& 0xffffffff, _, _, _): masquerade(0xc6336407, 0xc6336407);",
    )];
    let program = program(include_str!("../../p4/conntrack.p4"), &translate);
    let (server, public) = (([192, 0, 2, 1], 53), ([198, 51, 100, 7], 4660));
    let (translated, plain) = (([10, 0, 0, 1], 4660), ([10, 0, 0, 2], 4660));
    let frames = [
        (FIRST_HOST_PORT, datagram(translated, server)),
        (0, datagram(server, public)),
        (FIRST_HOST_PORT, datagram(plain, server)),
        (0, datagram(server, plain)),
    ];
    let inputs = frames.each_ref().map(|(port, frame)| Input {
        checksums_verified: true,
        ..Input::new(*port, frame)
    });
    for engine in [Engine::load, Engine::load_interpreted] {
        let engine = Arc::new(engine(program.clone()).unwrap());
        let mut worker = Engine::worker(&engine);
        assert_eq!(round(&mut worker, 0, &inputs), 8);
        let before = asked();
        for n in 0..20 {
            assert_eq!(round(&mut worker, n * 1_000_000_000, &inputs), 8);
        }
        assert_eq!(asked() - before, 0);
        assert_eq!(engine.tracker().unwrap().len(), 2);
    }
}

/// Packets whose new connections the program does not commit, as in a flood, allocate nothing.
#[test]
fn packets_of_denied_connections() {
    let program = program(include_str!("../../p4/conntrack.p4"), &[]);
    let frames = [1000, 1001, 1002].map(|port| {
        let (source, destination) = (([192, 0, 2, 1], port), ([10, 0, 0, 2], 53));
        datagram(source, destination)
    });
    let inputs = frames.each_ref().map(|frame| Input {
        checksums_verified: true,
        ..Input::new(0, frame)
    });
    for engine in [Engine::load, Engine::load_interpreted] {
        let engine = Arc::new(engine(program.clone()).unwrap());
        let mut worker = Engine::worker(&engine);
        assert_eq!(round(&mut worker, 0, &inputs), 0);
        let before = asked();
        for n in 0..20 {
            assert_eq!(round(&mut worker, n * 1_000_000_000, &inputs), 0);
        }
        assert_eq!(asked() - before, 0);
        assert!(engine.tracker().unwrap().is_empty());
    }
}

/// Each pass requests everything: clones in ingress and egress, a group, resubmission and
/// recirculation.
const ALL_AT_ONCE: &str = r#"
#include <v1model.p4>
header h_t { bit<8> op; bit<8> rounds; bit<8> wide; }
header long_t { bit<200> long; }
struct H { h_t h; long_t[3] longs; }
struct M { @field_list(1) bit<8> kept; bit<100> lost; @field_list(1, 2) bit<100> wide; }
parser P(packet_in p, out H h, inout M m, inout standard_metadata_t s) {
    state start { p.extract(h.h); transition select(p.lookahead<bit<8>>()) { 0x5a: more; _: accept; } }
    state more { p.extract(h.longs.next); p.extract(h.longs.next); transition accept; }
}
control V(inout H h, inout M m) {
    apply { verify_checksum_with_payload(true, { h.h.op }, 16w0, HashAlgorithm.csum16); }
}
control C(inout H h, inout M m) {
    bit<16> sum;
    apply { update_checksum_with_payload(true, { h.h.op }, sum, HashAlgorithm.csum16); }
}
control D(packet_out b, in H h) { apply { b.emit(h); } }
control I(inout H h, inout M m, inout standard_metadata_t s) {
    register<bit<200>>(8) last;
    counter(8, CounterType.packets_and_bytes) seen;
    apply {
        seen.count((bit<32>) h.h.op);
        m.wide = m.wide + 1;
        m.lost = m.wide;
        h.h.rounds = h.h.rounds + 1;
        last.write(0, h.longs[0].long + (bit<200>) m.wide);
        bit<16> value;
        hash(value, HashAlgorithm.crc16, 16w0, { h.h, m.wide }, 32w100);
        h.h.wide = (bit<8>) value;
        s.egress_spec = 1;
        if (h.h.op[0:0] == 1) { clone_preserving_field_list(CloneType.I2E, 5, 1); }
        if (h.h.op[1:1] == 1) { s.mcast_grp = 7; }
        if (h.h.op[2:2] == 1 && m.wide < 3) { resubmit_preserving_field_list(2); }
    }
}
control E(inout H h, inout M m, inout standard_metadata_t s) {
    apply {
        if (h.h.op[3:3] == 1 && s.instance_type != 2) { clone_preserving_field_list(CloneType.E2E, 6, 2); }
        if (h.h.op[4:4] == 1 && h.h.rounds < 4) { recirculate_preserving_field_list(1); truncate(60); }
    }
}
V1Switch(P(), V(), I(), E(), C(), D()) main;
"#;

#[test]
fn answers_to_rejected_packets() {
    let program = program(include_str!("../../p4/tests/rejections.p4"), &[]);
    let frame = datagram(([10, 0, 0, 1], 4660), ([192, 0, 2, 1], 53));
    let input = Input {
        checksums_verified: true,
        ..Input::new(FIRST_HOST_PORT, &frame)
    };
    for engine in [Engine::load, Engine::load_interpreted] {
        let engine = Arc::new(engine(program.clone()).unwrap());
        let mut worker = Engine::worker(&engine);
        assert_eq!(round(&mut worker, 0, &[input]), 2);
        let before = asked();
        for n in 0..20 {
            assert_eq!(round(&mut worker, n * 1_000_000_000, &[input]), 2);
        }
        assert_eq!(asked() - before, 0);
        assert_eq!(engine.rejections().answers(Answer::Unreachable), 42);
    }
}
