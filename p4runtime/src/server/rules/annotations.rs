// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Parsing of the annotations that make rules.

use adit_p4_frontend::control::{Annotation, Body, Value};

/// Returns the text of the annotation with that name: its concatenated string literals.
pub(super) fn text(annotations: &[Annotation], name: &str) -> Result<Option<String>, String> {
    let Some(annotation) = annotations.iter().find(|a| a.name == name) else {
        return Ok(None);
    };
    let text = match &annotation.body {
        Body::Text(raw, _) => literals(raw),
        Body::List(values) => values
            .iter()
            .map(|value| match value {
                Value::Text(text) => Some(text.as_str()),
                Value::Int(_) | Value::Bool(_) | Value::Name(_) | Value::Bits(_) => None,
            })
            .collect(),
        Body::Empty | Body::Record(_) => None,
    };
    text.map(Some)
        .ok_or_else(|| format!("@{name} takes a string literal"))
}

/// Parses a text that consists of string literals.
fn literals(raw: &str) -> Option<String> {
    let mut rest = raw.trim();
    if rest.is_empty() {
        return None;
    }
    let mut text = String::new();
    while !rest.is_empty() {
        let mut characters = rest.strip_prefix('"')?.chars();
        loop {
            match characters.next()? {
                '"' => break,
                '\\' => match characters.next()? {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    other => text.push(other),
                },
                other => text.push(other),
            }
        }
        rest = characters.as_str().trim_start();
    }
    Some(text)
}

/// Returns the pairs in all annotations with that name, `@refers_to(TABLE, FIELD)`, without white
/// space.
pub(super) fn pairs(
    annotations: &[Annotation],
    name: &str,
) -> Result<Vec<(String, String)>, String> {
    let found = annotations.iter().filter(|a| a.name == name);
    let pairs = found.map(|annotation| {
        let Body::Text(raw, _) = &annotation.body else {
            return None;
        };
        let compact: String = raw.split_whitespace().collect();
        let (table, field) = compact.split_once(',')?;
        let is_name = |text: &str| !text.is_empty() && !text.contains(',');
        (is_name(table) && is_name(field)).then(|| (table.to_owned(), field.to_owned()))
    });
    let pairs: Option<Vec<_>> = pairs.collect();
    pairs.ok_or_else(|| format!("@{name} takes a table and a field"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotation(raw: &str) -> [Annotation; 1] {
        [Annotation {
            name: "a".to_owned(),
            body: Body::Text(raw.to_owned(), vec![]),
        }]
    }

    #[test]
    fn literals_are_joined_and_all_else_is_refused() {
        for (raw, expected) in [
            (r#""a == 1""#, Some("a == 1")),
            ("\"a;\" \n \"b\\\"\"", Some("a;b\"")),
            ("", None),
            ("a", None),
            (r#""a" b"#, None),
            (r#""a"#, None),
        ] {
            let found = text(&annotation(raw), "a").unwrap_or(None);
            assert_eq!(found.as_deref(), expected, "{raw}");
        }
        assert_eq!(text(&annotation("x"), "b"), Ok(None));
    }

    #[test]
    fn pairs_are_a_table_and_a_field() {
        let found = pairs(
            &annotation("builtin::multicast_group_table ,\n replica.port"),
            "a",
        );
        let expected = ("builtin::multicast_group_table", "replica.port");
        assert_eq!(
            found,
            Ok(vec![(expected.0.to_owned(), expected.1.to_owned())])
        );
        for raw in ["", "t", "t,", "t,a,b"] {
            assert!(pairs(&annotation(raw), "a").is_err(), "{raw}");
        }
    }
}
