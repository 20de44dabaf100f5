// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A control plane over a composition of mock ADIs, each of which has the control plane of the
//! function that it belongs to: what that refuses, an ADI would refuse.

use std::sync::Arc;

use adit_function::control::{Capabilities, Profile};
use adit_function::dataplane::DataPlane as _;
use adit_function::memory::Access;
use adit_function::testing::driver::{message, named, Driver};
use adit_function::testing::sealed;
use adit_uapi::virtchnl2::{
    cap, mac_addr_type, op, queue_model, queue_type, status, AllocVectors, ConfigRxQueues,
    ConfigTxQueues, GetCapabilities, MacAddr as MacEntry, MacAddrList, QueueVector,
    QueueVectorMaps, RssKey, RssLut, RxqInfo, TxqInfo, VectorChunk, VportStats,
};
use adit_vfio_user::migration::{DirtyBitmap, IovaRange};
use parking_lot::Mutex;
use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, IntoBytes};

use super::*;
use crate::protocol::Layout;
use crate::testing::{MockAdi, MockState};

const RW: Access = Access {
    read: true,
    write: true,
};

type States = Vec<Arc<Mutex<MockState>>>;

/// A driver of a device out of `count` ADIs of 4 queue pairs, with 2 RX queues each.
fn device(count: u16, limits: Limits) -> (Driver<Composition>, States) {
    let frames = Frames {
        adis: count,
        rx_queues: 2,
        pairs: 4,
        vectors: 4,
    };
    let adis: Vec<_> = (0..count)
        .map(|n| MockAdi::new("adi", n as u8, 4))
        .collect();
    let states = adis.iter().map(MockAdi::state).collect();
    let macs = adis.iter().map(|adi| adi.properties().mac).collect();
    let profile = Profile::new(macs, 2)
        .and_then(|p| p.with_layout(Layout::Vf.registers(frames)))
        .unwrap()
        .narrowed(&Capabilities::OF_ADIS);
    let adis = adis.into_iter().map(|adi| Box::new(adi) as Box<dyn Adi>);
    let composition = Composition::new(adis.collect(), frames, limits);
    (Driver::with(profile, composition), states)
}

fn one() -> (Driver<Composition>, Arc<Mutex<MockState>>) {
    let (driver, states) = device(1, Limits::default());
    (driver, states[0].clone())
}

fn tx(type_: u32, id: u32) -> TxqInfo {
    TxqInfo {
        dma_ring_addr: U64::new(0x10_0000),
        type_: U32::new(type_),
        queue_id: U32::new(id),
        model: U16::new(queue_model::SPLIT),
        sched_mode: U16::new(1),
        ring_len: U16::new(512),
        tx_compl_queue_id: U16::new(id as u16),
        ..TxqInfo::default()
    }
}

fn rx(type_: u32, id: u32) -> RxqInfo {
    RxqInfo {
        desc_ids: U64::new(1 << 2),
        dma_ring_addr: U64::new(0x20_0000),
        type_: U32::new(type_),
        queue_id: U32::new(id),
        model: U16::new(queue_model::SPLIT),
        data_buffer_size: U32::new(2048),
        max_pkt_size: U32::new(1526),
        ring_len: U16::new(512),
        hdr_buffer_size: U16::new(256),
        qflags: U16::new(1 << 1 | 1 << 4),
        rx_bufq1_id: U16::new(2 * id as u16),
        rx_bufq2_id: U16::new(2 * id as u16 + 1),
        bufq2_ena: 1,
        ..RxqInfo::default()
    }
}

