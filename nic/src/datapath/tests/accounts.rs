// SPDX-License-Identifier: Apache-2.0 OR MIT

use std::collections::VecDeque;

use adit_pipeline::offload::Checksum;
use adit_pipeline::parse::L4;
use adit_uapi::desc::tx_flex::sched_cmd;
use proptest::prelude::*;

use super::*;
use crate::wire::RxDrop;

/// The number of frames that a sent frame counts as: its segments, if it can be segmented.
fn weight(frame: &[u8], mss: Option<u16>) -> u64 {
    let is_tcp = Parsed::new(frame, frame.len()).is_ok_and(|parsed| parsed.l4 == L4::Tcp);
    match mss.filter(|_| is_tcp) {
        Some(mss) => (frame.len() - TCP_HEADERS).div_ceil(mss.into()) as u64,
        None => 1,
    }
}

/// The number of frames that a delivered frame counts as.
fn delivered_as(delivery: &Delivery) -> u64 {
    match delivery.last.rsc() {
        true => weight(&delivery.frame, Some(delivery.last.misc.get())),
        false => 1,
    }
}

/// An event of the test.
#[derive(Clone, Debug)]
enum Step {
    Arrive {
        frame: Vec<u8>,
        checked: bool,
    },
    Send {
        frame: Vec<u8>,
        finish: bool,
        mss: Option<u16>,
    },
    Post {
        index: usize,
        buffers: u16,
    },
    Room(Option<usize>),
    Enabled(bool),
    Loopback(bool),
    Promiscuous(bool),
    Poll(u64),
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    let address = prop_oneof![
        3 => Just(MAC),
        1 => Just([0xFF; 6]),
        1 => any::<[u8; 6]>(),
    ];
    prop_oneof![
        4 => (address, any::<u16>(), 0_usize..4000).prop_map(|(mac, p, n)| to(mac, tcp(p, n))),
        1 => prop::collection::vec(any::<u8>(), 1..100),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let mss = prop::option::of(1_u16..2000);
    prop_oneof![
        4 => (frame(), any::<bool>())
            .prop_map(|(frame, checked)| Step::Arrive { frame, checked }),
        4 => (frame(), any::<bool>(), mss)
            .prop_map(|(frame, finish, mss)| Step::Send { frame, finish, mss }),
        2 => (0_usize..2, 0_u16..12).prop_map(|(index, buffers)| Step::Post { index, buffers }),
        1 => prop::option::of(0_usize..5).prop_map(Step::Room),
        1 => any::<bool>().prop_map(Step::Enabled),
        1 => any::<bool>().prop_map(Step::Loopback),
        1 => any::<bool>().prop_map(Step::Promiscuous),
        4 => prop_oneof![Just(1_000), Just(10_000_000), Just(MAX_STALL_NS)].prop_map(Step::Poll),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_frame_is_delivered_or_dropped_for_a_reason(
        steps in prop::collection::vec(step(), 1..80),
        cuts: bool, rsc: bool, header_split: bool,
    ) {
        let caps = PortCaps { checksum: cuts, tso4: cuts, tso6: cuts, uso: cuts };
        let mut driver = Driver::new(Setup { caps, rsc, header_split });
        // Counts of frames that arrived on the wire, that the driver sent, that were reported to it
        // as completed, that it received, and that left on the wire.
        let (mut arrived, mut sent, mut reported, mut received, mut left) = (0, 0, 0, 0, 0);
        let (mut weights, mut weight_reported) = (VecDeque::new(), 0);
        let mut on_ring = 0;
        for step in steps {
            match step {
                Step::Arrive { frame, checked } => {
                    let checksum = if checked { Checksum::Valid } else { Checksum::Unknown };
                    driver.far.send(&frame, FrameMeta { checksum, gso: None });
                    arrived += 1;
                }
                Step::Send { frame, finish, mss } => {
                    // Space for a context descriptor and the frame.
                    if on_ring + 4 > LEN {
                        continue;
                    }
                    let more = if finish { sched_cmd::CS_EN } else { 0 };
                    let tso = mss
                        .filter(|_| frame.len() > TCP_HEADERS)
                        .map(|mss| (mss, TCP_HEADERS as u8));
                    weights.push_back(weight(&frame, tso.map(|(mss, _)| mss)));
                    driver.send(&frame, tso, more, sent as u16);
                    on_ring += 2;
                    sent += 1;
                }
                Step::Post { index, buffers } => {
                    let unread = driver.posted[index] - driver.delivered[index];
                    let room = u64::from(LEN) - 1 - unread.min(u64::from(LEN) - 1);
                    driver.post(index, buffers.min(room as u16));
                }
                Step::Room(room) => driver.far.set_room(room),
                Step::Enabled(on) => driver.dp.forwarding(VportId(0)).set_enabled(on),
                Step::Loopback(on) => driver.dp.forwarding(VportId(0)).set_loopback(on),
                Step::Promiscuous(on) => driver.dp.forwarding(VportId(0)).set_promiscuous(on, false),
                Step::Poll(later) => {
                    driver.now += later;
                    driver.poll();
                }
            }
            while driver.completion().is_some() {
                reported += 1;
                weight_reported += weights.pop_front().unwrap();
                on_ring -= 2;
            }
            for index in 0..2 {
                while let Some(delivery) = driver.recv(index) {
                    received += delivered_as(&delivery);
                }
            }
            while let Some((frame, meta)) = driver.far.recv() {
                left += meta.on_wire(frame.len()).frames;
            }
        }
        prop_assert_eq!(driver.dp.faults(), (0, None));
        let (counters, drops) = (driver.dp.counters(VportId(0)), driver.dp.drops(VportId(0)).unwrap());
        let port = driver.dp.wire(VportId(0)).unwrap().counters();

        let taken = arrived - driver.far.waiting() as u64;
        prop_assert_eq!(port.rx_frames + port.rx_dropped(RxDrop::Runt), taken);
        let delivered = counters.rx_unicast + counters.rx_multicast + counters.rx_broadcast;
        prop_assert_eq!(delivered, received);
        let gone = counters.tx_unicast + counters.tx_multicast + counters.tx_broadcast;
        prop_assert_eq!(gone + drops.tx.total(), weight_reported, "from the driver");
        prop_assert_eq!(port.tx_dropped_total(), drops.tx.get(DropReason::Wire));
        prop_assert!(reported <= sent);
        prop_assert_eq!(port.tx_frames, left);
        let known = delivered + drops.rx.total() + driver.dp.waiting_frames();
        // Looped-back frames are included.
        prop_assert!(known >= port.rx_frames);
        prop_assert!(counters.rx_filtered + counters.rx_discards <= drops.rx.total());
    }
}
