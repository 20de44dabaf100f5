// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Constraints as programs write them.

use std::collections::HashMap;

use num_bigint::BigInt;
use proptest::prelude::*;

use super::*;

fn scope() -> Scope {
    let field = |name: &str, kind, width| Field {
        name: name.to_owned(),
        kind,
        width,
    };
    Scope {
        fields: vec![
            field("vlan_id", Kind::Exact, 12),
            field("ether_type", Kind::Ternary, 16),
            field("is_ipv4", Kind::Optional, 1),
            field("hdr.ipv4.dst", Kind::Lpm, 32),
            field("port", Kind::Range, 16),
            field("dst_ipv6", Kind::Ternary, 128),
            field("other_type", Kind::Ternary, 16),
        ],
        has_priority: true,
    }
}

/// An entry; fields that it does not name match anything.
#[derive(Default)]
struct Given {
    values: HashMap<(&'static str, &'static str), BigInt>,
    priority: i64,
}

impl Given {
    fn with(mut self, name: &'static str, part: &'static str, value: i128) -> Given {
        self.values.insert((name, part), value.into());
        self
    }
}

impl Entry for Given {
    fn part(&self, field: usize, part: Part) -> BigInt {
        let name = &scope().fields[field].name;
        let mut values = self.values.iter();
        let found = values.find(|((n, p), _)| n == name && *p == part.name());
        match (found, part) {
            (Some((_, value)), _) => value.clone(),
            (None, Part::High) => 0xFFFF.into(),
            (None, _) => 0.into(),
        }
    }
    fn priority(&self) -> BigInt {
        self.priority.into()
    }
}

fn holds(text: &str, entry: &Given) -> bool {
    let constraint = Constraint::new(text, &scope());
    constraint
        .unwrap_or_else(|e| panic!("{text}: {e}"))
        .violated(entry)
        .is_none()
}

#[test]
fn clauses_are_those_of_public_programs() {
    let ipv4 = || {
        Given::default()
            .with("ether_type", "value", 0x0800)
            .with("ether_type", "mask", 0xFFFF)
            .with("is_ipv4", "value", 1)
            .with("is_ipv4", "mask", 1)
    };
    let text = "
        // Forbid using ether_type for IP packets.
        ether_type != 0x0800 && ether_type != 0x86dd;
        is_ipv4::mask != 0 -> (is_ipv4 == 1);
        /* Only match on addresses of IP packets. */
        hdr.ipv4.dst::prefix_length > 0 -> is_ipv4 == 1;
    ";
    assert!(holds(text, &Given::default()));
    assert!(!holds(text, &ipv4()));
    assert!(holds("ether_type == 0x0800", &ipv4()));
    assert!(!holds(
        "ether_type == 0x0800",
        &ipv4().with("ether_type", "mask", 0xFF00)
    ));
    let routed = Given::default().with("hdr.ipv4.dst", "prefix_length", 8);
    assert!(!holds(text, &routed));
    assert!(holds(
        "::priority == 900;",
        &Given {
            priority: 900,
            ..Given::default()
        }
    ));
    assert!(!holds(
        "::priority < 900",
        &Given {
            priority: 900,
            ..Given::default()
        }
    ));
    let multicast = Given::default()
        .with("dst_ipv6", "value", 0x7f << 120)
        .with("dst_ipv6", "mask", 0xff << 112);
    assert!(holds(
        "dst_ipv6::value >= 0x7f000000000000000000000000000000",
        &multicast
    ));
    assert!(!holds("dst_ipv6::value < ipv6('7f00::')", &multicast));
}

#[test]
fn operators_bind_as_the_specification_says() {
    let entry = Given::default()
        .with("vlan_id", "value", 5)
        .with("port", "low", 7)
        .with("port", "high", 7);
    for (text, expected) in [
        ("true", true),
        ("false", false),
        ("!false", true),
        ("false -> false", true),
        ("true -> false", false),
        ("false && false || true", true),
        ("true || false && false", true),
        ("false || true -> false", false),
        ("true; false", false),
        ("(true; true) -> true;", true),
        ("1 == 0b1 && 8 == 0o10 && 0d9 == 9 && 0XaF == 175", true),
        ("-1 < 0 && --1 > 0", true),
        ("(1 == 1) == true", true),
        ("(1 == 2) != true", true),
        ("vlan_id == 5", true),
        ("vlan_id::value == 5 && vlan_id >= 5 && 6 > vlan_id", true),
        ("vlan_id != -1", true),
        ("port == 7", true),
        ("port != 7", false),
        ("port::low <= port::high", true),
        ("ether_type::mask == -1", false),
        ("ether_type == other_type", true),
        ("hdr.ipv4.dst == ipv4('0.0.0.0')", false),
        ("hdr.ipv4.dst::value == ipv4 ( '0.0.0.0' )", true),
        ("mac('00:00:00:00:00:05') == 5", true),
        ("::priority == 0", true),
    ] {
        assert_eq!(holds(text, &entry), expected, "{text}");
    }
}

