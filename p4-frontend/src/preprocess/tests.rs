// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use crate::architectures::{Architecture, Form};
use crate::source::NoIncludes;

struct Files(Vec<(&'static str, &'static str)>);

impl Includes for Files {
    fn include(&self, path: &str, _: Option<&str>) -> Result<Option<(String, String)>, String> {
        let found = self.0.iter().find(|(name, _)| *name == path);
        Ok(found.map(|(name, text)| ((*name).to_owned(), (*text).to_owned())))
    }
}

fn run_with(text: &str, includes: &dyn Includes) -> Result<String, String> {
    let (mut sources, mut diagnostics) = (SourceMap::default(), Diagnostics::default());
    let tokens = Preprocessor::new(
        &mut sources,
        &mut diagnostics,
        includes,
        Form::of(Architecture::Auto),
    )
    .finish("test.p4".to_owned(), text.to_owned());
    if diagnostics.has_errors() {
        return Err(diagnostics.render(&sources));
    }
    let texts: Vec<&str> = tokens[..tokens.len() - 1]
        .iter()
        .map(|t| &*t.text)
        .collect();
    Ok(texts.join(" "))
}

fn run(text: &str) -> Result<String, String> {
    run_with(text, &NoIncludes)
}

#[test]
fn macros_are_replaced() {
    assert_eq!(run("#define A 1\n#define B A + A\nB").unwrap(), "1 + 1");
    assert_eq!(
        run("#define F(x, y) x - y\nF((1,2), F(3,4))").unwrap(),
        "( 1 , 2 ) - 3 - 4"
    );
    assert_eq!(
        run("#define F(x) x\nF").unwrap(),
        "F",
        "without arguments it is a name"
    );
    assert_eq!(
        run("#define F (x)\nF").unwrap(),
        "( x )",
        "a space: no parameters"
    );
    assert_eq!(
        run("#define A A B\nA").unwrap(),
        "A B",
        "not replaced by itself"
    );
    assert_eq!(run("#define A B\n#define B A\nA").unwrap(), "A");
    assert_eq!(run("#define A 1 \\\n + 2\nA").unwrap(), "1 + 2");
    assert_eq!(
        run("#define LONG_\\\nNAME_\\\r\n7 1\nLONG_NAME_7 LONG\\\n_NAME_7 a \\\nb").unwrap(),
        "1 1 a b"
    );
    assert_eq!(run("#define A 1\n#undef A\nA").unwrap(), "A");
}

#[test]
fn text_is_quoted_and_pasted() {
    assert_eq!(
        run("#define S(x) #x\nS(a + \"b\")").unwrap(),
        r#""a + \"b\"""#
    );
    assert_eq!(run("#define P(a, b) a##b\nP(x, 1)").unwrap(), "x1");
    assert_eq!(
        run("#define _S(x) #x\n#define S(x) _S(x)\n#define A q\nS(A)").unwrap(),
        "\"q\""
    );
}

#[test]
fn macros_take_any_number_of_arguments() {
    let list = "#define L(name, ...) name { __VA_ARGS__ }\n";
    assert_eq!(
        run(&format!("{list}L(a, 1, (2, 3))")).unwrap(),
        "a { 1 , ( 2 , 3 ) }"
    );
    assert_eq!(run(&format!("{list}L(a)")).unwrap(), "a { }");
    assert_eq!(run(&format!("{list}L(a,)")).unwrap(), "a { }");
    assert!(run(&format!("{list}#define N(a, b, ...) a\nN(1)"))
        .unwrap_err()
        .contains("takes 2 arguments or more, not 1"));
    // With a name, and without a comma before empty arguments, as in GNU's preprocessor.
    let call = "#define C(f, args...) f(x, ## args)\n";
    assert_eq!(run(&format!("{call}C(g)")).unwrap(), "g ( x )");
    assert_eq!(
        run(&format!("{call}C(g, 1, 2)")).unwrap(),
        "g ( x , 1 , 2 )"
    );
    let opt = "#define O(f, ...) f(x __VA_OPT__(, __VA_ARGS__))\n";
    assert_eq!(run(&format!("{opt}O(g)")).unwrap(), "g ( x )");
    assert_eq!(run(&format!("{opt}O(g, 1, 2)")).unwrap(), "g ( x , 1 , 2 )");
    assert_eq!(
        run("#define S(...) #__VA_ARGS__\nS(a, b + 1)").unwrap(),
        "\"a, b + 1\""
    );
    assert!(run("#define F(a) __VA_ARGS__")
        .unwrap_err()
        .contains("end in `...`"));
    assert!(run("#define F(a, a) a")
        .unwrap_err()
        .contains("two parameters are called `a`"));
    // An argument that is passed on to another macro.
    assert_eq!(
        run("#define F(a, b) a - b\n#define G(...) F(__VA_ARGS__)\nG(1, 2)").unwrap(),
        "1 - 2"
    );
}

