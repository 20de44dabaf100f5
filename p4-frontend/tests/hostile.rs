// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Programs crafted to exhaust a compiler's time or memory: each is rejected quickly, with a
//! diagnostic of the limit that it exceeds, at the place where it does.

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use adit_p4_frontend::source::NoIncludes;
use adit_p4_frontend::{check, compile, Options};
use rustix::time::{clock_gettime, ClockId};

/// A program with an ingress control, the declarations before it and an architecture's other
/// blocks.
fn program(before: &str, ingress: &str) -> String {
    format!(
        "#include <core.p4>
#include <v1model.p4>
header h_t {{ bit<16> x; }}
struct headers {{ h_t h; h_t[4] s; }}
struct meta {{ bit<16> x; }}
{before}
parser P(packet_in p, out headers h, inout meta m, inout standard_metadata_t s) {{
    state start {{ p.extract(h.h); transition accept; }}
}}
control V(inout headers h, inout meta m) {{ apply {{}} }}
control I(inout headers h, inout meta m, inout standard_metadata_t s) {{ {ingress} }}
control E(inout headers h, inout meta m, inout standard_metadata_t s) {{ apply {{}} }}
control D(packet_out p, in headers h) {{ apply {{ p.emit(h.h); }} }}
V1Switch(P(), V(), I(), E(), V(), D()) main;
"
    )
}

/// The result of a run, and the CPU time that it took, however busy the machine is. That is the time of the
/// process, of which a compilation has a thread; so the runs of tests come one after another.
fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let now = || {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let start = now();
    (run(), now() - start)
}

/// The diagnostics of a program that is rejected within a second of CPU time (ten without optimization).
#[track_caller]
fn refused(before: &str, ingress: &str) -> String {
    let text = program(before, ingress);
    let options = Options::default();
    let (compiled, taken) = timed(|| compile("hostile.p4", &text, &NoIncludes, &options));
    let most = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 1 });
    assert!(taken < most, "took {taken:?}");
    assert!(compiled.program.is_none(), "accepted");
    compiled.diagnostics.render(&compiled.sources)
}

#[track_caller]
fn accepted(before: &str, ingress: &str) {
    let text = program(before, ingress);
    let options = Options::default();
    let (compiled, _) = timed(|| compile("good.p4", &text, &NoIncludes, &options));
    let rendered = compiled.diagnostics.render(&compiled.sources);
    assert!(compiled.program.is_some(), "{rendered}");
}

/// A chain of `count` declarations, each generated from its number and the previous one.
fn chain(first: &str, count: usize, next: impl Fn(usize, usize) -> String) -> String {
    let mut text = first.to_owned();
    for n in 1..count {
        let _ = writeln!(text, "{}", next(n, n - 1));
    }
    text
}

fn doubling(count: usize) -> String {
    chain(
        "control c0(inout bit<16> x) { apply { x = x + 1; } }\n",
        count,
        |n, p| {
            format!(
                "control c{n}(inout bit<16> x) {{ c{p}() a; c{p}() b; apply {{ a.apply(x); b.apply(x); }} }}"
            )
        },
    )
}

#[test]
fn instances_that_double_are_counted_before_they_are_made() {
    accepted(&doubling(8), "c7() c; apply { c.apply(m.x); }");
    let why = refused(&doubling(30), "c29() c; apply { c.apply(m.x); }");
    assert!(why.contains("too much code"), "{why}");
    assert!(
        why.contains("hostile.p4:") && why.contains("c15() b;"),
        "{why}"
    );
    assert!(why.contains("1048576 nodes"), "{why}");
    // Unused controls cost nothing.
    accepted(&doubling(30), "apply {}");
    // Applied by their types, and passed to constructors.
    let direct = chain(
        "control d0(inout bit<16> x) { apply { x = x + 1; } }\n",
        40,
        |n, p| {
            format!("control d{n}(inout bit<16> x) {{ apply {{ d{p}.apply(x); d{p}.apply(x); }} }}")
        },
    );
    let why = refused(&direct, "apply { d39.apply(m.x); }");
    assert!(why.contains("too much code"), "{why}");
}