/// Configures and enables the first queues of a vport, whose queues begin there.
fn up(driver: &mut Driver<Composition>, vport: u32) {
    let (pair, rxq) = (4 * vport, 2 * vport);
    let header = ConfigTxQueues {
        vport_id: U32::new(vport),
        num_qinfo: U16::new(2),
        ..ConfigTxQueues::default()
    };
    let queues = [
        tx(queue_type::TX, pair),
        tx(queue_type::TX_COMPLETION, pair),
    ];
    driver.ok(op::CONFIG_TX_QUEUES, &message(&header, &queues));
    let header = ConfigRxQueues {
        vport_id: U32::new(vport),
        num_qinfo: U16::new(3),
        ..ConfigRxQueues::default()
    };
    let buffer = 2 * rxq;
    let queues = [
        rx(queue_type::RX, rxq),
        rx(queue_type::RX_BUFFER, buffer),
        rx(queue_type::RX_BUFFER, buffer + 1),
    ];
    driver.ok(op::CONFIG_RX_QUEUES, &message(&header, &queues));
    driver.ok(op::ENABLE_QUEUES, &first_queues(vport));
    driver.ok(op::ENABLE_VPORT, name(vport).as_bytes());
}

fn first_queues(vport: u32) -> Vec<u8> {
    let (pair, rxq) = (4 * vport, 2 * vport);
    let queues = [
        (queue_type::TX, pair),
        (queue_type::TX_COMPLETION, pair),
        (queue_type::RX, rxq),
        (queue_type::RX_BUFFER, 2 * rxq),
        (queue_type::RX_BUFFER, 2 * rxq + 1),
    ];
    named(vport, &queues)
}

fn name(vport: u32) -> adit_uapi::virtchnl2::Vport {
    adit_uapi::virtchnl2::Vport {
        vport_id: U32::new(vport),
        ..Default::default()
    }
}

fn map(vport: u32, queue: u32, vector: u16) -> Vec<u8> {
    let header = QueueVectorMaps {
        vport_id: U32::new(vport),
        num_qv_maps: U16::new(1),
        ..QueueVectorMaps::default()
    };
    let entry = QueueVector {
        queue_id: U32::new(queue),
        vector_id: U16::new(vector),
        queue_type: U32::new(queue_type::RX),
        ..QueueVector::default()
    };
    message(&header, &[entry])
}

fn addresses(list: &[[u8; 6]]) -> Vec<u8> {
    let header = MacAddrList {
        num_mac_addr: U16::new(list.len() as u16),
        ..MacAddrList::default()
    };
    let entries: Vec<_> = list
        .iter()
        .map(|&addr| MacEntry {
            addr,
            type_: mac_addr_type::EXTRA,
            pad: 0,
        })
        .collect();
    message(&header, &entries)
}

fn alloc_vectors(driver: &mut Driver<Composition>, count: u16) -> Vec<VectorChunk> {
    let request = AllocVectors {
        num_vectors: U16::new(count),
        ..AllocVectors::default()
    };
    driver.ok(op::ALLOC_VECTORS, request.as_bytes());
    let (reply, rest) = driver.answer::<AllocVectors>();
    let chunks: Vec<_> = rest
        .chunks(VectorChunk::LEN)
        .map(|bytes| VectorChunk::read_from_bytes(bytes).unwrap())
        .collect();
    assert_eq!(usize::from(reply.vchunks.num_vchunks.get()), chunks.len());
    chunks
}

fn running(state: &Arc<Mutex<MockState>>) -> usize {
    let state = state.lock();
    state
        .device
        .dp
        .queues
        .values()
        .filter(|q| q.enabled)
        .count()
}

#[test]
fn the_capabilities_are_those_of_an_owner() {
    let (mut driver, _) = one();
    let request = GetCapabilities {
        other_caps: U64::new(u64::MAX),
        ..GetCapabilities::default()
    };
    driver.ok(op::GET_CAPS, request.as_bytes());
    let (caps, _) = driver.answer::<GetCapabilities>();
    let other = caps.other_caps.get();
    for missing in [
        cap::other::PROMISC,
        cap::other::LOOPBACK,
        cap::other::FLOW_STEER,
        cap::other::SPLITQ_QSCHED,
    ] {
        assert_eq!(other & missing, 0);
    }
    let counts = (caps.max_rx_q.get(), caps.max_tx_q.get());
    assert_eq!(counts, (2, 4));
    assert_eq!((caps.max_rx_bufq.get(), caps.max_tx_complq.get()), (4, 4));
    assert_eq!(caps.num_allocated_vectors.get(), 6);
    assert_eq!(driver.send(op::LOOPBACK, &[0; 8]), status::ERR_ESRCH);
}

