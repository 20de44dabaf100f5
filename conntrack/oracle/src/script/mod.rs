// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Scripts: traces as text. `traces/README.md` has their language.

mod fragment;
mod icmp;
mod line;
mod nat;
mod sctp;
mod tcp;
mod text;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use adit_conntrack::testing::{fill_header_checksum, Flow};
use adit_conntrack::{Direction, Family, Helper, Protocol, Settings, Zone};
use anyhow::{bail, ensure, Context, Result};

use crate::policy::Policy;
use crate::settings;
use crate::trace::{flow, Network, Packet, Side, Step, Trace};
pub use line::Line;

/// The scripts, by group.
pub const GROUPS: [(&str, &str); 10] = [
    ("tcp", include_str!("../../traces/tcp.txt")),
    ("udp", include_str!("../../traces/udp.txt")),
    ("icmp", include_str!("../../traces/icmp.txt")),
    ("sctp", include_str!("../../traces/sctp.txt")),
    ("nat", include_str!("../../traces/nat.txt")),
    ("helpers", include_str!("../../traces/helpers.txt")),
    ("sip", include_str!("../../traces/sip.txt")),
    ("pptp", include_str!("../../traces/pptp.txt")),
    ("h323", include_str!("../../traces/h323.txt")),
    ("router", include_str!("../../traces/router.txt")),
];

/// The lowest port of a connection on the left; the connection's number is added.
const PORT: u16 = 1024;
/// The port of all connections on the right, unless a script names another one.
const SERVER_PORT: u16 = 80;
/// The header of GRE version 1 with PPP but for its call id: it has a key, and no payload.
const GRE_PPP: [u8; 6] = [0x20, 1, 0x88, 0x0b, 0, 0];

/// The traces of a file: each begins with a line `= NAME`.
pub fn parse_file(text: &str, family: Family) -> Result<Vec<Trace>> {
    let mut traces = Vec::new();
    for part in text.split("\n= ").skip(1) {
        let (name, lines) = part.split_once('\n').unwrap_or((part, ""));
        let name = format!("{name} ({family:?})");
        traces.extend(parse(&name, lines, family)?);
    }
    Ok(traces)
}

/// A trace of script lines; absent if it is not to be run with the family.
pub fn parse(name: &str, lines: &str, family: Family) -> Result<Option<Trace>> {
    let mut script = Script::new(family);
    for line in lines.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() && script.only.is_none_or(|only| only == family) {
            script
                .take(line)
                .with_context(|| format!("`{line}' of trace `{name}'"))?;
        }
    }
    if script.only.is_some_and(|only| only != family) {
        return Ok(None);
    }
    Ok(Some(Trace {
        name: name.to_owned(),
        settings: script.settings,
        policy: script.policy,
        since: script.since,
        hosts: Vec::new(),
        steps: script.steps,
    }))
}

/// The first two numbers of a version.
pub fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(['.', '-']).map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// The state of the parser after the lines so far.
pub struct Script {
    family: Family,
    settings: Settings,
    policy: Policy,
    /// The only family with which the trace is run.
    only: Option<Family>,
    /// The first version of Linux that does what the trace shows.
    since: (u32, u32),
    /// The port of connections on the right.
    server_port: u16,
    steps: Vec<Step>,
    /// The number of steps that [`Script::steps`] has given.
    given: usize,
    /// The next sequence numbers of both sides, by connection.
    tcp: BTreeMap<u16, [u32; 2]>,
    /// The tags of both sides, by association.
    sctp: BTreeMap<u16, [u32; 2]>,
}

impl Script {
    /// The state before the first line.
    pub fn new(family: Family) -> Self {
        Script {
            family,
            settings: settings::distinct(),
            policy: Policy::default(),
            only: None,
            since: (0, 0),
            server_port: SERVER_PORT,
            steps: Vec::new(),
            given: 0,
            tcp: BTreeMap::new(),
            sctp: BTreeMap::new(),
        }
    }

