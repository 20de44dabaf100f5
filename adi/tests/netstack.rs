// SPDX-License-Identifier: Apache-2.0 OR MIT
//! TCP on queue pairs of the device model: a stack for each pair, and a client of smoltcp at the other
//! end of the NIC's wire.

mod common;

use std::time::{Duration, Instant};

use adit_adi::{Adi, Config};
use adit_netstack::testing::{cable, Client, Echo, MemoryPort};
use adit_netstack::{join_solicited, Address, AdiPort, Limits, Mesh, Stack};
use adit_nic::wire::mock::FarEnd;
use adit_pipeline::offload::FrameMeta;
use common::{Model, MAC};

const PEER: [u8; 6] = [2, 0, 0, 0, 0, 9];
const TIMEOUT: Duration = Duration::from_secs(60);
const CONNECTIONS: u16 = 24;
const BYTES: usize = 20_000;

struct Lab {
    adi: Adi,
    stacks: Vec<Stack<AdiPort, Echo>>,
    far: FarEnd,
    near: MemoryPort,
    client: Client,
    start: Instant,
}

fn addresses(last: u8) -> Vec<Address> {
    let texts = [format!("10.99.0.{last}/24"), format!("fd99::{last}/64")];
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

impl Lab {
    fn new(pairs: u16) -> Self {
        let (adi, far) = Model::open(pairs);
        let pairs = adi.start(&Config::default()).unwrap();
        join_solicited(&adi, &addresses(3)).unwrap();
        let ports: Vec<_> = pairs
            .into_iter()
            .map(|pair| AdiPort::new(pair, 1500))
            .collect();
        let meshes = Mesh::connect(&ports).unwrap();
        let config = adit_netstack::Config {
            mac: MAC,
            addresses: addresses(3),
            gateways: Vec::new(),
            port: 80,
            limits: Limits::default(),
        };
        let both = ports.into_iter().zip(meshes);
        let stacks = both.map(|(port, mesh)| {
            Stack::new(port, config.clone(), Echo::default(), Some(mesh)).unwrap()
        });
        let (near, end) = cable(false);
        Self {
            adi,
            stacks: stacks.collect(),
            far,
            near,
            client: Client::new(end, PEER, &addresses(9)),
            start: Instant::now(),
        }
    }

    fn turn(&mut self) {
        assert!(self.start.elapsed() < TIMEOUT, "this takes too long");
        self.client.turn(self.start.elapsed());
        while let Some(frame) = self.near.take() {
            self.far.send(&frame, FrameMeta::default());
        }
        for stack in &mut self.stacks {
            stack.turn(Instant::now()).unwrap();
        }
        while let Some((frame, _)) = self.far.recv() {
            self.near.put(&frame);
        }
        std::thread::yield_now();
    }
}

#[test]
fn connections_are_served_on_all_pairs_over_ipv4_and_ipv6() {
    for address in ["10.99.0.3:80", "[fd99::3]:80"] {
        let mut lab = Lab::new(2);
        let to = address.parse().unwrap();
        let data: Vec<u8> = (0..BYTES).map(|n| (n % 251) as u8).collect();
        let handles: Vec<_> = (0..CONNECTIONS)
            .map(|n| (lab.client.connect_from(20_000 + 13 * n, to), 0, Vec::new()))
            .collect();
        let mut open = handles;
        while open.iter().any(|(_, _, got)| got.len() < BYTES) {
            lab.turn();
            for (handle, sent, got) in &mut open {
                let socket = lab.client.socket(*handle);
                if *sent < BYTES && socket.can_send() {
                    *sent += socket.send_slice(&data[*sent..]).unwrap();
                }
                while socket.can_recv() {
                    let take = socket.recv(|bytes| {
                        got.extend_from_slice(bytes);
                        (bytes.len(), ())
                    });
                    take.unwrap();
                }
            }
        }
        for (handle, _, got) in open {
            assert!(got == data);
            lab.client.socket(handle).close();
        }
        while lab.stacks.iter().any(|stack| stack.connections() > 0) {
            lab.turn();
        }
        let counts: Vec<_> = lab
            .stacks
            .iter()
            .map(|it| it.counters().snapshot())
            .collect();
        assert!(counts.iter().all(|count| count.accepted > 0), "{counts:?}");
        let sum = counts
            .into_iter()
            .fold(Default::default(), |sum: adit_netstack::Snapshot, it| {
                sum + it
            });
        assert_eq!(
            (sum.accepted, sum.closed),
            (CONNECTIONS.into(), CONNECTIONS.into())
        );
        assert_eq!((sum.dropped_checksum, sum.dropped_malformed), (0, 0));
        assert_eq!((sum.reset_by_peer, sum.aborted), (0, 0));
        assert!(lab.adi.stats().unwrap().tx_unicast.get() > u64::from(CONNECTIONS));
    }
}

#[test]
fn a_stack_that_sleeps_is_woken_by_a_frame() {
    let mut lab = Lab::new(1);
    let handle = lab.client.connect("10.99.0.3:80".parse().unwrap());
    while !lab.client.socket(handle).may_send() {
        lab.turn();
    }
    // Nothing is on its way any longer.
    let quiet = Instant::now();
    while quiet.elapsed() < Duration::from_millis(100) {
        lab.turn();
    }
    lab.client.socket(handle).send_slice(b"wake up").unwrap();
    lab.client.turn(lab.start.elapsed());
    let frame = lab.near.take().unwrap();
    let far = &lab.far;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(50));
            far.send(&frame, FrameMeta::default());
        });
        let stack = &mut lab.stacks[0];
        let before = Instant::now();
        while !stack.turn(Instant::now()).unwrap() {
            stack.sleep(Instant::now(), TIMEOUT).unwrap();
        }
        assert!(before.elapsed() < TIMEOUT / 2);
    });
    while lab.client.socket(handle).recv_queue() < 7 {
        lab.turn();
    }
}
