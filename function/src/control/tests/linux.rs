// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The sequences of messages that the Linux driver sends, and the properties of the replies that it
//! relies on.

use adit_uapi::regs::{pf, RegArray};
use adit_uapi::virtchnl2::cap::{csum, flow, other, seg};
use adit_uapi::virtchnl2::{
    mac_addr_type, promisc, proto_hdr, AddQueues, AllocVectors, GetCapabilities, GetPtypeInfo,
    MacAddr, MacAddrList, PromiscInfo, Ptype, RssKey, RssLut, VectorChunk, VportStats,
    PTYPE_ID_10_LAST,
};

use super::*;
use crate::dataplane::{QueueConfig, QueueId, QueueKind, SchedMode};
use crate::ids::{VectorId, VectorMapping};
use queue_type::{RX, RX_BUFFER, TX, TX_COMPLETION};

/// Sends VERSION, GET_CAPS, ALLOC_VECTORS, GET_PTYPE_INFO.
fn load(driver: &mut Driver) -> (GetCapabilities, VectorChunk) {
    let version = VersionInfo {
        major: U32::new(2),
        minor: U32::new(0),
    };
    assert_eq!(
        driver.ok(op::VERSION, version.as_bytes()),
        version.as_bytes()
    );
    // Everything except what Linux does not request, such as FLOW_STEER.
    let request = GetCapabilities {
        csum_caps: U32::new(u32::MAX),
        seg_caps: U32::new(u32::MAX),
        hsplit_caps: U32::new(u32::MAX),
        rsc_caps: U32::new(u32::MAX),
        rss_caps: U64::new(u64::MAX),
        other_caps: U64::new(!other::FLOW_STEER),
        ..GetCapabilities::default()
    };
    driver.ok(op::GET_CAPS, request.as_bytes());
    let (caps, rest) = driver.answer::<GetCapabilities>();
    assert!(rest.is_empty());
    let num_vectors = U16::new(caps.num_allocated_vectors.get() - 1);
    let alloc = AllocVectors {
        num_vectors,
        ..AllocVectors::default()
    };
    driver.ok(op::ALLOC_VECTORS, alloc.as_bytes());
    let (granted, rest) = driver.answer::<AllocVectors>();
    assert_eq!(
        (granted.num_vectors, granted.vchunks.num_vchunks.get()),
        (num_vectors, 1)
    );
    let chunk = VectorChunk::read_from_bytes(rest).unwrap();
    driver.ok(op::GET_PTYPE_INFO, GetPtypeInfo::default().as_bytes());
    (caps, chunk)
}

/// Sends CONFIG_TX, CONFIG_RX, MAP, ENABLE_QUEUES, ENABLE_VPORT, SET_RSS_KEY, SET_RSS_LUT.
fn up(driver: &mut Driver, vport: u32, n: u32) {
    let tx: Vec<_> = (0..n)
        .flat_map(|q| [txq(q, q as u16, 0), complq(q)])
        .collect();
    driver.ok(op::CONFIG_TX_QUEUES, &config_tx(vport, &tx));
    let rx: Vec<_> = (0..n)
        .flat_map(|q| {
            [
                bufq(2 * q),
                bufq(2 * q + 1),
                rxq(q, [2 * q as u16, 2 * q as u16 + 1]),
            ]
        })
        .collect();
    driver.ok(op::CONFIG_RX_QUEUES, &config_rx(vport, &rx));
    driver.ok(op::MAP_QUEUE_VECTOR, &maps(vport, &mapping(n)));
    driver.ok(op::ENABLE_QUEUES, &named(vport, &all(n)));
    assert!(driver.events().is_empty(), "before the vport is enabled");
    driver.ok(op::ENABLE_VPORT, name(vport).as_bytes());
    let events = driver.events();
    assert_eq!(events.len(), 1);
    assert_eq!(
        (events[0].event.get(), events[0].vport_id.get()),
        (event_code::LINK_CHANGE, vport)
    );
    assert_eq!(
        (events[0].link_status, events[0].link_speed.get()),
        (1, 10_000)
    );
    let key = RssKey {
        vport_id: U32::new(vport),
        key_len: U16::new(52),
        pad: 0,
    };
    driver.ok(op::SET_RSS_KEY, &message(&key, &[7_u8; 52]));
    let lut = RssLut {
        vport_id: U32::new(vport),
        lut_entries: U16::new(512),
        ..RssLut::default()
    };
    let entries: Vec<_> = (0..512).map(|at| U32::new(at % n)).collect();
    driver.ok(op::SET_RSS_LUT, &message(&lut, &entries));
}

