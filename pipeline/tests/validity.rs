// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Headers that are valid on some ways through a program only: for any program and packets, machine code
//! and the interpreter give the same outputs. So nothing is left in a header from before it was cleared or made
//! valid, of an earlier pass, or of another packet; and what is copied from the packet is what was
//! extracted from it.

use std::fmt::Write;
use std::sync::Arc;

use adit_p4_frontend::ir::Program;
use adit_p4_frontend::source::NoIncludes;
use adit_p4_frontend::{compile, Options};
use adit_pipeline::p4::{Engine, Input, Output, Worker};
use proptest::prelude::*;
use proptest::sample::select;

/// Headers of whole words and of parts, with fields across words; a varbit; and a stack. STATES, ACTIONS,
/// CONTROL and EMITS are random.
const TEXT: &str = r#"#include <adit.p4>
header a_t { bit<8> kind; bit<8> x; bit<16> y; }
header b_t { bit<3> kind; bit<13> x; bit<48> y; bit<128> z; }
header c_t { bit<24> kind; bit<64> x; bit<32> y; bit<8> z; }
header v_t { bit<8> kind; varbit<64> rest; }
header out_t { bit<128> sum; bit<8> valid; }
struct headers_t { out_t made; a_t a1; a_t a2; b_t b1; b_t b2; c_t c1; c_t c2; v_t v; a_t[3] s; }
struct meta_t { bit<128> sum; bool is_again; }
parser P(packet_in pkt, out headers_t h, inout meta_t m, in pna_main_parser_input_metadata_t istd) {
    state start { m.is_again = istd.recirculated; transition s0; }
    STATES
}
control C(inout headers_t h, inout meta_t m, in pna_main_input_metadata_t istd,
          inout pna_main_output_metadata_t ostd) {
    ACTIONS
    action none() { }
    table t {
        key = { m.sum[1:0]: exact @name("sum"); }
        actions = { first; second; none; }
        const entries = { 0: first(); 1: second(); }
        const default_action = none();
    }
    apply { CONTROL }
}
control D(packet_out pkt, in headers_t h, in meta_t m, in pna_main_output_metadata_t ostd) {
    apply { pkt.emit(h.made); EMITS }
}
PNA_NIC(P(), C(), D()) main;"#;

/// Headers of the same type are beside each other.
const HEADERS: [&str; 10] = [
    "h.a1", "h.a2", "h.s[0]", "h.s[1]", "h.s[2]", "h.b1", "h.b2", "h.c1", "h.c2", "h.v",
];

/// The fields of a type, and their widths.
fn fields(header: &str) -> &'static [(&'static str, u32)] {
    match header {
        "h.b1" | "h.b2" => &[("kind", 3), ("x", 13), ("y", 48), ("z", 128)],
        "h.c1" | "h.c2" => &[("kind", 24), ("x", 64), ("y", 32), ("z", 8)],
        "h.v" => &[("kind", 8)],
        _ => &[("kind", 8), ("x", 8), ("y", 16)],
    }
}

/// The headers that have the type of another one; a varbit is not assigned.
fn alike(header: &str) -> &'static [&'static str] {
    match header {
        "h.b1" | "h.b2" => &HEADERS[5..7],
        "h.c1" | "h.c2" => &HEADERS[7..9],
        "h.v" => &HEADERS[9..],
        _ => &HEADERS[..5],
    }
}

fn header() -> impl Strategy<Value = &'static str> {
    select(&HEADERS[..])
}

/// A field, with its width.
fn field() -> impl Strategy<Value = (String, u32)> {
    header().prop_flat_map(|header| {
        select(fields(header)).prop_map(move |(name, width)| (format!("{header}.{name}"), width))
    })
}

fn condition() -> impl Strategy<Value = String> {
    let bit = (field(), any::<prop::sample::Index>());
    prop_oneof![
        2 => header().prop_map(|header| format!("{header}.isValid()")),
        1 => bit.prop_map(|((field, width), bit)| {
            let bit = bit.index(width as usize);
            format!("{field}[{bit}:{bit}] == 1")
        }),
        1 => Just("m.sum[2:2] == 1".to_owned()),
    ]
}

/// A statement; `is_control` is set if it may apply the table.
fn statement(is_control: bool) -> impl Strategy<Value = String> {
    let copy = header().prop_flat_map(|to| {
        select(alike(to)).prop_map(move |from| match to {
            "h.v" => String::new(),
            _ => format!("{to} = {from};"),
        })
    });
    let stack = select(vec!["push_front", "pop_front"]);
    let simple = prop_oneof![
        3 => header().prop_map(|header| format!("{header}.setValid();")),
        3 => header().prop_map(|header| format!("{header}.setInvalid();")),
        1 => header().prop_map(|header| format!("{header}.setInvalid(); {header}.setValid();")),
        2 => copy,
        2 => (field(), field()).prop_map(|((to, width), (from, _))| {
            format!("{to} = (bit<{width}>) {from};")
        }),
        2 => (field(), any::<u16>()).prop_map(|((to, width), value)| {
            format!("{to} = (bit<{width}>) 128w{value};")
        }),
        1 => field().prop_map(|(to, width)| format!("{to} = (bit<{width}>) m.sum;")),
        3 => field().prop_map(|(from, _)| format!("m.sum = m.sum ^ (bit<128>) {from};")),
        1 => (stack, 1..3).prop_map(|(method, count)| format!("h.s.{method}({count});")),
        1 => Just(if is_control { "t.apply();" } else { "" }.to_owned()),
    ];
    simple.prop_recursive(2, 16, 4, |inner| {
        let list = || prop::collection::vec(inner.clone(), 0..4);
        (condition(), list(), list()).prop_map(|(condition, then, other)| {
            let (then, other) = (then.join(" "), other.join(" "));
            format!("if ({condition}) {{ {then} }} else {{ {other} }}")
        })
    })
}

