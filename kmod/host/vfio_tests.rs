// SPDX-License-Identifier: GPL-2.0
//! Tests of [`crate::vfio_messages`]: the messages that an ADI's user may send to the device.

use crate::ids::{AdiId, Pasid, QueueId, VportId};
use crate::messages::{AdiLayout, QueueRange};
use crate::vfio_messages::{disable_all, reply, request, Ids, Refusal, DISABLE_ALL_LEN};
use adit_uapi::virtchnl2::adi::{
    self, doorbell_flags, fault_flags, AdiFault, AdiLogRange, AdiLogWord, AdiQueueState,
    AdiQueueStates, AdiVectorState, AdiVectorStates, ConfigAdiDoorbells, ReadAdiLog, ResetAdi,
    StartAdiLog, StopAdiLog, SuspendAdi,
};
use adit_uapi::virtchnl2::{
    op, queue_type, ConfigRxQueues, ConfigTxQueues, DelEnaDisQueues, MacAddr, MacAddrList,
    PromiscInfo, QueueChunk, QueueVector, QueueVectorMaps, RssHash, RssLut, RxqInfo, TxqInfo,
    Vport, VportStats,
};
use proptest::prelude::*;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const fn queues(start: u32, count: u32) -> QueueRange {
    QueueRange {
        start: QueueId(start),
        count,
    }
}

pub(crate) const IDS: Ids = Ids {
    layout: AdiLayout {
        adi_id: AdiId(7),
        vport_id: VportId(70),
        queue_pairs: 4,
        tx: queues(1000, 4),
        tx_completion: queues(2000, 4),
        rx: queues(3000, 4),
        rx_buffer: queues(4000, 8),
        mac: [2, 0, 0, 0, 0, 7],
        max_mtu: 9000,
        frame_offset: 0x1000_0000,
        frame_pages: 16,
        asleep_offset: 0x40,
        kick_offset: 0x3000_0000,
    },
    vport_rx_queues: 4,
    pasid: Pasid(0x777),
};

fn message<H, E>(header: &H, elements: &[E]) -> Vec<u8>
where
    H: IntoBytes + Immutable,
    E: IntoBytes + Immutable,
{
    [header.as_bytes(), elements.as_bytes()].concat()
}

/// Returns the message that is sent to the device.
fn pass(opcode: u32, mut payload: Vec<u8>) -> Result<Vec<u8>, Refusal> {
    request(opcode, &mut payload, &IDS).map(|()| payload)
}

fn first<T: FromBytes + KnownLayout + Immutable>(payload: &[u8], at: usize) -> T {
    T::read_from_prefix(&payload[at..]).unwrap().0
}

fn tx(kind: u32, queue: u32, completion: u16) -> TxqInfo {
    TxqInfo {
        type_: U32::new(kind),
        queue_id: U32::new(queue),
        tx_compl_queue_id: U16::new(completion),
        dma_ring_addr: U64::new(0x1234_5000),
        ..TxqInfo::default()
    }
}

fn config_tx(infos: &[TxqInfo]) -> Vec<u8> {
    let head = ConfigTxQueues {
        num_qinfo: U16::new(infos.len() as u16),
        ..ConfigTxQueues::default()
    };
    message(&head, infos)
}

fn rx(kind: u32, queue: u32, buffers: [u16; 2]) -> RxqInfo {
    RxqInfo {
        type_: U32::new(kind),
        queue_id: U32::new(queue),
        rx_bufq1_id: U16::new(buffers[0]),
        rx_bufq2_id: U16::new(buffers[1]),
        bufq2_ena: 1,
        ..RxqInfo::default()
    }
}

fn config_rx(infos: &[RxqInfo]) -> Vec<u8> {
    let head = ConfigRxQueues {
        num_qinfo: U16::new(infos.len() as u16),
        ..ConfigRxQueues::default()
    };
    message(&head, infos)
}

fn switch(kind: u32, first: u32, count: u32) -> Vec<u8> {
    let mut head = DelEnaDisQueues::default();
    head.chunks.num_chunks = U16::new(1);
    let chunk = QueueChunk {
        type_: U32::new(kind),
        start_queue_id: U32::new(first),
        num_queues: U32::new(count),
        ..QueueChunk::default()
    };
    message(&head, &[chunk])
}

