// SPDX-License-Identifier: Apache-2.0 OR MIT
use super::*;
use crate::testing::{ip_frame, l4, MACS};
use proptest::prelude::*;

fn parse(frame: &[u8]) -> Parsed {
    Parsed::new(frame, frame.len()).unwrap()
}

fn frame_v4(proto: u8, payload: &[u8]) -> Vec<u8> {
    ip_frame(
        ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()),
        proto,
        payload,
    )
}

fn frame_v6(proto: u8, payload: &[u8]) -> Vec<u8> {
    ip_frame(
        (
            "2001:db8::1".parse().unwrap(),
            "2001:db8::2".parse().unwrap(),
        ),
        proto,
        payload,
    )
}

/// An ARP request as Linux broadcasts it.
#[test]
fn arp_request() {
    let mut f = vec![0xff; 6];
    f.extend([0x52, 0x54, 0, 0x12, 0x34, 0x56, 8, 6]);
    f.extend([
        0, 1, 8, 0, 6, 4, 0, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 10, 0, 0, 1,
    ]);
    f.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
    let p = parse(&f);
    assert_eq!(
        (p.l3, p.dst, p.l2_len, p.defect),
        (L3::Arp, DstKind::Broadcast, 14, None)
    );
    assert_eq!((p.addresses(&f), p.ports(&f)), (None, None));
}

#[test]
fn tcp_behind_two_tags_and_options() {
    let mut packet = l4(6, 0x1234, 80, b"data");
    packet[12] = 0x80; // data offset: 32 bytes, 12 of them options
    packet.splice(20..20, [1; 12]);
    let mut f = frame_v4(6, &packet);
    f[14] = 0x46; // one word of IP options
    f[17] += 4;
    f.splice(34..34, [1, 1, 1, 0]);
    f.splice(12..12, [0x88, 0xa8, 0x20, 5, 0x81, 0, 0, 9]);
    let p = parse(&f);
    let tags = [
        VlanTag {
            tpid: 0x88a8,
            tci: 0x2005,
        },
        VlanTag {
            tpid: 0x8100,
            tci: 9,
        },
    ];
    assert_eq!(p.vlan_tags(), tags);
    assert_eq!((p.l2_len, p.l4_offset, p.payload_offset), (22, 46, 78));
    assert_eq!(
        (p.l3, p.l4, p.ip_proto, p.defect),
        (L3::Ipv4, L4::Tcp, 6, None)
    );
    assert_eq!((p.l3_end(), p.l3_len), (f.len(), 60));
    assert_eq!(p.addresses(&f).unwrap(), [192, 0, 2, 1, 192, 0, 2, 2]);
    assert_eq!(p.ports(&f).unwrap(), &[0x12, 0x34, 0, 80]);
    assert_eq!(&f[usize::from(p.payload_offset)..], b"data");
}

#[test]
fn third_tag_is_an_unknown_ethertype() {
    let mut f = frame_v4(17, &l4(17, 1, 2, b""));
    f.splice(12..12, [0x81, 0, 0, 1].repeat(3));
    let p = parse(&f);
    assert_eq!(
        (p.vlan_tags().len(), p.ethertype, p.l3),
        (2, 0x8100, L3::None)
    );
}

#[test]
fn ipv6_extension_headers() {
    // Hop-by-hop (8 bytes), routing with no segments left (24), then UDP.
    let mut chain = vec![43, 0, 5, 2, 0, 0, 1, 0];
    chain.extend([17, 2, 4, 0]);
    chain.extend([0; 20]);
    chain.extend(l4(17, 546, 547, b"dhcp"));
    let mut f = frame_v6(0, &chain);
    let p = parse(&f);
    assert_eq!(
        (p.l4, p.l4_offset, p.payload_offset, p.rerouted),
        (L4::Udp, 86, 94, false)
    );
    f[65] = 1; // one segment left
    assert!(parse(&f).rerouted);
    // Destination options may hold a home address, of which the transport checksum is.
    f.splice(54..62, [60, 0, 1, 4, 0, 0, 0, 0]);
    f[65] = 0;
    f.splice(62..86, [17, 0, 1, 4, 0, 0, 0, 0]);
    f[19] -= 16;
    let p = parse(&f);
    assert_eq!((p.l4, p.rerouted), (L4::Udp, false));
    for options in [
        [0xc9, 4, 0, 0, 0, 0],
        [0, 0, 1, 0, 0xc9, 0],
        // Malformed.
        [1, 5, 0, 0, 0, 0],
        [1, 3, 0, 0, 0, 1],
    ] {
        f[64..70].copy_from_slice(&options);
        let p = parse(&f);
        assert_eq!((p.l4, p.rerouted), (L4::Udp, true), "{options:?}");
    }
}

#[test]
fn authentication_is_in_front_of_what_it_protects() {
    // RFC 4302, 2.2: its length is in words of four bytes, less two.
    let mut chain = vec![44, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1];
    chain.extend([0x5a; 12]);
    chain.extend([6, 0, 0, 1, 0, 0, 0, 7]);
    chain.extend(l4(6, 1000, 80, b"data"));
    let p = parse(&frame_v6(51, &chain));
    assert_eq!((p.l4, p.ip_proto, p.defect), (L4::Tcp, 6, None));
    assert_eq!((p.fragment, p.fragment_offset), (Fragment::First, 78));
    assert_eq!((p.l4_offset, p.payload_offset), (86, 106));
    // Beyond the packet.
    chain[1] = 40;
    let p = parse(&frame_v6(51, &chain));
    assert_eq!((p.l4, p.defect), (L4::None, Some(Defect::Truncated)));
}

