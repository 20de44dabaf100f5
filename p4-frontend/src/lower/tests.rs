// SPDX-License-Identifier: Apache-2.0 OR MIT

use crate::ir::{Inst, Match, Program};
use crate::source::NoIncludes;
use crate::warnings::Warning;
use crate::{compile, Options};

/// A program with an ingress control and the architecture's other blocks.
fn program(ingress: &str) -> Result<Program, String> {
    let text = format!(
        "#include <v1model.p4>
         header h_t {{ bit<8> a; bit<8> b; }}
         struct H {{ h_t h; }}
         struct M {{ @field_list(3) bit<100> wide; }}
         parser P(packet_in b, out H h, inout M m, inout standard_metadata_t s) {{
             state start {{ b.extract(h.h); transition accept; }}
         }}
         control V(inout H h, inout M m) {{ apply {{}} }}
         {ingress}
         control E(inout H h, inout M m, inout standard_metadata_t s) {{ apply {{}} }}
         control C(inout H h, inout M m) {{ apply {{}} }}
         control D(packet_out b, in H h) {{ apply {{ b.emit(h); }} }}
         V1Switch(P(), V(), I(), E(), C(), D()) main;"
    );
    let compiled = compile("test.p4", &text, &NoIncludes, &Options::default());
    let rendered = compiled.diagnostics.render(&compiled.sources);
    compiled.program.ok_or(rendered)
}

fn ingress(body: &str) -> Result<Program, String> {
    let head = "inout H h, inout M m, inout standard_metadata_t s";
    program(&format!("control I({head}) {{ {body} }}"))
}

#[test]
fn blocks_have_roles_and_places() {
    let program = ingress("apply {}").unwrap();
    assert_eq!(program.package, "V1Switch");
    let roles: Vec<_> = program.blocks.iter().map(|b| b.role.as_str()).collect();
    assert_eq!(roles, ["p", "vr", "ig", "eg", "ck", "dep"]);
    let parser = &program.blocks[0];
    assert!(parser.is_parser && parser.parameters[0].role == "parsedHdr");
    assert_eq!(parser.parameters[1].layout.limbs(), 2, "100 bits");
}

#[test]
fn tables_have_names_entries_and_priorities() {
    let program = ingress(
        "action set(bit<8> v) { h.h.a = v; }
         @name(\"other\") table t {
             key = { h.h.a: ternary; h.h.isValid(): exact; }
             actions = { set; NoAction; }
             entries = { priority = 3: (1 &&& 3, true): set(7); (_, false): set(8); priority = 9: (2, true): NoAction(); }
         }
         apply { t.apply(); }",
    )
    .unwrap();
    let table = &program.tables[0];
    assert_eq!(
        (table.name.as_str(), table.const_entries),
        ("I.other", false)
    );
    assert_eq!(table.keys[0].name, "h.h.a");
    assert_eq!(table.keys[1].name, "h.h.$valid$");
    assert_eq!(table.entries[0].keys[0], Match::Ternary(vec![1], vec![3]));
    assert_eq!(table.entries[1].keys, [Match::Any, Match::Exact(vec![0])]);
    let priorities: Vec<_> = table.entries.iter().map(|e| e.priority).collect();
    assert_eq!(priorities, [3, 2, 9]);
    assert_eq!(table.entries[0].chosen.arguments, [vec![7]]);
    assert_eq!(
        table.actions[table.default.action as usize].name,
        "NoAction"
    );
}

#[test]
fn an_instance_is_made_for_each_use() {
    let head = "inout H h, inout M m, inout standard_metadata_t s";
    let program = program(&format!(
        "control inner(inout bit<8> x)(bit<8> n) {{
             table t {{ key = {{ x: exact; }} actions = {{ NoAction; }} }}
             apply {{ t.apply(); x = x + n; }}
         }}
         control I({head}) {{ inner(1) one; inner(2) two; apply {{ one.apply(h.h.a); two.apply(h.h.b); }} }}"
    ))
    .unwrap();
    let names: Vec<_> = program.tables.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["I.one.t", "I.two.t"]);
}

