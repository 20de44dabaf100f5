// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the stack with a client of smoltcp at the other end of a cable in memory.

use std::net::IpAddr;

use super::*;
use crate::testing::{cable, Client, Clock, Echo, MemoryPort};
use crate::{Address, Limits};
use smoltcp::iface::SocketHandle;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetFrame, EthernetProtocol, Ipv4Address, Ipv4Packet,
    TcpPacket,
};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PORT: u16 = 80;
const STEP: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

struct Lab {
    stack: Stack<MemoryPort, Echo>,
    client: Client,
    clock: Clock,
}

fn addresses(last: u8) -> Vec<Address> {
    let texts = [format!("10.99.0.{last}/24"), format!("fd99::{last}/64")];
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn config(limits: Limits) -> Config {
    Config {
        mac: MAC,
        addresses: addresses(1),
        gateways: Vec::new(),
        port: PORT,
        limits,
    }
}

fn lab(completes: bool, limits: Limits) -> Lab {
    let (near, far) = cable(completes);
    let stack = Stack::new(near, config(limits), Echo::default(), None).unwrap();
    let client = Client::new(far, [2, 0, 0, 0, 0, 9], &addresses(9));
    let clock = Clock::default();
    Lab {
        stack,
        client,
        clock,
    }
}

impl Lab {
    fn turn(&mut self) {
        self.client.turn(self.clock.passed());
        self.stack.turn(self.clock.now()).unwrap();
        self.clock.pass(STEP);
    }

    fn turns(&mut self, count: usize) {
        (0..count).for_each(|_| self.turn());
    }

    fn connect(&mut self, address: &str) -> SocketHandle {
        self.client
            .connect((address.parse::<IpAddr>().unwrap(), PORT).into())
    }

    fn state(&mut self, handle: SocketHandle) -> State {
        self.client.socket(handle).state()
    }

    /// Sends SYNs of hosts that never answer.
    fn flood(&mut self, count: usize) {
        let handles: Vec<_> = (0..count).map(|_| self.connect("10.99.0.1")).collect();
        self.client.turn(self.clock.passed());
        for handle in handles {
            self.client.forget(handle);
        }
        for _ in 0..=count / BURST {
            self.stack.turn(self.clock.now()).unwrap();
        }
        // The turn after that of the last SYN.
        self.stack.turn(self.clock.now()).unwrap();
        while self.client.port().take().is_some() {}
    }

    /// Receives a frame that is put on the cable.
    fn receive(&mut self, frame: &[u8]) {
        self.client.port().put(frame);
        self.stack.turn(self.clock.now()).unwrap();
    }

    /// Sends bytes and checks that they come back.
    fn exchange(&mut self, handle: SocketHandle, data: &[u8]) {
        let (mut sent, mut got) = (0, Vec::new());
        for _ in 0..200_000 {
            let socket = self.client.socket(handle);
            if sent < data.len() && socket.can_send() {
                sent += socket.send_slice(&data[sent..]).unwrap();
            }
            while socket.can_recv() {
                socket
                    .recv(|bytes| {
                        got.extend_from_slice(bytes);
                        (bytes.len(), ())
                    })
                    .unwrap();
            }
            if got.len() >= data.len() {
                break;
            }
            self.turn();
        }
        assert!(
            got == data,
            "{} of {} bytes came back",
            got.len(),
            data.len()
        );
    }

    fn count(&self) -> crate::Snapshot {
        self.stack.counters().snapshot()
    }
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 % 251) as u8).collect()
}

#[test]
fn bytes_come_back_over_ipv4_and_ipv6_with_and_without_offload() {
    for completes in [false, true] {
        for address in ["10.99.0.1", "fd99::1"] {
            let mut lab = lab(completes, Limits::default());
            let handle = lab.connect(address);
            lab.exchange(handle, &bytes(300_000));
            lab.client.socket(handle).close();
            lab.turns(20);
            assert_eq!(lab.stack.connections(), 0, "{address}");
            let count = lab.count();
            assert_eq!((count.accepted, count.closed, count.aborted), (1, 1, 0));
            assert_eq!((count.dropped_checksum, count.dropped_malformed), (0, 0));
            let echo = lab.stack.service();
            assert_eq!((echo.open, echo.closed), (1, 1));
        }
    }
}

