// SPDX-License-Identifier: Apache-2.0 OR MIT

use std::net::IpAddr;
use std::sync::Arc;

use adit_conntrack::testing::{fill_checksums, Flow};
use adit_conntrack::{Helper, Seed, Settings, Tracker};
use adit_p4_frontend::ir::Program;
use adit_p4_frontend::source::NoIncludes;
use adit_p4_frontend::{compile, Options};

use super::*;
use crate::p4::objects::Object;
use crate::p4::{Engine, Input, LoadError, Output, Worker};

/// A program that reads a tag of two bytes and the IPv4 header behind it.
const TEXT: &str = "#include <adit.p4>
    header tag_t { bit<8> op; bit<8> value; }
    header ip_t { bit<160> all; }
    struct headers_t { tag_t outer; tag_t tag; ip_t ip; }
    struct meta_t { ConntrackPacket_t packet; ConntrackRange_t source; ConntrackStatus_t status; }
    parser P(packet_in pkt, out headers_t h, inout meta_t m, in pna_main_parser_input_metadata_t i) {
        state start { pkt.extract(h.tag); pkt.extract(h.ip); transition accept; }
    }
    control C(inout headers_t h, inout meta_t m, in pna_main_input_metadata_t i,
              inout pna_main_output_metadata_t o) {
        Conntrack(SIZE) connections;
        Counter<bit<64>, bit<8>>(8, PNA_CounterType_t.PACKETS) statuses;
        apply { APPLY }
    }
    control D(packet_out pkt, in headers_t h, in meta_t m, in pna_main_output_metadata_t o) {
        apply { pkt.emit(h); }
    }
    PNA_NIC(P(), C(), D()) main;";

fn program(size: u64, apply: &str) -> Program {
    let text = TEXT.replace("SIZE", &size.to_string());
    let text = text.replace("APPLY", apply);
    let compiled = compile("test.p4", &text, &NoIncludes, &Options::default());
    let rendered = compiled.diagnostics.render(&compiled.sources);
    compiled.program.unwrap_or_else(|| panic!("{rendered}"))
}

/// Workers with machine code and with the interpreter.
fn workers(apply: &str) -> [Worker; 2] {
    let program = program(64, apply);
    let engines = [
        Engine::load(program.clone()),
        Engine::load_interpreted(program),
    ];
    engines.map(|engine| Engine::worker(&Arc::new(engine.unwrap())))
}

/// Processes a packet behind a tag. Returns the port and what is sent, or the reason of the drop.
fn pass(worker: &mut Worker, tag: [u8; 2], packet: &[u8]) -> Result<(u32, Vec<u8>), DropReason> {
    pass_input(worker, tag, packet, false)
}

fn pass_input(
    worker: &mut Worker,
    tag: [u8; 2],
    packet: &[u8],
    checksums_verified: bool,
) -> Result<(u32, Vec<u8>), DropReason> {
    let data = [&tag, packet].concat();
    let input = Input {
        checksums_verified,
        ..Input::new(0, &data)
    };
    let mut results = Vec::new();
    worker.process(1_000_000_000, &[input], &mut |_, output| {
        results.push(match output {
            Output::Sent(sent) => {
                let mut bytes = Vec::new();
                sent.copy_to(&data, &mut bytes);
                Ok((sent.port, bytes))
            }
            Output::Dropped(reason) => Err(reason),
        });
    });
    assert_eq!(results.len(), 1);
    results.remove(0)
}

/// The port that a packet is sent to.
fn port(worker: &mut Worker, tag: [u8; 2], packet: &[u8]) -> u32 {
    pass(worker, tag, packet).unwrap().0
}

fn flow(src: [u8; 4], src_port: u16, dst: [u8; 4], dst_port: u16) -> Flow {
    Flow {
        src: IpAddr::from(src),
        src_port,
        dst: IpAddr::from(dst),
        dst_port,
    }
}

const INSIDE: [u8; 4] = [10, 0, 0, 1];
const OUTSIDE: [u8; 4] = [192, 0, 2, 1];
const PUBLIC: [u8; 4] = [198, 51, 100, 7];

fn query() -> Flow {
    flow(INSIDE, 1000, OUTSIDE, 53)
}

