// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A network namespace that forwards between two links, and tracks the connections.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use adit_conntrack::Settings;
use anyhow::{ensure, Context, Result};

use crate::policy::Policy;
use crate::trace::Side;

/// The names of the links, whose other ends are TUN devices.
pub const LINKS: [&str; 2] = ["left", "right"];

/// The group of NFLOG that packets are sent to, and the prefixes that identify their states.
pub const LOG_GROUP: u16 = 7;
/// The prefix of a packet's message, and the match of its state.
pub const STATES: [(&str, &str); 7] = [
    ("invalid", "ct state invalid"),
    ("untracked", "ct state untracked"),
    ("new", "ct state new"),
    ("established", "ct state established ct direction original"),
    (
        "established-reply",
        "ct state established ct direction reply",
    ),
    ("related", "ct state related ct direction original"),
    ("related-reply", "ct state related ct direction reply"),
];

/// Settings before the links are created: forwarding, what is accepted, silence on the links.
const BEFORE: [(&str, &str); 10] = [
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/default/forwarding", "1"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/addr_gen_mode", "1"),
    ("ipv6/conf/default/router_solicitations", "0"),
];

/// Enters a network namespace of its own.
pub fn enter() -> Result<()> {
    // SAFETY: a new network namespace invalidates no descriptor and no memory of this process, which
    // has no other thread.
    let result = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) };
    result.context("no network namespace of its own; this must run as root")?;
    for (name, value) in BEFORE {
        set(name, value)?;
    }
    Ok(())
}

/// Sets the links up, with a route to the hosts of each side, and counts and judges packets.
pub fn configure(nft: &Path) -> Result<()> {
    let mut batch = String::from("link set lo up\n");
    for (link, number) in LINKS.iter().zip(1..) {
        batch += &format!("link set {link} up\n");
        batch += &format!("route add 10.0.{number}.0/24 dev {link}\n");
        batch += &format!("route add fd00:{number}::/64 dev {link}\n");
    }
    feed(Command::new("ip").args(["-batch", "-"]), &batch)?;
    let mut rules = String::from("table inet oracle {\nchain states {\n");
    rules += "type filter hook prerouting priority mangle\n";
    for (prefix, state) in STATES {
        rules += &format!("{state} log prefix \"{prefix}\" group {LOG_GROUP} queue-threshold 1\n");
    }
    rules += "}\n}\n";
    feed(Command::new(nft).args(["-f", "-"]), &rules)?;
    // The tracker is active with the first rule that matches states.
    set("netfilter/nf_conntrack_acct", "1")
}

/// Routes packets for hosts that are in neither side's network.
pub fn add_hosts(hosts: &[(IpAddr, Side)]) -> Result<()> {
    let mut batch = String::new();
    for (host, side) in hosts {
        let link = match side {
            Side::Left => LINKS[0],
            Side::Right => LINKS[1],
        };
        let length = if host.is_ipv4() { 32 } else { 128 };
        batch += &format!("route replace {host}/{length} dev {link}\n");
    }
    match batch.is_empty() {
        true => Ok(()),
        false => feed(Command::new("ip").args(["-batch", "-"]), &batch),
    }
}

/// Applies the rules of a trace.
pub fn rule(nft: &Path, policy: &Policy) -> Result<()> {
    feed(Command::new(nft).args(["-f", "-"]), &policy.rules())
}

/// Applies the library's settings.
pub fn apply(settings: &Settings) -> Result<()> {
    let number = |value: bool| u8::from(value).to_string();
    set(
        "netfilter/nf_conntrack_checksum",
        &number(settings.checksum),
    )?;
    set(
        "netfilter/nf_conntrack_tcp_loose",
        &number(settings.tcp_loose),
    )?;
    set(
        "netfilter/nf_conntrack_tcp_be_liberal",
        &number(settings.tcp_be_liberal),
    )?;
    set(
        "netfilter/nf_conntrack_tcp_ignore_invalid_rst",
        &number(settings.tcp_ignore_invalid_rst),
    )?;
    set(
        "netfilter/nf_conntrack_tcp_max_retrans",
        &settings.tcp_max_retrans.to_string(),
    )?;
    let timeouts = &settings.timeouts;
    let (tcp, sctp) = (&timeouts.tcp, &timeouts.sctp);
    let all: [(&str, Duration); 25] = [
        ("tcp_timeout_syn_sent", tcp.syn_sent),
        ("tcp_timeout_syn_recv", tcp.syn_recv),
        ("tcp_timeout_established", tcp.established),
        ("tcp_timeout_fin_wait", tcp.fin_wait),
        ("tcp_timeout_close_wait", tcp.close_wait),
        ("tcp_timeout_last_ack", tcp.last_ack),
        ("tcp_timeout_time_wait", tcp.time_wait),
        ("tcp_timeout_close", tcp.close),
        ("tcp_timeout_max_retrans", tcp.retrans),
        ("tcp_timeout_unacknowledged", tcp.unacknowledged),
        ("udp_timeout", timeouts.udp.unreplied),
        ("udp_timeout_stream", timeouts.udp.replied),
        ("icmp_timeout", timeouts.icmp),
        ("icmpv6_timeout", timeouts.icmpv6),
        ("sctp_timeout_closed", sctp.closed),
        ("sctp_timeout_cookie_wait", sctp.cookie_wait),
        ("sctp_timeout_cookie_echoed", sctp.cookie_echoed),
        ("sctp_timeout_established", sctp.established),
        ("sctp_timeout_shutdown_sent", sctp.shutdown_sent),
        ("sctp_timeout_shutdown_recd", sctp.shutdown_received),
        ("sctp_timeout_shutdown_ack_sent", sctp.shutdown_ack_sent),
        ("sctp_timeout_heartbeat_sent", sctp.heartbeat_sent),
        ("gre_timeout", timeouts.gre.unreplied),
        ("gre_timeout_stream", timeouts.gre.replied),
        ("generic_timeout", timeouts.generic),
    ];
    for (name, timeout) in all {
        let seconds = timeout.as_secs().to_string();
        set(&format!("netfilter/nf_conntrack_{name}"), &seconds)?;
    }
    Ok(())
}

/// Sets a variable of the network namespace.
pub fn set(name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/{name}");
    fs::write(&path, value).with_context(|| format!("{value} cannot be written to {path}"))
}

/// Runs a command with `input` as its standard input.
pub fn feed(command: &mut Command, input: &str) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .spawn()
        .with_context(|| format!("{program} cannot be started"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let status = child.wait()?;
    ensure!(status.success(), "{program} failed ({status}) on:\n{input}");
    Ok(())
}