#[test]
fn queues_get_the_devices_ids_and_the_adis_pasid() {
    let infos = [
        tx(queue_type::TX, 3, 2),
        tx(queue_type::TX_COMPLETION, 2, 99),
    ];
    let sent = pass(op::CONFIG_TX_QUEUES, config_tx(&infos)).unwrap();
    assert_eq!(first::<ConfigTxQueues>(&sent, 0).vport_id.get(), 70);
    let info: TxqInfo = first(&sent, ConfigTxQueues::LEN);
    assert_eq!(
        (info.queue_id.get(), info.tx_compl_queue_id.get()),
        (1003, 2002)
    );
    let pasids = [
        info.egress_pasid,
        info.egress_hdr_pasid,
        info.egress_buf_pasid,
    ];
    assert_eq!(pasids.map(U32::get), [0x777; 3]);
    assert_eq!(info.dma_ring_addr.get(), 0x1234_5000);
    let info: TxqInfo = first(&sent, ConfigTxQueues::LEN + TxqInfo::LEN);
    assert_eq!(info.queue_id.get(), 2002);

    let infos = [rx(queue_type::RX, 1, [2, 7])];
    let sent = pass(op::CONFIG_RX_QUEUES, config_rx(&infos)).unwrap();
    let info: RxqInfo = first(&sent, ConfigRxQueues::LEN);
    assert_eq!(info.queue_id.get(), 3001);
    assert_eq!(
        (info.rx_bufq1_id.get(), info.rx_bufq2_id.get()),
        (4002, 4007)
    );
    let pasids = [
        info.ingress_pasid,
        info.ingress_hdr_pasid,
        info.ingress_buf_pasid,
    ];
    assert_eq!(pasids.map(U32::get), [0x777; 3]);
}

#[test]
fn owners_cannot_choose_a_pasid() {
    for at in [36, 40, 44] {
        let mut payload = config_tx(&[tx(queue_type::TX, 0, 0)]);
        payload[ConfigTxQueues::LEN + at] = 0x77;
        let refusal = pass(op::CONFIG_TX_QUEUES, payload).unwrap_err();
        assert_eq!(refusal, Refusal::NotPermitted);
    }
    for at in [60, 64, 68] {
        let mut payload = config_rx(&[rx(queue_type::RX_BUFFER, 0, [0, 0])]);
        payload[ConfigRxQueues::LEN + at + 1] = 0x7;
        let refusal = pass(op::CONFIG_RX_QUEUES, payload).unwrap_err();
        assert_eq!(refusal, Refusal::NotPermitted);
    }
    let errnos = [
        Refusal::Malformed,
        Refusal::NotPermitted,
        Refusal::NotThere,
        Refusal::Unknown,
    ];
    assert_eq!(errnos.map(Refusal::errno), [22, 1, 6, 95]);
}

#[test]
fn queues_of_others_cannot_be_named() {
    let refused = |opcode, payload| {
        assert_eq!(pass(opcode, payload).unwrap_err(), Refusal::NotThere);
    };
    refused(op::CONFIG_TX_QUEUES, config_tx(&[tx(queue_type::TX, 4, 0)]));
    refused(op::CONFIG_TX_QUEUES, config_tx(&[tx(queue_type::TX, 0, 4)]));
    refused(op::CONFIG_TX_QUEUES, config_tx(&[tx(queue_type::RX, 0, 0)]));
    refused(op::CONFIG_TX_QUEUES, config_tx(&[tx(10, 0, 0)]));
    refused(
        op::CONFIG_RX_QUEUES,
        config_rx(&[rx(queue_type::RX, 0, [8, 0])]),
    );
    refused(
        op::CONFIG_RX_QUEUES,
        config_rx(&[rx(queue_type::RX, 0, [0, 8])]),
    );
    refused(
        op::CONFIG_RX_QUEUES,
        config_rx(&[rx(queue_type::RX_BUFFER, 8, [0, 0])]),
    );
    for opcode in [op::ENABLE_QUEUES, op::DISABLE_QUEUES] {
        refused(opcode, switch(queue_type::TX, 0, 5));
        refused(opcode, switch(queue_type::TX, 4, 1));
        refused(opcode, switch(queue_type::TX, u32::MAX, 2));
        refused(opcode, switch(queue_type::RX_BUFFER, 7, 2));
        refused(opcode, switch(queue_type::MBX_TX, 0, 1));
    }
    let sent = pass(op::ENABLE_QUEUES, switch(queue_type::RX_BUFFER, 6, 2)).unwrap();
    let chunk: QueueChunk = first(&sent, DelEnaDisQueues::LEN);
    assert_eq!(chunk.start_queue_id.get(), 4006);
}

