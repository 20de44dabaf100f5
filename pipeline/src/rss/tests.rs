// SPDX-License-Identifier: Apache-2.0 OR MIT
use super::*;
use crate::headers::proto;
use crate::testing;
use proptest::prelude::*;
use std::net::IpAddr;

/// The key of Microsoft's "Verifying the RSS hash calculation".
const KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// Its vectors: source, port, destination, port, hash of addresses, hash of addresses and ports.
const VECTORS: [(&str, u16, &str, u16, u32, u32); 8] = [
    (
        "66.9.149.187",
        2794,
        "161.142.100.80",
        1766,
        0x323e8fc2,
        0x51ccc178,
    ),
    (
        "199.92.111.2",
        14230,
        "65.69.140.83",
        4739,
        0xd718262a,
        0xc626b0ea,
    ),
    (
        "24.19.198.95",
        12898,
        "12.22.207.184",
        38024,
        0xd2d0a5de,
        0x5c2b394a,
    ),
    (
        "38.27.205.30",
        48228,
        "209.142.163.6",
        2217,
        0x82989176,
        0xafc7327f,
    ),
    (
        "153.39.163.191",
        44251,
        "202.188.127.2",
        1303,
        0x5d1809c5,
        0x10e828a2,
    ),
    (
        "3ffe:2501:200:1fff::7",
        2794,
        "3ffe:2501:200:3::1",
        1766,
        0x2cc18cd5,
        0x40207d3d,
    ),
    (
        "3ffe:501:8::260:97ff:fe40:efab",
        14230,
        "ff02::1",
        4739,
        0x0f0c461c,
        0xdde51bbf,
    ),
    (
        "3ffe:1900:4545:3:200:f8ff:fe21:67cf",
        44251,
        "fe80::200:f8ff:fe21:67cf",
        38024,
        0x4b61e985,
        0x02d1feef,
    ),
];

#[test]
fn published_vectors() {
    let all = Rss::new(&KEY, &[0], flow::SUPPORTED).unwrap();
    let other = Rss::new(&KEY, &[0], flow::IPV4_OTHER | flow::IPV6_OTHER).unwrap();
    for (src, sport, dst, dport, addresses, ports) in VECTORS {
        let ips: (IpAddr, IpAddr) = (src.parse().unwrap(), dst.parse().unwrap());
        for l4 in [proto::TCP, proto::UDP, proto::SCTP] {
            let frame = testing::ip_frame(ips, l4, &testing::l4(l4, sport, dport, b"data"));
            let p = Parsed::new(&frame, frame.len()).unwrap();
            assert_eq!(
                all.hash(&p, &frame),
                Some((ports, HashKind::AddressesAndPorts)),
                "{src}"
            );
            assert_eq!(
                other.hash(&p, &frame),
                Some((addresses, HashKind::Addresses)),
                "{src}"
            );
        }
    }
}

#[test]
fn fragments_hash_addresses_only() {
    let (src, sport, dst, dport, addresses, _) = VECTORS[0];
    let ips = (src.parse().unwrap(), dst.parse().unwrap());
    let mut frame = testing::ip_frame(
        ips,
        proto::UDP,
        &testing::l4(proto::UDP, sport, dport, b"x"),
    );
    frame[20] |= 0x20; // more fragments
    let p = Parsed::new(&frame, frame.len()).unwrap();
    let rss = Rss::new(&KEY, &[0], flow::SUPPORTED).unwrap();
    assert_eq!(rss.hash(&p, &frame), Some((addresses, HashKind::Addresses)));
    let rss = Rss::new(&KEY, &[0], flow::IPV4_UDP).unwrap();
    assert_eq!(rss.hash(&p, &frame), None);
}

#[test]
fn refusals_say_what_would_be_right() {
    let no = |r: Result<Rss, RssError>| r.unwrap_err();
    assert_eq!(no(Rss::new(&[], &[0], 0)), RssError::KeyLength(0));
    assert_eq!(no(Rss::new(&KEY, &[], 0)), RssError::LutLength(0));
    assert_eq!(
        no(Rss::new(&KEY, &[0; MAX_LUT + 1], 0)),
        RssError::LutLength(MAX_LUT + 1)
    );
    let types = no(Rss::new(&KEY, &[0], 0x101));
    assert_eq!(
        types.to_string(),
        "RSS flow types 0x100 are not supported, only 0xff are"
    );
}

#[test]
fn queue_comes_from_the_table() {
    let rss = Rss::new(&KEY, &[7, 8, 9], 0).unwrap();
    assert_eq!(
        [0, 1, 2, 3, u32::MAX].map(|h| rss.queue(h)),
        [7, 8, 9, 7, 7]
    );
}

/// Computes the hash by definition, from the window of the key that begins at each set bit.
fn naive(key: &[u8], input: &[u8]) -> u32 {
    let bit = |b: &[u8], i: usize| b.get(i / 8).is_some_and(|b| b & (0x80 >> (i % 8)) != 0);
    let mut hash = 0;
    for i in (0..input.len() * 8).filter(|i| bit(input, *i)) {
        hash ^= (i..i + 32).fold(0, |acc, k| acc << 1 | u32::from(bit(key, k)));
    }
    hash
}

proptest! {
    #[test]
    fn table_is_the_definition(
        key in proptest::collection::vec(any::<u8>(), 1..64),
        input in proptest::collection::vec(any::<u8>(), 0..=MAX_INPUT),
        cut in any::<proptest::sample::Index>(),
    ) {
        let t = Toeplitz::new(&key);
        let (a, b) = input.split_at(cut.index(input.len() + 1));
        prop_assert_eq!(t.hash(0, a) ^ t.hash(a.len(), b), naive(&key, &input));
    }
}