/// The tag: 1 commits; the value is the zone.
const STATES: &str = "
    connections.track(2, (bit<16>) h.tag.value, m.packet);
    if (h.tag.op == 1) { m.status = connections.commit(m.packet); }
    send_to_port((PortId_t) (bit<32>) m.packet.state);";

#[test]
fn states_are_those_of_a_connection() {
    for mut worker in workers(STATES) {
        let worker = &mut worker;
        let (there, back) = (query().udp(b"?"), query().reverse().udp(b"!"));
        assert_eq!(port(worker, [0, 0], &there), 0x21, "new");
        assert_eq!(port(worker, [0, 0], &there), 0x21, "it was not committed");
        assert_eq!(port(worker, [0, 0], &back), 0x21);
        assert_eq!(port(worker, [1, 0], &there), 0x21);
        assert_eq!(port(worker, [0, 1], &back), 0x21, "of another zone");
        assert_eq!(port(worker, [0, 0], &back), 0x2a, "an answer");
        assert_eq!(port(worker, [0, 0], &there), 0x22, "established");
        let error = flow([203, 0, 113, 9], 0, INSIDE, 0).icmp(3, 1, [0; 4], &there);
        assert_eq!(port(worker, [0, 0], &error), 0x2c, "a related answer");
        let other = query().reverse().udp(b"!!");
        let error = flow([203, 0, 113, 9], 0, OUTSIDE, 0).icmp(3, 1, [0; 4], &other);
        assert_eq!(port(worker, [0, 0], &error), 0x24, "a related question");
    }
}

/// The ports that packets of a burst are sent to.
fn ports(worker: &mut Worker, packets: &[([u8; 2], &[u8])]) -> Vec<u32> {
    let data: Vec<_> = packets.iter().map(|(tag, p)| [tag, *p].concat()).collect();
    let inputs: Vec<_> = data.iter().map(|data| Input::new(0, data)).collect();
    let mut ports = Vec::new();
    worker.process(1_000_000_000, &inputs, &mut |n, output| match output {
        Output::Sent(sent) => ports.push((n, sent.port)),
        Output::Dropped(reason) => panic!("packet {n}: {reason:?}"),
    });
    assert!(ports.iter().map(|(n, _)| *n).eq(0..packets.len()));
    ports.into_iter().map(|(_, port)| port).collect()
}

#[test]
fn packets_of_a_burst_are_tracked_in_their_order() {
    for mut worker in workers(STATES) {
        let (there, back) = (query().udp(b"?"), query().reverse().udp(b"!"));
        let burst: [([u8; 2], &[u8]); 6] = [
            ([0, 1], &there[..]),
            ([0, 0], &there[..]),
            ([1, 0], &there[..]),
            ([0, 0], &there[..]),
            ([0, 0], &back[..]),
            ([0, 0], &there[..]),
        ];
        assert_eq!(
            ports(&mut worker, &burst),
            [0x21, 0x21, 0x21, 0x21, 0x2a, 0x22]
        );
        // Of a connection that is known by now.
        assert_eq!(
            ports(&mut worker, &burst[3..]),
            [0x22, 0x2a, 0x22],
            "{burst:?}"
        );
    }
}

/// A packet in a packet, of another connection: its connection's other packets wait for it.
#[test]
fn packets_that_are_tracked_twice_keep_their_order() {
    let apply = "
        connections.track(2, 0, m.packet);
        if (h.tag.op == 1) { m.status = connections.commit(m.packet); }
        if (h.tag.op == 2) { connections.track(22, 0, m.packet); }
        send_to_port((PortId_t) (bit<32>) m.packet.state);";
    for mut worker in workers(apply) {
        let (there, back) = (query().udp(b"?"), query().reverse().udp(b"!"));
        let inner = flow([10, 1, 1, 1], 0, [10, 1, 1, 2], 0).packet(Protocol(4), &back);
        let known = ports(&mut worker, &[([1, 0], &there[..]), ([1, 0], &inner[..])]);
        assert_eq!(known, [0x21, 0x21]);
        let burst = ports(&mut worker, &[([2, 0], &inner[..]), ([0, 0], &there[..])]);
        assert_eq!(burst, [0x2a, 0x22], "the answer is before it");
    }
}