#[test]
fn losses_on_both_ways_are_made_up_for() {
    let mut lab = lab(true, Limits::default());
    lab.stack.phy.port.lose_one_of = 7;
    lab.client.port().lose_one_of = 11;
    let handle = lab.connect("10.99.0.1");
    lab.exchange(handle, &bytes(100_000));
}

#[test]
fn a_ring_without_space_delays_segments_and_loses_none() {
    let mut lab = lab(true, Limits::default());
    lab.stack.phy.port.room = 1;
    let handle = lab.connect("10.99.0.1");
    lab.exchange(handle, &bytes(200_000));
}

#[test]
fn hundreds_of_connections_are_served_at_once_and_places_are_reused() {
    let mut lab = lab(false, Limits::default());
    for _ in 0..2 {
        let handles: Vec<_> = (0..300).map(|_| lab.connect("10.99.0.1")).collect();
        lab.turns(30);
        for (n, handle) in handles.iter().enumerate() {
            lab.client
                .socket(*handle)
                .send_slice(&[n as u8; 100])
                .unwrap();
        }
        lab.turns(30);
        for (n, handle) in handles.iter().enumerate() {
            let mut got = [0; 200];
            assert_eq!(
                lab.client.socket(*handle).recv_slice(&mut got).unwrap(),
                100
            );
            assert!(got[..100].iter().all(|byte| *byte == n as u8));
            lab.client.socket(*handle).close();
        }
        lab.turns(30);
        assert_eq!(lab.stack.connections(), 0);
    }
    assert_eq!(lab.count().accepted, 600);
    assert_eq!(lab.stack.table.places.len(), 300);
}

#[test]
fn connections_over_the_limits_are_reset_and_counted() {
    for (per_client, limit) in [(0, 3), (3, 100)] {
        let limits = Limits {
            connections: limit,
            per_client,
            ..Limits::default()
        };
        let mut lab = lab(false, limits);
        let mut handles: Vec<_> = (0..3).map(|_| lab.connect("10.99.0.1")).collect();
        lab.turns(20);
        handles.extend((0..2).map(|_| lab.connect("10.99.0.1")));
        lab.turns(20);
        let states: Vec<_> = handles.iter().map(|it| lab.state(*it)).collect();
        assert_eq!(
            states
                .iter()
                .filter(|it| **it == State::Established)
                .count(),
            3
        );
        assert_eq!(states.iter().filter(|it| **it == State::Closed).count(), 2);
        let count = lab.count();
        let refused = (count.refused_limit, count.refused_client_limit);
        assert_eq!(refused, if per_client == 0 { (2, 0) } else { (0, 2) });
        // Closed ones make space.
        lab.client.socket(handles[0]).close();
        lab.turns(20);
        let next = lab.connect("10.99.0.1");
        lab.turns(20);
        assert_eq!(lab.state(next), State::Established);
    }
}

#[test]
fn a_flood_of_syn_does_not_keep_clients_out_and_ends() {
    // The bound of half-open connections, and a table that is smaller than it.
    for (half_open, connections) in [(8, 1024), (512, 9)] {
        let limits = Limits {
            half_open,
            connections,
            ..Limits::default()
        };
        let mut lab = lab(false, limits);
        let first = lab.connect("10.99.0.1");
        lab.turns(10);
        lab.flood(100);
        assert_eq!(lab.stack.connections(), 9);
        let count = lab.count();
        assert_eq!((count.dropped_half_open, count.refused_limit), (92, 0));
        let second = lab.connect("10.99.0.1");
        lab.exchange(first, &bytes(1000));
        lab.exchange(second, &bytes(1000));
        assert_eq!(lab.count().dropped_half_open, 93);
    }
}

