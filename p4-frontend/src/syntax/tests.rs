// SPDX-License-Identifier: Apache-2.0 OR MIT

use proptest::prelude::*;

use super::ast::{DeclKind, ExprKind, StatementKind};
use super::*;
use crate::architectures::{Architecture, Form};
use crate::preprocess::Preprocessor;
use crate::source::{NoIncludes, SourceMap};

fn parsed(text: &str) -> (Program, Vec<String>) {
    let (mut sources, mut diagnostics) = (SourceMap::default(), Diagnostics::default());
    let tokens = Preprocessor::new(
        &mut sources,
        &mut diagnostics,
        &NoIncludes,
        Form::of(Architecture::Auto),
    )
    .finish("test.p4".to_owned(), text.to_owned());
    let program = parse(&tokens, &mut diagnostics);
    let errors = diagnostics.iter().map(|d| d.render(&sources)).collect();
    (program, errors)
}

fn good(text: &str) -> Program {
    let (program, errors) = parsed(text);
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    program
}

/// The expression of `const bit<8> x = …;`, its structure shown with parentheses.
fn shape(expression: &str) -> String {
    let program = good(&format!("const bit<8> x = {expression};"));
    match &program.decls[0].kind {
        DeclKind::Const(_, value) => show(value),
        other => panic!("{other:?}"),
    }
}

