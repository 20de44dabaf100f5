// SPDX-License-Identifier: Apache-2.0 OR MIT
//! FTP (RFC 959, RFC 2428, `nf_conntrack_ftp.c`): PORT and EPRT of the client, the answers to PASV
//! and EPSV of the server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Announced, Finding, Packet, TIMEOUT};
use crate::packet::tcp::{is_after, is_before};
use crate::tuple::{Direction, Endpoint, Protocol};

/// The state of a control connection: the sequence numbers at which lines begin, up to two in each
/// direction, because segments may be repeated.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ftp {
    line_starts: [[Option<u32>; 2]; 2],
}

/// The result of looking for a command.
enum Found {
    No,
    Partial,
    /// An address, if the command has one, and a port.
    Port(Option<IpAddr>, u16),
}

impl Ftp {
    pub(super) fn read(&mut self, packet: &Packet<'_>) -> Finding {
        if !packet.is_established {
            return Finding::Nothing;
        }
        let Some((seq, payload)) = payload(packet.message) else {
            return Finding::Nothing;
        };
        let Some(last) = payload.last() else {
            return Finding::Nothing;
        };
        let next_line = (*last == b'\n').then(|| seq.wrapping_add(payload.len() as u32));
        let starts = &mut self.line_starts[packet.direction as usize];
        let mut finding = Finding::Nothing;
        if starts.contains(&Some(seq)) {
            match find(packet, payload) {
                Found::No => {}
                Found::Partial => return Finding::Partial,
                Found::Port(address, port) => finding = announce(packet, address, port),
            }
        }
        if let Some(next) = next_line {
            remember(starts, next);
        }
        finding
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

/// The sequence number and the octets of a segment's payload.
fn payload(message: &[u8]) -> Option<(u32, &[u8])> {
    let header = message.get(..20)?;
    let seq = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    Some((seq, message.get(usize::from(header[12] >> 4) * 4..)?))
}

fn announce(packet: &Packet<'_>, address: Option<IpAddr>, port: u16) -> Finding {
    let this = packet.keys.tuple(packet.direction);
    let other = packet.keys.tuple(packet.direction.opposite());
    // What a peer announces for another host than itself is not followed: it could open a hole to any
    // host.
    let is_its_own = address.is_none_or(|address| address == this.src().address);
    if !is_its_own || packet.is_translated {
        return Finding::Nothing;
    }
    Finding::Expect(Announced {
        protocol: Protocol::TCP,
        src: other.src().address,
        dst: Endpoint {
            address: other.dst().address,
            part: port,
        },
        timeout: TIMEOUT,
        follow: None,
    })
}

/// Looks for the commands of a direction at the beginning of a line.
fn find(packet: &Packet<'_>, line: &[u8]) -> Found {
    let is_v4 = packet
        .keys
        .tuple(Direction::Original)
        .src()
        .address
        .is_ipv4();
    let commands: [Command; 2] = match packet.direction {
        Direction::Original => [
            Command {
                name: b"PORT",
                skip: Some(b' '),
                parse: |text, _| host_port(text, Some(b'\r')),
            },
            Command {
                name: b"EPRT",
                skip: Some(b' '),
                parse: extended_port,
            },
        ],
        Direction::Reply => [
            Command {
                name: b"227 ",
                skip: None,
                parse: |text, _| passive(text),
            },
            Command {
                name: b"229 ",
                skip: Some(b'('),
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

/// An address, if the parameter has one, and a port.
type Parameter = (Option<IpAddr>, u16);

struct Command {
    name: &'static [u8; 4],
    /// The octet after which the parameter begins.
    skip: Option<u8>,
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
        let mut parameter = &line[self.name.len()..];
        if let Some(skip) = self.skip {
            match parameter.iter().position(|&octet| octet == skip) {
                Some(at) => parameter = &parameter[at + 1..],
                None => return Found::Partial,
            }
        }
        match (self.parse)(parameter, is_v4) {
            Some((address, port)) => Found::Port(address, port),
            None => Found::Partial,
        }
    }
}

/// Numbers up to 255 with separators, and the octet that ends them: `end`, or any if it is absent
/// (`try_number`). Returns what follows the numbers, too.
fn numbers<const N: usize>(
    text: &[u8],
    separator: u8,
    end: Option<u8>,
) -> Option<([u8; N], &[u8])> {
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
            return is_end.then(|| (found.map(|number| number as u8), &text[position..]));
        }
    }
    None
}

/// h1,h2,h3,h4,p1,p2 (RFC 959).
fn host_port(text: &[u8], end: Option<u8>) -> Option<Parameter> {
    let ([a, b, c, d, high, low], _) = numbers(text, b',', end)?;
    Some((
        Some(Ipv4Addr::new(a, b, c, d).into()),
        u16::from_be_bytes([high, low]),
    ))
}

/// The numbers of a 227 answer begin at its first digit (RFC 1123, 4.1.2.6).
fn passive(text: &[u8]) -> Option<Parameter> {
    let start = text.iter().position(u8::is_ascii_digit)?;
    host_port(&text[start..], None)
}

fn is_delimiter(octet: u8) -> bool {
    (33..=126).contains(&octet) && !octet.is_ascii_digit()
}

/// A port above 0, up to the delimiter (`get_port`).
fn port(text: &[u8], delimiter: u8) -> Option<u16> {
    let end = text.iter().position(|&octet| octet == delimiter)?;
    let text = std::str::from_utf8(&text[..end]).ok()?;
    if !text.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|&port| port != 0)
}

/// |1|132.235.1.2|6275| or |2|1080::8:800:200C:417A|5282| (RFC 2428, 2).
fn extended_port(text: &[u8], is_v4: bool) -> Option<Parameter> {
    let &[delimiter, family, second, ref rest @ ..] = text else {
        return None;
    };
    if !is_delimiter(delimiter) || second != delimiter {
        return None;
    }
    let (address, rest): (IpAddr, _) = match (family, is_v4) {
        (b'1', true) => {
            let (octets, rest) = numbers::<4>(rest, b'.', Some(delimiter))?;
            (Ipv4Addr::from(octets).into(), rest)
        }
        (b'2', false) => {
            let end = rest.iter().position(|&octet| octet == delimiter)?;
            let address: Ipv6Addr = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
            (address.into(), &rest[end..])
        }
        _ => return None,
    };
    Some((Some(address), port(rest.get(1..)?, delimiter)?))
}

/// |||6446| (RFC 2428, 3).
fn extended_passive(text: &[u8]) -> Option<Parameter> {
    let &[delimiter, second, third, ref rest @ ..] = text else {
        return None;
    };
    if !is_delimiter(delimiter) || second != delimiter || third != delimiter {
        return None;
    }
    Some((None, port(rest, delimiter)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn announcements() {
        let v4 = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        assert_eq!(
            host_port(b"10,0,0,1,4,1\r\n", Some(b'\r')),
            Some((v4("10.0.0.1"), 1025))
        );
        assert_eq!(host_port(b"10,0,0,256,4,1\r\n", Some(b'\r')), None);
        assert_eq!(host_port(b"10,0,0,1,4\r\n", Some(b'\r')), None);
        assert_eq!(host_port(b"10,0,0,1,4,1", Some(b'\r')), None);
        let answer = b"Entering Passive Mode (192,0,2,7,0,21).\r\n";
        assert_eq!(passive(answer), Some((v4("192.0.2.7"), 21)));
        assert_eq!(
            extended_port(b"|1|132.235.1.2|6275|\r\n", true),
            Some((v4("132.235.1.2"), 6275))
        );
        assert_eq!(extended_port(b"|1|132.235.1.2|6275|\r\n", false), None);
        let v6 = b"|2|1080::8:800:200C:417A|5282|\r\n";
        assert_eq!(
            extended_port(v6, false),
            Some((v4("1080::8:800:200C:417A"), 5282))
        );
        assert_eq!(extended_passive(b"|||6446|)\r\n"), Some((None, 6446)));
        assert_eq!(extended_passive(b"|||0|)\r\n"), None);
        assert_eq!(extended_passive(b"|||70000|)\r\n"), None);
        assert_eq!(extended_passive(b"111646|)\r\n"), None);
    }

    proptest! {
        #[test]
        fn no_octets_panic(text in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = (host_port(&text, None), passive(&text), extended_passive(&text), payload(&text));
            let _ = (extended_port(&text, true), extended_port(&text, false));
        }
    }
}
