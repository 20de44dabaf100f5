// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The time that the kernel's tracker takes to insert a connection, in batches of messages of
//! ctnetlink: what a benchmark compares the library's with.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};

use crate::ctnetlink::Conntrack;
use crate::router;

/// Messages of a batch: they fit into one buffer of the socket.
const BATCH: u32 = 256;
/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW`.
const NEW: u16 = 0x0100;
/// `NLM_F_REQUEST | NLM_F_EXCL | NLM_F_CREATE`: what fails is reported, all else is silent.
const FLAGS: u16 = 0x601;
const NESTED: u16 = 0x8000;
const UDP: u8 = 17;
/// Attributes (`enum ctattr_type`, `ctattr_tuple`, `ctattr_ip`, `ctattr_l4proto`).
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const TIMEOUT: u16 = 7;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const IP_SRC: u16 = 1;
const IP_DST: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const SRC_PORT: u16 = 2;
const DST_PORT: u16 = 3;

/// Inserts `count` UDP connections into an empty tracker, and returns the time of each.
pub(crate) fn measure(count: u32) -> Result<Duration> {
    router::enter()?;
    let conntrack = Conntrack::open()?;
    let batches: Vec<_> = (0..count.div_ceil(BATCH))
        .map(|batch| {
            let flows = batch * BATCH..((batch + 1) * BATCH).min(count);
            flows.flat_map(message).collect::<Vec<u8>>()
        })
        .collect();
    let begin = Instant::now();
    for batch in &batches {
        conntrack.send(batch)?;
    }
    let spent = begin.elapsed();
    let path = "/proc/sys/net/netfilter/nf_conntrack_count";
    let found = fs::read_to_string(path).context(path)?;
    ensure!(
        found.trim() == count.to_string(),
        "nf_conntrack has {} of {count} connections: nf_conntrack_max is too low",
        found.trim()
    );
    Ok(spent / count.max(1))
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len() as u16;
    let mut octets = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    octets.extend(value);
    octets.resize(octets.len().next_multiple_of(4), 0);
    octets
}

fn nested(kind: u16, values: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | NESTED, &values.concat())
}

fn tuple(kind: u16, src: ([u8; 4], u16), dst: ([u8; 4], u16)) -> Vec<u8> {
    let addresses = [attribute(IP_SRC, &src.0), attribute(IP_DST, &dst.0)];
    let protocol = [
        attribute(PROTOCOL_NUMBER, &[UDP]),
        attribute(SRC_PORT, &src.1.to_be_bytes()),
        attribute(DST_PORT, &dst.1.to_be_bytes()),
    ];
    let values = [
        nested(TUPLE_IP, &addresses),
        nested(TUPLE_PROTOCOL, &protocol),
    ];
    nested(kind, &values)
}

/// The message that creates a connection of its own for a number.
fn message(flow: u32) -> Vec<u8> {
    let client = (
        (0x0a00_0000 | flow >> 8).to_be_bytes(),
        1024 + (flow as u16 & 0xff),
    );
    let server = ([192, 0, 2, 1], 53);
    let attributes = [
        tuple(TUPLE_ORIGINAL, client, server),
        tuple(TUPLE_REPLY, server, client),
        attribute(TIMEOUT, &600u32.to_be_bytes()),
    ]
    .concat();
    // The family, version 0 and resource 0 of `nfgenmsg`.
    let family = [libc::AF_INET as u8, 0, 0, 0];
    let length = (16 + family.len() + attributes.len()) as u32;
    let mut octets = length.to_ne_bytes().to_vec();
    octets.extend(NEW.to_ne_bytes());
    octets.extend(FLAGS.to_ne_bytes());
    octets.extend([0; 8]);
    octets.extend(family);
    octets.extend(attributes);
    octets
}