#[test]
fn code_ends_and_jumps_stay_inside() {
    let program = ingress(
        "apply { for (bit<8> i in 0 .. 3) { if (i == h.h.a) { continue; } h.h.b = h.h.b + i; }
                 if (h.h.a == 1) { exit; } else { return; } }",
    )
    .unwrap();
    for function in &program.functions {
        assert!(matches!(function.code.last(), Some(Inst::Return)));
        for inst in &function.code {
            if let Inst::Jump { to } | Inst::Branch { to, .. } | Inst::IfEnding { to } = inst {
                assert!(
                    (*to as usize) < function.code.len(),
                    "{inst:?} in {}",
                    function.name
                );
            }
        }
    }
}

#[test]
fn operands_of_conditions_branch_themselves() {
    let program =
        ingress("apply { if (h.h.a == 1 && !(h.h.b == 2 || h.h.a == h.h.b)) { h.h.b = 3; } }")
            .unwrap();
    let code = program.functions.iter().flat_map(|function| &function.code);
    let branches = code.filter_map(|inst| match inst {
        Inst::Branch { when, to, .. } => Some((*when, *to)),
        _ => None,
    });
    let branches: Vec<(bool, u32)> = branches.collect();
    let Some((_, end)) = branches.first() else {
        panic!("the condition has no branch");
    };
    assert_eq!(branches, [(false, *end), (true, *end), (true, *end)]);
}

#[test]
fn what_cannot_be_run_is_named() {
    let error = ingress("apply { static_assert(1 == 2, \"no\"); }").unwrap_err();
    assert!(error.contains("static_assert fails: no"), "{error}");
}

#[test]
fn keys_are_named_as_they_are_written() {
    let program = ingress(
        "table t {
             key = {
                 h.h.a & 0x0F: exact;
                 h.h.a[7:0x4]: exact;
                 h.h.isValid(): exact;
                 h.h.b: exact @name(\"given\");
             }
             actions = { NoAction; }
         }
         apply { t.apply(); }",
    )
    .unwrap();
    let names: Vec<_> = program.tables[0].keys.iter().map(|k| &k.name[..]).collect();
    assert_eq!(
        names,
        ["h.h.a & 0xf", "h.h.a[7:0x4]", "h.h.$valid$", "given"]
    );
}

#[test]
fn calls_objects_and_tables_know_their_place() {
    let program = ingress(
        "counter(1, CounterType.packets) c;
         table t { actions = { NoAction; } }
         apply { t.apply(); c.count(0); }",
    )
    .unwrap();
    assert!(program.place.starts_with("test.p4:"), "{}", program.place);
    assert!(program.tables[0].place.starts_with("test.p4:10:"));
    assert!(program.externs[0].place.starts_with("test.p4:9:"));
    assert!(program.calls[0].place.starts_with("test.p4:11:"));
}

#[test]
fn older_forms_that_keep_no_fields_are_warned_of() {
    let warned = |statement: &str| {
        let text = format!(
            "#include <v1model.p4>
             struct H {{}} struct M {{ bit<8> x; }}
             parser P(packet_in b, out H h, inout M m, inout standard_metadata_t s) {{
                 state start {{ transition accept; }}
             }}
             control V(inout H h, inout M m) {{ apply {{}} }}
             control I(inout H h, inout M m, inout standard_metadata_t s) {{
                 apply {{ {statement} }}
             }}
             control D(packet_out b, in H h) {{ apply {{}} }}
             V1Switch(P(), V(), I(), I(), V(), D()) main;"
        );
        let compiled = compile("test.p4", &text, &NoIncludes, &Options::default());
        assert!(compiled.program.is_some(), "{statement}");
        let all = compiled.diagnostics.iter();
        let deprecated = all.filter(|d| d.warning == Some(Warning::Deprecated));
        let messages = deprecated.map(|d| d.message.clone());
        messages.collect::<Vec<_>>().join("\n")
    };
    for call in [
        "clone3(CloneType.I2E, 5, { m.x });",
        "resubmit({ m.x });",
        "recirculate({ m.x });",
    ] {
        let name = call.split('(').next().unwrap();
        let message = format!("`{name}` keeps none of the fields");
        assert!(warned(call).contains(&message), "{}", warned(call));
    }
    assert_eq!(
        warned("resubmit_preserving_field_list(1); mark_to_drop(s);"),
        ""
    );
}