#[test]
fn vectors_of_others_cannot_be_named() {
    let map = |vector, queue| {
        let head = QueueVectorMaps {
            num_qv_maps: U16::new(1),
            ..QueueVectorMaps::default()
        };
        let map = QueueVector {
            queue_id: U32::new(queue),
            vector_id: U16::new(vector),
            queue_type: U32::new(queue_type::RX),
            ..QueueVector::default()
        };
        pass(op::MAP_QUEUE_VECTOR, message(&head, &[map]))
    };
    assert_eq!(map(4, 0).unwrap_err(), Refusal::NotThere);
    assert_eq!(map(0, 4).unwrap_err(), Refusal::NotThere);
    let map: QueueVector = first(&map(3, 1).unwrap(), QueueVectorMaps::LEN);
    assert_eq!((map.vector_id.get(), map.queue_id.get()), (3, 3001));
}

#[test]
fn other_vports_cannot_be_named_in_any_message() {
    let vport_first = [
        (op::ENABLE_VPORT, Vport::LEN),
        (op::DISABLE_VPORT, Vport::LEN),
        (op::GET_STATS, VportStats::LEN),
        (op::GET_RSS_KEY, 7),
        (op::SET_RSS_KEY, 60),
        (op::GET_RSS_LUT, RssLut::LEN),
        (op::SET_RSS_LUT, RssLut::LEN),
        (op::CONFIG_PROMISCUOUS_MODE, PromiscInfo::LEN),
        (op::ADD_MAC_ADDR, MacAddrList::LEN),
        (op::CONFIG_TX_QUEUES, ConfigTxQueues::LEN),
        (op::CONFIG_RX_QUEUES, ConfigRxQueues::LEN),
        (op::ENABLE_QUEUES, DelEnaDisQueues::LEN),
        (op::MAP_QUEUE_VECTOR, QueueVectorMaps::LEN),
    ];
    for (opcode, len) in vport_first {
        let mut payload = vec![0; len];
        let sent = pass(opcode, payload.clone()).unwrap();
        assert_eq!(sent[..4], [70, 0, 0, 0], "{opcode}");
        payload[0] = 70;
        assert_eq!(pass(opcode, payload).unwrap_err(), Refusal::NotThere);
    }
    let mut payload = vec![0; RssHash::LEN];
    payload[8] = 1;
    let refusal = pass(op::SET_RSS_HASH, payload).unwrap_err();
    assert_eq!(refusal, Refusal::NotThere);
}

#[test]
fn other_adis_cannot_be_named_in_any_message() {
    let no_kick = ConfigAdiDoorbells {
        flags: U16::new(doorbell_flags::NO_KICK),
        ..ConfigAdiDoorbells::default()
    };
    let adi_first = [
        (
            adi::op::GET_ADI_FAULT,
            AdiFault::default().as_bytes().to_vec(),
        ),
        (adi::op::RESET_ADI, ResetAdi::default().as_bytes().to_vec()),
        (adi::op::CONFIG_ADI_DOORBELLS, no_kick.as_bytes().to_vec()),
        (
            adi::op::SUSPEND_ADI,
            SuspendAdi::default().as_bytes().to_vec(),
        ),
        (
            adi::op::RESUME_ADI,
            SuspendAdi::default().as_bytes().to_vec(),
        ),
        (
            adi::op::GET_ADI_VECTOR_STATE,
            vector_states(0, 4).as_bytes().to_vec(),
        ),
        (
            adi::op::SET_ADI_VECTOR_STATE,
            message(&vector_states(0, 2), &[AdiVectorState::default(); 2]),
        ),
        (
            adi::op::START_ADI_LOG,
            message(&start_log(2), &[AdiLogRange::default(); 2]),
        ),
        (
            adi::op::STOP_ADI_LOG,
            StopAdiLog::default().as_bytes().to_vec(),
        ),
        (
            adi::op::READ_ADI_LOG,
            ReadAdiLog::default().as_bytes().to_vec(),
        ),
    ];
    for (opcode, mut payload) in adi_first {
        let sent = pass(opcode, payload.clone()).unwrap();
        assert_eq!(sent[..2], [7, 0], "{opcode:#x}");
        assert_eq!(sent[2..], payload[2..], "{opcode:#x}");
        let shorter = payload[..payload.len() - 1].to_vec();
        assert_eq!(pass(opcode, shorter).unwrap_err(), Refusal::Malformed);
        // Not even by its id in the device.
        payload[0] = 7;
        let refusal = pass(opcode, payload.clone()).unwrap_err();
        assert_eq!(refusal, Refusal::NotThere, "{opcode:#x}");
        assert_eq!(reply(opcode, &mut payload[..0], &IDS), 0);
    }
}