/// Sends DISABLE_VPORT, DISABLE_QUEUES, UNMAP.
fn down(driver: &mut Driver, vport: u32, n: u32) {
    driver.ok(op::DISABLE_VPORT, name(vport).as_bytes());
    driver.dp.markers.clear();
    driver.ok(op::DISABLE_QUEUES, &named(vport, &all(n)));
    assert_eq!(
        driver.dp.markers,
        (0..n).collect::<Vec<_>>(),
        "one for each TX queue"
    );
    driver.ok(op::UNMAP_QUEUE_VECTOR, &maps(vport, &mapping(n)));
    assert!(driver.dp.vectors.is_empty());
}

fn all(n: u32) -> Vec<(u32, u32)> {
    let tx = (0..n).flat_map(|q| [(TX, q), (TX_COMPLETION, q)]);
    let rx = (0..n).flat_map(|q| [(RX, q), (RX_BUFFER, 2 * q), (RX_BUFFER, 2 * q + 1)]);
    tx.chain(rx).collect()
}

fn mapping(n: u32) -> Vec<(u32, u32, u16, u32)> {
    let tx = (0..n).map(|q| (TX, q, q as u16 + 1, 1));
    tx.chain((0..n).map(|q| (RX, q, q as u16 + 1, 0))).collect()
}

#[test]
fn capabilities_are_what_linux_can_live_with() {
    let (caps, vectors) = load(&mut Driver::new(2, 4));
    assert!(caps.num_allocated_vectors.get() >= 3);
    assert_eq!(
        (caps.max_vports.get(), caps.default_num_vports.get()),
        (2, 2)
    );
    assert_eq!((caps.max_rx_q.get(), caps.max_rx_bufq.get()), (8, 16));
    assert_eq!((caps.max_tx_q.get(), caps.max_tx_complq.get()), (16, 16));
    let others = caps.other_caps.get();
    assert_ne!(
        others & other::FLOW_STEER,
        0,
        "granted although it is not requested"
    );
    let never = other::SPLITQ_QSCHED | other::LAN_MEMORY_REGIONS | other::RDMA | other::SRIOV;
    assert_eq!(others & (never | other::PTP | other::EDT | other::ADQ), 0);
    let tcp = csum::TX_L4_IPV4_TCP | csum::TX_L4_IPV6_TCP | csum::RX_L4_IPV4_TCP;
    assert_eq!(caps.csum_caps.get() & tcp, tcp);
    assert_eq!(
        caps.csum_caps.get() & (csum::TX_GENERIC | csum::RX_GENERIC),
        0
    );
    assert_eq!(caps.seg_caps.get() & seg::GENERIC, 0);
    assert_eq!(caps.rss_caps.get() & flow::IPV4_AH, 0);
    assert_eq!(
        (caps.mailbox_vector_id.get(), caps.mailbox_dyn_ctl.get()),
        (0, 0x0890_0000)
    );
    assert_eq!(
        (
            caps.max_sriov_vfs.get(),
            caps.num_rdma_allocated_vectors.get()
        ),
        (0, 0)
    );

    assert_eq!(
        (vectors.start_vector_id.get(), vectors.num_vectors.get()),
        (1, 10)
    );
    assert_eq!(vectors.dynctl_reg_start.get(), 0x0890_1000);
    assert_eq!(vectors.itrn_reg_start.get(), 0x0890_1004);
    assert_eq!(vectors.dynctl_reg_spacing.get(), 0x1000);
    assert_eq!(
        (
            vectors.itrn_reg_spacing.get(),
            vectors.itrn_index_spacing.get()
        ),
        (0x1000, 4)
    );
}

#[test]
fn capabilities_that_were_not_requested_are_not_granted() {
    let mut driver = Driver::new(1, 1);
    driver.ok(op::GET_CAPS, GetCapabilities::default().as_bytes());
    let (caps, _) = driver.answer::<GetCapabilities>();
    assert_eq!(
        (
            caps.csum_caps.get(),
            caps.seg_caps.get(),
            caps.rsc_caps.get()
        ),
        (0, 0, 0)
    );
    assert_eq!(caps.other_caps.get(), other::FLOW_STEER);
    assert!(caps.num_allocated_vectors.get() >= 3);
}