#[test]
fn what_is_no_constraint_is_refused_with_its_place() {
    for (text, error) in [
        (
            "",
            "line 1, column 1: expected an expression, found the end",
        ),
        (
            "\n  \n",
            "line 3, column 1: expected an expression, found the end",
        ),
        (
            "true;\n  foo.bar == 2",
            "line 2, column 3: key `foo.bar` does not exist; keys: vlan_id, ether_type, is_ipv4, \
             hdr.ipv4.dst, port, dst_ipv6, other_type",
        ),
        ("vlan_id == 0b2", "line 1, column 12: `0b2` is no number"),
        (
            "ether_type::prefix_length == 0",
            "line 1, column 1: ternary key `ether_type` has no `::prefix_length`: it has ::value \
             and ::mask",
        ),
        (
            "0x0F :: value == 1",
            "line 1, column 1: int has no `::value`: a key has",
        ),
        ("!1", "line 1, column 2: expected bool, found int"),
        ("-false == 1", "line 1, column 1: `-` takes int, not bool"),
        (
            "vlan_id",
            "line 1, column 1: expected bool, found exact bit<12>",
        ),
        (
            "is_ipv4 > 0",
            "line 1, column 1: optional bit<1> and int cannot be compared so: a key that is not \
             matched exact takes == and !=, its parts take all",
        ),
        (
            "::unknown > 1",
            "line 1, column 1: attribute `::unknown` does not exist; attributes: priority",
        ),
        (
            "vlan_id == 4096",
            "line 1, column 1: 4096 does not fit into bit<12>",
        ),
        (
            "1 == 1 == 1",
            "line 1, column 8: a comparison of a comparison takes parentheses",
        ),
        (
            "true -> true -> true",
            "line 1, column 14: `->` of `->` takes parentheses",
        ),
        (
            "true false",
            "line 1, column 6: expected `;` or the end, found `false`",
        ),
        ("(true", "line 1, column 6: expected `)`, found the end"),
        ("true /* ", "line 1, column 6: the comment does not end"),
        ("vlan_id = 1", "line 1, column 9: `=` is no operator"),
        (
            "ipv4('1.2.3') == 1",
            "line 1, column 1: `1.2.3` is no ipv4 address",
        ),
        (
            "true == 1",
            "line 1, column 1: bool and int cannot be compared",
        ),
    ] {
        let found = Constraint::new(text, &scope()).unwrap_err();
        assert_eq!(found.to_string(), error, "{text}");
    }
}

#[test]
fn untrusted_text_is_bounded() {
    let scope = scope();
    let deep = format!("{}true{}", "(".repeat(10_000), ")".repeat(10_000));
    let error = Constraint::new(&deep, &scope).unwrap_err();
    assert!(error.why.contains("nested deeper than 64"), "{error}");
    let nots = format!("{}true", "!".repeat(60_000));
    assert!(Constraint::new(&nots, &scope).is_err());
    let long = Constraint::new(&"true && ".repeat(9000), &scope).unwrap_err();
    assert!(long.why.contains("65536 are the most"), "{long}");
    let digits = Constraint::new(&"9".repeat(5000), &scope).unwrap_err();
    assert!(digits.why.contains("1024 digits"), "{digits}");
    // A long chain is a single list: neither the stack depth nor a message grows with it.
    let chain = Constraint::new(&["vlan_id == 1"; 4000].join("&&"), &scope).expect("a chain");
    let violation = chain.violated(&Given::default()).expect("it is 0");
    assert!(
        violation.len() < 300 && violation.ends_with("… (vlan_id is 0x0)"),
        "{violation}"
    );
}

#[test]
fn a_violation_shows_the_clause_and_its_values() {
    let constraint = Constraint::new(
        "true;\n // A comment.\n hdr.ipv4.dst::prefix_length > 0 ->\n    is_ipv4 == 1;",
        &scope(),
    );
    let entry = Given::default().with("hdr.ipv4.dst", "prefix_length", 8);
    assert_eq!(
        constraint
            .expect("a constraint")
            .violated(&entry)
            .as_deref(),
        Some(
            "hdr.ipv4.dst::prefix_length > 0 -> is_ipv4 == 1 (hdr.ipv4.dst::prefix_length is 8, \
             is_ipv4::value is 0x0, is_ipv4::mask is 0x0)"
        )
    );
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "[a-z0-9:()!&|;=<> ./*'-]{0,60}|\\PC{0,20}") {
        if let Ok(constraint) = Constraint::new(&text, &scope()) {
            constraint.violated(&Given::default());
        }
    }

    #[test]
    fn any_expression_is_evaluated(
        text in prop::collection::vec(
            prop::sample::select(vec![
                "vlan_id", "ether_type::mask", "port", "1", "0xff", "-1", "true", "::priority",
                "==", "!=", "<", "&&", "||", "->", ";", "!", "(", ")",
            ]),
            1..12,
        )
    ) {
        if let Ok(constraint) = Constraint::new(&text.join(" "), &scope()) {
            constraint.violated(&Given::default());
        }
    }
}