/// Returns an ARP request for the stack's address.
fn arp(from: Ipv4Address) -> Vec<u8> {
    let mac = EthernetAddress([2, 0, 0, 0, 1, from.octets()[3]]);
    let arp = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: mac,
        source_protocol_addr: from,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: Ipv4Address::new(10, 99, 0, 1),
    };
    let mut bytes = vec![0; 60];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    frame.set_dst_addr(EthernetAddress::BROADCAST);
    frame.set_src_addr(mac);
    frame.set_ethertype(EthernetProtocol::Arp);
    arp.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    bytes
}

#[test]
fn a_flood_of_arp_costs_few_looks_at_the_connections_that_wait_for_a_neighbour() {
    let mut lab = lab(false, Limits::default());
    lab.connect("10.99.0.1");
    lab.turns(1);
    lab.client.turn(lab.clock.passed());
    let syn = lab.stack.phy.port.take().unwrap();
    let stranger = |n: u8| Ipv4Address::new(10, 99, 0, 100 + n);
    for n in 0..50 {
        let (mut frame, from) = (syn.clone(), stranger(n));
        let mut ip = Ipv4Packet::new_unchecked(&mut frame[14..]);
        ip.set_src_addr(from);
        ip.fill_checksum();
        let to = ip.dst_addr();
        let mut tcp = TcpPacket::new_unchecked(ip.payload_mut());
        tcp.fill_checksum(&from.into(), &to.into());
        lab.receive(&frame);
    }
    lab.clock.pass(NEIGHBOURS);
    let other = Ipv4Address::new(10, 99, 0, 7);
    let before = lab.count();
    let looks = |lab: &Lab| lab.count().looks - before.looks;
    (0..20).for_each(|_| lab.receive(&arp(other)));
    assert_eq!((lab.stack.connections(), looks(&lab)), (50, 50));
    assert_eq!(
        lab.count().deferred_neighbours - before.deferred_neighbours,
        19
    );
    // Those that were deferred end a sleep.
    let (now, long) = (lab.clock.now(), Duration::from_secs(1));
    lab.stack.sleep(now, long).unwrap();
    assert_eq!(lab.stack.phy.port.waited, Some(NEIGHBOURS));
    while lab.client.port().take().is_some() {}
    lab.clock.pass(NEIGHBOURS);
    lab.receive(&arp(stranger(0)));
    assert_eq!(looks(&lab), 100);
    // Only the one whose address is known now has an answer, and does not wait any longer.
    let is_tcp = |frame: &Vec<u8>| frame[12..14] == [8, 0] && frame[23] == 6;
    let sent: Vec<_> = std::iter::from_fn(|| lab.client.port().take()).collect();
    let answers: Vec<_> = sent.into_iter().filter(is_tcp).collect();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0][30..34], stranger(0).octets());
    lab.clock.pass(NEIGHBOURS);
    lab.receive(&arp(other));
    assert_eq!(looks(&lab), 149);
}

#[test]
fn handshakes_and_closed_connections_without_an_answer_end() {
    let mut lab = lab(false, Limits::default());
    lab.connect("10.99.0.1");
    lab.turns(2); // ARP, then SYN
    while lab.client.port().take().is_some() {}
    for _ in 0..30 {
        lab.clock.pass(Duration::from_secs(1));
        lab.stack.turn(lab.clock.now()).unwrap();
        while lab.client.port().take().is_some() {}
    }
    assert_eq!(lab.stack.connections(), 0);
    let count = lab.count();
    assert_eq!(
        count.dropped_handshake + count.dropped_lingering + count.reset_by_peer,
        1,
        "{count:?}"
    );
}

#[test]
fn a_session_can_reset_its_connection() {
    let mut lab = lab(false, Limits::default());
    lab.stack.service().patience = Some(Duration::ZERO);
    let handle = lab.connect("fd99::1");
    lab.turns(20);
    assert_eq!(lab.state(handle), State::Closed);
    assert_eq!((lab.count().aborted, lab.stack.connections()), (1, 0));
    assert_eq!(lab.stack.service().closed, 1);
}

