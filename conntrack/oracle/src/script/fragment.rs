// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fragments of packets.

use adit_conntrack::testing::fill_header_checksum;
use anyhow::{Context, Result};

use super::line::Line;

/// The identification of all datagrams.
const ID: u16 = 0x4711;
/// Next header: a fragment header.
const FRAGMENT: u8 = 44;

/// The packet, or its fragments if the line has `fragments=AT,AT…`: the offsets in its payload, which
/// are multiples of eight, at which it is divided. They come in their order, in the opposite one
/// (`backwards`), in any other (`order=2,0,1`), or the first one comes last (`first-last`).
pub(super) fn divide(packet: Vec<u8>, line: &Line<'_>) -> Result<Vec<Vec<u8>>> {
    let Some(offsets) = line.value("fragments") else {
        return Ok(vec![packet]);
    };
    let header = if packet[0] >> 4 == 4 { 20 } else { 40 };
    let length = packet.len() - header;
    let mut edges = vec![0];
    for offset in offsets.split(',') {
        edges.push(
            offset
                .parse::<usize>()
                .context("fragments=AT,AT")?
                .min(length),
        );
    }
    edges.push(length);
    let pairs = edges.windows(2);
    let mut fragments: Vec<_> = pairs
        .map(|pair| fragment(&packet, header, pair[0], pair[1], pair[1] < length))
        .collect();
    if let Some(order) = line.value("order") {
        let at = |number: &str| {
            let number: usize = number.parse().context("order=A,B")?;
            let fragment = fragments.get(number).cloned();
            fragment.with_context(|| format!("there is no fragment {number}"))
        };
        return order.split(',').map(at).collect();
    } else if line.has("backwards") {
        fragments.reverse();
    } else if line.has("first-last") {
        fragments.rotate_left(1);
    }
    Ok(fragments)
}

fn fragment(packet: &[u8], header: usize, start: usize, end: usize, more: bool) -> Vec<u8> {
    let payload = &packet[header + start..header + end];
    let mut fragment = packet[..header].to_vec();
    if header == 20 {
        let length = (header + payload.len()) as u16;
        fragment[2..4].copy_from_slice(&length.to_be_bytes());
        fragment[4..6].copy_from_slice(&ID.to_be_bytes());
        let flags = (start / 8) as u16 | u16::from(more) << 13;
        fragment[6..8].copy_from_slice(&flags.to_be_bytes());
        fill_header_checksum(&mut fragment);
    } else {
        let length = (8 + payload.len()) as u16;
        fragment[4..6].copy_from_slice(&length.to_be_bytes());
        let next = std::mem::replace(&mut fragment[6], FRAGMENT);
        let flags = start as u16 | u16::from(more);
        fragment.extend([next, 0]);
        fragment.extend(flags.to_be_bytes());
        fragment.extend(u32::from(ID).to_be_bytes());
    }
    fragment.extend(payload);
    fragment
}
