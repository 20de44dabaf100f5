// SPDX-License-Identifier: Apache-2.0 OR MIT

use std::sync::Arc;

use adit_p4_frontend::ir::{Chosen, Inst, Match, Program};
use adit_p4_frontend::source::NoIncludes;
use adit_p4_frontend::{compile, Options};

use super::*;
use crate::offload::OnWire;
use crate::p4::objects::{Count, MeterConfig, Object};
use crate::p4::replication::CloneSession;
use crate::p4::tables::{Action, Entry};
use crate::p4::trace::{Event, MAX_TRACE};
use crate::p4::{Engine, Worker};
use crate::testing::{ip_frame, l4};

/// Builds a program that parses two bytes; its parser has the states `states`, and `parsers` are
/// declared before it.
fn program(parsers: &str, states: &str, control: &str) -> Program {
    let text = format!(
        "#include <adit.p4>
        header byte_t {{ bit<8> value; }}
        struct headers_t {{ byte_t first; byte_t second; }}
        struct meta_t {{ bool is_again; bit<32> port; bit<8> sum; bit<128> long; }}
        {parsers}
        parser P(packet_in pkt, out headers_t h, inout meta_t m,
                 in pna_main_parser_input_metadata_t istd) {{ {states} }}
        control C(inout headers_t h, inout meta_t m, in pna_main_input_metadata_t istd,
                  inout pna_main_output_metadata_t ostd) {{ apply {{ {control} }} }}
        control D(packet_out pkt, in headers_t h, in meta_t m, in pna_main_output_metadata_t ostd) {{
            apply {{ pkt.emit(h); }}
        }}
        PNA_NIC(P(), C(), D()) main;"
    );
    let compiled = compile("test.p4", &text, &NoIncludes, &Options::default());
    let rendered = compiled.diagnostics.render(&compiled.sources);
    compiled.program.unwrap_or_else(|| panic!("{rendered}"))
}

fn sent(worker: &mut Worker, input: &Input<'_>) -> (u32, Vec<u8>) {
    let mut out = Vec::new();
    worker.process(0, &[*input], &mut |_, output| match output {
        Output::Sent(sent) => out.push((sent.port, sent.headers.to_vec())),
        Output::Dropped(reason) => panic!("{reason:?}"),
    });
    assert_eq!(out.len(), 1);
    out.remove(0)
}

/// Workers with machine code and with the interpreter.
fn workers(program: &Program) -> [Worker; 2] {
    let engines = [
        Engine::load(program.clone()),
        Engine::load_interpreted(program.clone()),
    ];
    engines.map(|engine| Engine::worker(&Arc::new(engine.unwrap())))
}

#[test]
fn parsers_know_which_pass_it_is() {
    let program = program(
        "",
        "state start {
            m.is_again = istd.recirculated;
            m.port = (bit<32>) istd.input_port;
            transition accept;
        }",
        "if (m.is_again) { send_to_port((PortId_t) (m.port + 100)); } else { recirculate(); }",
    );
    for mut worker in workers(&program) {
        assert_eq!(sent(&mut worker, &Input::new(7, &[1, 2])).0, 107);
    }
}

#[test]
fn what_was_inside_of_a_packet_did_not_come_in_its_fragments() {
    let program = program(
        "",
        "state start {
            m.is_again = istd.recirculated;
            pkt.extract(h.first);
            transition accept;
        }",
        "if (m.is_again) {
            send_to_port((PortId_t) (1000 + (bit<32>) fragment_size()));
        } else if (h.first.value == 1) {
            recirculate_inner();
        } else {
            recirculate();
        }",
    );
    for mut worker in workers(&program) {
        // An inner packet's state is not that of the next one.
        for (first, port, is_inner) in [(0, 1600, false), (1, 1000, true), (0, 1600, false)] {
            let data = [first, 2];
            let input = Input {
                fragment_size: 600,
                ..Input::new(7, &data)
            };
            let mut out = Vec::new();
            worker.process(0, &[input], &mut |_, output| match output {
                Output::Sent(sent) => out.push((sent.port, sent.is_inner, sent.is_as_came())),
                Output::Dropped(reason) => panic!("{reason:?}"),
            });
            assert_eq!(out, [(port, is_inner, !is_inner)]);
        }
    }
}

