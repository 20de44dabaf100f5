// SPDX-License-Identifier: Apache-2.0 OR MIT
//! FTP (RFC 959, RFC 2428, `nf_conntrack_ftp.c`): PORT and EPRT of the client, the answers to PASV
//! and EPSV of the server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::text::number;
use super::{Announced, Session};
use crate::packet::tcp::{is_after, is_before};
use crate::stats::DropReason;
use crate::tuple::{Direction, Endpoint, Protocol};

/// The state of a control connection: the sequence numbers at which lines begin, up to two in each
/// direction, because segments may be repeated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Ftp {
    line_starts: [[Option<u32>; 2]; 2],
}

/// The result of looking for a command.
enum Found {
    No,
    Partial,
    Port(Syntax, Parameter),
}

/// The notation of an address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Syntax {
    /// Six numbers with commas.
    Numbers,
    /// That of EPRT.
    Extended,
    /// That of the answer to EPSV: the port only.
    ExtendedPassive,
}

/// An address, if the notation has one, and a port.
#[derive(Debug, PartialEq, Eq)]
struct Parameter {
    address: Option<IpAddr>,
    port: u16,
    /// The bytes of the text that they are.
    range: Range<usize>,
}

impl Syntax {
    /// `nf_nat_ftp_fmt_cmd`.
    fn format(self, address: IpAddr, port: u16) -> String {
        match (self, address) {
            (Syntax::Numbers, IpAddr::V4(address)) => {
                let [a, b, c, d] = address.octets();
                format!("{a},{b},{c},{d},{},{}", port >> 8, port & 0xff)
            }
            (Syntax::Extended, IpAddr::V4(address)) => format!("|1|{address}|{port}|"),
            (Syntax::Extended, IpAddr::V6(address)) => {
                let groups = address.segments().map(|group| format!("{group:04x}"));
                format!("|2|{}|{port}|", groups.join(":"))
            }
            // Of IPv6 there are no numbers with commas.
            (Syntax::ExtendedPassive, _) | (Syntax::Numbers, IpAddr::V6(_)) => {
                format!("|||{port}|")
            }
        }
    }
}

impl Ftp {
    pub(super) fn read(&mut self, session: &mut Session<'_>) -> Result<(), DropReason> {
        if !session.is_established() {
            return Ok(());
        }
        let Some(payload) = session.received() else {
            return Ok(());
        };
        let seq = session.seq();
        let ends_line = payload.last() == Some(&b'\n');
        let next_line = ends_line.then(|| seq.wrapping_add(payload.len() as u32));
        let is_v4 = session.this().src().address.is_ipv4();
        let direction = session.packet.direction;
        let starts = &mut self.line_starts[direction as usize];
        if starts.contains(&Some(seq)) {
            match find(direction, is_v4, payload) {
                Found::No => {}
                Found::Partial => return Err(DropReason::Announcement),
                Found::Port(syntax, parameter) => announce(session, syntax, parameter)?,
            }
        }
        if let Some(next) = next_line {
            remember(starts, next);
        }
        Ok(())
    }
}

/// Adds the beginning of a line in place of the older one (`update_nl_seq`).
fn remember(starts: &mut [Option<u32>; 2], next: u32) {
    match *starts {
        [None, _] => starts[0] = Some(next),
        [Some(first), _] if first == next => {}
        [_, None] => starts[1] = Some(next),
        [_, Some(second)] if second == next => {}
        [Some(first), Some(second)] => {
            let oldest = usize::from(!is_before(first, second));
            if starts[oldest].is_some_and(|oldest| is_after(next, oldest)) {
                starts[oldest] = Some(next);
            }
        }
    }
}

fn announce(
    session: &mut Session<'_>,
    syntax: Syntax,
    parameter: Parameter,
) -> Result<(), DropReason> {
    let (this, other) = (session.this(), session.other());
    // What a peer announces for another host than itself is not followed: it could open a hole to any
    // host.
    let own = this.src().address;
    if parameter.address.is_some_and(|address| address != own) {
        return Ok(());
    }
    let dst = Endpoint {
        address: other.dst().address,
        part: parameter.port,
    };
    let mut announced = Announced::new(Protocol::TCP, Some(other.src().address), dst);
    if !session.is_translated() {
        let added = session.expect(&announced);
        return added.map(|_| ()).map_err(DropReason::Expectation);
    }
    announced.nat = Some(session.follow_master(parameter.port));
    let port = session
        .expect_free_port(&mut announced)
        .map_err(DropReason::Expectation)?;
    let text = syntax.format(dst.address, port);
    session.replace(parameter.range, text.as_bytes());
    Ok(())
}

