// SPDX-License-Identifier: Apache-2.0 OR MIT

use crate::source::NoIncludes;
use crate::warnings::{Action, Actions, Warning};
use crate::{check, Options};

/// The rendered diagnostics of a program with errors; empty if it has none.
fn errors(text: &str) -> String {
    let text = format!("#include <v1model.p4>\n{text}");
    let checked = check("test.p4", &text, &NoIncludes, &Options::default());
    let wrong = checked.diagnostics.has_errors();
    let rendered = checked.diagnostics.render(&checked.sources);
    if wrong {
        rendered
    } else {
        String::new()
    }
}

fn good(text: &str) {
    let errors = errors(text);
    assert!(errors.is_empty(), "{errors}");
}

#[track_caller]
fn bad(text: &str, expected: &str) {
    let errors = errors(text);
    assert!(errors.contains(expected), "not {expected:?} but:\n{errors}");
}

#[test]
fn literals_take_the_type_that_is_wanted() {
    good("const bit<8> a = 255; const int<4> b = -8; const bit<16> c = a ++ 8w1;");
    good("struct S { bit<8> a; bit<16> b; } const S s = { 1, 2 }; const S t = { b = 1, a = 2 };");
    good("action a(inout bit<8> x) { x = 1 + x; x = x << 3; x[3:0] = 4w1; x |+|= 1; }");
    bad(
        "action a(inout bit<8> x, in bit<9> y) { x = y; }",
        "expected a value of type `bit<8>`",
    );
    bad(
        "action a(inout bit<8> x, in int<8> y) { x = x + y; }",
        "does not take `bit<8>` and `int<8>`",
    );
    bad("const bit<8> a = 8w1 ++ 1;", "does not take");
    bad(
        "struct S { bit<8> a; } const S s = { b = 1 };",
        "expected a value of type `S`",
    );
}

/// The rendered warnings of a program without errors.
fn warnings(text: &str) -> String {
    let text = format!("#include <v1model.p4>\n{text}");
    let checked = check("test.p4", &text, &NoIncludes, &Options::default());
    let rendered = checked.diagnostics.render(&checked.sources);
    assert!(!checked.diagnostics.has_errors(), "{rendered}");
    rendered
}

#[test]
fn literals_become_values_of_new_types() {
    good("type bit<10> vrf_t; const vrf_t d = 0; struct S { vrf_t v; } const S s = { 3 };");
    good("type bit<10> t; type t u; action a(inout u x) { x = 5; if (x == 7) { x = 1; } }");
    good("type bit<8> t; t f(in t x) { return 1; } action a(inout t x) { x = f(2); }");
    bad(
        "type bit<10> t; type bit<10> u; action a(inout t x, in u y) { x = y; }",
        "expected a value of type `t`, found `u`",
    );
    bad(
        "type bit<10> t; action a(inout t x, in bit<10> y) { x = y; }",
        "expected a value of type `t`, found `bit<10>`",
    );
    bad(
        "type bit<10> t; action a(inout t x) { x = x + 1; }",
        "does not take",
    );
    bad(
        "type bool t; const t x = 1;",
        "expected a value of type `t`",
    );
}

#[test]
fn a_variable_may_begin_with_one_of_its_name_outside() {
    good("control c(inout bit<8> x) { apply { { bit<8> x = x + 1; x = x + 1; } } }");
    bad(
        "extern E { E(list<bit<8>> l = ...); }",
        "expected a value of type `list<bit<8>>`",
    );
}

#[test]
fn a_forgotten_call_is_named() {
    let control = |body: &str| {
        format!(
            "control d() {{ apply {{}} }}
             control c(inout bit<8> x) {{ action a() {{}} d() i;
                 table t {{ key = {{ x: exact; }} actions = {{ a; }} }}
                 apply {{ {body} }} }}"
        )
    };
    bad(&control("t;"), "`t.apply()` is meant");
    bad(&control("t();"), "`t.apply()` is meant");
    bad(&control("i;"), "`i.apply(…)` is meant");
    bad(&control("i();"), "`i.apply(…)` is meant");
    bad(&control("a;"), "`a(…)` is meant");
    bad(&control("x;"), "this statement does nothing");
    bad(
        &control("if (t.hit) { x = 1; }"),
        "`t.apply().hit` is meant",
    );
    bad(
        &control("switch (t) { a: {} }"),
        "`t.apply().action_run` is meant",
    );
    bad(
        &control("switch (t.apply()) { a: {} }"),
        "apply().action_run` is meant",
    );
    bad(
        "parser q() { state start { transition accept; } }
         parser p() { q() i; state start { i; transition accept; } }",
        "`i.apply(…)` is meant",
    );
}