fn start_log(ranges: u16) -> StartAdiLog {
    StartAdiLog {
        num_ranges: U16::new(ranges),
        page_size: U64::new(0x1000),
        ..StartAdiLog::default()
    }
}

#[test]
fn replies_about_logs_have_no_id_of_the_device() {
    let mut started = start_log(0);
    started.adi_id.set(7);
    let mut payload = started.as_bytes().to_vec();
    let opcode = adi::op::START_ADI_LOG;
    assert_eq!(reply(opcode, &mut payload, &IDS), StartAdiLog::LEN);
    assert_eq!(payload, start_log(0).as_bytes());
    // Of a device that repeats the ranges.
    let mut longer = message(&started, &[AdiLogRange::default()]);
    assert_eq!(reply(opcode, &mut longer, &IDS), 0);
    let head = ReadAdiLog {
        adi_id: U16::new(7),
        num_words: U16::new(1),
        ..ReadAdiLog::default()
    };
    let word = AdiLogWord {
        iova: U64::new(0x7000),
        written: U64::new(1),
    };
    let mut payload = message(&head, &[word]);
    let opcode = adi::op::READ_ADI_LOG;
    assert_eq!(reply(opcode, &mut payload, &IDS), payload.len());
    assert_eq!(payload[..2], [0, 0]);
    assert_eq!(payload[ReadAdiLog::LEN..], *word.as_bytes());
    assert_eq!(reply(opcode, &mut payload[..9], &IDS), 0);
}

#[test]
fn a_log_has_the_number_of_ranges_that_it_announces() {
    let opcode = adi::op::START_ADI_LOG;
    for ranges in [0, 1, 3] {
        let payload = message(&start_log(ranges), &[AdiLogRange::default(); 2]);
        let refusal = pass(opcode, payload).unwrap_err();
        assert_eq!(refusal, Refusal::Malformed);
    }
}

fn vector_states(first: u16, count: u16) -> AdiVectorStates {
    AdiVectorStates {
        num_states: U16::new(count),
        start_vector_id: U16::new(first),
        ..AdiVectorStates::default()
    }
}

fn queue_states(kind: u32, first: u32, count: u16) -> AdiQueueStates {
    AdiQueueStates {
        num_states: U16::new(count),
        type_: U32::new(kind),
        start_queue_id: U32::new(first),
        ..AdiQueueStates::default()
    }
}

#[test]
fn states_are_those_of_queues_and_vectors_of_the_adi() {
    let (get, set) = (adi::op::GET_ADI_QUEUE_STATE, adi::op::SET_ADI_QUEUE_STATE);
    let states = |head: AdiQueueStates| {
        let count = head.num_states.get().into();
        message(&head, &vec![AdiQueueState::default(); count])
    };
    for (kind, first, count, device) in [
        (queue_type::TX, 3, 1, 1003),
        (queue_type::TX_COMPLETION, 0, 4, 2000),
        (queue_type::RX, 1, 2, 3001),
        (queue_type::RX_BUFFER, 6, 2, 4006),
    ] {
        let head = queue_states(kind, first, count);
        for (opcode, payload) in [(get, head.as_bytes().to_vec()), (set, states(head))] {
            let sent = pass(opcode, payload.clone()).unwrap();
            let sent_head: AdiQueueStates = self::first(&sent, 0);
            let ids = (sent_head.adi_id.get(), sent_head.start_queue_id.get());
            assert_eq!(ids, (7, device));
            assert_eq!(sent[AdiQueueStates::LEN..], payload[AdiQueueStates::LEN..]);
            let cut = payload[..payload.len() - 1].to_vec();
            assert_eq!(pass(opcode, cut).unwrap_err(), Refusal::Malformed);
            let longer = [&payload[..], &[0]].concat();
            assert_eq!(pass(opcode, longer).unwrap_err(), Refusal::Malformed);
        }
        // The device's reply.
        let mut payload = states(AdiQueueStates {
            adi_id: U16::new(7),
            start_queue_id: U32::new(device),
            ..head
        });
        assert_eq!(reply(get, &mut payload, &IDS), payload.len());
        assert_eq!(payload, states(head));
    }
    for (kind, first, count) in [
        (queue_type::TX, 4, 1),
        (queue_type::TX, 0, 5),
        (queue_type::TX, u32::MAX, 2),
        (queue_type::RX_BUFFER, 7, 2),
        (queue_type::MBX_TX, 0, 1),
    ] {
        let head = queue_states(kind, first, count);
        let refusal = pass(get, head.as_bytes().to_vec()).unwrap_err();
        assert_eq!(refusal, Refusal::NotThere);
        assert_eq!(pass(set, states(head)).unwrap_err(), Refusal::NotThere);
    }
    for (first, count) in [(0, 5), (4, 1), (u16::MAX, 2)] {
        let head = vector_states(first, count);
        let get = adi::op::GET_ADI_VECTOR_STATE;
        let refusal = pass(get, head.as_bytes().to_vec()).unwrap_err();
        assert_eq!(refusal, Refusal::NotThere);
    }
    let mut payload = message(
        &AdiVectorStates {
            adi_id: U16::new(7),
            ..vector_states(1, 1)
        },
        &[AdiVectorState::default()],
    );
    let len = payload.len();
    assert_eq!(
        reply(adi::op::GET_ADI_VECTOR_STATE, &mut payload, &IDS),
        len
    );
    assert_eq!(first::<AdiVectorStates>(&payload, 0), vector_states(1, 1));
}

