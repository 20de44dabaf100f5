// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packets in bursts, of which several are in flight at once, have the results of the same packets one
//! by one.

use adit_conntrack::testing::Flow;

use super::node::Node;
use super::{call, client, flow, ip, node, pod, port, service, ACK, FIN, RST, SYN, WIRE};

/// Pods, and clients of the service.
const PODS: u8 = 3;
const CLIENTS: u16 = 3;
/// Further endpoints: with so many, a lookup of one suspends the packet.
const OTHERS: u32 = 12_000;
/// Bursts of a sequence, and the longest one.
const BURSTS: usize = 60;
const LONGEST: u64 = 48;

/// Numbers that depend on a seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % limit
    }

    fn of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len() as u64) as usize]
    }
}

/// A packet of one of few connections, so that some of a burst have the same one, and the port that it
/// comes from: from clients to the service or a pod, answers of pods, pods that call the service.
fn packet(random: &mut Random) -> (u32, Vec<u8>) {
    let number = 1 + random.below(u64::from(PODS)) as u8;
    let mine = 5000 + random.below(2) as u16;
    let from = client(1 + random.below(u64::from(CLIENTS)) as u16);
    let (port, flow) = match random.below(10) {
        0..=3 => (
            WIRE,
            Flow {
                src: from,
                ..call(mine)
            },
        ),
        4..=7 => (port(number), flow(pod(number), 8080, from, mine)),
        8 => (port(number), flow(pod(number), mine, service(), 80)),
        _ => (
            port(number),
            flow(pod(number), mine, ip([203, 0, 113, 7]), 443),
        ),
    };
    let bytes = match random.below(16) {
        0..=8 => {
            let flags = random.of(&[SYN, SYN, SYN | ACK, ACK, ACK, ACK, ACK, FIN | ACK, RST]);
            flow.tcp(flags, 100, 100, random.of(&[&b""[..], b"GET /"]))
        }
        9..=12 => flow.udp(b"?"),
        13 => flow.icmp(8, 0, [0, 7, 0, 1], b"ping"),
        14 => {
            let quoted = flow.reverse().udp(b"?");
            flow.icmp(3, 3, [0; 4], &quoted)
        }
        _ => {
            let mut bytes = flow.tcp(ACK, 100, 100, b"");
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << random.below(8);
            // The IP version decides the EtherType.
            bytes[0] = 0x45;
            bytes
        }
    };
    (port, bytes)
}

/// A change by the control plane, or the passing of time, for both nodes.
fn change(
    nodes: &mut [Node; 2],
    random: &mut Random,
    ids: &mut [u32; PODS as usize],
    next: &mut u32,
) {
    let what = random.below(8);
    let at = random.below(u64::from(PODS)) as usize;
    let ms = random.of(&[1, 1_000, 130_000]);
    let (old, new) = (ids[at], *next);
    for node in nodes {
        match what {
            // An endpoint goes, and another one gets its address.
            0 | 1 => {
                node.set_group(1, &[]);
                node.delete("sticky_members", &[1, old.into()]);
                node.delete("endpoints", &[old.into()]);
                node.selector("members").delete_member(old).unwrap();
                let address = pod(at as u8 + 1);
                node.add_endpoint(new, address, 8080);
                node.add_sticky(1, new, address, 8080);
                let mut all = *ids;
                all[at] = new;
                node.set_group(1, &all);
            }
            2 => node.wait(ms),
            _ => {}
        }
    }
    if what <= 1 {
        ids[at] = new;
        *next += 1;
    }
}

#[test]
fn a_burst_has_the_results_of_single_packets() {
    for seed in 1..=12u64 {
        let affinity_s = if seed % 3 == 0 { 60 } else { 0 };
        let mut nodes = [node(PODS, affinity_s), node(PODS, affinity_s)];
        for node in &mut nodes {
            node.masquerade(1, ip([10, 244, 1, 254]), [0, 0]);
            node.masquerade(3, ip([192, 0, 2, 1]), [40_000, 40_003]);
            for id in 0..OTHERS {
                node.add("endpoints", &[u128::from(1_000_000 + id)], "NoAction", &[]);
            }
        }
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut ids = [1, 2, 3];
        let mut next = 100;
        let mut sent = 0;
        for number in 0..BURSTS {
            let count = 1 + random.below(LONGEST);
            let packets: Vec<_> = (0..count).map(|_| packet(&mut random)).collect();
            let [burst, single] = &mut nodes;
            let of_burst = burst.pass_burst(&packets);
            let of_singles: Vec<_> = packets
                .iter()
                .flat_map(|packet| single.pass_burst(std::slice::from_ref(packet)))
                .collect();
            for (at, (packet, results)) in packets
                .iter()
                .zip(of_burst.iter().zip(&of_singles))
                .enumerate()
            {
                let (of_burst, of_single) = results;
                assert_eq!(
                    of_burst, of_single,
                    "seed {seed}, burst {number}, packet {at}: {packet:?}"
                );
            }
            let is_sent = |outputs: &&Vec<_>| outputs.iter().any(Result::is_ok);
            sent += of_burst.iter().filter(is_sent).count();
            change(&mut nodes, &mut random, &mut ids, &mut next);
        }
        // The packets are not all refused.
        assert!(sent > BURSTS * 5, "seed {seed}: {sent} packets were sent");
        let [burst, single] = &nodes;
        for counter in ["verdicts", "commits"] {
            let of = |node: &Node| (0..8).map(|n| node.count(counter, n)).collect::<Vec<_>>();
            assert_eq!(of(burst), of(single), "{counter} with seed {seed}");
        }
        let tracked = |node: &Node| node.engine().tracker().map(|tracker| tracker.len());
        assert_eq!(tracked(burst), tracked(single), "seed {seed}");
        let learnt = |node: &Node| node.table("affinity").len();
        assert_eq!(learnt(burst), learnt(single), "seed {seed}");
        assert_eq!(learnt(burst) > 0, affinity_s > 0, "seed {seed}");
    }
}