#[test]
fn nothing_is_pasted_to_what_stands_beside_it() {
    let join = "#define J(a, b) <a ## b c>\n";
    assert_eq!(run(&format!("{join}J(x, y)")).unwrap(), "< xy c >");
    assert_eq!(run(&format!("{join}J(, y)")).unwrap(), "< y c >");
    assert_eq!(run(&format!("{join}J(x, )")).unwrap(), "< x c >");
    assert_eq!(run(&format!("{join}J(, )")).unwrap(), "< c >");
    assert_eq!(
        run("#define T(a, b, c) a ## b ## c\nT(x, , z)").unwrap(),
        "xz"
    );
    assert_eq!(run("#define W(n) n ## w ## 1\nW(8)").unwrap(), "8w1");
    // Operands of `##` are not expanded, the result is.
    assert_eq!(
        run("#define A 1\n#define AB 2\n#define J(x, y) x ## y\nJ(A, B)").unwrap(),
        "2"
    );
    assert_eq!(run("#define O x ## y\nO").unwrap(), "xy");
    assert!(run("#define F(a) a ##")
        .unwrap_err()
        .contains("between two tokens"));
    assert_eq!(
        run("#define H(a) a\nH(x ## y)").unwrap(),
        "x ## y",
        "not of the body"
    );
}

#[test]
fn names_that_are_always_defined() {
    assert_eq!(
        run("\n__LINE__\n__LINE__ __FILE__").unwrap(),
        "2 3 \"test.p4\""
    );
    assert_eq!(run("#define L __LINE__\n\nL").unwrap(), "3");
    assert_eq!(
        run("#define P(a, b) a ## b\n#define Q(a, b) P(a, b)\nQ(x, __COUNTER__) Q(x, __COUNTER__)")
            .unwrap(),
        "x0 x1"
    );
}

#[test]
fn conditions_choose() {
    let text =
        "#define V 3\n#if V >= 4 && defined(V)\nbig\n#elif V == 3\nthree\n#else\nsmall\n#endif";
    assert_eq!(run(text).unwrap(), "three");
    assert_eq!(
        run("#ifdef A\n#if 1/0\n#endif\nx\n#else\ny\n#endif").unwrap(),
        "y"
    );
    assert_eq!(
        run("#if !(UNKNOWN) && (1 << 4) == 16 ? 1 : 0\nyes\n#endif").unwrap(),
        "yes"
    );
    assert_eq!(
        run("#define A\n#ifndef A\nx\n#elifdef B\ny\n#elifndef B\nz\n#endif").unwrap(),
        "z"
    );
    assert!(run("#if 1\nx").unwrap_err().contains("does not end"));
    assert!(run("#endif").unwrap_err().contains("without `#if`"));
    assert!(run("#if 1 / 0\n#endif").unwrap_err().contains("zero"));
}

#[test]
fn files_include_files() {
    let files = Files(vec![("a.p4", "#include \"b.p4\"\na"), ("b.p4", "b")]);
    assert_eq!(run_with("#include <a.p4>\nc", &files).unwrap(), "b a c");
    assert_eq!(
        run_with(
            "#define F <a.p4>\n#define G \"b.p4\"\n#include F\n#include G",
            &files
        )
        .unwrap(),
        "b a b"
    );
    let once = Files(vec![("a.p4", "#pragma once\na")]);
    assert_eq!(
        run_with("#include <a.p4>\n#include \"a.p4\"\nc", &once).unwrap(),
        "a c"
    );
    let files = Files(vec![("a.p4", "#include \"a.p4\"\n")]);
    assert!(run_with("#include \"a.p4\"", &files)
        .unwrap_err()
        .contains("too deep"));
    assert!(run("#include <nothing.p4>")
        .unwrap_err()
        .contains("no file `nothing.p4`"));
}

#[test]
fn growth_has_a_limit() {
    let mut text = String::from("#define A0 x x x x x x x x\n");
    for n in 1..20 {
        let p = n - 1;
        text += &format!("#define A{n} A{p} A{p} A{p} A{p} A{p} A{p} A{p} A{p}\n");
    }
    assert!(run(&(text + "A19")).unwrap_err().contains("too long"));
    let deep = format!("#define F(x) x\n{}1{}", "F(".repeat(500), ")".repeat(500));
    assert!(run(&deep).is_err());
}

#[test]
fn errors_name_their_place() {
    let error = run("x\n/* no end").unwrap_err();
    assert!(error.contains("test.p4:2:1"), "{error}");
    let error = run("#define F(a) a\n\nF(1, 2)").unwrap_err();
    assert!(
        error.contains("test.p4:3:1") && error.contains("takes 1 arguments, not 2"),
        "{error}"
    );
}

#[test]
fn conditions_in_string_literals_count() {
    let text = "#define TOR\nf(\"a\n#if defined(TOR) \nb\n  #else\nc\n#endif\n# d\ne\")";
    assert_eq!(run(text).unwrap(), "f ( \"a\n\nb\n\n\n\n# d\ne\" )");
    let text = "#ifdef X\n\"\n#if\n\"\n#endif\n\"a\n#ifdef X\n#ifdef Y\nb\n#endif\n#endif\n\"";
    assert_eq!(run(text).unwrap(), "\"a\n\n\n\n\n\n\"");
    let error = run("\"a\n#ifdef X\nb\"").unwrap_err();
    assert!(error.contains("this condition does not end"), "{error}");
    let error = run("\"a\n#endif\n\"").unwrap_err();
    assert!(error.contains("`#endif` without `#if`"), "{error}");
    let many = format!("\"{}\"", "\n#if 1\n#endif\n".repeat(100_000));
    let error = run(&many).unwrap_err();
    assert!(error.contains("more than 1000 conditions"), "{error}");
}
