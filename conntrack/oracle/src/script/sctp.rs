// SPDX-License-Identifier: Apache-2.0 OR MIT
//! SCTP packets of scripts (RFC 9260).

use anyhow::{bail, Context, Result};

use super::line::Line;
use super::Script;
use crate::trace::Side;

/// The initiate tags of both sides.
const TAGS: [u32; 2] = [0x1111_1111, 0x2222_2222];
/// The flag T: the tag is that of the sender's peer.
const T: u8 = 1;

/// A chunk: its number and the length of its value.
fn kind(name: &str) -> Result<(u8, usize)> {
    Ok(match name {
        "DATA" => (0, 16),
        "INIT" => (1, 16),
        "INIT_ACK" => (2, 16),
        "SACK" => (3, 12),
        "HEARTBEAT" => (4, 8),
        "HEARTBEAT_ACK" => (5, 8),
        "ABORT" => (6, 0),
        "SHUTDOWN" => (7, 4),
        "SHUTDOWN_ACK" => (8, 0),
        "ERROR" => (9, 4),
        "COOKIE_ECHO" => (10, 8),
        "COOKIE_ACK" => (11, 0),
        "SHUTDOWN_COMPLETE" => (14, 0),
        "ASCONF" => (193, 8),
        other => bail!("`{other}' is no SCTP chunk"),
    })
}

impl Script {
    /// A packet: `CHUNK[+CHUNK…] [vtag=N] [itag=N] [T]`. Its tag is the receiver's, if there is no
    /// other.
    pub(super) fn sctp(&mut self, from: Side, line: &Line<'_>) -> Result<Vec<u8>> {
        let flow = self.flow(from, line)?;
        let tags = self.sctp.entry(line.number("conn", 0)?).or_insert(TAGS);
        let (us, them) = (from as usize, 1 - from as usize);
        tags[us] = line.number("itag", tags[us])?;
        let mut chunks = Vec::new();
        let mut tag = tags[them];
        for name in line.word(2).split('+') {
            let (number, length) = kind(name).context("chunks")?;
            let flags = if line.has("T") { T } else { 0 };
            let mut chunk = vec![number, flags];
            chunk.extend((length as u16 + 4).to_be_bytes());
            let mut value = vec![0x33; length];
            if matches!(name, "INIT" | "INIT_ACK") {
                value[..4].copy_from_slice(&tags[us].to_be_bytes());
            }
            if name == "INIT" {
                tag = 0;
            }
            chunk.extend(value);
            chunks.push(chunk);
        }
        if line.has("T") {
            tag = tags[us];
        }
        let tag = line.number("vtag", tag)?;
        let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        Ok(flow.sctp(tag, &chunks))
    }
}
