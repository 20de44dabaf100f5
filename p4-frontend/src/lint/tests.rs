// SPDX-License-Identifier: Apache-2.0 OR MIT

use crate::source::NoIncludes;
use crate::{check, Options};

/// The declarations at the beginning of the test programs.
const HEAD: &str = "#include <v1model.p4>
    header h_t { bit<8> a; bit<8> b; }
    struct H { h_t x; h_t y; }
";

/// The kind and message of each warning.
fn warnings(text: &str) -> Vec<String> {
    let text = format!("{HEAD}{text}");
    let checked = check("test.p4", &text, &NoIncludes, &Options::default());
    let rendered = checked.diagnostics.render(&checked.sources);
    assert!(!checked.diagnostics.has_errors(), "{rendered}");
    let list = checked.diagnostics.warnings();
    list.map(|w| format!("{}: {}", w.warning.unwrap().name(), w.message))
        .collect()
}

#[track_caller]
fn warned(text: &str, expected: &[&str]) {
    assert_eq!(warnings(text), expected, "{text}");
}

#[test]
fn states_and_cases() {
    let parser = |states: &str| {
        format!("parser p(packet_in k, out H h, in bit<8> v) {{ state start {{ {states}")
    };
    let used = "k.extract(h.x); transition select(v)";
    let p = |states: &str| parser(&format!("{used} {states}"));
    warned(
        &p("{ 1: accept; 2: next; } } state next { transition accept; } }"),
        &[],
    );
    warned(
        &p("{ 1: accept; 2: next; } } state next { k.extract(h.y); } }"),
        &["parser-transition: the state `next` has no transition: it rejects"],
    );
    warned(
        &p("{ default: accept; } } state lost { transition accept; } }"),
        &["unreachable: the state `lost` is never reached"],
    );
    let unreached = "unreachable: this case is never reached";
    warned(&p("{ 1: accept; 1: reject; } } }"), &[unreached]);
    warned(&p("{ _: accept; 2: reject; } } }"), &[unreached]);
    warned(
        &p("{ 0x10 &&& 0xf0: accept; 0x12: reject; 0x20: reject; } } }"),
        &[unreached],
    );
    warned(&p("{ 0x12: reject; 0x10 &&& 0xf0: accept; } } }"), &[]);
    warned(&p("{ 1 .. 9: reject; 2 .. 5: accept; } } }"), &[unreached]);
    warned(
        &p("{ 9 .. 1: reject; _: accept; } } }"),
        &["mismatch: nothing is in the range from 9 to 1"],
    );
    warned(
        &p("{ 0x12 &&& 0xf0: accept; } } }"),
        &["mismatch: 18 has bits that the mask 240 leaves out"],
    );
    warned(
        &p("{ 256: accept; 0: reject; } } }"),
        &[
            "overflow: 256 does not fit into `bit<8>`: it becomes 0",
            unreached,
        ],
    );
    warned(
        &parser("k.extract(h.x); transition select(v, h.x.a) { (1, _): accept; (_, 2): reject; (1, 2): accept; } } }"),
        &[unreached],
    );
    let quiet = format!(
        "@noWarn(\"parser-transition\") {}",
        p("{ 1: a; } } state a {} }")
    );
    warned(&quiet, &[]);
}

#[test]
fn entries_behind_others() {
    let table = |kind: &str, entries: &str| {
        format!(
            "control c(inout bit<8> x) {{ action a(bit<8> v) {{ x = v; }}
             table t {{ key = {{ x: {kind}; }} actions = {{ a; }} default_action = a(0);
                        const entries = {{ {entries} }} }}
             apply {{ t.apply(); }} }}"
        )
    };
    let never = "unreachable: this entry is never reached";
    warned(&table("exact", "1: a(1); 2: a(2);"), &[]);
    warned(&table("exact", "1: a(1); 1: a(2);"), &[never]);
    warned(
        &table("ternary", "0x10 &&& 0xf0: a(1); 0x11: a(2);"),
        &[never],
    );
    warned(
        &table(
            "ternary",
            "priority = 1: 0x10 &&& 0xf0: a(1); priority = 2: 0x11: a(2);",
        ),
        &[],
    );
    warned(&table("lpm", "0x10 &&& 0xf0: a(1); 0x11: a(2);"), &[]);
}