#[test]
fn sizes_are_not_negative() {
    let table = |size: &str| {
        format!(
            "control c(inout bit<8> x) {{ action a() {{}}
             table t {{ key = {{ x: exact; }} actions = {{ a; }} size = {size}; }}
             apply {{ t.apply(); }} }}"
        )
    };
    good(&table("0"));
    good(&table("8w16"));
    bad(
        &table("-1"),
        "the size of a table is 0 to 4294967295, not -1",
    );
    bad(&table("2 - 3"), "not -1");
    bad(&table("1 << 32"), "not 4294967296");
    bad(&table("true"), "is a number");
    bad(
        "parser p() { value_set<bit<8>>(-4) s; state start { transition accept; } }",
        "the size of a value set is 0 to 4294967295, not -4",
    );
    bad("header h_t {} struct S { h_t[-1] s; }", "-1 is not in 1 to");
}

#[test]
fn lists_are_run_through() {
    good("void f(inout bit<8> x) { for (bit<8> i in (list<bit<8>>) { 1, 2 }) { x = i; } }");
    good("const list<bit<8>> l = { 1, 2 }; void f(inout bit<8> x) { for (bit<8> i in l) { x = i; } }");
    good("void f(inout bit<8> x) { for (bit<8> i in { 1, x }) { x = i; } }");
    bad(
        "const list<bit<9>> l = { 1 }; void f() { for (bit<8> i in l) {} }",
        "the elements are `bit<9>`, the variable is a `bit<8>`",
    );
    bad(
        "void f(in bool b) { for (bit<8> i in b) {} }",
        "a loop runs over",
    );
}

#[test]
fn constants_that_do_not_fit_are_warned_of() {
    let overflow = |text: &str, expected: &str| {
        let shown = warnings(text);
        assert!(shown.contains(expected), "{shown}");
    };
    overflow(
        "action a(inout bit<9> p) { p = 600; }",
        "warning[overflow]: 600 does not fit into `bit<9>`: it becomes 88",
    );
    overflow("const int<4> x = 8;", "it becomes -8");
    overflow(
        "const bit<8> x = 8w256;",
        "256 does not fit into `bit<8>`: it becomes 0",
    );
    overflow("const bit<8> x = 3 + 253;", "256 does not fit");
    overflow("type bit<4> t; const t x = 16;", "16 does not fit into `t`");
    overflow(
        "struct S { bit<4> a; } const S x = { 17 };",
        "17 does not fit into `bit<4>`",
    );
    overflow(
        "const bit<8> x = -1;",
        "warning[mismatch]: -1 does not fit into `bit<8>`: it becomes 255",
    );
    overflow(
        "parser p(in bit<4> x) { state start { transition select(x) { 16: accept; _: accept; } } }",
        "16 does not fit",
    );
    for fine in [
        "const bit<8> x = 255;",
        "const int<8> x = -128;",
        "const bit<8> x = (bit<8>) 300;",
    ] {
        assert_eq!(warnings(fine), "", "{fine}");
    }
}

#[test]
fn annotations_and_options_switch_warnings() {
    let wide = "const bit<4> x = 16;";
    assert_eq!(warnings(&format!("@noWarn(\"overflow\") {wide}")), "");
    assert!(warnings(&format!("@noWarn(\"unused\") {wide}")).contains("[overflow]"));
    let inside = "action a(inout bit<4> x) { x = 16; }";
    assert_eq!(warnings(&format!("@noWarn(\"overflow\") {inside}")), "");
    // Only the annotated declaration is silenced.
    let both = warnings(&format!(
        "@noWarn(\"overflow\") {inside} const bit<4> y = 17;"
    ));
    assert!(
        both.contains("17 does") && !both.contains("16 does"),
        "{both}"
    );

    let with = |set: &dyn Fn(&mut Actions)| {
        let mut options = Options::default();
        set(&mut options.warnings);
        let checked = check("test.p4", wide, &NoIncludes, &options);
        let rendered = checked.diagnostics.render(&checked.sources);
        (checked.diagnostics.has_errors(), rendered)
    };
    let off = with(&|actions| actions.set(Warning::Overflow, Action::Disable));
    assert_eq!(off, (false, String::new()));
    let off = with(&|actions| actions.set_all(Action::Disable));
    assert_eq!(off, (false, String::new()));
    let (refused, why) = with(&|actions| actions.set(Warning::Overflow, Action::Error));
    assert!(
        refused && why.contains("error[overflow]: 16 does not fit"),
        "{why}"
    );
    let (refused, _) = with(&|actions| {
        actions.set_all(Action::Error);
        actions.set(Warning::Overflow, Action::Warn);
    });
    assert!(!refused);
}