    /// The steps of the lines so far, which are forgotten but for errors about their packets.
    pub fn steps(&mut self) -> impl Iterator<Item = Step> + '_ {
        let new = self.steps[self.given..].iter().cloned();
        self.given = self.steps.len();
        new
    }

    /// Takes a line.
    ///
    /// # Errors
    ///
    /// Fails if the line has a mistake.
    pub fn take(&mut self, text: &str) -> Result<()> {
        let line = Line::new(text);
        let from = match line.word(0) {
            ">" => Side::Left,
            "<" => Side::Right,
            "wait" => {
                let seconds = line.word(1).parse().context("seconds")?;
                self.steps
                    .push(Step::Wait(Duration::from_secs_f64(seconds)));
                return Ok(());
            }
            "timeout" => {
                let seconds = line.word(1).parse().context("seconds")?;
                self.steps
                    .push(Step::SetTimeout(Duration::from_secs(seconds)));
                return Ok(());
            }
            "set" => return self.set(&line),
            "nat" => return self.nat(&line),
            "helper" => {
                if !line.word(2).is_empty() {
                    self.server_port = line.word(2).parse().context("port")?;
                }
                let helper = Helper::from_name(line.word(1)).context("helper")?;
                self.policy.helper = Some((helper, self.server_port));
                return Ok(());
            }
            "since" => {
                self.since = version(line.word(1)).context("version of Linux")?;
                return Ok(());
            }
            "zone" => return self.zone(&line),
            "mark" => {
                self.policy.mark = Some(line.word(1).parse().context("mark")?);
                return Ok(());
            }
            "only" => {
                self.only = Some(match line.word(1) {
                    "ipv4" => Family::V4,
                    "ipv6" => Family::V6,
                    other => bail!("`{other}' is none of ipv4, ipv6"),
                });
                return Ok(());
            }
            other => bail!(
                "`{other}' is none of >, <, wait, timeout, set, nat, helper, zone, mark, only, since"
            ),
        };
        let mut bytes = match line.word(1) {
            "tcp" => self.tcp(from, &line)?,
            "udp" => self.flow(from, &line)?.udp(&self.payload(&line, 0x55)?),
            "sctp" => self.sctp(from, &line)?,
            "icmp" => self.icmp(from, &line)?,
            "error" => self.icmp_error(from, &line)?,
            "gre" => {
                let call_id: u16 = line.word(2).parse().context("call id")?;
                let header = [&GRE_PPP[..], &call_id.to_be_bytes()].concat();
                self.flow(from, &line)?.packet(Protocol::GRE, &header)
            }
            "ip" => {
                let protocol = Protocol(line.word(2).parse().context("protocol")?);
                let message = vec![0; line.number("len", 0)?];
                self.flow(from, &line)?.packet(protocol, &message)
            }
            other => bail!("`{other}' is none of tcp, udp, sctp, icmp, error, gre, ip"),
        };
        damage(&mut bytes, &line)?;
        let to_server = self.flow(from, &line)?.dst_port == self.server_port;
        for bytes in fragment::divide(bytes, &line)? {
            self.steps.push(Step::Packet(Packet {
                from,
                bytes,
                to_server,
                text: text.to_owned(),
            }));
        }
        Ok(())
    }

    /// `zone ID [original|reply]`.
    fn zone(&mut self, line: &Line<'_>) -> Result<()> {
        let id = line.word(1).parse().context("zone")?;
        self.policy.zone = match line.word(2) {
            "" => Zone::new(id),
            "original" => Zone::in_direction(id, Direction::Original),
            "reply" => Zone::in_direction(id, Direction::Reply),
            other => bail!("`{other}' is none of original, reply"),
        };
        Ok(())
    }

    fn set(&mut self, line: &Line<'_>) -> Result<()> {
        let settings = &mut self.settings;
        let value: u8 = line.word(2).parse().context("value")?;
        match line.word(1) {
            "loose" => settings.tcp_loose = value != 0,
            "liberal" => settings.tcp_be_liberal = value != 0,
            "ignore-invalid-rst" => settings.tcp_ignore_invalid_rst = value != 0,
            "checksum" => settings.checksum = value != 0,
            "max-retrans" => settings.tcp_max_retrans = value,
            other => bail!("`{other}' is no setting"),
        }
        Ok(())
    }

    /// The flow of a line's connection, in the direction of its packet.
    fn flow(&self, from: Side, line: &Line<'_>) -> Result<Flow> {
        let port = PORT + line.number::<u16>("conn", 0)?;
        let flow = flow(self.family, port, self.server_port);
        let flow = match from {
            Side::Left => flow,
            Side::Right => flow.reverse(),
        };
        self.named(flow, line)
    }

    /// The flow with the addresses and ports that a line names.
    fn named(&self, flow: Flow, line: &Line<'_>) -> Result<Flow> {
        let address = |name: &str, default| match line.value(name) {
            Some(host) => self.host(host),
            None => Ok(default),
        };
        Ok(Flow {
            src: address("from", flow.src)?,
            src_port: line.number("sport", flow.src_port)?,
            dst: address("to", flow.dst)?,
            dst_port: line.number("dport", flow.dst_port)?,
        })
    }

    /// The address of a host: the letter of its network, and its number.
    ///
    /// # Errors
    ///
    /// Fails if the text names none.
    pub fn host(&self, host: &str) -> Result<IpAddr> {
        let network = host.chars().next().and_then(Network::of_letter);
        let network = network.with_context(|| format!("`{host}' is no host such as L1 or R2"))?;
        Ok(network.host(self.family, host[1..].parse().context("host")?))
    }

    /// The packet that was the last but `back`.
    fn sent(&self, back: usize) -> Option<&[u8]> {
        let mut packets = self.steps.iter().rev().filter_map(|step| match step {
            Step::Packet(packet) => Some(packet.bytes.as_slice()),
            _ => None,
        });
        packets.nth(back)
    }
}