#[test]
fn mirrors_of_what_was_inside_do_not_leave_in_the_fragments_of_what_was_outside() {
    let program = program(
        "",
        "state start {
            m.is_again = istd.recirculated;
            pkt.extract(h.first);
            transition accept;
        }",
        "if (m.is_again) {
            send_to_port((PortId_t) 1);
        } else {
            mirror_packet((MirrorSlotId_t) 0, (MirrorSessionId_t) 5);
            if (h.first.value == 1) { recirculate_inner(); } else { recirculate(); }
        }",
    );
    for mut worker in workers(&program) {
        let session = CloneSession::port(9);
        worker
            .engine()
            .replication()
            .insert_session(5, session)
            .unwrap();
        for (first, is_inner) in [(1, true), (0, false)] {
            let data = [first, 2];
            let mut out = Vec::new();
            worker.process(0, &[Input::new(7, &data)], &mut |_, output| match output {
                Output::Sent(sent) => out.push((sent.port, sent.is_inner)),
                Output::Dropped(reason) => panic!("{reason:?}"),
            });
            assert_eq!(out, [(9, is_inner), (1, is_inner)]);
        }
    }
}

/// A packet whose checksum in this place, if any, is still to be computed.
fn pending(data: &[u8], pending_checksum: Option<u16>) -> Input<'_> {
    Input {
        checksums_verified: true,
        pending_checksum,
        ..Input::new(7, data)
    }
}

/// Extracts a header in the first pass, and nothing in the next one.
const OUTER_FIRST: &str = "state start {
        m.is_again = istd.recirculated;
        transition select(istd.recirculated) { true: accept; false: outer; }
    }
    state outer { pkt.extract(h.first); transition accept; }";

#[test]
fn the_checksum_of_what_was_inside_may_be_still_to_be_computed() {
    let program = program(
        "",
        OUTER_FIRST,
        "if (m.is_again) {
            send_to_port(has_right_checksum() ? (PortId_t) 1 : (PortId_t) 2);
        } else {
            h.first.setInvalid();
            recirculate_inner();
        }",
    );
    let mut data = vec![0; 1 + 14 + 20 + 8];
    data[13..15].copy_from_slice(&[8, 0]);
    data[15..19].copy_from_slice(&[0x45, 0, 0, 28]);
    data[23..25].copy_from_slice(&[64, 17]);
    // The UDP header's length, and a checksum that is none.
    data[39..43].copy_from_slice(&[0, 8, 0x12, 0x34]);
    for mut worker in workers(&program) {
        // Of the inner packet, of what was outside of it, and of an unknown one.
        for (pending_checksum, port) in [(Some(35), 1), (Some(0), 2), (None, 2), (Some(1), 1)] {
            let input = pending(&data, pending_checksum);
            assert_eq!(sent(&mut worker, &input).0, port, "{pending_checksum:?}");
        }
    }
}

/// It is answered when it is refused, though the field has no right sum yet.
#[test]
fn what_was_inside_is_answered_while_its_checksum_is_still_to_be_computed() {
    let program = program(
        "",
        OUTER_FIRST,
        "if (is_answer()) {
            send_to_port((PortId_t) 1);
        } else if (m.is_again) {
            reject_behind(RejectReason_t.REFUSED, 0, 0, 0);
        } else if (h.first.value == 0) {
            reject_behind(RejectReason_t.REFUSED, 0, 0, 1);
        } else {
            h.first.setInvalid();
            recirculate_inner();
        }",
    );
    let (client, service) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    let mut datagram = l4(17, 1000, 53, &[]);
    datagram[6..].copy_from_slice(&[0x12, 0x34]);
    let inner = ip_frame((client, service), 17, &datagram);
    for mut worker in workers(&program) {
        // In the first pass, and once it is out.
        for first in [0, 1] {
            let data = [&[first], &inner[..]].concat();
            for (pending_checksum, is_answered) in
                [(Some(35), true), (Some(0), false), (None, false)]
            {
                let input = pending(&data, pending_checksum);
                let mut answers = 0;
                worker.process(0, &[input], &mut |_, output| match output {
                    Output::Sent(sent) => {
                        assert_eq!((sent.kind, sent.port), (SentKind::Answer, 1));
                        answers += 1;
                    }
                    Output::Dropped(reason) => assert_eq!(reason, DropReason::Rejected),
                });
                assert_eq!(answers == 1, is_answered, "{first} {pending_checksum:?}");
            }
        }
    }
}