#[test]
fn only_multicast_and_its_own_address_can_be_added() {
    let add = |addr| {
        let head = MacAddrList {
            num_mac_addr: U16::new(1),
            ..MacAddrList::default()
        };
        let mac = MacAddr {
            addr,
            type_: 2,
            pad: 0,
        };
        pass(op::ADD_MAC_ADDR, message(&head, &[mac]))
    };
    assert!(add([0x33, 0x33, 0, 0, 0, 1]).is_ok());
    assert!(add(IDS.layout.mac).is_ok());
    assert_eq!(add([2, 0, 0, 0, 0, 8]).unwrap_err(), Refusal::NotPermitted);
    let mut promiscuous = PromiscInfo::default();
    assert!(pass(op::CONFIG_PROMISCUOUS_MODE, promiscuous.as_bytes().to_vec()).is_ok());
    promiscuous.flags = U16::new(1);
    let refusal = pass(op::CONFIG_PROMISCUOUS_MODE, promiscuous.as_bytes().to_vec());
    assert_eq!(refusal.unwrap_err(), Refusal::NotPermitted);
}

#[test]
fn counts_that_contradict_the_length_are_refused() {
    let infos = [tx(queue_type::TX, 0, 0), tx(queue_type::TX, 1, 1)];
    let payload = config_tx(&infos);
    for len in 0..payload.len() {
        let refusal = pass(op::CONFIG_TX_QUEUES, payload[..len].to_vec()).unwrap_err();
        assert_eq!(refusal, Refusal::Malformed, "{len} bytes");
    }
    let longer = [&payload[..], &[0]].concat();
    let refusal = pass(op::CONFIG_TX_QUEUES, longer).unwrap_err();
    assert_eq!(refusal, Refusal::Malformed);
}

#[test]
fn messages_of_a_physical_function_are_unknown() {
    let others = [
        op::VERSION,
        op::GET_CAPS,
        op::CREATE_VPORT,
        op::DESTROY_VPORT,
        op::ADD_QUEUES,
        op::DEL_QUEUES,
        op::ALLOC_VECTORS,
        op::DEALLOC_VECTORS,
        op::NON_FLEX_CREATE_ADI,
        op::NON_FLEX_DESTROY_ADI,
        op::ADD_FLOW_RULE,
        op::LOOPBACK,
        op::SET_SRIOV_VFS,
        adi::op::CONFIG_ADI_CAUSE_RING,
        adi::op::GET_ADI_CAPS,
        adi::op::SET_ADI_GROUP,
    ];
    for opcode in others {
        let refusal = pass(opcode, vec![0; 200]).unwrap_err();
        assert_eq!(refusal, Refusal::Unknown, "{opcode}");
    }
}

