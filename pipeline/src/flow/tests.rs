// SPDX-License-Identifier: Apache-2.0 OR MIT
use super::*;
use crate::headers::proto;
use crate::testing::{ip_frame, l4};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};

/// The action of a rule in these tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Queue(u32),
    Drop,
}

fn header(proto: Proto, fields: &[(usize, &[u8], &[u8])]) -> Header {
    let mut h = Header {
        proto,
        spec: [0; HEADER_BYTES],
        mask: [0; HEADER_BYTES],
    };
    for (at, spec, mask) in fields {
        h.spec[*at..*at + spec.len()].copy_from_slice(spec);
        h.mask[*at..*at + mask.len()].copy_from_slice(mask);
    }
    h
}

fn v4(src: [u8; 4], dst: [u8; 4]) -> (IpAddr, IpAddr) {
    (Ipv4Addr::from(src).into(), Ipv4Addr::from(dst).into())
}

fn udp(ips: (IpAddr, IpAddr), sport: u16, dport: u16) -> Vec<u8> {
    ip_frame(ips, proto::UDP, &l4(proto::UDP, sport, dport, b"data"))
}

fn lookup<A: Copy>(t: &FlowTable<A>, frame: &[u8]) -> Option<A> {
    t.lookup(&Parsed::new(frame, frame.len()).unwrap(), frame)
        .map(|(_, a)| a)
}

/// `ethtool -N … flow-type udp4 dst-ip 10.0.0.2 dst-port 53 action 3`, as idpf sends it.
fn ethtool_rule() -> [Header; 2] {
    [
        header(Proto::Ipv4, &[(16, &[10, 0, 0, 2], &[0xff; 4])]),
        header(Proto::Udp, &[(2, &[0, 53], &[0xff; 2])]),
    ]
}

#[test]
fn rule_of_ethtool() {
    let mut t = FlowTable::new(8);
    t.add(7, &ethtool_rule(), 0, Action::Queue(3)).unwrap();
    let hit = v4([10, 0, 0, 1], [10, 0, 0, 2]);
    assert_eq!(lookup(&t, &udp(hit, 999, 53)), Some(Action::Queue(3)));
    assert_eq!(lookup(&t, &udp(hit, 999, 54)), None);
    assert_eq!(
        lookup(&t, &udp(v4([10, 0, 0, 1], [10, 0, 0, 3]), 999, 53)),
        None
    );
    let tcp = ip_frame(hit, proto::TCP, &l4(proto::TCP, 999, 53, b""));
    assert_eq!(lookup(&t, &tcp), None);
    let mut fragment = udp(hit, 999, 53);
    fragment[20] = 0x20;
    assert_eq!(lookup(&t, &fragment), None);
    let mut tagged = udp(hit, 999, 53);
    tagged.splice(12..12, [0x81, 0, 0, 5]);
    assert_eq!(lookup(&t, &tagged), Some(Action::Queue(3)));

    assert_eq!(t.remove(7), Some(Action::Queue(3)));
    assert_eq!(t.remove(7), None);
    assert_eq!(lookup(&t, &udp(hit, 999, 53)), None);
    assert!(t.is_empty() && t.groups.is_empty());
}

#[test]
fn lowest_priority_then_lowest_number_wins() {
    let mut t = FlowTable::new(8);
    let frame = udp(v4([10, 0, 0, 1], [10, 0, 0, 2]), 999, 53);
    t.add(9, &ethtool_rule(), 1, Action::Drop).unwrap();
    t.add(5, &[header(Proto::Udp, &[])], 1, Action::Queue(5))
        .unwrap();
    assert_eq!(lookup(&t, &frame), Some(Action::Queue(5)));
    t.add(11, &[header(Proto::Ipv4, &[])], 0, Action::Queue(11))
        .unwrap();
    assert_eq!(lookup(&t, &frame), Some(Action::Queue(11)));
    t.clear();
    assert_eq!(lookup(&t, &frame), None);
}

#[test]
fn ethernet_header_sees_through_vlan_tags() {
    let mut t = FlowTable::new(8);
    let arp = header(Proto::Ethernet, &[(12, &[8, 6], &[0xff; 2])]);
    t.add(1, &[arp], 0, Action::Drop).unwrap();
    let mut frame = [0; 60];
    frame[12..20].copy_from_slice(&[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2]);
    frame[20..22].copy_from_slice(&[8, 6]);
    assert_eq!(lookup(&t, &frame), Some(Action::Drop));
    frame[21] = 7;
    assert_eq!(lookup(&t, &frame), None);
}