#[test]
fn what_has_no_connection_is_invalid() {
    for mut worker in workers(STATES) {
        let worker = &mut worker;
        let mut wrong = query().udp(b"?");
        wrong[26] ^= 1;
        assert_eq!(port(worker, [0, 0], &wrong), 0x30);
        let verified = pass_input(worker, [0, 0], &wrong, true);
        assert_eq!(verified.unwrap().0, 0x21, "the device has verified it");
        let mut fragment = query().udp(b"?");
        fragment[6] = 0x20;
        fill_checksums(&mut fragment);
        assert_eq!(port(worker, [1, 0], &fragment), 0x30);
        assert_eq!(port(worker, [1, 0], &[0; 20]), 0x30);
        // Too short for the parser's headers, and for the offset.
        assert_eq!(port(worker, [1, 0], &[]), 0x30);
        assert_eq!(worker.engine().tracker().unwrap().len(), 0);
    }
}

#[test]
fn marks_and_labels_belong_to_the_connection() {
    let apply = "
        connections.track(2, 0, m.packet);
        if (h.tag.op == 1) {
            m.status = connections.commit(packet = m.packet, mark = (bit<32>) h.tag.value, mark_mask = 0xf0,
                label = (bit<128>) h.tag.value << 64, label_mask = 0xff << 68);
        } else if (h.tag.op == 2) {
            m.status = connections.commit(packet = m.packet, mark = 0x1234);
        }
        send_to_port((PortId_t) (m.packet.label[79:64] ++ m.packet.mark[15:0]));";
    for mut worker in workers(apply) {
        let worker = &mut worker;
        let (there, back) = (query().udp(b"?"), query().reverse().udp(b"!"));
        assert_eq!(port(worker, [1, 0xab], &there), 0xa0_00a0);
        assert_eq!(port(worker, [0, 0], &back), 0xa0_00a0);
        assert_eq!(port(worker, [1, 0x5f], &back), 0x50_0050);
        assert_eq!(port(worker, [2, 0], &there), 0x50_1234);
        assert_eq!(port(worker, [0, 0], &there), 0x50_1234);
    }
}

#[test]
fn a_forced_commit_turns_the_connection() {
    let apply = "
        connections.track(2, 0, m.packet);
        m.status = connections.commit(packet = m.packet, force = h.tag.op == 1);
        send_to_port((PortId_t) (bit<32>) m.packet.state);";
    for mut worker in workers(apply) {
        let worker = &mut worker;
        let (there, back) = (query().udp(b"?"), query().reverse().udp(b"!"));
        assert_eq!(port(worker, [0, 0], &there), 0x21);
        assert_eq!(port(worker, [0, 0], &back), 0x2a);
        assert_eq!(port(worker, [1, 0], &back), 0x21);
        assert_eq!(port(worker, [0, 0], &there), 0x2a);
    }
}

#[test]
fn a_connection_is_forgotten() {
    let apply = "
        connections.track(2, 0, m.packet);
        if (h.tag.op == 1) { m.status = connections.commit(m.packet, 7); }
        if (h.tag.op == 2) { connections.forget(m.packet); }
        if (h.tag.op == 3) { connections.forget(m.packet); m.status = connections.commit(m.packet, 8); }
        send_to_port((PortId_t) (m.packet.mark << 8 | (bit<32>) m.packet.state));";
    for mut worker in workers(apply) {
        let worker = &mut worker;
        let (there, back) = (query().udp(b"?"), query().reverse().udp(b"!"));
        assert_eq!(port(worker, [2, 0], &there), 0x21, "there is none");
        assert_eq!(port(worker, [1, 0], &there), 0x721);
        assert_eq!(port(worker, [0, 0], &back), 0x72a);
        // An error about it is not its end.
        let error = flow([203, 0, 113, 9], 0, INSIDE, 0).icmp(3, 1, [0; 4], &there);
        assert_eq!(port(worker, [2, 0], &error), 0x72c);
        assert_eq!(port(worker, [0, 0], &there), 0x722);
        assert_eq!(port(worker, [2, 0], &back), 0x21, "begins one");
        assert_eq!(worker.engine().tracker().unwrap().len(), 0);
        assert_eq!(port(worker, [1, 0], &there), 0x721);
        assert_eq!(port(worker, [3, 0], &there), 0x821, "another one");
        assert_eq!(worker.engine().tracker().unwrap().len(), 1);
    }
}