/// Takes bytes from the end of the packet (`trim=N`), or changes its last one (`bad`): the
/// checksum is of the packet before. `options=HEX` are IPv4's options, `extensions=N,N` are extension headers of
/// IPv6. `hops=N` is its time to live, or hop limit. `whole`: routers may not fragment it.
fn damage(packet: &mut Vec<u8>, line: &Line<'_>) -> Result<()> {
    if line.has("bad") {
        if let Some(last) = packet.last_mut() {
            *last ^= 0xff;
        }
    }
    let is_v4 = packet[0] >> 4 == 4;
    if let Some(text) = line.value("options") {
        ensure!(is_v4, "`options' are IPv4's");
        insert_options(packet, text)?;
    }
    if let Some(text) = line.value("extensions") {
        ensure!(!is_v4, "`extensions' are IPv6's");
        insert_extensions(packet, text)?;
    }
    if line.value("hops").is_some() {
        packet[if is_v4 { 8 } else { 7 }] = line.number("hops", 0)?;
        if is_v4 {
            fill_header_checksum(packet);
        }
    }
    // Those of IPv6 are not fragmented in any case.
    if line.has("whole") && is_v4 {
        packet[6] |= 0x40;
        fill_header_checksum(packet);
    }
    let trim = line.number("trim", 0)?;
    if trim == 0 {
        return Ok(());
    }
    let header = if is_v4 { 20 } else { 40 };
    let length = packet.len().saturating_sub(trim).max(header);
    packet.truncate(length);
    if is_v4 {
        packet[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        fill_header_checksum(packet);
    } else {
        packet[4..6].copy_from_slice(&((length - header) as u16).to_be_bytes());
    }
    Ok(())
}

/// Inserts options behind an IPv4 header without any.
fn insert_options(packet: &mut Vec<u8>, text: &str) -> Result<()> {
    let digits = (0..text.len()).step_by(2);
    let octets = digits.map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok());
    let octets: Vec<u8> = octets.collect::<Option<_>>().context("options=HEX")?;
    ensure!(
        octets.len() % 4 == 0 && octets.len() <= 40 && packet[0] == 0x45,
        "options are words of 32 bits, at most 10"
    );
    packet[0] += (octets.len() / 4) as u8;
    let length = (packet.len() + octets.len()) as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet.splice(20..20, octets);
    fill_header_checksum(packet);
    Ok(())
}