#[test]
fn refusals_change_nothing() {
    let mut t = FlowTable::new(2);
    let [ip, udp] = ethtool_rule();
    let tcp = header(Proto::Tcp, &[]);
    let mut add = |id, headers: &[Header]| t.add(id, headers, 0, Action::Drop);
    add(1, &[ip, udp]).unwrap();
    assert_eq!(add(1, &[ip]), Err(FlowError::RuleExists(1)));
    assert_eq!(add(2, &[ip, udp]), Err(FlowError::SameMatch(1)));
    assert_eq!(add(2, &[]), Err(FlowError::NoHeaders));
    let order = |outer, inner| Err(FlowError::Order { outer, inner });
    assert_eq!(add(2, &[udp, ip]), order(Proto::Udp, Proto::Ipv4));
    assert_eq!(add(2, &[ip, udp, tcp]), order(Proto::Udp, Proto::Tcp));
    let far = header(Proto::Udp, &[(8, &[0], &[1])]);
    let e = add(2, &[ip, far]).unwrap_err();
    assert_eq!(
        e.to_string(),
        "mask of Udp is set at byte 8: only the first 8 are matched"
    );
    add(2, &[ip]).unwrap();
    assert_eq!(add(3, &[tcp]), Err(FlowError::Full(2)));
    assert_eq!(t.len(), 2);
}

#[test]
fn masks_are_bounded() {
    let mut t = FlowTable::new(1000);
    let rule = |n: usize| header(Proto::Ipv4, &[(n / 8 % 20, &[0], &[1 << (n % 8)])]);
    for n in 0..MAX_GROUPS {
        t.add(n as u32, &[rule(n)], 0, Action::Drop).unwrap();
    }
    let refused = t.add(99, &[rule(MAX_GROUPS)], 0, Action::Drop);
    assert_eq!(refused, Err(FlowError::TooManyGroups));
    t.remove(0);
    t.add(99, &[rule(MAX_GROUPS)], 0, Action::Drop).unwrap();
}

/// A rule over the few addresses and ports of the frames below.
fn any_rule() -> impl Strategy<Value = (Vec<Header>, u32)> {
    let mask = prop_oneof![Just(0u8), Just(1), Just(0xff)];
    let ip = (0..4u8, 0..4u8, mask.clone(), mask.clone()).prop_map(|(src, dst, m, n)| {
        header(Proto::Ipv4, &[(15, &[src], &[m]), (19, &[dst], &[n])])
    });
    let l4 = (any::<bool>(), 0..4u8, mask).prop_map(|(tcp, dport, m)| {
        header(
            if tcp { Proto::Tcp } else { Proto::Udp },
            &[(3, &[dport], &[m])],
        )
    });
    let headers = (proptest::option::of(ip), proptest::option::of(l4))
        .prop_map(|(ip, l4)| ip.into_iter().chain(l4).collect());
    (headers, 0..3u32)
}

/// Returns whether a header of a rule matches a frame without VLAN tags or options, by definition.
fn naive(h: &Header, frame: &[u8]) -> bool {
    let (at, there) = match h.proto {
        Proto::Ipv4 => (14, true),
        Proto::Tcp => (34, frame[23] == proto::TCP),
        Proto::Udp => (34, frame[23] == proto::UDP),
        other => panic!("{other:?} is not in these rules"),
    };
    let bits = h
        .spec
        .iter()
        .zip(&h.mask)
        .take(h.proto.header_len())
        .enumerate();
    there
        && bits
            .map(|(i, (s, m))| (s ^ frame[at + i]) & m)
            .all(|differs| differs == 0)
}

proptest! {
    #[test]
    fn same_as_trying_each_rule(
        rules in proptest::collection::vec(any_rule(), 0..24),
        gone in proptest::collection::vec(0..24u32, 0..8),
        frames in proptest::collection::vec((0..4u8, 0..4u8, 0..4u16, any::<bool>()), 1..16),
    ) {
        let mut table = FlowTable::new(100);
        let mut list = Vec::new();
        for (id, (headers, priority)) in (0..).zip(&rules) {
            if table.add(id, headers, *priority, id).is_ok() {
                list.push((*priority, id, headers));
            }
        }
        for id in gone {
            prop_assert_eq!(table.remove(id).is_some(), list.iter().any(|r| r.1 == id));
            list.retain(|r| r.1 != id);
        }
        prop_assert_eq!(table.len(), list.len());
        for (src, dst, dport, tcp) in frames {
            let kind = if tcp { proto::TCP } else { proto::UDP };
            let ips = v4([10, 0, 0, src], [10, 0, 0, dst]);
            let frame = ip_frame(ips, kind, &l4(kind, 9, dport, b"data"));
            let expected = list
                .iter()
                .filter(|(_, _, headers)| headers.iter().all(|h| naive(h, &frame)))
                .map(|(priority, id, _)| (*priority, *id))
                .min();
            prop_assert_eq!(lookup(&table, &frame), expected.map(|(_, id)| id));
        }
    }
}