#[test]
fn replies_contain_no_ids_of_the_device() {
    let mut fault = AdiFault {
        adi_id: U16::new(7),
        queue_type: U32::new(queue_type::RX_BUFFER),
        queue_id: U32::new(4005),
        pasid: U32::new(0x777),
        flags: U16::new(fault_flags::WRITE),
        ..AdiFault::default()
    };
    assert_eq!(
        reply(adi::op::GET_ADI_FAULT, fault.as_mut_bytes(), &IDS),
        AdiFault::LEN
    );
    assert_eq!((fault.adi_id.get(), fault.pasid.get()), (0, 0));
    assert_eq!((fault.queue_id.get(), fault.flags.get()), (5, 2));
    let mut stats = VportStats {
        vport_id: U32::new(70),
        tx_bytes: U64::new(5),
        ..VportStats::default()
    };
    assert_eq!(
        reply(op::GET_STATS, stats.as_mut_bytes(), &IDS),
        VportStats::LEN
    );
    assert_eq!((stats.vport_id.get(), stats.tx_bytes.get()), (0, 5));
    let mut echo = config_tx(&[tx(queue_type::TX, 1003, 2003)]);
    assert_eq!(reply(op::CONFIG_TX_QUEUES, &mut echo, &IDS), 0);
    assert_eq!(reply(op::GET_STATS, &mut [], &IDS), 0);
}

#[test]
fn all_queues_are_stopped_at_once() {
    let mut payload = [0; DISABLE_ALL_LEN];
    disable_all(&mut payload, &IDS);
    assert_eq!(first::<DelEnaDisQueues>(&payload, 0).vport_id.get(), 70);
    let chunks = <[QueueChunk]>::ref_from_bytes(&payload[DelEnaDisQueues::LEN..]).unwrap();
    let got: Vec<_> = chunks
        .iter()
        .map(|c| (c.type_.get(), c.start_queue_id.get(), c.num_queues.get()))
        .collect();
    let want = [
        (queue_type::TX, 1000, 4),
        (queue_type::TX_COMPLETION, 2000, 4),
        (queue_type::RX, 3000, 4),
        (queue_type::RX_BUFFER, 4000, 8),
    ];
    assert_eq!(got, want);
}

proptest! {
    /// Checks for any bytes that nothing panics, the length stays the same, and every queue in a
    /// message to the device belongs to the ADI.
    #[test]
    fn any_bytes_stay_within_the_adi(
        opcode in prop_oneof![
            500_u32..560,
            adi::op::GET_ADI_CAPS..=adi::op::READ_ADI_LOG,
            any::<u32>(),
        ],
        mut payload in prop::collection::vec(prop_oneof![3 => Just(0_u8), 1 => any::<u8>()], 0..300)
    ) {
        let len = payload.len();
        let passed = request(opcode, &mut payload, &IDS).is_ok();
        prop_assert_eq!(payload.len(), len);
        if passed && matches!(opcode, op::ENABLE_QUEUES | op::DISABLE_QUEUES) {
            let chunks =
                <[QueueChunk]>::ref_from_bytes(&payload[DelEnaDisQueues::LEN..]).unwrap();
            for chunk in chunks {
                let (first, count) = (chunk.start_queue_id.get(), chunk.num_queues.get());
                let base = 1000 * (match chunk.type_.get() { 0 => 0, 2 => 1, 1 => 2, _ => 3 } + 1);
                prop_assert!(first >= base && first + count <= base + 8);
            }
        }
        reply(opcode, &mut payload, &IDS);
    }
}

#[test]
fn look_up_tables_name_the_queues_of_a_group() {
    let table = |queue: u32| {
        let head = RssLut {
            lut_entries: U16::new(2),
            ..RssLut::default()
        };
        message(&head, &[U32::new(0), U32::new(queue)])
    };
    let alone = |queue| pass(op::SET_RSS_LUT, table(queue)).map(|_| ());
    assert_eq!(alone(3), Ok(()));
    assert_eq!(alone(4), Err(Refusal::NotThere));
    let leader = Ids {
        vport_rx_queues: 6,
        ..IDS
    };
    let led = |queue| request(op::SET_RSS_LUT, &mut table(queue), &leader);
    assert_eq!(led(5), Ok(()));
    assert_eq!(led(6), Err(Refusal::NotThere));
    assert_eq!(led(u32::MAX), Err(Refusal::NotThere));
    // Its own queues stay those that it has.
    let chunk = QueueChunk {
        type_: U32::new(queue_type::RX),
        start_queue_id: U32::new(4),
        num_queues: U32::new(1),
        ..QueueChunk::default()
    };
    let mut head = DelEnaDisQueues::default();
    head.chunks.num_chunks = U16::new(1);
    let mut enable = message(&head, &[chunk]);
    let refused = request(op::ENABLE_QUEUES, &mut enable, &leader);
    assert_eq!(refused, Err(Refusal::NotThere));
}