#[test]
fn constants_are_computed() {
    good("const bit<32> N = 1 << 3; const bit<(N * 2)> x = 16w0xffff;");
    bad("const bit<8> a = 8w1 / 0;", "division by 0");
    bad(
        "action a(in bit<8> x) { bit<x> y; }",
        "the compiler has to know this number",
    );
    bad("const bool b = (bool) 2;", "neither 0 nor 1");
}

#[test]
fn names_are_found_or_nearly() {
    bad(
        "const bit<8> width = 1; const bit<8> b = widht;",
        "`width` is",
    );
    bad("const bit<8> a = 1; const bit<8> a = 2;", "declared twice");
    bad(
        "header h_t { bit<8> f; } action a(in h_t h) { bit<8> x = h.g; }",
        "it has f",
    );
    bad(
        "bit<8> f(in bit<8> x) { return f(x); }",
        "`f` is not declared",
    );
}

#[test]
fn what_is_read_only_is_not_written() {
    bad("action a(in bit<8> x) { x = 1; }", "an `in` parameter");
    bad("const bit<8> c = 1; action a() { c = 2; }", "a constant");
    bad("action a(bit<8> x) { x = 1; }", "without direction");
    bad(
        "action b(out bit<8> x) { x = 1; } action a() { b(3); }",
        "no place that can be written",
    );
}

#[test]
fn generic_functions_take_any_type() {
    good(
        "T id<T>(in T x) { return x; } action a(inout bit<8> x) { x = id(x); x = id<bit<8>>(1); }",
    );
    bad(
        "T id<T>(in T x) { return x; } action a(inout bit<8> x) { x = id(16w1); }",
        "expected a value of type `bit<8>`, found `bit<16>`",
    );
    bad(
        "extern void f<T>(in T a, in T b); action a() { f(8w1, 9w1); }",
        "found `bit<9>`",
    );
}

#[test]
fn tables_are_checked() {
    let control = |body: &str| {
        format!(
            "header h_t {{ bit<8> f; }}
             control c(inout h_t h) {{
                 action set(in bit<8> d, bit<8> v) {{ h.f = v + d; }}
                 action drop() {{}}
                 {body}
                 apply {{ t.apply(); }}
             }}"
        )
    };
    good(&control(
        "table t { key = { h.f: ternary; } actions = { set(h.f); drop; }
           const entries = { 1 &&& 3: set(7); _: drop(); } default_action = set(1); size = 16; }",
    ));
    bad(
        &control("table t { key = { h.f: exact; } actions = { drop; } default_action = set(1); }"),
        "`set` is not in the table's actions",
    );
    bad(
        &control("table t { key = { h.f: fuzzy; } actions = { drop; } }"),
        "no match kind",
    );
    bad(&control("table t { key = { h.f: exact; } }"), "no actions");
    bad(&control("table t { key = { h.f: exact; } actions = { drop; } const entries = { (1, 2): drop(); } }"),
        "1 sets are needed");
}

#[test]
fn parsers_are_checked() {
    let parser = |body: &str| {
        format!("header h_t {{ bit<8> f; }} parser p(packet_in b, out h_t h) {{ {body} }}")
    };
    good(&parser("state start { b.extract(h); transition select(h.f) { 0x10 &&& 0xf0: next; 1 .. 3: accept; default: reject; } } state next { transition accept; }"));
    bad(
        &parser("state start { transition gone; }"),
        "no state `gone`",
    );
    bad(
        &parser("state first { transition accept; }"),
        "no state `start`",
    );
    bad(
        &parser("state start { transition select(h.f, h.f) { (1, 2, 3): accept; } }"),
        "2 sets",
    );
}