/// A source translation with the tag's value as last octet of the address; the tag selects what is
/// wrong with it. Statuses are counted, and are ports.
const STATUSES: &str = "
    m.source.first_address = 0xc6336400 | (bit<128>) h.tag.value;
    m.source.first_port = 4000;
    if (h.tag.op == 1) { m.source.last_address = 1; }
    if (h.tag.op == 2) { m.source.first_address = 1 << 32; }
    if (h.tag.op == 3) { m.source.last_port = 3999; }
    if (h.tag.op == 4) { m.source.first_address = 0; m.source.last_address = 5; }
    if (h.tag.op == 6) { m.source.first_port = 0; m.source.last_port = 5; }
    if (h.tag.op != 5) { connections.track(2, 0, m.packet); }
    m.status = connections.commit(packet = m.packet, source = m.source);
    statuses.count((bit<8>) m.status);
    send_to_port((PortId_t) (bit<32>) (bit<8>) m.status);";

#[test]
fn a_commit_has_a_status() {
    for mut worker in workers(STATUSES) {
        let worker = &mut worker;
        let there = query().udp(b"?");
        assert_eq!(port(worker, [5, 7], &there), 1, "not tracked");
        assert_eq!(port(worker, [0, 7], &[0; 20]), 2, "invalid");
        for wrong in [1, 2, 3, 4, 6] {
            let dropped = pass(worker, [wrong, 7], &there);
            assert_eq!(dropped, Err(DropReason::NotCommitted), "{wrong}");
        }
        assert_eq!(port(worker, [0, 7], &there), 0);
        let other = flow([10, 0, 0, 2], 1000, OUTSIDE, 53).udp(b"?");
        let dropped = pass(worker, [0, 7], &other);
        assert_eq!(
            dropped,
            Err(DropReason::NotCommitted),
            "the only port is taken"
        );
        let engine = worker.engine();
        let Some(Object::Counter(statuses)) = engine.object("C.statuses") else {
            panic!("no counter");
        };
        let counts: Vec<_> = (0..8).map(|n| statuses.get(n).unwrap().packets).collect();
        assert_eq!(counts, [1, 1, 1, 0, 0, 1, 5, 0]);
        assert_eq!(engine.dropped(DropReason::NotCommitted), 6);
    }
}

/// Source translation to [`PUBLIC`]; then the tag's operation.
const TRANSLATED: &str = "
    connections.track(2, 0, m.packet);
    m.source.first_address = 0xc6336407;
    if (m.packet.state & ADIT_CT_NEW != 0) {
        m.status = connections.commit(packet = m.packet, source = m.source);
    }
    send_to_port((PortId_t) m.packet.src[31:0]);
    if (m.packet.state & ADIT_CT_DNAT != 0) { send_to_port((PortId_t) m.packet.dst[31:0]); }
    if (h.tag.op == 1) { h.outer.setValid(); h.outer.op = 0xee; h.outer.value = 0xff; }
    if (h.tag.op == 2) { h.tag.setInvalid(); }
    if (h.tag.op == 3) { h.ip.setInvalid(); }
    if (h.tag.op == 4) { h.ip.all[87:80] = 6; }
    if (h.tag.op == 5) { drop_packet(); }";

