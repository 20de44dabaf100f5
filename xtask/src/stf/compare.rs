// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Comparison of the output with the expected packets.

use std::collections::BTreeMap;

use super::command::Pattern;

/// An expected packet.
pub(super) struct Expected {
    /// Its line in the test.
    pub(super) line: usize,
    /// The receive queue that the program sets, if that matters.
    pub(super) queue: Option<u16>,
    /// Its content, if that matters.
    pub(super) pattern: Option<Pattern>,
}

/// A packet that was received.
pub(super) struct Received {
    pub(super) packet: Vec<u8>,
    /// The receive queue that the program has set.
    pub(super) queue: Option<u16>,
}

/// Compares port by port, in order; returns the differences.
pub(super) fn compare(
    expected: &BTreeMap<u16, Vec<Expected>>,
    received: &BTreeMap<u16, Vec<Received>>,
) -> Vec<String> {
    let mut failures = Vec::new();
    let mut ports: Vec<u16> = expected.keys().chain(received.keys()).copied().collect();
    ports.sort_unstable();
    ports.dedup();
    for port in ports {
        let wanted = expected.get(&port).map_or(&[][..], |list| list);
        let got = received.get(&port).map_or(&[][..], |list| list);
        for (n, wanted) in wanted.iter().enumerate() {
            let place = format!("port {port}, packet {n} (line {})", wanted.line);
            let Some(got) = got.get(n) else {
                failures.push(format!("{place}: expected, but nothing came"));
                continue;
            };
            if let Some(pattern) = wanted.pattern.as_ref().filter(|p| !matches(p, &got.packet)) {
                let difference = difference(pattern, &got.packet);
                failures.push(format!("{place} differs\n{difference}"));
            }
            if wanted.queue.is_some() && wanted.queue != got.queue {
                let (wanted, got) = (wanted.queue, got.queue);
                failures.push(format!(
                    "{place}: the queue is {got:?}, {wanted:?} expected"
                ));
            }
        }
        for (n, got) in got.iter().enumerate().skip(wanted.len()) {
            failures.push(format!(
                "port {port}, packet {n}: came, but was not expected\n  received {}",
                hex(&got.packet)
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
        let wanted = Expected {
            line: 5,
            queue: Some(1),
            pattern: Some(pattern("1234", true)),
        };
        let received = |packet, queue| vec![Received { packet, queue }];
        let expected = BTreeMap::from([(1, vec![wanted])]);
        let got = BTreeMap::from([
            (1, received(vec![0x12, 0x44], Some(1))),
            (2, received(vec![0xff], None)),
        ]);
        let failures = compare(&expected, &got);
        assert_eq!(failures.len(), 2);
        assert!(failures[0].contains("line 5") && failures[0].ends_with("             ^"));
        assert!(failures[1].contains("was not expected"));
        let got = BTreeMap::from([(1, received(vec![0x12, 0x34], None))]);
        let failures = compare(&expected, &got);
        assert_eq!(failures.len(), 1);
        assert!(failures[0].contains("the queue is None"), "{failures:?}");
    }
}