#[test]
fn a_client_that_resets_is_counted_and_forgotten() {
    let mut lab = lab(false, Limits::default());
    let handle = lab.connect("10.99.0.1");
    lab.exchange(handle, b"x");
    lab.client.socket(handle).abort();
    lab.turns(10);
    assert_eq!((lab.count().reset_by_peer, lab.stack.connections()), (1, 0));
}

#[test]
fn strays_other_hosts_and_other_ports_are_not_connected() {
    let mut lab = lab(false, Limits::default());
    let other = lab.client.connect("10.99.0.1:81".parse().unwrap());
    lab.turns(20);
    assert_eq!(lab.state(other), State::Closed);
    assert_eq!(lab.count().stray_segments, 1);
    // A segment whose checksum is wrong, one that is cut, a fragment, and one for another host.
    let handle = lab.connect("10.99.0.1");
    lab.client.turn(lab.clock.passed());
    let syn = lab.stack.phy.port.take().unwrap();
    let changes: [fn(&mut Vec<u8>); 4] = [
        |frame| frame[50] ^= 1,
        |frame| frame.truncate(40),
        |frame| {
            frame[20] = 0x20; // more fragments
            let mut ip = smoltcp::wire::Ipv4Packet::new_unchecked(&mut frame[14..]);
            ip.fill_checksum();
        },
        |frame| frame[5] = 7,
    ];
    for change in changes {
        let mut frame = syn.clone();
        change(&mut frame);
        lab.client.port().put(&frame);
        lab.stack.turn(lab.clock.now()).unwrap();
    }
    let count = lab.count();
    assert_eq!((count.dropped_checksum, count.dropped_malformed), (1, 1));
    assert_eq!((count.dropped_fragment, count.dropped_not_ours), (1, 1));
    assert_eq!(
        (lab.stack.connections(), lab.state(handle)),
        (0, State::SynSent)
    );
}

#[test]
fn a_client_may_reuse_a_port_that_is_in_time_wait() {
    let mut lab = lab(false, Limits::default());
    let to = "10.99.0.1:80".parse().unwrap();
    let handle = lab.client.connect_from(5000, to);
    lab.exchange(handle, b"x");
    let index = lab.stack.table.indices().next().unwrap();
    // The server closes first.
    lab.stack.table.get(index).socket().close();
    lab.stack.table.set_phase(index, Phase::Closing);
    lab.stack.list(index);
    lab.turns(5);
    lab.client.socket(handle).close();
    lab.turns(10);
    assert_eq!(lab.stack.table.get(index).phase, Phase::TimeWait);
    let again = lab.client.connect_from(5000, to);
    lab.exchange(again, b"y");
    assert_eq!(lab.count().dropped_time_wait, 1);
}

#[test]
fn a_stack_that_stops_finishes_its_connections_and_refuses_others() {
    let mut lab = lab(false, Limits::default());
    let open = lab.connect("10.99.0.1");
    lab.exchange(open, b"x");
    lab.stack.stop();
    let late = lab.connect("10.99.0.1");
    lab.turns(20);
    assert_eq!(lab.state(late), State::Closed);
    assert_eq!(lab.count().refused_stopping, 1);
    assert_eq!(lab.stack.unfinished(), 1);
    lab.exchange(open, b"the rest");
    lab.client.socket(open).close();
    lab.turns(20);
    assert_eq!(lab.stack.unfinished(), 0);
}