#[test]
fn packet_types_can_be_walked_to_their_end() {
    let mut driver = Driver::new(1, 1);
    let reply = driver
        .ok(op::GET_PTYPE_INFO, GetPtypeInfo::default().as_bytes())
        .to_vec();
    let (header, mut rest) = GetPtypeInfo::read_from_prefix(&reply).unwrap();
    let mut seen = Vec::new();
    for _ in 0..header.num_ptypes.get() {
        let (ptype, after) = Ptype::read_from_prefix(rest).unwrap();
        let (protocols, after) = after.split_at(2 * usize::from(ptype.proto_id_count.max(1)));
        seen.push(ptype.ptype_id_10.get());
        if ptype.ptype_id_10.get() != PTYPE_ID_10_LAST {
            assert!(ptype.ptype_id_10.get() < 1024);
            assert_eq!(protocols[..2], proto_hdr::MAC.to_le_bytes());
        }
        rest = after;
    }
    assert!(rest.is_empty());
    assert_eq!(seen.pop(), Some(PTYPE_ID_10_LAST));
    assert_eq!(seen.len(), 14);
    // After the last type there is only the terminating entry.
    let request = GetPtypeInfo {
        start_ptype_id: U16::new(95),
        ..GetPtypeInfo::default()
    };
    driver.ok(op::GET_PTYPE_INFO, request.as_bytes());
    assert_eq!(driver.answer::<GetPtypeInfo>().0.num_ptypes.get(), 1);
}

#[test]
fn a_vport_comes_with_queues_and_all_that_linux_reads() {
    let mut driver = Driver::new(2, 4);
    let vport = driver.create(1, 3);
    assert_eq!((vport.vport_id.get(), vport.vport_index.get()), (1, 1));
    assert_eq!(vport.default_mac_addr, [2, 0, 0, 0, 1, 1]);
    assert_eq!(vport.max_mtu.get() - 26, 9000);
    assert_eq!(
        (vport.rss_key_size.get(), vport.rss_lut_size.get()),
        (52, 512)
    );
    assert_eq!(vport.rx_desc_ids.get(), 1 << 2);
    assert_eq!(
        vport.tx_desc_ids.get() & (1 << 12 | 1 << 5),
        1 << 12 | 1 << 5
    );
    assert_eq!(
        vport.vport_flags.get() & 1,
        0,
        "an uplink port is requested to provide time stamps"
    );
    let chunks = driver.chunks(CreateVport::LEN, vport.chunks.num_chunks);
    let got: Vec<_> = chunks
        .iter()
        .map(|c| {
            (
                c.type_.get(),
                c.start_queue_id.get(),
                c.num_queues.get(),
                c.qtail_reg_start.get(),
            )
        })
        .collect();
    let tail = |array: RegArray, at| u64::from(array.offset(at).unwrap());
    assert_eq!(
        got,
        [
            (TX, 8, 3, tail(pf::QTX_TAIL, 8)),
            (RX, 4, 3, tail(pf::QRX_TAIL, 4)),
            (TX_COMPLETION, 8, 3, 0),
            (RX_BUFFER, 8, 6, tail(pf::BUFQ_TAIL, 8)),
        ]
    );
    assert_eq!(driver.dp.vport(VportId(1)).rx_queues, [4, 5, 6]);
    assert_eq!(driver.dp.tx_queues[&VportId(1)], [8, 9, 10]);
    assert!(driver
        .dp
        .vport(VportId(1))
        .addresses
        .contains(&[2, 0, 0, 0, 1, 1]));
}