#[test]
fn queues_come_up_and_go_down_in_the_adi() {
    let (mut driver, state) = one();
    let created = driver.create(0, 2);
    assert_eq!(created.default_mac_addr, [2, 0, 0, 0, 9, 0]);
    up(&mut driver, 0);
    assert_eq!(running(&state), 5);
    driver.ok(op::DISABLE_QUEUES, &first_queues(0));
    assert_eq!(running(&state), 0);
    assert_eq!(state.lock().device.dp.markers.len(), 1, "in one message");
    driver.ok(op::DESTROY_VPORT, name(0).as_bytes());
    assert_eq!(state.lock().resets, 1);
}

#[test]
fn a_vport_that_is_destroyed_while_it_runs_stops() {
    let (mut driver, state) = one();
    driver.create(0, 2);
    up(&mut driver, 0);
    driver.ok(op::DESTROY_VPORT, name(0).as_bytes());
    assert_eq!(running(&state), 0);
}

#[test]
fn each_vport_is_an_adi() {
    let (mut driver, states) = device(2, Limits::default());
    for vport in 0..2 {
        driver.create(vport, 2);
    }
    up(&mut driver, 1);
    assert_eq!((running(&states[0]), running(&states[1])), (0, 5));
    // Of 10 vectors, 1 to 4 are the first ADI's, 5 is for polled queues; then likewise.
    let chunks = alloc_vectors(&mut driver, 10);
    let runs: Vec<_> = chunks
        .iter()
        .map(|c| (c.start_vector_id.get(), c.num_vectors.get()))
        .collect();
    assert_eq!(runs, [(1, 4), (5, 1), (6, 4), (10, 1)]);
    driver.ok(op::MAP_QUEUE_VECTOR, &map(1, 2, 7));
    assert_eq!(states[1].lock().device.dp.vectors.len(), 1);
    let foreign = driver.send(op::MAP_QUEUE_VECTOR, &map(1, 2, 1));
    assert_eq!(foreign, status::ERR_EACCES);
}

#[test]
fn the_vector_of_polled_queues_is_no_vector_of_the_adi() {
    let (mut driver, state) = one();
    driver.create(0, 2);
    let chunks = alloc_vectors(&mut driver, 5);
    assert_eq!(chunks.len(), 1, "drivers that read one chunk see all");
    driver.ok(op::MAP_QUEUE_VECTOR, &map(0, 0, 2));
    assert_eq!(state.lock().device.dp.vectors.len(), 1);
    driver.ok(op::MAP_QUEUE_VECTOR, &map(0, 0, 5));
    assert_eq!(state.lock().device.dp.vectors.len(), 0);
    driver.ok(op::UNMAP_QUEUE_VECTOR, &map(0, 0, 5));
}

#[test]
fn flows_are_spread_over_the_queues_of_the_vport_only() {
    let (mut driver, state) = one();
    driver.create(0, 2);
    let lut = |state: &Arc<Mutex<MockState>>| {
        let state = state.lock();
        let vport = VportId(1);
        state.device.dp.vport(vport).rss_lut[..4].to_vec()
    };
    assert_eq!(lut(&state), [0, 1, 0, 1]);
    let header = RssLut {
        lut_entries: U16::new(2),
        ..RssLut::default()
    };
    let entries = [U32::new(1), U32::new(1)];
    driver.ok(op::SET_RSS_LUT, &message(&header, &entries));
    assert_eq!(lut(&state), [1, 1, 0, 1]);
    let header = RssKey {
        key_len: U16::new(52),
        ..RssKey::default()
    };
    driver.ok(op::SET_RSS_KEY, &message(&header, &[7_u8; 52]));
    let key = *state.lock().device.dp.vport(VportId(1)).rss_key();
    assert_eq!(key, [7; 52]);
}