fn show(expr: &super::ast::Expr) -> String {
    match &expr.kind {
        ExprKind::Int(value, None) => value.to_string(),
        ExprKind::Int(value, Some((w, s))) => {
            format!("{w}{}{value}", if *s { 's' } else { 'w' })
        }
        ExprKind::Name(name, _) => name.name.to_string(),
        ExprKind::Binary(op, a, b) => format!("({}{}{})", show(a), op.symbol(), show(b)),
        ExprKind::Unary(op, a) => format!("{op:?}({})", show(a)),
        ExprKind::Ternary(a, b, c) => format!("({}?{}:{})", show(a), show(b), show(c)),
        ExprKind::Cast(_, a) => format!("cast({})", show(a)),
        ExprKind::Member(a, name) => format!("{}.{}", show(a), name.name),
        ExprKind::Slice(a, h, l) => format!("{}[{}:{}]", show(a), show(h), show(l)),
        ExprKind::Call(f, types, args) => {
            let args: Vec<_> = args.iter().map(|a| show(&a.value)).collect();
            format!("{}<{}>({})", show(f), types.len(), args.join(","))
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn precedence_is_that_of_the_language() {
    assert_eq!(shape("1 + 2 * 3"), "(1+(2*3))");
    assert_eq!(shape("a | b == c"), "((a|b)==c)", "not C's precedence");
    assert_eq!(shape("a & b ^ c | d"), "(((a&b)^c)|d)");
    assert_eq!(shape("1 << 2 + 3 ++ x"), "(1<<((2+3)++x))");
    assert_eq!(shape("a ? b : c ? d : e"), "(a?b:(c?d:e))");
    assert_eq!(shape("a && b || c && d"), "((a&&b)||(c&&d))");
    assert_eq!(shape("a >> 1 >= b"), "((a>>1)>=b)");
    assert_eq!(shape("-a.b[7:0] |+| 1"), "(Minus(a.b[7:0])|+|1)");
}

#[test]
fn literals_have_bases_widths_and_signs() {
    assert_eq!(shape("8w0xF_F"), "8w255");
    assert_eq!(shape("4s0b111"), "4s7");
    assert_eq!(shape("0o17"), "15");
    assert_eq!(shape("017"), "17", "no octal without o");
    assert!(parsed("const bit<8> x = 8w0b2;").1[0].contains("no number of base 2"));
    assert!(parsed("const bit<8> x = 99999999999w1;").1[0].contains("no width"));
}

#[test]
fn types_tell_casts_and_calls_apart() {
    assert_eq!(shape("(bit<8>) 1 + 2"), "(cast(1)+2)");
    assert_eq!(shape("(a) - 1"), "(a-1)", "`a` is no type");
    assert_eq!(shape("f<bit<8>>(1)"), "f<1>(1)");
    assert_eq!(shape("f<tuple<bit<8>, bit<4>>>(1)"), "f<1>(1)");
    assert_eq!(shape("a < b"), "(a<b)");
    let program = good("typedef bit<8> T; const T x = (T) -1;");
    assert!(matches!(&program.decls[1].kind, DeclKind::Const(_, e) if show(e) == "cast(Minus(1))"));
}

#[test]
fn op_assignments_and_loops_are_statements() {
    let program = good(
        "action a(inout bit<8> x) {
            x >>= 1; x |+|= 2; x[3:0] = 1;
            for (bit<8> i = 0, j = 1; i < 4; i += 1) { x = x + i; continue; }
            for (bit<8> i in 1 .. 5) { break; }
            if (x == 1) { } else if (x == 2) return; else exit;
        }",
    );
    let DeclKind::Action(_, body) = &program.decls[0].kind else {
        panic!()
    };
    assert!(matches!(
        body.statements[0].kind,
        StatementKind::Assign(_, Some(_), _)
    ));
    assert!(matches!(body.statements[3].kind, StatementKind::For(..)));
    assert!(matches!(body.statements[4].kind, StatementKind::ForIn(..)));
}

#[test]
fn the_architectures_parse() {
    good("#include <v1model.p4>\n");
    good("#define V1MODEL_VERSION 20200408\n#include <v1model.p4>\n");
    good("#include <pna.p4>\n");
    good("#define ADIT_PNA_BLOCKS 3\n#include <pna.p4>\n");
}

#[test]
fn several_errors_are_found() {
    let (program, errors) = parsed(
        "const bit<8> x = ;
         header h { bit<8> f }
         control c() { action a() { x = ; y(); z z z; } apply { if } }
         const bit<8> last = 1;",
    );
    assert!(errors.len() >= 4, "{}", errors.join("\n"));
    assert_eq!(&*program.decls.last().unwrap().name.name, "last");
    assert!(errors[0].contains("test.p4:1:18") && errors[0].contains("expected an expression"));
}

#[test]
fn depth_has_a_limit() {
    for (open, close) in [("(", ")"), ("{", "}"), ("-", ""), ("f(", ")"), ("x[", "]")] {
        let text = format!(
            "const bit<8> x = {}1{};",
            open.repeat(5000),
            close.repeat(5000)
        );
        assert!(!parsed(&text).1.is_empty(), "{open}");
    }
    let chain = format!("const bit<8> x = 1{};", "+1".repeat(5000));
    assert!(parsed(&chain).1[0].contains("too deep"));
    let ifs = format!("action a() {{ {} }}", "if (x) {} else ".repeat(5000));
    assert!(!parsed(&ifs).1.is_empty());
    let types = format!(
        "typedef {}bit<8>{} t;",
        "tuple<".repeat(5000),
        ">".repeat(5000)
    );
    assert!(!parsed(&types).1.is_empty());
    let tries = "f<bit<(".repeat(300);
    assert!(!parsed(&format!("const bit<8> x = {tries};")).1.is_empty());
}

proptest! {
    #[test]
    fn any_text_ends_without_a_panic(text in "\\PC{0,200}") {
        parsed(&text);
    }

    #[test]
    fn any_tokens_end_without_a_panic(words in prop::collection::vec(
        prop::sample::select(vec![
            "control", "parser", "state", "table", "key", "=", "{", "}", "(", ")", "<", ">", ";",
            ":", "x", "T", "bit", "8", "1", "apply", "action", "if", "else", "for", "in", "switch",
            "transition", "select", "@", "name", "struct", "extern", ",", ".", "typedef", "const",
            "&&&", "..", "default", "[", "]", "#define", "\n", "entries", "priority", "return",
        ]), 0..120))
    {
        parsed(&words.join(" "));
    }
}