#[test]
fn unrolled_loops_multiply() {
    let loops = |depth: usize| {
        let head: String = (0..depth)
            .map(|n| format!("for (h_t a{n} in h.s) {{ "))
            .collect();
        format!("apply {{ {head} m.x = m.x + 1; {} }}", "}".repeat(depth))
    };
    accepted("", &loops(3));
    let why = refused("", &loops(30));
    assert!(why.contains("too much code"), "{why}");
}

#[test]
fn functions_made_for_types_and_keys_made_at_each_use_multiply() {
    let generic = chain("T f0<T>(in T x) { return x; }\n", 40, |n, p| {
        format!("T f{n}<T>(in T x) {{ T y = f{p}(f{p}(x)); return y; }}")
    });
    // A single type: each is generated once, which the count need not know.
    let why = refused(&generic, "apply { m.x = f39(m.x); }");
    assert!(why.contains("too much code"), "{why}");
    let tables = chain(
        "table t0 { key = { m.x : exact; } actions = { NoAction; } }\n",
        40,
        |n, p| {
            let hit = format!("t{p}.apply().hit : exact @name(\"k\")");
            format!("table t{n} {{ key = {{ {hit}; {hit}; }} actions = {{ NoAction; }} }}")
        },
    );
    let why = refused("", &format!("{tables} apply {{ t39.apply(); }}"));
    assert!(why.contains("too much code"), "{why}");
    let own = "table t { key = { t.apply().hit : exact @name(\"k\"); } actions = { NoAction; } }";
    let why = refused("", &format!("{own} apply {{ t.apply(); }}"));
    assert!(why.contains("not applied for its own key"), "{why}");
}

#[test]
fn chains_are_not_followed_to_any_depth() {
    let controls = chain(
        "control c0(inout bit<16> x) { apply { x = x + 1; } }\n",
        20_000,
        |n, p| format!("control c{n}(inout bit<16> x) {{ c{p}() a; apply {{ a.apply(x); }} }}"),
    );
    let why = refused(&controls, "c19999() c; apply { c.apply(m.x); }");
    assert!(why.contains("instances and calls deep"), "{why}");
    let functions = chain(
        "bit<16> f0(in bit<16> x) { return x; }\n",
        20_000,
        |n, p| format!("bit<16> f{n}(in bit<16> x) {{ return f{p}(x); }}"),
    );
    let why = refused(&functions, "apply { m.x = f19999(m.x); }");
    assert!(why.contains("instances and calls deep"), "{why}");
    // Each is generated before the next one calls it: the calls are as deep nevertheless.
    let actions = chain("action a0() { m.x = m.x + 1; }\n", 2000, |n, p| {
        format!("action a{n}() {{ a{p}(); }}")
    });
    let why = refused("", &format!("{actions} apply {{ a1999(); }}"));
    assert!(why.contains("calls that are 257 deep"), "{why}");
    let structures = chain("struct s0 { bit<8> a; }\n", 20_000, |n, p| {
        format!("struct s{n} {{ s{p} a; }}")
    });
    let why = refused(&structures, "apply { s19999 x; }");
    assert!(why.contains("this type is too large"), "{why}");
}