#[test]
fn only_multicast_addresses_up_to_the_limit_and_its_own_are_added() {
    let limits = Limits {
        multicast_addresses: 2,
        ..Limits::default()
    };
    let (mut driver, states) = device(1, limits);
    driver.create(0, 2);
    let group = |n| [0x33, 0x33, 0, 0, 0, n];
    driver.ok(op::ADD_MAC_ADDR, &addresses(&[group(1), group(2)]));
    let third = driver.send(op::ADD_MAC_ADDR, &addresses(&[group(3)]));
    assert_eq!(third, status::ERR_ENOSPC);
    let foreign = driver.send(op::ADD_MAC_ADDR, &addresses(&[[2, 0, 0, 0, 9, 1]]));
    assert_eq!(foreign, status::ERR_EACCES);
    driver.ok(op::ADD_MAC_ADDR, &addresses(&[[2, 0, 0, 0, 9, 0]]));
    driver.ok(op::DEL_MAC_ADDR, &addresses(&[group(1)]));
    driver.ok(op::ADD_MAC_ADDR, &addresses(&[group(3)]));
    let state = states[0].lock();
    let in_adi = &state.device.dp.vport(VportId(1)).addresses;
    assert!(in_adi.contains(&group(2)) && in_adi.contains(&group(3)));
    assert_eq!(in_adi.len(), 3);
}

#[test]
fn what_the_adi_refuses_is_refused() {
    let (mut driver, state) = one();
    driver.create(0, 2);
    state.lock().refuse = Some(op::ENABLE_VPORT);
    let refused = driver.send(op::ENABLE_VPORT, name(0).as_bytes());
    assert_eq!(refused, status::ERR_EIO);
    state.lock().refuse = None;
    driver.ok(op::ENABLE_VPORT, name(0).as_bytes());
    assert!(!driver.dp.is_gone());
}

#[test]
fn an_adi_that_does_not_stop_its_queues_is_closed() {
    let (mut driver, state) = one();
    driver.create(0, 2);
    up(&mut driver, 0);
    state.lock().refuse = Some(op::DISABLE_QUEUES);
    let refused = driver.send(op::DISABLE_QUEUES, &first_queues(0));
    assert_eq!(refused, status::ERR_EIO);
    assert!(driver.dp.is_gone() && !state.lock().open);
}

#[test]
fn an_adi_that_is_gone_refuses_everything() {
    let (mut driver, state) = one();
    driver.create(0, 2);
    state.lock().gone = true;
    let refused = driver.send(op::ENABLE_VPORT, name(0).as_bytes());
    assert_eq!(refused, status::ERR_EIO);
    assert!(driver.dp.is_gone());
    let stats = driver.send(op::GET_STATS, VportStats::default().as_bytes());
    assert_eq!(stats, status::ERR_EIO);
    driver.dp.reset();
    assert!(!state.lock().open);
}