/// Inserts extension headers behind an IPv6 header: options without any, a route whose end is reached, the header
/// of a datagram that is whole, and an authentication header.
fn insert_extensions(packet: &mut Vec<u8>, text: &str) -> Result<()> {
    let mut next = packet[6];
    let mut headers = Vec::new();
    for kind in text.rsplit(',') {
        let kind: u8 = kind.parse().context("extensions=N,N")?;
        let mut header = match kind {
            // Padding.
            0 | 60 => vec![next, 0, 1, 4, 0, 0, 0, 0],
            43 => vec![next, 0, 0, 0, 0, 0, 0, 0],
            44 => vec![next, 0, 0, 0, 0, 0, 0, 7],
            51 => [&[next, 4], &[0; 22][..]].concat(),
            _ => bail!("{kind} is none of the extension headers 0, 43, 44, 51 and 60"),
        };
        header.append(&mut headers);
        headers = header;
        next = kind;
    }
    packet[6] = next;
    let length = (packet.len() - 40 + headers.len()) as u16;
    packet[4..6].copy_from_slice(&length.to_be_bytes());
    packet.splice(40..40, headers);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(lines: &str) -> Vec<Vec<u8>> {
        let trace = parse("test", lines, Family::V4).unwrap().unwrap();
        let packets = trace.steps.iter().filter_map(|step| match step {
            Step::Packet(packet) => Some(packet.bytes.clone()),
            _ => None,
        });
        packets.collect()
    }

    #[test]
    fn all_scripts_are_valid() {
        for (name, text) in GROUPS {
            for family in [Family::V4, Family::V6] {
                let traces = parse_file(text, family).unwrap();
                assert!(family == Family::V6 || !traces.is_empty(), "{name}");
                assert!(traces.iter().all(|trace| !trace.steps.is_empty()), "{name}");
            }
        }
    }

    #[test]
    fn sequence_numbers_follow_from_the_segments() {
        let word = |packet: &[u8], at| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
        let packets =
            octets("> tcp S isn=100\n> tcp A len=10\n< tcp SA\n> tcp A seq=-10 len=10\n> tcp A");
        let seqs: Vec<_> = packets.iter().map(|packet| word(packet, 24)).collect();
        assert_eq!([seqs[0], seqs[1], seqs[3], seqs[4]], [100, 101, 101, 111]);
        assert_eq!(word(&packets[2], 28), 111);
        assert_eq!(word(&packets[4], 28), seqs[2].wrapping_add(1));
    }

    #[test]
    fn trimmed_packets_have_their_length() {
        let packets = octets("> udp len=10 trim=5");
        assert_eq!(packets[0].len(), 33);
        assert_eq!(packets[0][2..4], [0, 33]);
    }

    #[test]
    fn extension_headers_follow_the_header_of_ipv6() {
        let line = "> udp len=1 extensions=0,51,60";
        let trace = parse("test", line, Family::V6).unwrap().unwrap();
        let Some(Step::Packet(packet)) = trace.steps.first() else {
            panic!("{:?}", trace.steps);
        };
        let bytes = &packet.bytes;
        let kinds = [bytes[6], bytes[40], bytes[48], bytes[72]];
        assert_eq!(kinds, [0, 51, 60, 17]);
        assert_eq!(bytes.len(), 40 + 8 + 24 + 8 + 9);
        assert_eq!(usize::from(bytes[5]), bytes.len() - 40);
    }

    #[test]
    fn invalid_lines_are_named() {
        for line in [
            "> udp extensions=60",
            "> udp options=0",
            "> udp options=0x",
            "> udp options=010101",
            "> tcp X",
            "? udp",
            "> udp len=x",
            "< error port",
            "set loose",
            "> ip x",
        ] {
            let error = parse("test", line, Family::V4).unwrap_err();
            assert!(error.to_string().contains(line), "{error}");
        }
    }
}