#[test]
fn types_and_constants_that_double_are_refused() {
    for first in ["struct s0 { bit<8> a; }\n", "struct s0 {}\n"] {
        let structures = chain(first, 60, |n, p| {
            format!("struct s{n} {{ s{p} a; s{p} b; }}")
        });
        let why = refused(
            &structures,
            "apply { s59 x; s59 y; if (x == y) { m.x = 1; } }",
        );
        assert!(why.contains("this type is too large"), "{why}");
    }
    let tuples = chain("typedef tuple<bit<8>, bit<8>> t0;\n", 60, |n, p| {
        format!("typedef tuple<t{p}, t{p}> t{n};")
    });
    let why = refused(&tuples, "apply { t59 x; }");
    assert!(why.contains("this type is too large"), "{why}");
    // No field has a parameter's type, but the parameters are part of the type's name.
    let phantom = chain(
        "struct P<A, B> { bit<8> a; }\ntypedef P<bit<8>, bit<8>> p0;\n",
        60,
        |n, p| format!("typedef P<p{p}, p{p}> p{n};"),
    );
    let why = refused(&phantom, "apply { p59 x; m.x = x; }");
    assert!(why.contains("this type is too large"), "{why}");
    let texts = chain("const string s0 = \"0123456789abcdef\";\n", 60, |n, p| {
        format!("const string s{n} = s{p} ++ s{p};")
    });
    let why = refused(&texts, "apply { log_msg(s59); }");
    assert!(why.contains("more than 65536 bytes"), "{why}");
    let lists = chain(
        "typedef list<bit<8>> t0;\nconst t0 l0 = { 1, 2 };\n",
        40,
        |n, p| format!("typedef list<t{p}> t{n};\nconst t{n} l{n} = {{ l{p}, l{p} }};"),
    );
    let why = refused(&lists, "apply {}");
    assert!(why.contains("more than 262144 values"), "{why}");
}

#[test]
fn quadratic_work_is_not_done() {
    let mut states = String::new();
    for n in 0..20_000 {
        let _ = write!(states, "state s{n} {{ transition s{}; }} ", n + 1);
    }
    let long = format!(
        "parser L(packet_in p) {{ state start {{ transition s0; }} {states} state s20000 {{ }} }}"
    );
    accepted(&long, "apply {}");
    let calls = "m.x = min(m.x, 1); ".repeat(20_000);
    accepted(
        "T min<T>(in T a, in T b) { return a; }",
        &format!("apply {{ {calls} }}"),
    );
}

#[test]
fn a_compilation_ends_when_it_is_cancelled() {
    let options = Options::default();
    options.cancel.cancel();
    let text = program("", "apply {}");
    let compiled = compile("cancelled.p4", &text, &NoIncludes, &options);
    assert!(compiled.program.is_none() && compiled.diagnostics.is_cancelled());
    let why = compiled.diagnostics.render(&compiled.sources);
    assert!(why.contains("the compilation was cancelled"), "{why}");
}

#[test]
fn counts_of_keys_saturate() {
    let functions = chain("T f0<T>(in T x) { return x; }\n", 70, |n, p| {
        format!("T f{n}<T>(in T x) {{ return f{p}(f{p}(x)); }}")
    });
    let table = r#"table t {
        key = { f69(h.h.x): exact @name("a"); f69(m.x): exact @name("b"); }
        actions = {}
    }"#;
    let why = refused(&functions, &format!("{table} apply {{ t.apply(); }}"));
    assert!(why.contains("too much code"), "{why}");
}

#[test]
fn warnings_about_large_programs_are_found_in_bounded_time() {
    let locals = |count: usize, name: &str| {
        (0..count).fold(String::new(), |mut text, n| {
            let _ = writeln!(text, "bit<1> {name}{n};");
            text
        })
    };
    let cases: String = (0..20_000).map(|n| format!("{n}: next;")).collect();
    let parser = format!(
        "parser p(in bit<32> v) {{ {}
            state start {{ transition select(v) {{ {cases} }} }}
            state next {{ transition accept; }} }}",
        locals(20_000, "_a")
    );
    let control = format!("control c() {{ {} apply {{}} }}", locals(150_000, "a"));
    for text in [control, parser] {
        let text = format!("#include <core.p4>\n{text}");
        let options = Options::default();
        let (checked, taken) = timed(|| check("large.p4", &text, &NoIncludes, &options));
        assert!(!checked.diagnostics.has_errors());
        assert!(taken.as_secs() < 20, "took {taken:?}");
    }
}