#[test]
fn windows_are_registered_everywhere_or_nowhere() {
    let (mut driver, states) = device(2, Limits::default());
    let dp = &mut driver.dp;
    let file = || Some((sealed(0x2000), 0));
    dp.map(0x1000, 0x2000, RW, file()).unwrap();
    for state in &states {
        assert_eq!(state.lock().windows, [(0x1000, 0x2000)]);
    }
    states[1].lock().refuse_windows = true;
    let refused = dp.map(0x8000, 0x2000, RW, file()).unwrap_err();
    assert_eq!(refused.errno(), adit_vfio_user::Errno::NOSPC);
    assert_eq!(states[0].lock().windows.len(), 1);
    assert_eq!((dp.memory.len(), dp.windows()), (1, (1, 0x2000)));
    states[1].lock().refuse_windows = false;
    let outside = dp.map(1 << 47, 0x2000, RW, file()).unwrap_err();
    assert_eq!(outside.errno(), adit_vfio_user::Errno::RANGE);
    dp.map(0x10_0000, 0x1000, RW, None).unwrap();
    assert_eq!(states[0].lock().windows.len(), 1, "a window without a file");
    let stats = dp.dma_stats();
    assert_eq!((stats.mapped, stats.without_file), (2, 1));
    assert_eq!((stats.refused["adi"], stats.refused["address"]), (1, 1));
    dp.unmap(0x1000, 0x2000);
    dp.unmap(0x10_0000, 0x1000);
    assert!(states.iter().all(|state| state.lock().windows.is_empty()));
    assert_eq!((dp.memory.len(), dp.windows()), (0, (0, 0)));
}

#[test]
fn an_adi_that_does_not_unmap_is_closed() {
    let (mut driver, state) = one();
    let file = Some((sealed(0x1000), 0));
    driver.dp.map(0, 0x1000, RW, file).unwrap();
    state.lock().refuse_windows = true;
    driver.dp.unmap(0, 0x1000);
    assert!(driver.dp.is_gone() && !state.lock().open);
}

#[test]
fn limits_of_memory_are_the_operators() {
    let limits = Limits {
        windows: 2,
        registered_bytes: 0x3000,
        ..Limits::default()
    };
    let (mut driver, _) = device(1, limits);
    let dp = &mut driver.dp;
    dp.map(0, 0x2000, RW, Some((sealed(0x2000), 0))).unwrap();
    let bytes = dp.map(0x2000, 0x2000, RW, Some((sealed(0x2000), 0)));
    assert!(matches!(bytes, Err(DmaError::Bytes { .. })));
    dp.map(0x2000, 0x1000, RW, None).unwrap();
    let windows = dp.map(0x4000, 0x1000, RW, None);
    assert!(matches!(windows, Err(DmaError::Windows(2))));
}

#[test]
fn a_new_adi_gets_the_windows() {
    let (mut driver, state) = one();
    let file = Some((sealed(0x1000), 0));
    driver.dp.map(0, 0x1000, RW, file).unwrap();
    let new = MockAdi::new("new", 7, 4);
    let new_state = new.state();
    driver.dp.replace(0, Box::new(new)).unwrap();
    assert!(!state.lock().open);
    assert_eq!(new_state.lock().windows, [(0, 0x1000)]);
    assert_eq!(driver.dp.adis()[0].name, "new");
}

#[test]
fn there_is_no_log_with_an_adi_that_does_not_know_what_it_writes() {
    let (mut driver, _) = one();
    let file = Some((sealed(0x2000), 0));
    driver.dp.map(0x1000, 0x2000, RW, file).unwrap();
    let range = IovaRange::new(0, 0x4000).unwrap();
    let written = |driver: &Driver<Composition>| {
        let mut bits = [0; 8];
        let mut bitmap = DirtyBitmap::new(range, 0x1000, &mut bits);
        driver.dp.report_written(&mut bitmap);
        u64::from_ne_bytes(bits)
    };
    let replace = |driver: &mut Driver<Composition>, adi: MockAdi| {
        let state = adi.state();
        driver.dp.replace(0, Box::new(adi)).unwrap();
        state
    };
    replace(&mut driver, MockAdi::new("adi", 0, 4).logging());
    driver.dp.start_log(0x1000, &[range]).unwrap();
    assert_eq!(written(&driver), 0);
    let state = replace(&mut driver, MockAdi::new("adi", 0, 4).logging());
    assert!(state.lock().log.is_some());
    assert_eq!(written(&driver), 0);
    // One that is gone writes nothing.
    driver.dp.close(0);
    assert_eq!(written(&driver), 0);
    replace(&mut driver, MockAdi::new("adi", 0, 4));
    assert_eq!(written(&driver), 0b110);
}
