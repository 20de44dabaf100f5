// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Lookups and counters of machine code and of the interpreter: for any entries and packets, both give
//! the same outputs and counts.

use std::sync::{Arc, OnceLock};

use adit_p4_frontend::ir::{Chosen, Match, Program};
use adit_p4_frontend::source::NoIncludes;
use adit_p4_frontend::{compile, Options};
use adit_pipeline::p4::objects::{Count, Object};
use adit_pipeline::p4::tables::{Action, Entry, Table};
use adit_pipeline::p4::{Engine, Input, Output, Worker};
use proptest::prelude::*;

/// Tables with keys of one to five words, of bits beside each other, of prefixes and masks, and of none;
/// actions with arguments that are read, that another action leaves as they were, and that are not read.
const TEXT: &str = r#"#include <adit.p4>
header in_h { bit<8> a; bit<8> b; bit<8> c; bit<8> d; }
header out_h { bit<8> which; bit<64> value; bit<128> wide; bit<8> hits; }
struct headers_t { in_h first; out_h made; }
struct meta_t { bit<64> value; bit<128> wide; bit<8> which; bit<8> hits; }
parser P(packet_in pkt, out headers_t h, inout meta_t m, in pna_main_parser_input_metadata_t istd) {
    state start { pkt.extract(h.first); transition accept; }
}
control C(inout headers_t h, inout meta_t m, in pna_main_input_metadata_t istd,
          inout pna_main_output_metadata_t ostd) {
    Counter<bit<64>, bit<8>>(5, PNA_CounterType_t.PACKETS_AND_BYTES) seen;
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) one_entries;
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS) mask_entries;
    action one(bit<64> value) { m.value = value; m.which = 1; }
    action two(bit<8> unread, bit<128> wide) { m.wide = m.wide ^ wide; m.which = 2; }
    action three(bit<64> value, bit<8> which, bit<9> more) {
        m.value = m.value + value + (bit<64>) more;
        m.which = which;
    }
    action none() { }
    table keyless { actions = { one; none; } default_action = none(); }
    table narrow {
        key = { h.first.a: exact; }
        actions = { one; two; none; }
        default_action = none();
        pna_direct_counter = one_entries;
    }
    table packed {
        key = { h.first.a: exact @name("a"); h.first.b[3:0]: exact @name("b"); m.value[59:0]: exact @name("v"); }
        actions = { one; two; three; none; }
        default_action = three(3, 4, 5);
    }
    table three_words {
        key = { h.first.b: exact; m.wide: exact; }
        actions = { two; none; }
        default_action = none();
    }
    table five_words {
        key = {
            m.wide: exact @name("wide");
            m.value: exact @name("value");
            48w0 ++ h.first.a ++ h.first.c: exact @name("ac");
            h.first.d: exact @name("d");
        }
        actions = { one; three; none; }
        default_action = none();
    }
    table prefixes {
        key = { h.first.a: exact; h.first.b ++ h.first.c: lpm @name("bc"); }
        actions = { one; none; }
        default_action = none();
    }
    table short_prefixes {
        key = { h.first.c ++ h.first.d: lpm @name("cd"); }
        actions = { three; none; }
        default_action = none();
    }
    table masks {
        key = { h.first.a: ternary; m.value: ternary; h.first.d: range; }
        actions = { one; two; three; none; }
        default_action = none();
        pna_direct_counter = mask_entries;
    }
    apply {
        keyless.apply();
        if (narrow.apply().hit) { m.hits = m.hits | 1; }
        one_entries.count();
        switch (packed.apply().action_run) {
            one: { m.hits = m.hits | 2; }
            three: { m.hits = m.hits | 4; }
            default: { m.hits = m.hits | 8; }
        }
        // Not the table that was applied last.
        one_entries.count();
        if (!three_words.apply().hit) { m.hits = m.hits | 16; }
        five_words.apply();
        seen.count(m.which);
        if (prefixes.apply().hit) { m.hits = m.hits | 32; }
        short_prefixes.apply();
        if (masks.apply().hit) { m.hits = m.hits | 64; }
        mask_entries.count();
        seen.count(h.first.a);
        h.made.setValid();
        h.made = { m.which, m.value, m.wide, m.hits };
        send_to_port((PortId_t) 7);
    }
}
control D(packet_out pkt, in headers_t h, in meta_t m, in pna_main_output_metadata_t ostd) {
    apply { pkt.emit(h); }
}
PNA_NIC(P(), C(), D()) main;"#;

fn program() -> Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    let made = PROGRAM.get_or_init(|| {
        let compiled = compile("lookups.p4", TEXT, &NoIncludes, &Options::default());
        let rendered = compiled.diagnostics.render(&compiled.sources);
        compiled.program.unwrap_or_else(|| panic!("{rendered}"))
    });
    made.clone()
}

/// A value of a few that are likely to occur in packets.
fn value(width: u32, number: u8) -> Vec<u64> {
    let mut limbs = vec![0; width.div_ceil(64) as usize];
    limbs[0] = u64::from(number % 6);
    // Values of several words differ in any of them.
    if let Some(last) = limbs
        .len()
        .checked_sub(1)
        .filter(|n| *n > 0 && number & 8 != 0)
    {
        limbs[last] = 1;
    }
    limbs
}