#[test]
fn translation_is_applied_behind_the_deparser() {
    for mut worker in workers(TRANSLATED) {
        let worker = &mut worker;
        let there = flow(PUBLIC, 1000, OUTSIDE, 53);
        let back = flow(OUTSIDE, 53, PUBLIC, 1000);
        let of = |address| u32::from_be_bytes(address);
        let mut made = |op, flow: Flow| pass(worker, [op, 9], &flow.udp(b"data"));
        let sent = |to: [u8; 4], front: &[u8], flow: Flow| {
            Ok((of(to), [front, &flow.udp(b"data")].concat()))
        };
        assert_eq!(made(0, query()), sent(PUBLIC, &[0, 9], there));
        assert_eq!(made(0, back), sent(INSIDE, &[0, 9], query().reverse()));
        // With a header in front, and without one.
        let outer = sent(PUBLIC, &[0xee, 0xff, 1, 9], there);
        assert_eq!(made(1, query()), outer);
        assert_eq!(made(2, query()), sent(PUBLIC, &[], there));
        // Without the IP header, or with another protocol in it.
        for wrong in [3, 4] {
            assert_eq!(made(wrong, query()), Err(DropReason::Untranslatable));
        }
        assert_eq!(made(5, query()), Err(DropReason::Program));
        // An error is translated outside and inside.
        let quote = there.udp(b"data");
        let error = flow([203, 0, 113, 9], 0, PUBLIC, 0).icmp(3, 4, [0, 0, 5, 0], &quote[..28]);
        let quote = query().udp(b"data");
        let wanted = flow([203, 0, 113, 9], 0, INSIDE, 0).icmp(3, 4, [0, 0, 5, 0], &quote[..28]);
        let made = pass(worker, [0, 9], &error).unwrap();
        assert_eq!(made, (of(INSIDE), [&[0, 9], &wanted[..]].concat()));
    }
}

#[test]
fn a_commit_assigns_a_helper() {
    let apply = "
        connections.track(2, 0, m.packet);
        m.status = connections.commit(packet = m.packet, helper = ConntrackHelper_t.NAME);
        send_to_port((PortId_t) (bit<32>) m.packet.state);";
    let (udp, tcp) = (query().udp(b"?"), query().tcp(2, 1, 0, b""));
    for (name, helper, packet) in [
        ("NONE", None, &udp),
        ("FTP", Some(Helper::Ftp), &tcp),
        ("TFTP", Some(Helper::Tftp), &udp),
        ("IRC", Some(Helper::Irc), &tcp),
        ("SIP", Some(Helper::Sip), &udp),
        ("PPTP", Some(Helper::Pptp), &tcp),
        ("RAS", Some(Helper::Ras), &udp),
        ("Q931", Some(Helper::Q931), &tcp),
        // They read TCP, and UDP.
        ("FTP", None, &udp),
        ("Q931", None, &udp),
        ("RAS", None, &tcp),
    ] {
        for mut worker in workers(&apply.replace("NAME", name)) {
            assert_eq!(port(&mut worker, [0, 0], packet), 0x21);
            let now = Time::from_nanos(1_000_000_000);
            let tracker = worker.engine().tracker().unwrap();
            let (found, _) = tracker.dump(Default::default(), 2, now);
            let helpers: Vec<_> = found.iter().map(|one| one.helper).collect();
            assert_eq!(helpers, [helper], "{name}");
        }
    }
}

#[test]
fn the_tracker_belongs_to_the_device() {
    let tracker = Arc::new(Tracker::new(64, Seed::new([1; 16]), Settings::default()));
    let engine = |size| Engine::load(program(size, STATES)).unwrap();
    let too_small = TrackerError::TooSmall {
        needed: 65,
        capacity: tracker.capacity(),
    };
    assert_eq!(engine(65).set_tracker(tracker.clone()), Err(too_small));
    let worker = || {
        let engine = Arc::new(engine(64));
        engine.set_tracker(tracker.clone()).unwrap();
        let worker = Engine::worker(&engine);
        assert_eq!(engine.set_tracker(tracker.clone()), Ok(()), "once more");
        let other = Tracker::new(64, Seed::new([2; 16]), Settings::default());
        let refused = engine.set_tracker(Arc::new(other));
        assert_eq!(refused, Err(TrackerError::IsSet));
        worker
    };
    assert_eq!(port(&mut worker(), [1, 0], &query().udp(b"?")), 0x21);
    // Another program finds the connection.
    let back = query().reverse().udp(b"!");
    assert_eq!(port(&mut worker(), [0, 0], &back), 0x2a);
}

#[test]
fn sizes_are_limited() {
    for size in [0, 16_777_216] {
        let error = Engine::load(program(size, STATES)).unwrap_err();
        assert!(matches!(error, LoadError::Unsupported(_)), "{error}");
        assert!(error.to_string().contains(&size.to_string()), "{error}");
    }
}