/// The steps of a program may be many; the record of them is bounded.
#[test]
fn a_trace_is_bounded_and_says_so() {
    let long = program(
        "",
        "state start { pkt.extract(h.first); transition accept; }",
        "for (bit<16> n in 0 .. 20000) { set_queue(n); } send_to_port((PortId_t) 3);",
    );
    for mut worker in workers(&long) {
        let (input, mut ports) = (Input::new(7, &[1, 2]), Vec::new());
        let events = worker.process_traced(0, &input, &mut |_, output| {
            if let Output::Sent(sent) = output {
                ports.push((sent.port, sent.receive.queue));
            }
        });
        assert_eq!(ports, [(3, Some(20_000))]);
        assert!(events.len() <= MAX_TRACE + 1, "{}", events.len());
        assert_eq!(events.last(), Some(&Event::Cut));
        // The next packet has no trace of this one.
        assert_eq!(sent(&mut worker, &input).0, 3);
        let calls = |event: &Event| matches!(event, Event::Call(_));
        let again = worker.process_traced(0, &input, &mut |_, _| {});
        assert_eq!(
            again.iter().filter(|e| calls(e)).count(),
            events.iter().filter(|e| calls(e)).count()
        );
    }
}

/// A frame that stands for many is processed once, and counted and metered as all of them.
#[test]
fn counters_and_meters_take_a_packet_for_its_segments() {
    let objects = "
        Counter<bit<64>, bit<8>>(2, PNA_CounterType_t.PACKETS_AND_BYTES) seen;
        Meter<bit<8>>(2, PNA_MeterType_t.PACKETS) rate;";
    let mut text = TEXT.replace("OBJECTS", objects);
    text = text.replace(
        "APPLY",
        "seen.count(1);
        send_to_port(rate.execute(1) == PNA_MeterColor_t.GREEN ? (PortId_t) 1 : (PortId_t) 2);",
    );
    let compiled = compile("test.p4", &text, &NoIncludes, &Options::default());
    let rendered = compiled.diagnostics.render(&compiled.sources);
    let program = compiled.program.unwrap_or_else(|| panic!("{rendered}"));
    let input = Input {
        length: 3_000,
        on_wire: OnWire {
            frames: 3,
            bytes: 3_108,
        },
        ..Input::new(7, &[1, 2])
    };
    for mut worker in workers(&program) {
        let engine = worker.engine().clone();
        let object = |name: &str| engine.object(name).unwrap_or_else(|| panic!("{name}"));
        let Object::Meter(meter) = object("C.rate") else {
            panic!("no meter");
        };
        let of_four = MeterConfig::TwoRates {
            committed_rate: 0,
            committed_burst: 4,
            peak_rate: 0,
            peak_burst: 4,
        };
        meter.set(1, Some(of_four)).unwrap();
        assert_eq!(sent(&mut worker, &input).0, 1, "three of four packets");
        assert_eq!(
            sent(&mut worker, &input).0,
            2,
            "one is left, and three are to go"
        );
        let Object::Counter(counter) = object("C.seen") else {
            panic!("no counter");
        };
        let count = Count {
            packets: 6,
            bytes: 6_216,
        };
        assert_eq!(counter.get(1), Ok(count));
    }
}