/// The mask of the highest bits of a value.
fn prefix(width: u32, length: u32) -> u64 {
    match length {
        0 => 0,
        _ => u64::MAX << (width - length) & (u64::MAX >> (64 - width)),
    }
}

fn entry(table: &Table, numbers: &[u8]) -> Entry {
    let mut numbers = numbers.iter().copied().cycle();
    let mut next = || numbers.next().unwrap_or(0);
    let keys = table.spec().keys.iter().map(|key| {
        let (number, more) = (next(), next());
        let value = value(key.width, number);
        match key.kind.as_str() {
            "exact" => Match::Exact(value),
            "lpm" => {
                let mask = prefix(key.width, u32::from(more) % (key.width + 1));
                Match::Ternary(vec![value[0] & mask], vec![mask])
            }
            "range" => Match::Range(value, vec![u64::from(more % 6).max(u64::from(number % 6))]),
            _ if more & 1 == 0 => Match::Any,
            _ => {
                let mask = u64::from(more % 8);
                Match::Ternary(vec![value[0] & mask], vec![mask])
            }
        }
    });
    let keys = keys.collect();
    let at = usize::from(next()) % table.spec().actions.len();
    let parameters = table.spec().actions[at].parameters.iter();
    Entry {
        keys,
        priority: i64::from(next() % 4),
        action: Action::Direct(Chosen {
            action: at as u32,
            arguments: parameters.map(|p| value(p.width, next())).collect(),
        }),
        idle_timeout_ns: None,
        opaque: Vec::new(),
    }
}

/// A change of a table, or packets that are processed at once.
#[derive(Clone, Debug)]
enum Step {
    Change(usize, u8, Vec<u8>),
    Packets(Vec<[u8; 4]>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = (
        any::<usize>(),
        any::<u8>(),
        prop::collection::vec(any::<u8>(), 12),
    );
    let packets = prop::collection::vec([0u8..6, 0u8..6, 0u8..6, 0u8..6], 1..20);
    let step = prop_oneof![
        3 => change.prop_map(|(table, how, numbers)| Step::Change(table, how, numbers)),
        1 => packets.prop_map(Step::Packets),
    ];
    prop::collection::vec(step, 1..80)
}

fn change(engine: &Engine, table: usize, how: u8, numbers: &[u8]) {
    let table = &engine.tables()[table % engine.tables().len()];
    let entry = entry(table, numbers);
    match how % 8 {
        0 => drop(table.delete(&entry.keys, entry.priority)),
        1 => drop(table.modify(&entry, 0)),
        2 => {
            if let Action::Direct(chosen) = entry.action {
                drop(table.set_default(chosen));
            }
        }
        _ => drop(table.insert(&entry, 0)),
    }
}

fn outputs(worker: &mut Worker, packets: &[[u8; 4]]) -> Vec<String> {
    let inputs: Vec<Input<'_>> = packets.iter().map(|p| Input::new(1, p)).collect();
    let mut outputs = Vec::new();
    worker.process(0, &inputs, &mut |n, output| match output {
        Output::Sent(sent) => outputs.push(format!("{n} {:?}", sent.headers)),
        Output::Dropped(reason) => outputs.push(format!("{n} {reason:?}")),
    });
    outputs
}

/// The counts of all objects, and of all entries in the order of their keys.
fn counts(engine: &Engine) -> (Vec<Count>, Vec<String>) {
    let elements = engine.objects().iter().filter_map(|object| match object {
        Object::Counter(counter) => Some(counter),
        _ => None,
    });
    let elements = elements.flat_map(|c| (0..c.size()).map(move |n| c.get(n).expect("an element")));
    let entries = engine.tables().iter().flat_map(|table| table.all());
    let mut entries: Vec<String> = entries
        .map(|state| format!("{:?} {:?}", state.entry, state.count))
        .collect();
    entries.sort_unstable();
    (elements.collect(), entries)
}

proptest! {
    // Each generates code.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn machine_code_and_interpreter_agree(steps in steps()) {
        let program = program();
        let native = Engine::load(program.clone()).expect("it is loaded");
        let interpreted = Engine::load_interpreted(program).expect("it is loaded");
        if cfg!(all(feature = "jit", target_arch = "x86_64", not(miri))) {
            prop_assert_eq!(native.is_interpreted(), None);
        }
        let engines = [Arc::new(native), Arc::new(interpreted)];
        let mut workers = engines.each_ref().map(Engine::worker);
        for step in &steps {
            match step {
                Step::Change(table, how, numbers) => {
                    engines.iter().for_each(|e| change(e, *table, *how, numbers));
                }
                Step::Packets(packets) => {
                    let [native, interpreted] = workers.each_mut().map(|w| outputs(w, packets));
                    prop_assert_eq!(native, interpreted);
                }
            }
        }
        let [native, interpreted] = engines.each_ref().map(|e| counts(e));
        prop_assert_eq!(native, interpreted);
    }
}