/// The mobility header (RFC 6275, 6.1.1) is the last one: its next header is 59.
#[test]
fn nothing_follows_mobility() {
    let mut chain = vec![6, 0, 5, 0, 0, 0, 0, 0];
    chain.extend(l4(6, 1000, 80, b""));
    let p = parse(&frame_v6(135, &chain));
    assert_eq!((p.l4, p.ip_proto, p.l4_offset), (L4::None, 135, 54));
}

#[test]
fn endless_extension_headers() {
    let chain = |n| {
        let mut c = [60, 0, 0, 0, 0, 0, 0, 0].repeat(n);
        c[(n - 1) * 8] = 6;
        c.extend(l4(6, 1, 2, b""));
        parse(&frame_v6(60, &c))
    };
    assert_eq!(chain(MAX_IPV6_EXTENSIONS).l4, L4::Tcp);
    let p = chain(MAX_IPV6_EXTENSIONS + 1);
    assert_eq!(
        (p.l4, p.defect),
        (L4::None, Some(Defect::TooManyExtensions))
    );
}

#[test]
fn fragments() {
    let v4 = |high, low| {
        let mut f = frame_v4(17, &l4(17, 1, 2, b""));
        f[20..22].copy_from_slice(&[high, low]);
        let p = parse(&f);
        (p.fragment, p.l4)
    };
    assert_eq!(v4(0x40, 0), (Fragment::Whole, L4::Udp)); // do not fragment
    assert_eq!(v4(0x20, 0), (Fragment::First, L4::Udp));
    assert_eq!(v4(0x20, 1), (Fragment::Later, L4::None));
    assert_eq!(v4(0x00, 1), (Fragment::Later, L4::None));
    let v6 = |low| {
        let mut c = vec![17, 0, 0, low, 0, 0, 0, 1];
        c.extend(l4(17, 1, 2, b""));
        let p = parse(&frame_v6(44, &c));
        assert_eq!((p.fragment_offset, p.l4_offset), (54, 62));
        (p.fragment, p.l4)
    };
    assert_eq!(v6(0), (Fragment::Whole, L4::Udp)); // atomic, RFC 6946
    assert_eq!(v6(1), (Fragment::First, L4::Udp));
    assert_eq!(v6(8), (Fragment::Later, L4::None));
}

#[test]
fn lies_leave_the_deeper_layers_out() {
    let good = frame_v4(6, &l4(6, 1, 2, b"data"));
    let with = |at: usize, byte: u8| {
        let mut f = good.clone();
        f[at] = byte;
        let p = parse(&f);
        (p.l3, p.l4, p.defect)
    };
    assert_eq!(
        with(14, 0x55),
        (L3::None, L4::None, Some(Defect::BadHeader))
    ); // version
    assert_eq!(
        with(14, 0x44),
        (L3::None, L4::None, Some(Defect::BadHeader))
    ); // IHL
    assert_eq!(with(17, 19), (L3::None, L4::None, Some(Defect::Truncated))); // total length
    assert_eq!(with(17, 39), (L3::Ipv4, L4::None, Some(Defect::Truncated)));
    assert_eq!(
        with(46, 0x40),
        (L3::Ipv4, L4::None, Some(Defect::BadHeader))
    ); // data offset
    assert_eq!(
        with(46, 0xf0),
        (L3::Ipv4, L4::None, Some(Defect::Truncated))
    );
    // A total length of zero is idpf's segmentation request.
    assert_eq!(with(17, 0), (L3::Ipv4, L4::Tcp, None));
}

#[test]
fn front_that_ends_early_is_told_from_a_frame_that_does() {
    let f = frame_v6(6, &l4(6, 1, 2, &[0; 100]));
    let p = Parsed::new(&f[..70], f.len()).unwrap();
    assert_eq!(
        (p.l3, p.l4, p.defect),
        (L3::Ipv6, L4::None, Some(Defect::FrontTooShort))
    );
    let p = Parsed::new(&f[..70], 70).unwrap();
    assert_eq!((p.l4, p.defect), (L4::None, Some(Defect::Truncated)));
    let e = Parsed::new(&f[..13], f.len()).unwrap_err();
    assert_eq!(
        e,
        NoEthernet {
            len: f.len(),
            front: 13
        }
    );
}

proptest! {
    /// Offsets are ordered and within the frame, and so are all views of them.
    #[test]
    fn offsets_are_in_order(
        ethertype in proptest::sample::select(vec![0x0800u16, 0x86dd, 0x8100, 0x88a8, 0x0806]),
        tail in proptest::collection::vec(any::<u8>(), 0..300),
        front_len in 0..320usize,
    ) {
        let mut f = MACS.to_vec();
        f.extend(ethertype.to_be_bytes());
        f.extend(tail);
        let front = &f[..front_len.min(f.len())];
        let Ok(p) = Parsed::new(front, f.len()) else {
            prop_assert!(front.len() < ETH_LEN);
            return Ok(());
        };
        prop_assert!(p.l2_len <= p.l4_offset && p.l4_offset <= p.payload_offset);
        prop_assert!(usize::from(p.payload_offset) <= front.len());
        prop_assert!(usize::from(p.payload_offset) <= p.l3_end().max(p.l2_len.into()));
        prop_assert!(p.l3_end() <= f.len());
        prop_assert_eq!(p.addresses(front).is_some(), matches!(p.l3, L3::Ipv4 | L3::Ipv6));
        // With a front that holds the whole frame, only the frame itself can be too short.
        let whole = parse(&f);
        prop_assert!(whole.defect != Some(Defect::FrontTooShort));
        if p.defect != Some(Defect::FrontTooShort) {
            prop_assert_eq!(p, whole);
        }
    }
}