/// A program with objects in its control.
const TEXT: &str = "#include <adit.p4>
    struct headers_t {} struct meta_t {}
    parser P(packet_in pkt, out headers_t h, inout meta_t m,
             in pna_main_parser_input_metadata_t istd) { state start { transition accept; } }
    control C(inout headers_t h, inout meta_t m, in pna_main_input_metadata_t istd,
              inout pna_main_output_metadata_t ostd) { OBJECTS apply { APPLY } }
    control D(packet_out pkt, in headers_t h, in meta_t m, in pna_main_output_metadata_t ostd) {
        apply { pkt.emit(h); }
    }
    PNA_NIC(P(), C(), D()) main;";

/// A sub-parser with outputs.
const BYTES: &str = "
    parser Bytes(packet_in pkt, out headers_t h, out bit<8> sum) {
        state start {
            sum = 0;
            pkt.extract(h.first);
            transition select(h.first.value) { 0: accept; default: more; }
        }
        state more {
            pkt.extract(h.second);
            sum = h.first.value + h.second.value;
            transition accept;
        }
    }";

/// The number of limbs that the program's functions copy as header runs.
fn copied(program: &Program) -> u32 {
    let code = program.functions.iter().flat_map(|f| &f.code);
    code.map(|inst| match inst {
        Inst::Move { limbs, .. } if *limbs >= 4 => *limbs,
        _ => 0,
    })
    .sum()
}

fn shared(program: &Program) -> Program {
    let mut shared = program.clone();
    share(&mut shared);
    shared
}

#[test]
fn what_a_parser_puts_out_is_not_copied() {
    let control = "send_to_port((PortId_t) (bit<32>) m.sum);";
    let start = "state start { Bytes.apply(pkt, h, m.sum); transition accept; }";
    let program = program(BYTES, start, control);
    assert_ne!(copied(&program), 0);
    assert_eq!(copied(&shared(&program)), 0);
    for mut worker in workers(&program) {
        // After a packet with two headers, one with fewer: nothing remains of the first.
        for (data, port, headers) in [
            (&[3, 4, 5][..], 7, &[3, 4][..]),
            (&[0, 4][..], 0, &[0][..]),
            (&[5][..], 0, &[5][..]),
            (&[][..], 0, &[][..]),
        ] {
            let expected = (port, headers.to_vec());
            assert_eq!(
                sent(&mut worker, &Input::new(0, data)),
                expected,
                "{data:?}"
            );
        }
    }
}

#[test]
fn what_a_parser_puts_out_behind_a_branch_is_not_copied() {
    let control = "send_to_port((PortId_t) (bit<32>) m.sum);";
    let states = "state start {
            transition select(istd.input_port) { 3: skip; default: bytes; }
        }
        state skip { pkt.advance(8); transition bytes; }
        state bytes { Bytes.apply(pkt, h, m.sum); transition accept; }";
    let program = program(BYTES, states, control);
    assert_ne!(copied(&program), 0);
    assert_eq!(copied(&shared(&program)), 0);
    for mut worker in workers(&program) {
        for (from, data, port, headers) in [
            (0, &[3, 4, 5][..], 7, &[3, 4][..]),
            (3, &[9, 0, 4][..], 0, &[0][..]),
            (3, &[9, 6, 4][..], 10, &[6, 4][..]),
            (3, &[][..], 0, &[][..]),
            (0, &[5][..], 0, &[5][..]),
        ] {
            let expected = (port, headers.to_vec());
            let input = Input::new(from, data);
            assert_eq!(sent(&mut worker, &input), expected, "{from}: {data:?}");
        }
    }
}

