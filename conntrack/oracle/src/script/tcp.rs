// SPDX-License-Identifier: Apache-2.0 OR MIT
//! TCP segments of scripts, whose numbers follow from the segments before.

use adit_conntrack::testing::Tcp;
use anyhow::{bail, Context, Result};

use super::line::Line;
use super::Script;
use crate::trace::Side;

/// The first sequence numbers of both sides.
const ISN: [u32; 2] = [0x1000_0000, 0xffff_f000];
/// The window of segments that have no other.
const WINDOW: u16 = 8192;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

fn flags(letters: &str) -> Result<u8> {
    let mut flags = 0;
    for letter in letters.chars() {
        flags |= match letter {
            'F' => FIN,
            'S' => SYN,
            'R' => 0x04,
            'P' => 0x08,
            'A' => ACK,
            'U' => 0x20,
            'E' => 0x40,
            'C' => 0x80,
            '-' => 0,
            other => bail!("`{other}' is no TCP flag"),
        };
    }
    Ok(flags)
}

impl Script {
    /// A segment: `FLAGS [seq=±N] [ack=±N] [isn=N] [as=left|right] [len=N] [text=TEXT] [win=N] [ws=N] [sackok]
    /// [sack=FROM,TO] [ts]`.
    pub(super) fn tcp(&mut self, from: Side, line: &Line<'_>) -> Result<Vec<u8>> {
        let flow = self.flow(from, line)?;
        let payload = self.payload(line, 0xaa)?;
        let connection = line.number("conn", 0)?;
        let next = self.tcp.entry(connection).or_insert(ISN);
        let peer = match line.value("as") {
            None => from,
            Some("left") => Side::Left,
            Some("right") => Side::Right,
            Some(other) => bail!("as={other} is none of left, right"),
        };
        let (us, them) = (peer as usize, 1 - peer as usize);
        next[us] = line.number("isn", next[us])?;
        let flags = flags(line.word(2))?;
        let offset: i32 = line.number("seq", 0)?;
        let seq = next[us].wrapping_add_signed(offset);
        let ack = match line.value("ack") {
            None if flags & ACK == 0 => 0,
            _ => next[them].wrapping_add_signed(line.number("ack", 0)?),
        };
        let segment = Tcp {
            flags,
            seq,
            ack,
            window: line.number("win", WINDOW)?,
            options: &options(line, next[them])?,
            payload: &payload,
        };
        let control = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        let end = seq.wrapping_add(payload.len() as u32 + control);
        // What was not sent before; but not what lies beyond a gap.
        if offset <= 0 && end.wrapping_sub(next[us]) as i32 > 0 {
            next[us] = end;
        }
        Ok(segment.packet(flow))
    }
}

/// The options of a segment, padded to words.
fn options(line: &Line<'_>, next_of_peer: u32) -> Result<Vec<u8>> {
    let mut options = Vec::new();
    if let Some(scale) = line.value("ws") {
        options.extend([3, 3, scale.parse().context("window scale")?]);
    }
    if line.has("sackok") {
        options.extend([4, 2]);
    }
    if line.has("ts") {
        options.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    }
    if let Some(block) = line.value("sack") {
        let (left, right) = block.split_once(',').context("sack=FROM,TO")?;
        options.extend([5, 10]);
        for edge in [left, right] {
            let edge = next_of_peer.wrapping_add_signed(edge.parse().context("SACK edge")?);
            options.extend(edge.to_be_bytes());
        }
    }
    while options.len() % 4 != 0 {
        options.push(1);
    }
    Ok(options)
}