#[test]
fn neighbours_that_one_stack_hears_of_are_known_to_the_others() {
    let (first, far) = cable(false);
    let (second, far_second) = cable(false);
    let ports = [first, second];
    let mut meshes = Mesh::connect(&ports).unwrap();
    let [first, second] = ports;
    let limits = Limits::default();
    let (one, two) = (meshes.remove(0), meshes.remove(0));
    let mut one = Stack::new(first, config(limits), Echo::default(), Some(one)).unwrap();
    let mut two = Stack::new(second, config(limits), Echo::default(), Some(two)).unwrap();
    let mut client = Client::new(far, [2, 0, 0, 0, 0, 9], &addresses(9));
    let mut clock = Clock::default();
    let handle = client.connect("10.99.0.1:80".parse().unwrap());
    for _ in 0..200 {
        client.turn(clock.passed());
        // What receive-side scaling does: ARP arrives at one queue, segments at the other.
        while let Some(frame) = one.phy.port.take() {
            if frame[12..14] == [8, 6] {
                client.port().put(&frame);
                one.turn(clock.now()).unwrap();
            } else {
                far_second.put(&frame);
            }
        }
        two.turn(clock.now()).unwrap();
        while let Some(frame) = far_second.take() {
            one.phy.port.put(&frame);
        }
        clock.pass(STEP);
    }
    assert_eq!(client.socket(handle).state(), State::Established);
    assert_eq!(two.counters().snapshot().accepted, 1);
    // Learning is silent: only the first stack has answered.
    assert_eq!(one.counters().snapshot().accepted, 0);
}

#[test]
fn addresses_are_announced_three_times() {
    let mut lab = lab(false, Limits::default());
    lab.stack.announce(lab.clock.now());
    let mut seen = Vec::new();
    for _ in 0..10_000 {
        lab.stack.turn(lab.clock.now()).unwrap();
        while let Some(frame) = lab.client.port().take() {
            assert_eq!(frame[6..12], MAC);
            seen.push((lab.clock.passed().as_secs(), frame[12] == 8));
        }
        lab.clock.pass(STEP);
    }
    let expected = [0, 2, 4].map(|at| [(at, true), (at, false)]);
    assert_eq!(seen, expected.concat());
    assert_eq!(lab.count().announcements, 6);
}

/// Regression test: each retransmission timer ended a sleep, although its segment had been acknowledged.
#[test]
fn a_sleep_does_not_end_for_what_is_acknowledged() {
    let mut lab = lab(true, Limits::default());
    let handle = lab.connect("10.99.0.1");
    lab.turns(10);
    lab.exchange(handle, b"request");
    // The acknowledgement may be delayed, by less than the time of the retransmission.
    lab.turns(50);
    lab.stack.sleep(lab.clock.now(), HOUR).unwrap();
    let timeout = lab.stack.port().waited.unwrap();
    assert!(timeout > Duration::from_secs(1), "{timeout:?}");
}

#[test]
fn a_sleep_ends_at_the_next_announcement() {
    let mut lab = lab(false, Limits::default());
    lab.stack.announce(lab.clock.now());
    lab.stack.turn(lab.clock.now()).unwrap();
    lab.stack.sleep(lab.clock.now(), HOUR).unwrap();
    assert_eq!(lab.stack.port().waited, Some(Duration::from_secs(2)));
}

#[test]
fn configurations_that_cannot_be_are_refused() {
    let attempt = |change: &dyn Fn(&mut Config)| {
        let mut config = config(Limits::default());
        change(&mut config);
        Stack::new(cable(false).0, config, Echo::default(), None).err()
    };
    assert!(attempt(&|_| {}).is_none());
    assert!(attempt(&|it| it.gateways = vec!["10.99.0.254".parse().unwrap()]).is_none());
    let gateways = ["10.99.0.254", "10.99.0.253"].map(|it| it.parse().unwrap());
    assert!(matches!(
        attempt(&|it| it.gateways = gateways.to_vec()),
        Some(Error::SecondGateway(_))
    ));
    assert!(matches!(
        attempt(&|it| it.gateways = vec!["10.98.0.1".parse().unwrap()]),
        Some(Error::Gateway(_))
    ));
    assert!(matches!(
        attempt(&|it| it.addresses.clear()),
        Some(Error::NoAddress)
    ));
    let many: Vec<Address> = (1..9)
        .map(|n| format!("10.0.{n}.1/24").parse().unwrap())
        .collect();
    assert!(matches!(
        attempt(&|it| it.addresses.clone_from(&many)),
        Some(Error::TooManyAddresses { count: 8, max: 7 })
    ));
    assert!(matches!(attempt(&|it| it.mac[0] = 1), Some(Error::Mac)));
}
