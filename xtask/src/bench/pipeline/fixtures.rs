// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The programs that are measured: their entries, and packets that hit them.

use std::path::Path;
use std::sync::Arc;

use adit_p4_frontend::ir::{Chosen, Match};
use adit_p4_frontend::source::NoIncludes;
use adit_p4_frontend::{compile, Options};
use adit_pipeline::p4::tables::{Action, Entry, Table};
use adit_pipeline::p4::Engine;
use anyhow::{ensure, Context, Result};

/// Number of next hops of the router.
const NEXT_HOPS: u64 = 256;
/// Offsets of the headers in our frames: Ethernet, IPv4, UDP.
const IP: usize = 14;
const UDP: usize = 34;

/// A program with the table that is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fixture {
    /// `l3.p4`: prefixes of 24 bits, one in 16 of 28, and next hops.
    L3,
    /// `classifier.p4`: flows by addresses, protocol and ports.
    Classifier,
    /// `acl.p4`: masks and ranges with priorities.
    Acl,
}

impl Fixture {
    pub(super) const ALL: [Fixture; 3] = [Fixture::L3, Fixture::Classifier, Fixture::Acl];

    pub(super) fn name(self) -> &'static str {
        match self {
            Fixture::L3 => "l3",
            Fixture::Classifier => "classifier",
            Fixture::Acl => "acl",
        }
    }

    pub(super) fn sizes(self) -> &'static [u64] {
        match self {
            Fixture::Acl => &[1, 100, 1_000, 10_000],
            _ => &[1, 1_000, 100_000, 1_000_000],
        }
    }

    fn table_name(self) -> &'static str {
        match self {
            Fixture::L3 => "RouterControl.ipv4_routes",
            Fixture::Classifier => "ClassifierControl.ipv4_flows",
            Fixture::Acl => "FilterControl.ipv4_rules",
        }
    }

    pub(super) fn table(self, engine: &Engine) -> Result<&Table> {
        let name = self.table_name();
        let table = engine.table(name);
        table.with_context(|| format!("{}.p4 has no table {name}", self.name()))
    }

    /// Loads the program and inserts that many entries.
    pub(super) fn load(self, entries: u64) -> Result<Arc<Engine>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../p4");
        let path = folder.join(format!("{}.p4", self.name()));
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let compiled = compile(self.name(), &text, &NoIncludes, &Options::default());
        let diagnostics = compiled.diagnostics.render(&compiled.sources);
        let program = compiled.program.context(diagnostics)?;
        let engine = Engine::load(program)?;
        if self == Fixture::L3 {
            let hops = engine.table("RouterControl.nexthops");
            let hops = hops.context("l3.p4 has no table of next hops")?;
            for hop in 0..NEXT_HOPS {
                let macs = [0x0200_0000_0001, 0x0200_0000_1000 + hop];
                let action = action(hops, "forward", &[macs[0], macs[1], 1])?;
                hops.insert(&entry(vec![exact(hop + 1)], 0, action), 0)?;
            }
        }
        let table = self.table(&engine)?;
        for n in 0..entries {
            table.insert(&self.entry(table, n, 1)?, 0)?;
        }
        ensure!(table.len() as u64 == entries, "not all entries are there");
        Ok(Arc::new(engine))
    }

    /// Returns an entry; `version` selects its action.
    pub(super) fn entry(self, table: &Table, n: u64, version: u64) -> Result<Entry> {
        Ok(match self {
            Fixture::L3 => {
                let length = if n % 16 == 15 { 28 } else { 24 };
                let hop = (n + version) % NEXT_HOPS + 1;
                let action = action(table, "set_nexthop", &[hop])?;
                entry(vec![prefix(route(n), length)], 0, action)
            }
            Fixture::Classifier => {
                let keys = [u64::from(flow_src(n)), 0xc0a8_0001, 17, flow_port(n), 4000];
                let arguments = [version % 16, n % (1 << 32)];
                let action = action(table, "classify", &arguments)?;
                entry(keys.map(exact).to_vec(), 0, action)
            }
            Fixture::Acl => {
                let rule = Rule::new(n);
                let keys = vec![
                    Match::Any,
                    Match::Any,
                    prefix(rule.src, rule.src_length),
                    prefix(rule.dst, rule.dst_length),
                    if rule.protocol { exact(17) } else { Match::Any },
                    Match::Any,
                    Match::Any,
                    Match::Range(vec![rule.ports[0]], vec![rule.ports[1]]),
                    Match::Any,
                ];
                let name = if version % 2 == 1 { "permit" } else { "deny" };
                entry(keys, 1 + (n % 997) as i64, action(table, name, &[])?)
            }
        })
    }

    /// Makes a frame hit entry `n`.
    pub(super) fn aim(self, frame: &mut [u8], n: u64) {
        let (src, dst, src_port, dst_port) = match self {
            Fixture::L3 => (0x0a00_0001, route(n) | 5, 1000, 2000),
            Fixture::Classifier => (flow_src(n), 0xc0a8_0001, flow_port(n), 4000),
            Fixture::Acl => {
                let rule = Rule::new(n);
                (rule.src | 1, rule.dst | 1, 1000, rule.ports[0])
            }
        };
        frame[IP + 12..IP + 16].copy_from_slice(&src.to_be_bytes());
        frame[IP + 16..IP + 20].copy_from_slice(&dst.to_be_bytes());
        frame[UDP..UDP + 2].copy_from_slice(&(src_port as u16).to_be_bytes());
        frame[UDP + 2..UDP + 4].copy_from_slice(&(dst_port as u16).to_be_bytes());
    }
}