#[test]
fn load_up_down_and_unload() {
    let mut driver = Driver::new(1, 4);
    let (_, vectors) = load(&mut driver);
    driver.create(0, 2);
    for _ in 0..3 {
        up(&mut driver, 0, 2);
        assert_eq!(driver.dp.queues.len(), 10);
        assert!(driver
            .dp
            .queues
            .values()
            .all(|q| q.enabled && q.vport == VportId(0)));
        assert!(driver.dp.vport(VportId(0)).enabled);
        assert_eq!(driver.dp.vport(VportId(0)).rss_key(), &[7; 52]);
        assert_eq!(driver.dp.vport(VportId(0)).rss_lut[..3], [0, 1, 0]);
        assert_eq!(
            driver.dp.vectors[&QueueId {
                kind: QueueKind::Rx,
                index: 1
            }],
            VectorMapping {
                vector: VectorId(2),
                itr: 0
            }
        );
        let rx = driver.dp.queues[&QueueId {
            kind: QueueKind::Rx,
            index: 1,
        }]
            .config;
        let QueueConfig::Rx {
            buffer_queue,
            buffer_queue_2,
            header_split,
            max_packet_len,
            ..
        } = rx
        else {
            panic!("{rx:?}");
        };
        assert_eq!((buffer_queue, buffer_queue_2), (2, Some(3)));
        assert_eq!((header_split, max_packet_len), (true, 1522));
        let tx = driver.dp.queues[&QueueId {
            kind: QueueKind::Tx,
            index: 1,
        }]
            .config;
        let QueueConfig::Tx {
            sched,
            completion_queue,
            ring,
            ..
        } = tx
        else {
            panic!("{tx:?}")
        };
        assert_eq!(
            (sched, completion_queue, ring.len),
            (SchedMode::Flow, 1, 512)
        );
        down(&mut driver, 0, 2);
        assert!(!driver.dp.vport(VportId(0)).enabled);
        assert!(driver.dp.queues.values().all(|q| !q.enabled));
    }
    driver.ok(op::DESTROY_VPORT, name(0).as_bytes());
    assert!(driver.dp.queues.is_empty());
    assert!(driver.dp.vport(VportId(0)).addresses.is_empty());
    let alloc = AllocVectors::default();
    let mut dealloc = alloc.vchunks;
    dealloc.num_vchunks = U16::new(1);
    driver.ok(op::DEALLOC_VECTORS, &message(&dealloc, &[vectors]));
    // Once more, as after rmmod and modprobe without a reset in between.
    load(&mut driver);
    driver.create(0, 4);
    up(&mut driver, 0, 4);
}

#[test]
fn the_number_of_queues_changes_to_exactly_what_is_requested() {
    let mut driver = Driver::new(1, 4);
    load(&mut driver);
    driver.create(0, 4);
    up(&mut driver, 0, 4);
    down(&mut driver, 0, 4);
    let del: Vec<_> = all(4);
    driver.ok(op::DEL_QUEUES, &named(0, &del));
    assert!(driver.dp.queues.is_empty() && driver.dp.vport(VportId(0)).rx_queues.is_empty());
    assert!(driver.dp.tx_queues[&VportId(0)].is_empty());
    // XDP: additional TX queues.
    let request = AddQueues {
        num_tx_q: U16::new(4),
        num_tx_complq: U16::new(4),
        num_rx_q: U16::new(2),
        num_rx_bufq: U16::new(4),
        ..AddQueues::default()
    };
    driver.ok(op::ADD_QUEUES, request.as_bytes());
    let (granted, _) = driver.answer::<AddQueues>();
    assert_eq!((granted.num_tx_q.get(), granted.num_rx_bufq.get()), (4, 4));
    let chunks = driver.chunks(AddQueues::LEN, granted.chunks.num_chunks);
    assert_eq!(chunks.len(), 4);
    assert!(chunks.iter().all(|c| c.start_queue_id.get() == 0));
    assert_eq!(driver.dp.vport(VportId(0)).rx_queues, [0, 1]);
    assert_eq!(driver.dp.tx_queues[&VportId(0)], [0, 1, 2, 3]);
    up(&mut driver, 0, 2);
}

#[test]
fn addresses_and_promiscuous_modes_reach_the_data_plane() {
    let mut driver = Driver::new(1, 1);
    driver.create(0, 1);
    let list = MacAddrList {
        num_mac_addr: U16::new(2),
        ..MacAddrList::default()
    };
    let multicast = [0x33, 0x33, 0, 0, 0, 1];
    let macs = [
        MacAddr {
            addr: MAC,
            type_: mac_addr_type::PRIMARY,
            pad: 0,
        },
        MacAddr {
            addr: multicast,
            type_: mac_addr_type::EXTRA,
            pad: 0,
        },
    ];
    for _ in 0..2 {
        driver.ok(op::ADD_MAC_ADDR, &message(&list, &macs));
        assert_eq!(driver.dp.vport(VportId(0)).addresses.len(), 2);
    }
    for _ in 0..2 {
        driver.ok(op::DEL_MAC_ADDR, &message(&list, &macs));
        assert!(driver.dp.vport(VportId(0)).addresses.is_empty());
    }
    let promisc = PromiscInfo {
        flags: U16::new(promisc::UNICAST),
        ..PromiscInfo::default()
    };
    driver.ok(op::CONFIG_PROMISCUOUS_MODE, promisc.as_bytes());
    let config = driver.dp.vport(VportId(0));
    assert!(config.unicast_promiscuous && !config.multicast_promiscuous);
}