fn statements(is_control: bool, most: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(statement(is_control), 0..=most).prop_map(|all| all.join("\n        "))
}

/// The states of a parser: each extracts a header, and goes on to later ones, or to itself.
fn parser() -> impl Strategy<Value = String> {
    let extracted = prop_oneof![
        4 => header().prop_map(|header| match header {
            "h.v" => "h.v, (bit<32>) (pkt.lookahead<bit<8>>() & 0x78)".to_owned(),
            _ => header.to_owned(),
        }),
        1 => Just("h.s.next".to_owned()),
    ];
    let next = (any::<prop::sample::Index>(), any::<prop::sample::Index>());
    // What a parser cannot have: branches are statements of it, too.
    let state = (extracted, statements(false, 2), next);
    prop::collection::vec(state, 1..6).prop_map(|states| {
        let mut text = String::new();
        let count = states.len();
        for (n, (extracted, statements, (some, others))) in states.iter().enumerate() {
            let is_loop = extracted == "h.s.next";
            let first = if is_loop { n } else { n + 1 };
            let target = |at: &prop::sample::Index| match first + at.index(count + 1 - first) {
                last if last == count => "accept".to_owned(),
                other => format!("s{other}"),
            };
            let (some, others) = (target(some), target(others));
            let _ = write!(
                text,
                "state s{n} {{
        pkt.extract({extracted});
        {statements}
        transition select(pkt.lookahead<bit<8>>()) {{
            0 .. 90: {some};
            91 .. 220: {others};
            default: accept;
        }}
    }}
    "
            );
        }
        text
    })
}

/// Headers in any order, some of them if something is so; one may leave twice.
fn deparser() -> impl Strategy<Value = String> {
    let emit = |header: &str| match header {
        "h.s[0]" => "pkt.emit(h.s);".to_owned(),
        other => format!("pkt.emit({other});"),
    };
    let group = (
        prop::option::of(condition()),
        prop::collection::vec(header(), 1..5),
    );
    let group = group.prop_map(move |(condition, headers)| {
        let emits: Vec<_> = headers.into_iter().map(emit).collect();
        match condition {
            Some(condition) => format!("if ({condition}) {{ {} }}", emits.join(" ")),
            None => emits.join(" "),
        }
    });
    prop::collection::vec(group, 1..5).prop_map(|groups| groups.join(" "))
}

/// The text of a program.
fn text() -> impl Strategy<Value = String> {
    let actions = (statements(false, 2), statements(false, 2));
    let control = (statements(true, 8), any::<bool>(), condition());
    (parser(), actions, control, deparser()).prop_map(
        |(parser, (first, second), (statements, tells, again), deparser)| {
            let actions =
                format!("action first() {{ {first} }}\n    action second() {{ {second} }}");
            let valid = match tells {
                true => {
                    let all = HEADERS[..8].iter();
                    let all = all.map(|it| format!("(bit<1>) {it}.isValid()"));
                    all.collect::<Vec<_>>().join(" ++ ")
                }
                false => "8w0".to_owned(),
            };
            let control = format!(
                "{statements}
        h.made.setValid();
        h.made = {{ m.sum, {valid} }};
        if (!m.is_again && {again}) {{ recirculate(); }} else {{ send_to_port((PortId_t) 1); }}"
            );
            TEXT.replace("STATES", &parser)
                .replace("ACTIONS", &actions)
                .replace("EMITS", &deparser)
                .replace("CONTROL", &control)
        },
    )
}

fn compiled(text: &str) -> Program {
    let compiled = compile("validity.p4", text, &NoIncludes, &Options::default());
    let rendered = compiled.diagnostics.render(&compiled.sources);
    compiled
        .program
        .unwrap_or_else(|| panic!("{rendered}\n{text}"))
}

fn outputs(worker: &mut Worker, inputs: &[Input<'_>]) -> Vec<String> {
    let mut outputs = Vec::new();
    worker.process(0, inputs, &mut |n, output| {
        outputs.push(match output {
            Output::Sent(sent) => format!("{n} {sent:?}"),
            Output::Dropped(reason) => format!("{n} {reason:?}"),
        });
    });
    outputs
}

/// Packets, of which the first bytes take more ways than others.
fn packets() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let byte = prop_oneof![2 => 0_u8..8, 1 => any::<u8>()];
    let packet = prop_oneof![
        1 => prop::collection::vec(byte.clone(), 0..20),
        2 => prop::collection::vec(byte, 20..120),
    ];
    prop::collection::vec(packet, 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn headers_have_what_the_interpreter_gives_them(text in text(), packets in packets()) {
        let program = compiled(&text);
        let engines = [Engine::load(program.clone()), Engine::load_interpreted(program)];
        let mut workers = engines.map(|engine| Engine::worker(&Arc::new(engine.unwrap())));
        let inputs: Vec<Input<'_>> = packets.iter().map(|data| Input::new(0, data)).collect();
        // One at a time, and at once.
        for part in inputs.chunks(1).chain([&inputs[..]]) {
            let [native, interpreted] = workers.each_mut().map(|worker| outputs(worker, part));
            prop_assert_eq!(native, interpreted, "{}", text);
        }
    }
}
