// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Body of the frame fuzz target: runs the frame functions of this crate on one hostile frame.

use crate::checksum::fill::{complete_partial, fill_ipv4, fill_l4};
use crate::checksum::verify::{verify, Check};
use crate::flow::{FlowTable, Header, Proto, HEADER_BYTES};
use crate::offload::{Checksum, FrameMeta, Gso, GsoKind};
use crate::parse::{Parsed, L4};
use crate::rss::{flow, Rss};
use crate::segment::{Segmenter, MAX_SEGMENTS};

/// Bytes of the input that select the test's parameters; the frame follows them.
const STEERING: usize = 8;

/// Runs a frame through parser, checksums, segmentation, hash and rules. The input's first eight
/// bytes are parameters: the split of the frame into buffers, and the arguments of each step. A
/// panic is a bug.
pub fn fuzz_frame(data: &[u8]) {
    let Some((&[cut, kind, size_lo, size_hi, header, start, offset, rules], frame)) =
        data.split_first_chunk::<STEERING>()
    else {
        return;
    };
    let (front, rest) = frame.split_at(usize::from(cut).min(frame.len()));
    let Ok(p) = Parsed::new(front, frame.len()) else {
        return;
    };
    assert!(
        usize::from(p.payload_offset) <= front.len(),
        "headers behind the front: {p:?}"
    );
    assert!(p.l3_end() <= frame.len(), "packet behind the frame: {p:?}");
    let _ = verify(&p, &[front, rest]);

    let Ok(rss) = Rss::new(&[0x6d; 52], &[0, 1, 2], flow::SUPPORTED) else {
        return;
    };
    let hash = rss.hash(&p, front);
    assert_eq!(hash.is_some(), p.addresses(front).is_some(), "{p:?}");
    assert!(rss.queue(hash.map_or(0, |(hash, _)| hash)) <= 2);
    steer(&p, front, rules);

    let meta = |kind| FrameMeta {
        checksum: Checksum::Unknown,
        gso: Some(Gso {
            kind,
            segment_size: u16::from_le_bytes([size_lo, size_hi]),
            // Mostly a plausible length, sometimes an implausible one.
            header_len: if header == 0 {
                start.into()
            } else {
                p.payload_offset
            },
        }),
    };
    cut_up(
        frame,
        &meta(match kind % 3 {
            0 => GsoKind::Tcp4,
            1 => GsoKind::Tcp6,
            _ => GsoKind::Udp,
        }),
    );
    fill(frame, start, offset);
}

/// Builds rules from the frame's own bytes, so that some match.
fn steer(p: &Parsed, front: &[u8], rules: u8) {
    const PROTOS: [Proto; 6] = [
        Proto::Ethernet,
        Proto::Ipv4,
        Proto::Ipv6,
        Proto::Tcp,
        Proto::Udp,
        Proto::Sctp,
    ];
    let mut table = FlowTable::new(16);
    for (id, proto) in (0..).zip(PROTOS) {
        let at = match proto {
            Proto::Ethernet => 0,
            Proto::Ipv4 | Proto::Ipv6 => usize::from(p.l2_len),
            _ => usize::from(p.l4_offset),
        };
        let mut h = Header {
            proto,
            spec: [0; HEADER_BYTES],
            mask: [0; HEADER_BYTES],
        };
        for (to, from) in h.spec.iter_mut().zip(front.get(at..).unwrap_or_default()) {
            *to = *from;
        }
        h.mask[..8].fill(rules);
        assert!(table.add(id, &[h], u32::from(rules) % 3, id).is_ok());
    }
    let found = table.lookup(p, front).map(|(id, action)| {
        assert_eq!(id, action);
        id
    });
    if let Some(id) = found {
        assert_eq!(table.remove(id), Some(id));
        assert_ne!(table.lookup(p, front).map(|(id, _)| id), found);
    }
}

/// Checks that segments carry the whole payload, in order, with correct checksums.
fn cut_up(frame: &[u8], meta: &FrameMeta) {
    let Ok(mut segments) = Segmenter::new(frame, meta) else {
        return;
    };
    let headers = meta.gso.map_or(0, |gso| usize::from(gso.header_len));
    let mut out = vec![0; frame.len()];
    let (mut at, mut n) = (headers, 0);
    while let Some(len) = segments.next_into(&mut out) {
        let segment = &out[..len];
        assert_eq!(&segment[headers..], &frame[at..at + len - headers]);
        at += len - headers;
        n += 1;
        assert!(n <= MAX_SEGMENTS);
        check(segment);
    }
    assert_eq!(at, frame.len(), "payload lost");
    assert_eq!(n, segments.count());
}

/// Checks that the checksums filled in are correct.
fn fill(frame: &[u8], start: u8, offset: u8) {
    let mut out = frame.to_vec();
    let _ = complete_partial(&mut out, start.into(), offset.into());
    out.copy_from_slice(frame);
    let Ok(p) = Parsed::new(frame, frame.len()) else {
        return;
    };
    let ip = fill_ipv4(&mut out, &p);
    let l4 = fill_l4(&mut out, &p);
    if ip.is_ok() && l4.is_ok() {
        check(&out);
    }
}

/// Checks that no checksum of the frame is wrong.
fn check(frame: &[u8]) {
    let Ok(p) = Parsed::new(frame, frame.len()) else {
        return;
    };
    let verdict = verify(&p, &[frame]);
    assert_ne!(verdict.ip, Check::Bad, "{p:?}");
    assert_ne!(verdict.l4, Check::Bad, "{p:?}");
    debug_assert!(p.l4 != L4::Tcp || verdict.l4 != Check::NotPresent);
}

/// Deterministic numbers for seed inputs: Marsaglia's xorshift64.
pub(crate) fn numbers() -> impl FnMut() -> u64 {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ip_frame, l4};

    /// A short deterministic run: valid frames with bytes changed by a fixed generator.
    #[test]
    fn seeded_frames() {
        let mut random = numbers();
        let v4 = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let v6 = (
            "2001:db8::1".parse().unwrap(),
            "2001:db8::2".parse().unwrap(),
        );
        for round in 0..60_000u64 {
            let proto = [6, 17, 132][(round % 3) as usize];
            let payload = vec![round as u8; (random() % 200) as usize];
            let ips = if round % 2 == 0 { v4 } else { v6 };
            let mut data = random().to_le_bytes().to_vec();
            data[3] %= 2;
            data[0] |= 0x40;
            data.extend(ip_frame(ips, proto, &l4(proto, 1, 2, &payload)));
            for _ in 0..random() % 5 {
                let at = random() as usize % data.len().min(80);
                data[at] = random() as u8;
            }
            data.truncate(data.len() - (random() % 3) as usize);
            fuzz_frame(&data);
        }
    }
}