#[test]
fn statistics_are_the_data_planes() {
    let mut driver = Driver::new(1, 1);
    driver.create(0, 1);
    driver.dp.counters.rx_unicast = 5;
    driver.dp.counters.rx_no_buffer = 3;
    driver.dp.counters.tx_bytes = 9;
    driver.ok(op::GET_STATS, VportStats::default().as_bytes());
    let (stats, rest) = driver.answer::<VportStats>();
    assert!(rest.is_empty());
    assert_eq!(
        (stats.rx_unicast.get(), stats.rx_overflow_drop.get()),
        (5, 3)
    );
    assert_eq!(stats.tx_bytes.get(), 9);
}

#[test]
fn link_changes_are_reported_once_and_only_when_enabled() {
    let mut driver = Driver::new(2, 1);
    driver.create(0, 1);
    driver.control.link_changed(VportId(0));
    driver.control.link_changed(VportId(1));
    driver.control.link_changed(VportId(77));
    assert!(driver.events().is_empty());
    driver.ok(op::ENABLE_VPORT, name(0).as_bytes());
    driver.events();
    driver.dp.links[0] = (false, 0);
    for _ in 0..100 {
        driver.control.link_changed(VportId(0));
    }
    let events = driver.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].link_status, 0);
    driver.ok(op::DISABLE_VPORT, name(0).as_bytes());
    driver.control.link_changed(VportId(0));
    assert!(driver.events().is_empty());
    // Enabling an enabled vport sends the event again.
    driver.ok(op::ENABLE_VPORT, name(0).as_bytes());
    driver.ok(op::ENABLE_VPORT, name(0).as_bytes());
    assert_eq!(driver.events().len(), 1);
}

#[test]
fn after_a_reset_everything_is_free_again() {
    let mut driver = Driver::new(1, 2);
    load(&mut driver);
    driver.create(0, 2);
    up(&mut driver, 0, 2);
    driver.control.reset();
    assert!(driver.events().is_empty());
    let profile = driver.control.profile().clone();
    driver.dp = MockDataPlane::new(&profile, GuestMemory::new());
    load(&mut driver);
    driver.create(0, 2);
    up(&mut driver, 0, 2);
}

#[test]
fn a_vf_gets_the_offsets_of_its_layout() {
    use crate::layout::RegisterLayout;

    let profile = driver::profile(1, 4)
        .with_layout(RegisterLayout::Vf)
        .unwrap();
    let dp = MockDataPlane::new(&profile, GuestMemory::new());
    let mut driver = Driver::with(profile, dp);
    driver.ok(op::GET_CAPS, GetCapabilities::default().as_bytes());
    let caps = driver.answer::<GetCapabilities>().0;
    assert_eq!(caps.mailbox_dyn_ctl.get(), 0x5C00);
    let request = AllocVectors {
        num_vectors: U16::new(3),
        ..AllocVectors::default()
    };
    driver.ok(op::ALLOC_VECTORS, request.as_bytes());
    let (_, rest) = driver.answer::<AllocVectors>();
    let chunk = VectorChunk::read_from_bytes(rest).unwrap();
    let dyn_ctl = (chunk.dynctl_reg_start.get(), chunk.dynctl_reg_spacing.get());
    let itr = (chunk.itrn_reg_start.get(), chunk.itrn_reg_spacing.get());
    assert_eq!((chunk.start_vector_id.get(), dyn_ctl), (1, (0x7_0000, 4)));
    assert_eq!(
        (itr, chunk.itrn_index_spacing.get()),
        ((0x7_2000, 4), 0x2000)
    );
    let created = driver.create(0, 2);
    let tails: Vec<_> = driver
        .chunks(CreateVport::LEN, created.chunks.num_chunks)
        .iter()
        .map(|c| {
            (
                c.type_.get(),
                c.qtail_reg_start.get(),
                c.qtail_reg_spacing.get(),
            )
        })
        .collect();
    assert_eq!(
        tails,
        [
            (queue_type::TX, 0x4_0000, 4),
            (queue_type::RX, 0x5_0000, 4),
            (queue_type::TX_COMPLETION, 0, 0),
            (queue_type::RX_BUFFER, 0x6_0000, 4),
        ]
    );
}