#[test]
fn statements_behind_one_that_leaves() {
    let never = "unreachable: this statement is never reached";
    warned("bit<8> f(in bit<8> x) { return x; return 1; }", &[never]);
    warned(
        "void f(inout bit<8> x) { if (x == 1) { return; } x = 2; }",
        &[],
    );
    warned(
        "void f(inout bit<8> x) { if (x == 1) { return; } else { return; } x = 2; x = 3; }",
        &[never],
    );
    warned(
        "void f(inout bit<8> x) { for (bit<8> i in 1 .. 3) { break; x = i; } }",
        &[never],
    );
    warned(
        "control c(inout bit<8> x) { apply { exit; x = 1; } }",
        &[never],
    );
    warned(
        "void f(inout bit<8> x) { switch (x) { 1: { x = 2; } 2: } }",
        &["missing: this label has no statement"],
    );
}

#[test]
fn what_nothing_uses() {
    let c = |locals: &str, apply: &str| {
        format!("control c(inout bit<8> x) {{ {locals} apply {{ x = 1; {apply} }} }}")
    };
    let table = "action a() {} table t { key = { x: exact; } actions = { a; } }";
    warned(&c(table, "t.apply();"), &[]);
    warned(&c(table, ""), &["unused: the table `t` is never applied"]);
    warned(
        &c("action a() {}", ""),
        &["unused: the action `a` is never used"],
    );
    warned(&c("action a() {}", "a();"), &[]);
    warned(
        &c(
            "action a(bit<8> v) {} table t { actions = { a; } default_action = a(1); }",
            "t.apply();",
        ),
        &["unused-parameter: the parameter `v` is never used"],
    );
    warned(
        &c("bit<8> y = 1;", ""),
        &["unused: the variable `y` is never used"],
    );
    warned(&c("bit<8> _y = 1;", ""), &[]);
    warned(
        &c("bit<8> y = 1;", "{ bit<8> y = 2; x = y; }"),
        &["unused: the variable `y` is never used"],
    );
    warned(
        &c("counter(4, CounterType.packets) n;", ""),
        &["unused: the instance `n` is never used"],
    );
    warned(&c("counter(4, CounterType.packets) n;", "n.count(1);"), &[]);
    warned(&c("", "for (bit<8> i in 1 .. 3) { x = x + 1; }"), &[]);
    warned(
        "bit<8> f(in bit<8> x, in bit<8> y) { return x; }",
        &["unused-parameter: the parameter `y` is never used"],
    );
    warned(
        "@noWarn(\"unused\") bit<8> f(in bit<8> x, in bit<8> y) { return x; }",
        &[],
    );
    warned(
        "bit<8> f(in bit<8> x, @noWarn(\"unused\") in bit<8> y) { return x; }",
        &[],
    );
    // A program cannot omit the parameters that the architecture gives a block.
    let blocks = "struct M {}
        parser P(packet_in p, out H h, inout M m, inout standard_metadata_t s) {
            state start { transition accept; } }
        control V(inout H h, inout M m) { apply {} }
        control I(inout H h, inout M m, inout standard_metadata_t s) { apply {} }
        control D(packet_out p, in H h) { apply {} }
        V1Switch(P(), V(), I(), I(), V(), D()) main;";
    warned(blocks, &[]);
    warned(
        &format!("control c(inout bit<8> x) {{ apply {{ x = 1; }} }} {blocks}"),
        &["unused: the control `c` is never used"],
    );
}

