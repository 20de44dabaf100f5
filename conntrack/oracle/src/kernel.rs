// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel's tracker, fed with the packets of a trace.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use adit_conntrack::{CtState, Settings};
use anyhow::{Context, Result};

use crate::ctnetlink::Conntrack;
use crate::links::Links;
use crate::log::Log;
use crate::observation::{comparable, Observation, Verdict};
use crate::policy::Policy;
use crate::router;
use crate::script;
use crate::trace::{Packet, Side};

/// Linux's nf_conntrack in a network namespace of this process.
pub struct Kernel {
    links: Links,
    conntrack: Conntrack,
    log: Log,
    /// nft(8).
    nft: PathBuf,
    version: (u32, u32),
    /// The rules that are in force.
    policy: Policy,
}

impl Kernel {
    /// Enters a network namespace and makes it a router between two links.
    pub fn start(nft: &Path) -> Result<Self> {
        router::enter()?;
        let links = Links::create()?;
        let log = Log::open()?;
        router::configure(nft)?;
        Ok(Self {
            links,
            conntrack: Conntrack::open()?,
            log,
            nft: nft.to_owned(),
            version: version()?,
            policy: Policy::default(),
        })
    }

    /// The kernel's version.
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// Deletes all connections, and applies the settings and rules.
    pub fn reset(&mut self, settings: &Settings, policy: &Policy) -> Result<()> {
        self.conntrack.flush()?;
        self.apply(policy)?;
        router::apply(settings)
    }

    /// Applies rules.
    pub fn apply(&mut self, policy: &Policy) -> Result<()> {
        if self.policy != *policy {
            router::rule(&self.nft, policy)?;
            self.policy = policy.clone();
        }
        Ok(())
    }

    /// Adds routes to hosts.
    pub fn add_hosts(&self, hosts: &[(IpAddr, Side)]) -> Result<()> {
        router::add_hosts(hosts)
    }

    /// Lets a packet arrive.
    pub fn feed(&self, packet: &Packet) -> Result<Observation> {
        let forwarded = self.links.pass(packet.from, &packet.bytes)?;
        Ok(Observation {
            verdict: self.verdict()?,
            forwarded: forwarded.into_iter().map(|it| comparable(it.1)).collect(),
            entries: self.conntrack.entries()?,
            expected: self.conntrack.expected()?,
        })
    }

    /// Sets the timeout of each connection.
    pub fn set_timeout(&self, timeout: Duration) -> Result<()> {
        self.conntrack.set_timeout(timeout)
    }

    /// The state of the last packet, which NFLOG has as prefix.
    fn verdict(&self) -> Result<Verdict> {
        match self.log.prefixes()?.last() {
            None => Ok(Verdict::Unseen),
            Some(prefix) => state(prefix),
        }
    }
}

/// The version of the running kernel.
fn version() -> Result<(u32, u32)> {
    let path = "/proc/sys/kernel/osrelease";
    let text = std::fs::read_to_string(path).context(path)?;
    script::version(&text).with_context(|| format!("{path} has no version: {text}"))
}

/// The state of a packet whose prefix is in [`router::STATES`].
fn state(prefix: &str) -> Result<Verdict> {
    let state = match prefix {
        "untracked" => return Ok(Verdict::Untracked),
        "invalid" => CtState::INVALID,
        "new" => CtState::NEW,
        "established" => CtState::ESTABLISHED,
        "established-reply" => CtState::ESTABLISHED | CtState::REPLY,
        "related" => CtState::RELATED,
        "related-reply" => CtState::RELATED | CtState::REPLY,
        other => anyhow::bail!("NFLOG prefix `{other}' is no state"),
    };
    Ok(Verdict::State(CtState::TRACKED | state))
}