/// A rule: one of 24 masks, and a range of ports.
struct Rule {
    src: u32,
    src_length: u32,
    dst: u32,
    dst_length: u32,
    protocol: bool,
    ports: [u64; 2],
}

impl Rule {
    fn new(n: u64) -> Rule {
        let src_length = [0, 16, 24, 32][n as usize % 4];
        let dst_length = [16, 24, 32][n as usize / 4 % 3];
        let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let cut = |value: u32, length: u32| match length {
            0 => 0,
            _ => value & (u32::MAX << (32 - length)),
        };
        let low = 1024 + (mixed >> 20) % 20_000;
        Rule {
            src: cut(0x0a00_0000 | (mixed >> 40) as u32, src_length),
            src_length,
            dst: cut(0xc000_0000 | (mixed >> 34) as u32, dst_length),
            dst_length,
            protocol: n / 12 % 2 == 0,
            ports: [low, low + (mixed >> 8) % 1000],
        }
    }
}

/// Returns a route of [`Fixture::L3`] and an address that hits it, as text: network, prefix length,
/// address.
pub(super) fn peer_route(n: u64) -> (String, u32, String) {
    let length = if n % 16 == 15 { 28 } else { 24 };
    let text = |address: u32| std::net::Ipv4Addr::from(address).to_string();
    (text(route(n)), length, text(route(n) | 5))
}

/// Returns a rule of [`Fixture::Acl`] and a packet that hits it, as lines of DPDK's test of its ACL
/// library.
pub(super) fn peer_rule(n: u64) -> (String, String) {
    let rule = Rule::new(n);
    let address = |value: u32, length| format!("{}/{length}", std::net::Ipv4Addr::from(value));
    let line = format!(
        "@{} {} 0 : 65535 {} : {} {}",
        address(rule.src, rule.src_length),
        address(rule.dst, rule.dst_length),
        rule.ports[0],
        rule.ports[1],
        if rule.protocol {
            "0x11/0xff"
        } else {
            "0x00/0x00"
        },
    );
    let packet = format!(
        "{} {} 1000 {} 17",
        rule.src | 1,
        rule.dst | 1,
        rule.ports[0]
    );
    (line, packet)
}

fn route(n: u64) -> u32 {
    // Scattered, so that neighbours are not in one cache line.
    let n = n % (1 << 20);
    let spread = n.wrapping_mul(0x9_e377) % (1 << 20);
    0x1000_0000 + ((spread as u32) << 8)
}

fn flow_src(n: u64) -> u32 {
    0x0a00_0000 + (n >> 4) as u32
}

fn flow_port(n: u64) -> u64 {
    1024 + n % 16
}

fn exact(value: u64) -> Match {
    Match::Exact(vec![value])
}

fn prefix(value: u32, length: u32) -> Match {
    match length {
        0 => Match::Any,
        _ => Match::Ternary(vec![value.into()], vec![(u32::MAX << (32 - length)).into()]),
    }
}

fn entry(keys: Vec<Match>, priority: i64, action: Action) -> Entry {
    Entry {
        keys,
        priority,
        action,
        idle_timeout_ns: None,
        opaque: Vec::new(),
    }
}

fn action(table: &Table, name: &str, arguments: &[u64]) -> Result<Action> {
    let named = |full: &str| full == name || full.ends_with(&format!(".{name}"));
    let actions = &table.spec().actions;
    let at = actions.iter().position(|a| named(&a.name));
    let at = at.with_context(|| format!("{} has no action {name}", table.spec().name))?;
    Ok(Action::Direct(Chosen {
        action: at as u32,
        arguments: arguments.iter().map(|value| vec![*value]).collect(),
    }))
}

/// Returns a UDP/IPv4 frame of `bytes` bytes.
pub(super) fn frame(bytes: usize) -> Vec<u8> {
    let mut frame = vec![0; bytes];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
    let length = (bytes - IP) as u16;
    frame[IP] = 0x45;
    frame[IP + 2..IP + 4].copy_from_slice(&length.to_be_bytes());
    frame[IP + 8] = 64;
    frame[IP + 9] = 17;
    frame[UDP + 4..UDP + 6].copy_from_slice(&(length - 20).to_be_bytes());
    frame
}