#[test]
fn fields_of_headers_that_are_not_valid() {
    let read = "invalid-header: the field `a` is read while `h.x` is not valid";
    let written = "invalid-header: the field `a` is written while `h.x` is not valid";
    let parser = |states: &str| {
        format!("parser p(packet_in k, out H h, inout bit<8> v) {{ state start {{ {states}")
    };
    warned(
        &parser("k.extract(h.x); v = h.x.a; transition accept; } }"),
        &[],
    );
    warned(
        &parser("v = h.x.a; k.extract(h.x); transition accept; } }"),
        &[read],
    );
    warned(
        &parser("h.x.a = v; k.extract(h.x); transition accept; } }"),
        &[written],
    );
    warned(
        &parser("v = 1; k.extract(h.y); transition select(h.x.a) { 1: accept; } } }"),
        &[read],
    );
    // Valid on one path and invalid on the other; and around a loop.
    let two =
        "transition select(v) { 1: one; _: two; } } state one { k.extract(h.x); transition two; }";
    warned(
        &parser(&format!(
            "{two} state two {{ v = h.x.a; transition accept; }} }}"
        )),
        &[],
    );
    let round =
        "transition again; } state again { transition select(h.x.isValid()) { true: use; } }";
    warned(
        &parser(&format!(
            "v = 1; k.extract(h.y); {round} state use {{ v = h.x.a; transition accept; }} }}"
        )),
        &[read],
    );
    let c = |apply: &str| format!("control c(inout H h, inout bit<8> v) {{ apply {{ {apply} }} }}");
    warned(&c("v = h.x.a;"), &[]);
    warned(&c("h.x.setInvalid(); v = h.x.a;"), &[read]);
    warned(&c("h.x.setInvalid(); h.x.setValid(); v = h.x.a;"), &[]);
    warned(&c("h.x.setInvalid(); h.x = h.y; v = h.x.a;"), &[]);
    warned(
        &c("h.x.setInvalid(); h = { { 1, 2 }, { 3, 4 } }; v = h.x.a;"),
        &[],
    );
    warned(
        &c("if (h.x.isValid()) { v = h.x.a; } else { v = h.x.a; }"),
        &[read],
    );
    warned(&c("if (!h.x.isValid() && h.x.a == 1) { v = 1; }"), &[read]);
    warned(&c("if (!h.x.isValid() || h.x.a == 1) { v = 1; }"), &[]);
    warned(&c("if (!h.x.isValid()) { return; } v = h.x.a;"), &[]);
    warned(&c("if (h.x.isValid()) { return; } v = h.x.a;"), &[read]);
    warned(&c("if (v == 1) { h.x.setInvalid(); } v = h.x.a;"), &[]);
    warned(
        &c("h_t n; n.a = 1; v = n.b; h.x = n;"),
        &[
            "invalid-header: the field `a` is written while `n` is not valid",
            "invalid-header: the field `b` is read while `n` is not valid",
        ],
    );
    // The effects of a table's actions are not followed.
    warned(
        "control c(inout H h, inout bit<8> v) { action a() { h.x.setValid(); }
         table t { actions = { a; } default_action = a(); }
         apply { h.x.setInvalid(); t.apply(); v = h.x.a; h.x.setInvalid(); a(); v = h.x.a; } }",
        &[],
    );
}

#[test]
fn variables_that_hold_nothing() {
    let c = |apply: &str| format!("control c(inout bit<8> v) {{ apply {{ {apply} }} }}");
    let read = "uninitialized-use: `x` is read before anything is put into it";
    warned(&c("bit<8> x; v = x;"), &[read]);
    warned(&c("bit<8> x; x = 1; v = x;"), &[]);
    warned(&c("bit<8> x; if (v == 1) { x = 1; } v = x;"), &[]);
    warned(&c("bit<8> x; x[3:0] = 1; v = x;"), &[]);
    warned(
        "void f(out bit<8> x, out bit<8> y) { y = x; x = 1; }",
        &[read],
    );
    warned(
        "struct S { bit<8> a; bit<8> b; } control c(inout bit<8> v) { apply { S s; s.a = 1; v = s.a + s.b; } }",
        &["uninitialized-use: `s.b` is read before anything is put into it"],
    );
    warned(
        "void g(out bit<8> x) { x = 1; } void f(out bit<8> v) { bit<8> x; g(x); v = x; }",
        &[],
    );
    warned(
        "void f(inout bit<8> v) { bit<8> x; for (bit<8> i in 1 .. 3) { v = x; x = i; } }",
        &[],
    );
}

#[test]
fn nothing_is_reported_once_no_steps_are_left() {
    let reads = |count: usize| {
        let locals: String = (0..4_000).map(|n| format!("bit<1> _a{n} = 0;")).collect();
        let text = format!(
            "control c(inout bit<1> r) {{ {locals} apply {{ {}
                bit<1> z; r = z; }} }}",
            "if (r == 0) { r = 1; }".repeat(count)
        );
        let all = warnings(&text);
        all.iter().any(|w| w.starts_with("uninitialized-use"))
    };
    assert!(reads(10));
    assert!(!reads(1_000));
}

#[test]
fn comparisons_of_cases_are_bounded() {
    let reported = |count: usize| {
        let cases: String = (0..count).map(|n| format!("{n}: accept;\n")).collect();
        let all = warnings(&format!(
            "parser p(in bit<32> v) {{
                state start {{ transition select(v) {{ {cases} default: last; }} }}
                state last {{ transition select(v) {{ 1: accept; 1: reject; }} }} }}"
        ));
        all == ["unreachable: this case is never reached"]
    };
    assert!(reported(100));
    assert!(!reported(20_000));
}