#[test]
fn what_is_read_before_or_comes_back_is_copied() {
    let control = "send_to_port((PortId_t) (bit<32>) m.sum);";
    // The second call uses the output of the first.
    let again = "state start {
            Bytes.apply(pkt, h, m.sum);
            transition select(m.sum) { 7: start; default: accept; }
        }";
    let twice = "state start {
            headers_t other;
            bit<8> sum;
            Bytes.apply(pkt, other, sum);
            Bytes.apply(pkt, h, m.sum);
            m.sum = m.sum + sum;
            transition accept;
        }";
    // The destination has another header before the call.
    let before = "state start {
            pkt.extract(h.first);
            transition select(h.first.value) { 0: accept; default: bytes; }
        }
        state bytes { Bytes.apply(pkt, h, m.sum); transition accept; }";
    for (states, headers, port) in [
        (again, [5, 6], 11),
        (twice, [5, 6], 18),
        (before, [4, 5], 9),
    ] {
        let program = program(BYTES, states, control);
        assert_eq!(copied(&shared(&program)), copied(&program));
        for mut worker in workers(&program) {
            let input = Input::new(0, &[3, 4, 5, 6, 7]);
            assert_eq!(sent(&mut worker, &input), (port, headers.to_vec()));
        }
    }
}

/// A table in a separate control: 5 is forwarded to port 7, everything else to port 9.
const TABLE: &str = "
    header nibble_t { bit<4> value; }
    control T(inout meta_t m) {
        action set(bit<32> port) { m.port = port; }
        table t {
            key = { m.sum: exact; }
            actions = { set; }
            default_action = set(9);
            const entries = { 5: set(7); }
            size = 4;
        }
        apply { t.apply(); }
    }";

/// Returns the port and the contents of each packet of a batch that may be in flight together.
fn sent_at_once(worker: &mut Worker, packets: &[&[u8]]) -> Vec<(u32, Vec<u8>)> {
    let inputs: Vec<_> = packets.iter().map(|data| Input::new(0, data)).collect();
    let mut out = Vec::new();
    worker.process(0, &inputs, &mut |n, output| match output {
        Output::Sent(sent) => {
            let mut data = Vec::new();
            sent.copy_to(packets[n], &mut data);
            out.push((sent.port, data));
        }
        Output::Dropped(reason) => panic!("{reason:?}"),
    });
    out
}

#[test]
fn a_lookup_is_waited_for_in_the_middle_of_a_byte() {
    let parser = "nibble_t n;
        state start { pkt.extract(n); m.sum = (bit<8>) n.value; transition accept; }";
    let program = program(
        TABLE,
        parser,
        "T.apply(m); send_to_port((PortId_t) m.port);",
    );
    for mut worker in workers(&program) {
        // A partially read byte remains payload.
        let packets: [&[u8]; 4] = [&[0x51, 2, 3], &[0x15], &[0x5f, 0], &[]];
        let ports = [7, 9, 7, 9];
        let expected = packets.map(<[u8]>::to_vec);
        let expected: Vec<_> = ports.into_iter().zip(expected).collect();
        assert_eq!(sent_at_once(&mut worker, &packets), expected);
    }
}

#[test]
fn what_ends_a_block_does_not_end_the_next() {
    // The parser error, which is passed to the control, and an `exit` before the deparser.
    let start = "state start {
            pkt.extract(h.first);
            verify(h.first.value != 5, error.NoMatch);
            pkt.extract(h.second);
            transition accept;
        }";
    let control = "m.sum = h.first.value;
        T.apply(m);
        send_to_port((PortId_t) m.port);
        if (istd.parser_error == error.NoMatch) { h.first.value = 1; exit; }
        if (istd.parser_error != error.NoError) { h.first.value = 2; }";
    let program = program(TABLE, start, control);
    for mut worker in workers(&program) {
        let packets: [&[u8]; 4] = [&[5, 6, 7], &[8, 6, 7], &[8], &[5]];
        let expected = [
            (7, vec![1, 6, 7]),
            (9, vec![8, 6, 7]),
            (9, vec![2]),
            (7, vec![1]),
        ];
        assert_eq!(sent_at_once(&mut worker, &packets), expected);
    }
}