#[test]
fn what_has_no_meaning_is_refused() {
    bad(
        "action a() { verify(true, error.NoMatch); }",
        "`verify` is for parsers",
    );
    bad("struct s { bit<8> _; }", "expected a field's name");
    bad("@name(4) action a() {}", "`@name` takes one text");
    bad(
        "extern void f(in string s);",
        "a text's parameter has no direction",
    );
    bad(
        "extern E { E(); } action a(E e) {}",
        "an action's parameter is no object",
    );
    bad(
        "extern E { E(); } const E e = E();",
        "objects are no constants",
    );
    bad(
        "type bit<8> T; enum T e { a = 1 }",
        "values of an enum are integers",
    );
    let table = "header h_t { bit<8> f; } control c(inout h_t h) { action a() {} table t { ";
    let end = "actions = { a; } } apply { t.apply(); } }";
    bad(
        &format!("{table} key = {{ h.f + 1: exact; }} {end}"),
        "this key has no name",
    );
    good(&format!(
        "{table} key = {{ h.f + 1: exact @name(\"k\"); h.f & 3: exact; }} {end}"
    ));
    bad(
        &format!("{table} key = {{ h.f: exact; }} priority_delta = 0; {end}"),
        "above 0",
    );
    let parser = |body: &str| format!("parser p(packet_in b) {{ state start {{ {body} }} }}");
    bad(
        &parser("bit<8> x; b.extract(x);"),
        "only headers are extracted",
    );
    bad(
        &parser("transition select(2w0) { 2w2 .. 3w3: accept; }"),
        "one width",
    );
}

#[test]
fn loops_and_switches_are_checked() {
    good("bit<8> f() { bit<8> s = 0; for (bit<8> i in 1 .. 8) { s += i; if (s > 9) { break; } } return s; }");
    good("bit<8> f(in bit<4> x) { switch (x) { 1: { return 1; } 2: 3: { return 2; } default: { return 0; } } }");
    bad("action a() { break; }", "no loop around");
    bad(
        "bit<8> f(in bit<4> x) { if (x == 1) { return 1; } }",
        "does not return a value on all paths",
    );
    bad(
        "action a(in bit<4> x) { switch (x) { 1: {} 1: {} } }",
        "given before",
    );
}

#[test]
fn abstract_methods_are_given_as_declared() {
    let virt = |methods: &str| {
        format!(
            "extern V {{ V(); abstract bit<8> f(in bit<8> x); bit<8> g(); }}\n\
             control c() {{ V() v = {{ {methods} }}; apply {{}} }}"
        )
    };
    good(&virt("bit<8> f(in bit<8> x) { return x; }"));
    bad(&virt(""), "the abstract method `f` is not given");
    bad(
        &virt("bit<8> f(inout bit<8> x) { return x; }"),
        "this parameter's direction is not",
    );
    bad(
        &virt("bit<8> f(in bit<4> x) { return 0; }"),
        "this parameter's type is not",
    );
    bad(
        &virt("bit<8> f(in bit<8> x) { return x; } bit<8> g() { return 0; }"),
        "no abstract method like this `g`",
    );
    bad(
        "extern V { V(); abstract void f(); } package P(V v); P(V()) main;",
        "an instance without a name has no methods",
    );
}

#[test]
fn types_that_nothing_says_are_asked_for() {
    let f = "extern void f<T>(in T x);\n";
    good(&format!("{f} action a() {{ f(8w5); }}"));
    bad(
        &format!("{f} action a() {{ f(5); }}"),
        "the width of this number is not known",
    );
    bad(
        &format!("{f} action a() {{ f({{ x = 8w1 }}); }}"),
        "which structure this is",
    );
    bad(
        "struct S<T> { T x; } typedef S U;",
        "`S` needs type arguments",
    );
    bad(
        "header H<T> { T x; } control c() { apply { H<error> h; } }",
        "would be a `error`",
    );
    bad(
        "header H { varbit<8> x; } parser p(packet_in k, out H h) {\n\
         state start { k.extract(h); transition accept; } }",
        "its size in bits is the second argument",
    );
}

#[test]
fn parsers_end_and_sets_are_known() {
    bad(
        "parser p() { state start { transition a; } state a { transition start; } }",
        "never reaches `accept` or `reject`",
    );
    bad(
        "parser p(in bit<8> x) { state start { transition select(x) { x .. 8: accept; } } }",
        "the compiler has to know the ends of a set",
    );
    bad(
        "control c() { c() again; apply {} }",
        "`c` is made inside of itself",
    );
}

