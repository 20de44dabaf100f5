// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use crate::architectures::Choice;
use crate::source::NoIncludes;

struct Files(Vec<(&'static str, &'static str)>);

impl Includes for Files {
    fn include(&self, path: &str, _from: Option<&str>) -> Option<(String, String)> {
        let (name, text) = self.0.iter().find(|(name, _)| *name == path)?;
        Some(((*name).to_owned(), (*text).to_owned()))
    }
}

fn run_with(text: &str, includes: &dyn Includes) -> Result<String, String> {
    let (mut sources, mut diagnostics) = (SourceMap::default(), Diagnostics::default());
    let tokens = Preprocessor::new(&mut sources, &mut diagnostics, includes, Choice::default())
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
    assert!(run("#if 1\nx").unwrap_err().contains("does not end"));
    assert!(run("#endif").unwrap_err().contains("without `#if`"));
    assert!(run("#if 1 / 0\n#endif").unwrap_err().contains("zero"));
}

#[test]
fn files_include_files() {
    let files = Files(vec![("a.p4", "#include \"b.p4\"\na"), ("b.p4", "b")]);
    assert_eq!(run_with("#include <a.p4>\nc", &files).unwrap(), "b a c");
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