/// Looks for the commands of a direction at the beginning of a line.
fn find(direction: Direction, is_v4: bool, line: &[u8]) -> Found {
    let commands: [Command; 2] = match direction {
        Direction::Original => [
            Command {
                name: b"PORT",
                skip: Some(b' '),
                syntax: Syntax::Numbers,
                parse: |text, _| host_port(text, Some(b'\r')),
            },
            Command {
                name: b"EPRT",
                skip: Some(b' '),
                syntax: Syntax::Extended,
                parse: extended_port,
            },
        ],
        Direction::Reply => [
            Command {
                name: b"227 ",
                skip: None,
                syntax: Syntax::Numbers,
                parse: |text, _| passive(text),
            },
            Command {
                name: b"229 ",
                skip: Some(b'('),
                syntax: Syntax::ExtendedPassive,
                parse: |text, _| extended_passive(text),
            },
        ],
    };
    for command in commands {
        match command.find(line, is_v4) {
            Found::No => {}
            found => return found,
        }
    }
    Found::No
}

struct Command {
    name: &'static [u8; 4],
    /// The byte after which the parameter begins.
    skip: Option<u8>,
    syntax: Syntax,
    parse: fn(&[u8], bool) -> Option<Parameter>,
}

impl Command {
    /// `find_pattern`.
    fn find(&self, line: &[u8], is_v4: bool) -> Found {
        let common = line.len().min(self.name.len());
        if !line[..common].eq_ignore_ascii_case(&self.name[..common]) {
            return Found::No;
        }
        if line.len() <= self.name.len() {
            return Found::Partial;
        }
        let mut start = self.name.len();
        if let Some(skip) = self.skip {
            match line[start..].iter().position(|&octet| octet == skip) {
                Some(at) => start += at + 1,
                None => return Found::Partial,
            }
        }
        match (self.parse)(&line[start..], is_v4) {
            Some(mut found) => {
                found.range = found.range.start + start..found.range.end + start;
                Found::Port(self.syntax, found)
            }
            // What is no parameter may be the beginning of one.
            None => Found::Partial,
        }
    }
}

/// Numbers up to 255 with separators, and the byte that ends them: `end`, or any if it is absent
/// (`try_number`). Returns the numbers' length, too.
fn numbers<const N: usize>(
    text: &[u8],
    separator: u8,
    end: Option<u8>,
) -> Option<([u8; N], usize)> {
    let mut found = [0u32; N];
    let mut at = 0;
    for (position, &octet) in text.iter().enumerate() {
        if octet.is_ascii_digit() {
            found[at] = found[at] * 10 + u32::from(octet - b'0');
            if found[at] > 255 {
                return None;
            }
        } else if octet == separator {
            at += 1;
            if at == N {
                return None;
            }
        } else {
            let is_end = at == N - 1 && end.is_none_or(|end| end == octet);
            let numbers = found.map(|number| number as u8);
            return is_end.then_some((numbers, position));
        }
    }
    None
}

/// h1,h2,h3,h4,p1,p2 (RFC 959).
fn host_port(text: &[u8], end: Option<u8>) -> Option<Parameter> {
    let ([a, b, c, d, high, low], length) = numbers(text, b',', end)?;
    Some(Parameter {
        address: Some(Ipv4Addr::new(a, b, c, d).into()),
        port: u16::from_be_bytes([high, low]),
        range: 0..length,
    })
}

/// The numbers of a 227 answer begin at its first digit (RFC 1123, 4.1.2.6).
fn passive(text: &[u8]) -> Option<Parameter> {
    let start = text.iter().position(u8::is_ascii_digit)?;
    let found = host_port(&text[start..], None)?;
    Some(Parameter {
        range: start..start + found.range.end,
        ..found
    })
}

fn is_delimiter(octet: u8) -> bool {
    (33..=126).contains(&octet) && !octet.is_ascii_digit()
}

/// A port above 0 up to the delimiter, and the place behind that; `start` is the port's first byte
/// (`get_port`).
fn port(text: &[u8], start: usize, delimiter: u8) -> Option<(u16, usize)> {
    let rest = text.get(start..)?;
    let (port, length) = number(rest);
    if port == 0 || rest.get(length) != Some(&delimiter) {
        return None;
    }
    let port = u16::try_from(port).ok()?;
    Some((port, start + length + 1))
}

