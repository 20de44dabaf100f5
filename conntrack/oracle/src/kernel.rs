// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel's tracker, fed with the packets of a trace.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use adit_conntrack::{CtState, Settings};
use anyhow::{Context, Result};
use netlink_packet_netfilter::nflog::{
    config_request, ConfigCmd, ConfigMode, ConfigNla, PacketNla, ULogMessage,
};
use netlink_packet_netfilter::{NetfilterMessageInner, NetfilterProtoFamily};

use crate::ctnetlink::Conntrack;
use crate::netlink::Netlink;
use crate::observation::{comparable, Observation, Verdict};
use crate::policy::Policy;
use crate::router;
use crate::script;
use crate::trace::{Packet, Side};
use crate::tun::Tun;

/// Linux's nf_conntrack in a network namespace of this process.
pub(crate) struct Kernel {
    tuns: [Tun; 2],
    conntrack: Conntrack,
    log: Netlink,
    /// nft(8).
    nft: PathBuf,
    version: (u32, u32),
    /// The rules that are in force.
    policy: Policy,
}

impl Kernel {
    /// Enters a network namespace and makes it a router between two links.
    pub(crate) fn start(nft: &Path) -> Result<Self> {
        router::enter()?;
        let [left, right] = router::LINKS.map(Tun::create);
        let tuns = [left?, right?];
        let log = Netlink::open()?;
        let bind = config_request(
            NetfilterProtoFamily::Unspec,
            router::LOG_GROUP,
            vec![
                ConfigCmd::Bind.into(),
                ConfigMode::META.into(),
                ConfigNla::QThresh(1),
            ],
        );
        log.request_built(&bind).context("NFLOG")?;
        router::configure(nft)?;
        Ok(Self {
            tuns,
            conntrack: Conntrack::open()?,
            log,
            nft: nft.to_owned(),
            version: version()?,
            policy: Policy::default(),
        })
    }

    /// The kernel's version.
    pub(crate) fn version(&self) -> (u32, u32) {
        self.version
    }

    /// Deletes all connections, and applies the settings and rules.
    pub(crate) fn reset(&mut self, settings: &Settings, policy: &Policy) -> Result<()> {
        self.conntrack.flush()?;
        if self.policy != *policy {
            router::rule(&self.nft, policy)?;
            self.policy = policy.clone();
        }
        router::apply(settings)
    }

    /// Adds routes to hosts.
    pub(crate) fn add_hosts(&self, hosts: &[(IpAddr, Side)]) -> Result<()> {
        router::add_hosts(hosts)
    }

    /// Lets a packet arrive.
    pub(crate) fn feed(&self, packet: &Packet) -> Result<Observation> {
        for tun in &self.tuns {
            tun.receive()?;
        }
        let link = match packet.from {
            Side::Left => &self.tuns[0],
            Side::Right => &self.tuns[1],
        };
        link.send(&packet.bytes).context("packet")?;
        // A packet may leave by the link by which it has come.
        let mut forwarded = Vec::new();
        for tun in &self.tuns {
            forwarded.extend(tun.receive()?.into_iter().filter(|it| !is_routers(it)));
        }
        Ok(Observation {
            verdict: self.verdict()?,
            forwarded: forwarded.into_iter().map(comparable).collect(),
            entries: self.conntrack.entries()?,
            expected: self.conntrack.expected()?,
        })
    }

    /// Sets the timeout of each connection.
    pub(crate) fn set_timeout(&self, timeout: Duration) -> Result<()> {
        self.conntrack.set_timeout(timeout)
    }

    /// The state of the last packet, which NFLOG has as prefix.
    fn verdict(&self) -> Result<Verdict> {
        let mut verdict = Verdict::Unseen;
        self.log.drain(&mut |message| {
            if let NetfilterMessageInner::ULog(ULogMessage::Packet(attributes)) = message {
                let prefix = attributes.iter().find_map(|attribute| match attribute {
                    PacketNla::Prefix(prefix) => prefix.to_str().ok(),
                    _ => None,
                });
                verdict = state(prefix.unwrap_or_default())?;
            }
            Ok(())
        })?;
        Ok(verdict)
    }
}

/// The version of the running kernel.
fn version() -> Result<(u32, u32)> {
    let path = "/proc/sys/kernel/osrelease";
    let text = std::fs::read_to_string(path).context(path)?;
    script::version(&text).with_context(|| format!("{path} has no version: {text}"))
}

/// Reports whether a packet is one of the router itself, such as a report of its multicast groups: it
/// has no IPv6 address, or one of the link.
fn is_routers(packet: &[u8]) -> bool {
    let source = packet.get(8..24).unwrap_or_default();
    let is_link_local = source.starts_with(&[0xfe, 0x80]);
    packet.first().is_some_and(|octet| octet >> 4 == 6)
        && (is_link_local || source.iter().all(|&octet| octet == 0))
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
