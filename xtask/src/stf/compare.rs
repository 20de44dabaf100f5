// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Comparison of the output with the expected packets.

use std::collections::BTreeMap;

use super::command::Pattern;

/// An expected packet: its line in the test, and its pattern.
pub(super) type Expected = (usize, Option<Pattern>);

/// Compares port by port, in order; returns the differences.
pub(super) fn compare(
    expected: &BTreeMap<u16, Vec<Expected>>,
    received: &BTreeMap<u16, Vec<Vec<u8>>>,
) -> Vec<String> {
    let mut failures = Vec::new();
    let mut ports: Vec<u16> = expected.keys().chain(received.keys()).copied().collect();
    ports.sort_unstable();
    ports.dedup();
    for port in ports {
        let wanted = expected.get(&port).map_or(&[][..], |list| list);
        let got = received.get(&port).map_or(&[][..], |list| list);
        for (n, (line, pattern)) in wanted.iter().enumerate() {
            match (got.get(n), pattern) {
                (None, _) => failures.push(format!(
                    "port {port}, packet {n} (line {line}): expected, but nothing came"
                )),
                (Some(packet), Some(pattern)) if !matches(pattern, packet) => {
                    failures.push(format!(
                        "port {port}, packet {n} (line {line}) differs\n{}",
                        difference(pattern, packet)
                    ));
                }
                _ => {}
            }
        }
        for (n, packet) in got.iter().enumerate().skip(wanted.len()) {
            failures.push(format!(
                "port {port}, packet {n}: came, but was not expected\n  received {}",
                hex(packet)
            ));
        }
    }
    failures
}

fn nibble(packet: &[u8], n: usize) -> Option<u8> {
    let byte = packet.get(n / 2)?;
    Some(if n % 2 == 0 { byte >> 4 } else { byte & 15 })
}

fn matches(pattern: &Pattern, packet: &[u8]) -> bool {
    let length = !pattern.is_whole || pattern.nibbles.len() == packet.len() * 2;
    length
        && pattern.nibbles.iter().enumerate().all(|(n, wanted)| {
            let got = nibble(packet, n);
            got.is_some() && (wanted.is_none() || *wanted == got)
        })
}

fn hex(packet: &[u8]) -> String {
    packet.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns both packets, one above the other, with marks under the differences.
fn difference(pattern: &Pattern, packet: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('?');
    let wanted: String = pattern
        .nibbles
        .iter()
        .map(|n| n.map_or('*', digit))
        .chain(pattern.is_whole.then_some('$'))
        .collect();
    let marks: String = (0..pattern.nibbles.len().max(packet.len() * 2))
        .map(|n| match (pattern.nibbles.get(n), nibble(packet, n)) {
            (Some(Some(wanted)), Some(got)) if *wanted != got => '^',
            (Some(_), None) => '^',
            (None, Some(_)) if pattern.is_whole => '^',
            _ => ' ',
        })
        .collect();
    format!(
        "  expected {wanted}\n  received {}\n           {}",
        hex(packet),
        marks.trim_end()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str, is_whole: bool) -> Pattern {
        let nibbles = text
            .chars()
            .map(|c| c.to_digit(16).map(|d| d as u8))
            .collect();
        Pattern { nibbles, is_whole }
    }

    #[test]
    fn a_prefix_matches_unless_it_is_the_whole() {
        assert!(matches(&pattern("1*", false), &[0x12, 0x34]));
        assert!(!matches(&pattern("1*", true), &[0x12, 0x34]));
        assert!(matches(&pattern("1*34", true), &[0x12, 0x34]));
        assert!(!matches(&pattern("123456", false), &[0x12, 0x34]));
    }

    #[test]
    fn failures_show_both_packets() {
        let expected = BTreeMap::from([(1, vec![(5, Some(pattern("1234", true)))])]);
        let received = BTreeMap::from([(1, vec![vec![0x12, 0x44]]), (2, vec![vec![0xff]])]);
        let failures = compare(&expected, &received);
        assert_eq!(failures.len(), 2);
        assert!(failures[0].contains("line 5") && failures[0].ends_with("             ^"));
        assert!(failures[1].contains("was not expected"));
    }
}
