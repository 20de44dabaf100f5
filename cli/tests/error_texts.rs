// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An error's cause is reported once: an error of this workspace has it in its text or as its
//! `source`, of which `{:#}` prints the whole chain, but not as both. All `thiserror` types of all
//! crates are checked.

use std::fs;
use std::path::{Path, PathBuf};

/// The crates of the workspace, and no others.
const CRATES: [&str; 16] = [
    "adi",
    "cli",
    "function",
    "httpd",
    "netstack",
    "nic",
    "node",
    "p4-frontend",
    "p4runtime",
    "pipeline",
    "qemu-tests",
    "trace",
    "uapi",
    "vdcm",
    "vfio-user",
    "xtask",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
}

/// Returns the texts of errors that contain their source, too.
fn doubled(source: &str) -> Vec<&str> {
    let mut parts = source.split("#[error(");
    parts.next();
    parts
        .filter(|part| {
            let (text, rest) = part.split_once(")]").unwrap_or((part, ""));
            // The scope of the text: fields up to the end of the variant or of the structure.
            let end = rest.find("\n    },").or_else(|| rest.find("),"));
            let item = &rest[..end.unwrap_or(rest.len())];
            let first = ["(#[from]", "(#[source]"];
            let named = ["{source", "{source:"].iter().any(|it| text.contains(it));
            let place = text.contains("{0") && first.iter().any(|it| item.contains(it));
            named || place
        })
        .collect()
}

#[test]
fn the_check_knows_what_is_doubled() {
    let one = |item: &str| !doubled(&format!("enum E {{\n    {item}\n}}")).is_empty();
    assert!(one(
        r#"#[error("{path}: {source}")] Open { path: String, source: io::Error },"#
    ));
    assert!(one(r#"#[error("no file: {0}")] Open(#[from] io::Error),"#));
    assert!(one(
        r#"#[error("no file: {0:?}")] Open(#[source] io::Error),"#
    ));
    assert!(!one(r#"#[error("no file")] Open(#[from] io::Error),"#));
    assert!(!one(r#"#[error("no file: {0}")] Open(io::Error),"#));
    assert!(!one(
        r#"#[error("{path}: {cause}")] Open { path: String, cause: io::Error },"#
    ));
}

#[test]
fn no_error_says_its_source_twice() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for folder in CRATES {
        sources(&root.join(folder).join("src"), &mut files);
    }
    let mut errors = 0;
    let mut wrong = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).expect("a source file");
        errors += text.matches("#[error(").count();
        let doubled = doubled(&text);
        wrong.extend(doubled.into_iter().map(|it| {
            let text = it.lines().next().unwrap_or_default();
            format!("{}: {text}", file.display())
        }));
    }
    assert!(errors > 100, "only {errors} errors were found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