#[test]
fn entries_fit_their_keys() {
    let table = |kind: &str, entries: &str| {
        format!(
            "control c(inout bit<8> x) {{ action a() {{}}\n\
             table t {{ key = {{ x: {kind}; }} actions = {{ a; @defaultonly NoAction; }}\n\
             entries = {{ {entries} }} }} apply {{ t.apply(); }} }}"
        )
    };
    good(&table("lpm", "0xf0 &&& 0xf0: a(); _: a();"));
    good(&table("ternary", "priority = 9: 1 &&& 5: a(); 2: a();"));
    bad(
        &table("lpm", "0x11 &&& 0xe1: a();"),
        "has all its ones at the top",
    );
    bad(&table("exact", "1 &&& 5: a();"), "a mask is no value");
    bad(&table("exact", "priority = 1: 1: a();"), "no two entries");
    bad(&table("exact", "1: NoAction();"), "it is not an entry");
    bad(
        &table("ternary", "priority = 1: 1: a(); 2: a(); 3: a();"),
        "this entry's priority is -1",
    );
    bad(
        &table("ternary", "1: a(); priority = 3: 2: a();"),
        "this entry needs a priority",
    );
}

#[test]
fn annotations_hold_constants_once() {
    good("@a[x = 1, y = \"t\" ++ \"u\"] @b(anything < goes) const bit<8> c = 0;");
    bad("@a[1] @a[2] const bit<8> c = 0;", "`@a` is given twice");
    bad("@a[x = { 1 }] const bit<8> c = 0;", "an annotation holds");
}

#[test]
fn arrays_are_of_values() {
    good("struct S { bit<8>[4] a; bool[2][3] b; } header h_t { S[2] s; bit<8>[3] c; }");
    good("action a(inout bit<8>[4] x, in bit<8> i) { x[i] = x[1]; x = { 1, 2, 3, 4 }; }");
    good("action a(inout tuple<bit<8>, bool> t) { t[0] = 1; t[1] = t[0] == 1; }");
    bad(
        "action a(inout bit<8>[4] x) { x.push_front(1); }",
        "no member",
    );
    bad(
        "action a(inout bit<8>[4] x) { x[4] = 1; }",
        "beyond the 4 elements",
    );
    bad(
        "action a(inout bit<8>[4] x) { x = { 1, 2 }; }",
        "expected a value of type",
    );
    bad("extern E { E(); } struct S { E[2] e; }", "no arrays of `E`");
    bad("header h_t { error[2] e; }", "no fields of type `error[2]`");
}

#[test]
fn parts_may_begin_anywhere() {
    good("action a(inout bit<32> x, in bit<8> i) { x[i +: 4] = x[i + 1 +: 4]; }");
    bad(
        "action a(inout bit<32> x, in int<8> i) { x[i +: 4] = 1; }",
        "begins is a `bit<…>`",
    );
    bad(
        "action a(inout bit<32> x, in bit<8> i) { x[i +: 33] = 1; }",
        "not in a value of 32 bits",
    );
    bad(
        "action a(inout bit<32> x, in bit<8> i) { x[i : 0] = 1; }",
        "are constants",
    );
}

#[test]
fn objects_are_made_early_and_of_the_right_things() {
    bad(
        "extern W { } extern W make<T>(T a); control c(inout bit<8> x)(W w) { apply {} }
         control d(inout bit<8> x) { c(make(x)) i; apply { i.apply(x); } }",
        "has to be known to the compiler",
    );
    bad(
        "control C(); extern E { E(C c); }",
        "no extern object is given a `C`",
    );
    bad(
        "control C(); extern E<T> { E(); } control c() { E<C>() e; apply {} }",
        "no extern is one of `C`",
    );
    good(
        "extern V { V(); abstract bit<8> f(in bit<8> x); bit<8> g(); } extern R { R(); bit<8> r(); }
         control c() { V() v = { R() r; bit<8> f(in bit<8> x) { return this.g() + r.r(); } };
                       apply { v.g(); } }",
    );
}

#[test]
fn control_planes_tell_actions_and_tables_apart() {
    bad(
        "control c() { @name(\".x\") action a() {} apply { a(); } }
         control d() { @name(\".x\") action b() {} apply { b(); } }",
        "two actions are `x` to the control plane",
    );
    good(
        "control c() { @name(\"x\") action a() {} apply { a(); } }
         control d() { @name(\"x\") action b() {} apply { b(); } }",
    );
}

#[test]
fn what_is_not_said_in_full_is_refused() {
    bad(
        "struct S<T> { tuple<T, T> t; } const S<_> x = { t = { 0, 0 } };",
        "written in full",
    );
    bad("header H {} const H h = { # };", "without blanks");
    good("header H {} const H h = {#};");
    bad(
        "parser p(in bit<16> x) { state start { transition select(x) { (4w2 .. 0): accept; } } }",
        "one width",
    );
    bad(
        "struct s { @match(1 + 1) bit<16> f; }",
        "`@match` takes a match kind",
    );
}