/// Tables with long keys: while they have no entry, machine code does not make the key, and all else is
/// as if they were searched.
#[test]
fn tables_without_entries_run_their_default_actions() {
    let tables = "control Tables(inout headers_t h, inout meta_t m) {
        DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS) hits;
        action add(bit<8> value) { m.sum = m.sum + value; }
        action set(bit<8> value, bit<8> more) { m.sum = value + more; }
        table exact_keys {
            key = { m.long: exact; h.first.value: exact; m.port: exact; }
            actions = { add; set; }
            default_action = set(0x10, 1);
            pna_direct_counter = hits;
        }
        table masked_keys {
            key = { m.long: ternary; h.second.value: range; h.first.value: ternary; }
            actions = { add; set; }
            default_action = add(0x20);
        }
        apply {
            m.long = h.second.value ++ 112w7 ++ h.first.value;
            bool is_hit = exact_keys.apply().hit;
            hits.count();
            m.is_again = masked_keys.apply().miss;
            h.second.value = (is_hit ? 8w0x80 : 0) + (m.is_again ? 8w0x40 : 0) + m.sum + h.second.value;
            h.first.value = h.first.value + (bit<8>) m.long[7:0];
        }
    }";
    let states = "state start { pkt.extract(h.first); pkt.extract(h.second); transition accept; }";
    let control = "Tables.apply(h, m); send_to_port((PortId_t) 1);";
    let program = program(tables, states, control);
    let table = |worker: &Worker, name: &str| {
        let tables = worker.engine().tables();
        let at = tables.iter().position(|t| t.spec().name.ends_with(name));
        at.expect("the program has it")
    };
    let chosen = |action, arguments: &[u64]| Chosen {
        action,
        arguments: arguments.iter().map(|value| vec![*value]).collect(),
    };
    let entry = |keys, action| Entry {
        keys,
        priority: 1,
        action: Action::Direct(action),
        idle_timeout_ns: None,
        opaque: Vec::new(),
    };
    let long = vec![3 | 7 << 8, 0x0200 << 48];
    let exact = vec![
        Match::Exact(long.clone()),
        Match::Exact(vec![3]),
        Match::Exact(vec![0]),
    ];
    let masked = vec![
        Match::Ternary(long, vec![0xff, 0]),
        Match::Range(vec![1], vec![2]),
        Match::Any,
    ];
    for mut worker in workers(&program) {
        let [by_exact, by_mask] = ["exact_keys", "masked_keys"].map(|name| table(&worker, name));
        let expect = |worker: &mut Worker, both: [[u8; 2]; 2]| {
            let frames = [[3u8, 2], [4, 2], [3, 2]];
            let inputs = frames.each_ref().map(|frame| Input::new(0, frame));
            let mut out = Vec::new();
            worker.process(0, &inputs, &mut |_, output| match output {
                Output::Sent(sent) => out.push(sent.headers.to_vec()),
                Output::Dropped(reason) => panic!("{reason:?}"),
            });
            assert_eq!(out, [both[0], both[1], both[0]]);
        };
        // Misses in both: 0x40, 0x11 and 0x20 are added.
        expect(&mut worker, [[6, 0x73], [8, 0x73]]);
        let engine = worker.engine().clone();
        let tables = engine.tables();
        tables[by_exact]
            .insert(&entry(exact.clone(), chosen(0, &[5])), 0)
            .unwrap();
        expect(&mut worker, [[6, 0x40 + 0x80 + 5 + 0x20 + 2], [8, 0x73]]);
        tables[by_mask]
            .insert(&entry(masked.clone(), chosen(1, &[1, 2])), 0)
            .unwrap();
        expect(&mut worker, [[6, 0x80 + 3 + 2], [8, 0x73]]);
        let count = tables[by_exact].get(&exact, 1).unwrap().count.unwrap();
        assert_eq!(count.packets, 4);
        tables[by_exact].delete(&exact, 1).unwrap();
        expect(&mut worker, [[6, 3 + 2], [8, 0x73]]);
        tables[by_mask].delete(&masked, 1).unwrap();
        tables[by_mask].set_default(chosen(0, &[1])).unwrap();
        expect(
            &mut worker,
            [[6, 0x40 + 0x11 + 1 + 2], [8, 0x40 + 0x11 + 1 + 2]],
        );
    }
}