/// |1|132.235.1.2|6275| or |2|1080::8:800:200C:417A|5282| (RFC 2428, 2).
fn extended_port(text: &[u8], is_v4: bool) -> Option<Parameter> {
    let &[delimiter, family, second, ref rest @ ..] = text else {
        return None;
    };
    if !is_delimiter(delimiter) || second != delimiter {
        return None;
    }
    let (address, length): (IpAddr, _) = match (family, is_v4) {
        (b'1', true) => {
            let (octets, length) = numbers::<4>(rest, b'.', Some(delimiter))?;
            (Ipv4Addr::from(octets).into(), length)
        }
        (b'2', false) => {
            let length = rest.iter().position(|&octet| octet == delimiter)?;
            let text = std::str::from_utf8(&rest[..length]).ok();
            let address: Option<Ipv6Addr> = text.and_then(|text| text.parse().ok());
            (address?.into(), length)
        }
        _ => return None,
    };
    let (port, end) = port(text, 3 + length + 1, delimiter)?;
    Some(Parameter {
        address: Some(address),
        port,
        range: 0..end,
    })
}

/// |||6446| (RFC 2428, 3).
fn extended_passive(text: &[u8]) -> Option<Parameter> {
    let &[delimiter, second, third, ..] = text else {
        return None;
    };
    if !is_delimiter(delimiter) || second != delimiter || third != delimiter {
        return None;
    }
    let (port, end) = port(text, 3, delimiter)?;
    Some(Parameter {
        address: None,
        port,
        range: 0..end,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn announcements() {
        let found = |text: &str, port, end| {
            Some(Parameter {
                address: Some(text.parse().unwrap()),
                port,
                range: 0..end,
            })
        };
        assert_eq!(
            host_port(b"10,0,0,1,4,1\r\n", Some(b'\r')),
            found("10.0.0.1", 1025, 12)
        );
        assert_eq!(host_port(b"10,0,0,256,4,1\r\n", Some(b'\r')), None);
        assert_eq!(host_port(b"10,0,0,1,4\r\n", Some(b'\r')), None);
        assert_eq!(host_port(b"10,0,0,1,4,1", Some(b'\r')), None);
        let answer = b"Entering Passive Mode (192,0,2,7,0,21).\r\n";
        let numbers = passive(answer).unwrap();
        assert_eq!(
            (numbers.port, &answer[numbers.range]),
            (21, &b"192,0,2,7,0,21"[..])
        );
        assert_eq!(
            extended_port(b"|1|132.235.1.2|6275|\r\n", true),
            found("132.235.1.2", 6275, 20)
        );
        assert_eq!(extended_port(b"|1|132.235.1.2|6275|\r\n", false), None);
        let v6 = b"|2|1080::8:800:200C:417A|5282|\r\n";
        assert_eq!(
            extended_port(v6, false),
            found("1080::8:800:200C:417A", 5282, 30)
        );
        let port = |text| extended_passive(text).map(|found| (found.port, found.range));
        assert_eq!(port(b"|||6446|)\r\n"), Some((6446, 0..8)));
        assert_eq!(port(b"|||0|)\r\n"), None);
        assert_eq!(port(b"|||70000|)\r\n"), None);
        assert_eq!(port(b"111646|)\r\n"), None);
    }

    #[test]
    fn announcements_are_written() {
        let v4 = IpAddr::from([10, 0, 0, 1]);
        let v6 = "fd00::1".parse().unwrap();
        assert_eq!(Syntax::Numbers.format(v4, 1025), "10,0,0,1,4,1");
        assert_eq!(Syntax::Extended.format(v4, 7), "|1|10.0.0.1|7|");
        assert_eq!(
            Syntax::Extended.format(v6, 7),
            "|2|fd00:0000:0000:0000:0000:0000:0000:0001|7|"
        );
        assert_eq!(Syntax::ExtendedPassive.format(v6, 7), "|||7|");
    }

    proptest! {
        #[test]
        fn no_octets_panic(
            name in "(PORT |EPRT |227 |229 \\(|)",
            text in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let mut line = name.into_bytes();
            line.extend(text);
            for direction in [Direction::Original, Direction::Reply] {
                for is_v4 in [false, true] {
                    if let Found::Port(_, found) = find(direction, is_v4, &line) {
                        prop_assert!(found.range.end <= line.len());
                    }
                }
            }
        }
    }
}
