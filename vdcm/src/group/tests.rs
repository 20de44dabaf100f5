// SPDX-License-Identifier: Apache-2.0 OR MIT

use adit_function::dataplane::QueueKind;
use adit_function::memory::WriteLog;
use adit_uapi::virtchnl2::adi::{
    fault_reason, op as adi_op, AdiFault, AdiQueueState, AdiQueueStates, AdiVectorStates,
    SuspendAdi, GROUP_VECTOR,
};
use adit_uapi::virtchnl2::{
    op, queue_type, ConfigRxQueues, ConfigTxQueues, DelEnaDisQueues, QueueChunk, QueueVector,
    QueueVectorMaps, RssHash, RxqInfo, TxqInfo, VportStats,
};
use adit_vfio_user::migration::IovaRange;
use proptest::prelude::*;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::parts::{Parts, Share};
use super::routes::{route, Replies, Routed, Unroutable};
use super::*;
use crate::testing::MockAdi;

/// A group of an ADI with one pair and one with three pairs and two vectors.
fn parts() -> Parts {
    let ids = |vport, adi, pasid, first_queues| Ids {
        vport,
        adi,
        pasid,
        first_queues,
    };
    let leader = ids(5, 1, 10, [100, 200, 300, 400]);
    let member = ids(6, 2, 20, [110, 210, 310, 420]);
    Parts::new([(leader, 1, 1), (member, 3, 2)].into_iter())
}

fn payload<H, E>(header: H, elements: &[E]) -> Vec<u8>
where
    H: IntoBytes + Immutable,
    E: IntoBytes + Immutable,
{
    [header.as_bytes(), elements.as_bytes()].concat()
}

/// The messages to the members.
fn routed(opcode: u32, payload: &[u8]) -> Result<Vec<Routed>, Unroutable> {
    route(&parts(), opcode, payload).map(|(messages, _)| messages)
}

fn header<T: FromBytes>(message: &Routed) -> (T, &[u8]) {
    T::read_from_prefix(&message.payload).unwrap()
}

#[test]
fn resources_are_those_of_the_members_in_their_order() {
    let parts = parts();
    let at = |kind, queue| parts.queue(kind, queue);
    assert_eq!(at(QueueKind::Tx, 0), Some((0, 100)));
    assert_eq!(at(QueueKind::Rx, 1), Some((1, 210)));
    assert_eq!(at(QueueKind::RxBuffer, 1), Some((0, 401)));
    assert_eq!(at(QueueKind::RxBuffer, 7), Some((1, 425)));
    for (kind, end) in [(QueueKind::Tx, 4), (QueueKind::RxBuffer, 8)] {
        assert_eq!(at(kind, end), None);
        assert_eq!(parts.queues(kind, 0, end + 1), None);
        assert_eq!(parts.queues(kind, 1, u32::MAX), None);
        assert_eq!(parts.queues(kind, 0, 0), None);
    }
    let share = |member, first, count| Share {
        member,
        first,
        count,
    };
    let shares = parts.queues(QueueKind::RxBuffer, 1, 5);
    assert_eq!(shares, Some(vec![share(0, 401, 1), share(1, 420, 4)]));
    assert_eq!(
        [0, 1, 2, 3].map(|v| parts.vector(v)),
        [Some((0, 0)), Some((1, 0)), Some((1, 1)), None]
    );
    // TX tails of both, buffer queues of both, vectors of both.
    let runs: Vec<_> = parts
        .runs()
        .map(|runs| runs.map(|r| (r.pages, r.at)))
        .collect();
    assert_eq!(runs, [[(1, 0), (2, 4), (1, 12)], [(3, 1), (6, 6), (2, 13)]]);
    assert_eq!(parts.pages(), 15);
}

#[test]
fn a_queue_is_configured_with_the_ids_of_its_member() {
    let tx = |queue, completion| {
        let info = TxqInfo {
            type_: U32::new(queue_type::TX),
            queue_id: U32::new(queue),
            tx_compl_queue_id: U16::new(completion),
            ring_len: U16::new(64),
            ..TxqInfo::default()
        };
        let header = ConfigTxQueues {
            num_qinfo: U16::new(1),
            ..ConfigTxQueues::default()
        };
        routed(op::CONFIG_TX_QUEUES, &payload(header, &[info]))
    };
    let messages = tx(2, 3).unwrap();
    let [message] = &messages[..] else {
        panic!("{messages:?}")
    };
    let (to, rest) = header::<ConfigTxQueues>(message);
    let info = TxqInfo::read_from_bytes(rest).unwrap();
    assert_eq!((message.member, to.vport_id.get()), (1, 6));
    assert_eq!(
        (info.queue_id.get(), info.tx_compl_queue_id.get()),
        (111, 312)
    );
    let pasids = [
        info.egress_pasid,
        info.egress_hdr_pasid,
        info.egress_buf_pasid,
    ];
    assert_eq!(pasids.map(U32::get), [20; 3]);
    assert_eq!(info.ring_len.get(), 64);
    let apart = |what, other, queue| Unroutable::Apart { what, other, queue };
    assert_eq!(tx(2, 0), Err(apart("completion queue", 0, 2)));
    assert_eq!(tx(4, 0), Err(Unroutable::NoQueue(4, queue_type::TX)));
    assert_eq!(
        tx(0, 4),
        Err(Unroutable::NoQueue(4, queue_type::TX_COMPLETION))
    );

    let rx = |queue, buffers: [u16; 2], second| {
        let info = RxqInfo {
            type_: U32::new(queue_type::RX),
            queue_id: U32::new(queue),
            rx_bufq1_id: U16::new(buffers[0]),
            rx_bufq2_id: U16::new(buffers[1]),
            bufq2_ena: second,
            ..RxqInfo::default()
        };
        let header = ConfigRxQueues {
            num_qinfo: U16::new(1),
            ..ConfigRxQueues::default()
        };
        routed(op::CONFIG_RX_QUEUES, &payload(header, &[info]))
    };
    let messages = rx(1, [2, 3], 1).unwrap();
    let (_, rest) = header::<ConfigRxQueues>(&messages[0]);
    let info = RxqInfo::read_from_bytes(rest).unwrap();
    let ids = (
        info.queue_id.get(),
        info.rx_bufq1_id.get(),
        info.rx_bufq2_id.get(),
    );
    assert_eq!((messages[0].member, ids), (1, (210, 420, 421)));
    assert_eq!(rx(1, [2, 0], 1), Err(apart("buffer queue", 0, 1)));
    assert!(rx(1, [2, 0], 0).is_ok(), "the second is not used");
    assert_eq!(rx(0, [2, 3], 1), Err(apart("buffer queue", 2, 0)));
}

#[test]
fn queues_stop_in_one_message_for_each_member() {
    let chunk = |type_, first, count| QueueChunk {
        type_: U32::new(type_),
        start_queue_id: U32::new(first),
        num_queues: U32::new(count),
        ..QueueChunk::default()
    };
    let message = |chunks: &[QueueChunk]| {
        let mut header = DelEnaDisQueues::default();
        header.chunks.num_chunks = U16::new(chunks.len() as u16);
        payload(header, chunks)
    };
    let all = [
        chunk(queue_type::TX, 0, 4),
        chunk(queue_type::TX_COMPLETION, 0, 4),
    ];
    let messages = routed(op::DISABLE_QUEUES, &message(&all)).unwrap();
    let chunks = |message: &Routed| {
        let (to, rest) = header::<DelEnaDisQueues>(message);
        let chunks = <[QueueChunk]>::ref_from_bytes(rest).unwrap();
        assert_eq!(chunks.len(), usize::from(to.chunks.num_chunks.get()));
        let chunks = chunks
            .iter()
            .map(|c| (c.start_queue_id.get(), c.num_queues.get()));
        (
            message.member,
            to.vport_id.get(),
            chunks.collect::<Vec<_>>(),
        )
    };
    let chunks: Vec<_> = messages.iter().map(chunks).collect();
    assert_eq!(
        chunks,
        [
            (0, 5, vec![(100, 1), (300, 1)]),
            (1, 6, vec![(110, 3), (310, 3)])
        ]
    );
    for (bad, at) in [((0, 5), 0), ((3, u32::MAX), 3), ((9, 1), 9)] {
        let bad = message(&[chunk(queue_type::TX, bad.0, bad.1)]);
        let refused = Err(Unroutable::NoQueue(at, queue_type::TX));
        assert_eq!(routed(op::ENABLE_QUEUES, &bad), refused);
    }
    let unknown = message(&[chunk(77, 0, 1)]);
    assert_eq!(
        routed(op::ENABLE_QUEUES, &unknown),
        Err(Unroutable::NoQueue(0, 77))
    );
}

#[test]
fn a_queue_is_mapped_to_a_vector_of_its_own_adi_or_of_the_group() {
    let map = |queue, vector| {
        let map = QueueVector {
            queue_id: U32::new(queue),
            vector_id: U16::new(vector),
            queue_type: U32::new(queue_type::RX),
            ..QueueVector::default()
        };
        let header = QueueVectorMaps {
            num_qv_maps: U16::new(1),
            ..QueueVectorMaps::default()
        };
        routed(op::MAP_QUEUE_VECTOR, &payload(header, &[map]))
    };
    for (queue, vector, expected) in [
        (3, 2, (1, 212, 1)),
        (3, 0, (1, 212, GROUP_VECTOR)),
        (0, 0, (0, 200, 0)),
        (0, 2, (0, 200, GROUP_VECTOR | 2)),
    ] {
        let messages = map(queue, vector).unwrap();
        let (_, rest) = header::<QueueVectorMaps>(&messages[0]);
        let own = QueueVector::read_from_bytes(rest).unwrap();
        let seen = (messages[0].member, own.queue_id.get(), own.vector_id.get());
        assert_eq!(seen, expected, "queue {queue}, vector {vector}");
    }
    assert_eq!(map(3, 3), Err(Unroutable::NoVector(3)));
}

#[test]
fn the_port_is_the_leaders_and_states_are_those_of_all() {
    let hash = RssHash::default();
    let messages = routed(op::SET_RSS_HASH, hash.as_bytes()).unwrap();
    let (to, _) = header::<RssHash>(&messages[0]);
    assert_eq!(
        (messages.len(), messages[0].member, to.vport_id.get()),
        (1, 0, 5)
    );
    let messages = routed(op::GET_STATS, VportStats::default().as_bytes()).unwrap();
    assert_eq!(header::<VportStats>(&messages[0]).0.vport_id.get(), 5);
    let messages = routed(adi_op::SUSPEND_ADI, SuspendAdi::default().as_bytes()).unwrap();
    assert_eq!(
        (
            messages.len(),
            header::<SuspendAdi>(&messages[0]).0.adi_id.get()
        ),
        (1, 1)
    );

    let state = |next| AdiQueueState {
        next: U16::new(next),
        ..AdiQueueState::default()
    };
    let states: Vec<_> = (0..8).map(state).collect();
    let header_of_all = AdiQueueStates {
        num_states: U16::new(8),
        type_: U32::new(queue_type::RX_BUFFER),
        ..AdiQueueStates::default()
    };
    let set = payload(header_of_all, &states);
    let messages = routed(adi_op::SET_ADI_QUEUE_STATE, &set).unwrap();
    let seen = messages.iter().map(|message| {
        let (to, rest) = header::<AdiQueueStates>(message);
        let states = <[AdiQueueState]>::ref_from_bytes(rest).unwrap();
        let next: Vec<_> = states.iter().map(|state| state.next.get()).collect();
        (to.adi_id.get(), to.start_queue_id.get(), next)
    });
    let seen: Vec<_> = seen.collect();
    assert_eq!(
        seen,
        [(1, 400, vec![0, 1]), (2, 420, vec![2, 3, 4, 5, 6, 7])]
    );
    // What is set is what the replies make.
    let replies: Vec<_> = messages
        .into_iter()
        .map(|message| message.payload)
        .collect();
    assert_eq!(
        Replies::States(AdiQueueStates::LEN).merge(&set, &replies),
        set
    );
    let vectors = AdiVectorStates {
        num_states: U16::new(3),
        ..AdiVectorStates::default()
    };
    let messages = routed(adi_op::GET_ADI_VECTOR_STATE, vectors.as_bytes()).unwrap();
    let counts: Vec<_> = messages
        .iter()
        .map(|message| header::<AdiVectorStates>(message).0.num_states.get())
        .collect();
    assert_eq!(counts, [1, 2]);
}

#[test]
fn the_first_fault_of_any_member_is_reported() {
    let fault = |reason, count| AdiFault {
        reason: U32::new(reason),
        count: U64::new(count),
        ..AdiFault::default()
    };
    let replies = [fault(fault_reason::NONE, 1), fault(fault_reason::PASID, 2)];
    let replies = replies.map(|fault| fault.as_bytes().to_vec());
    let merged = Replies::Faults.merge(&[], &replies);
    let merged = AdiFault::read_from_bytes(&merged).unwrap();
    assert_eq!(
        (merged.reason.get(), merged.count.get()),
        (fault_reason::PASID, 3)
    );
    assert!(Replies::Faults.merge(&[], &[]).len() == AdiFault::LEN);
}

#[test]
fn what_no_member_executes_is_refused() {
    for opcode in [
        op::CREATE_VPORT,
        op::NON_FLEX_DESTROY_ADI,
        adi_op::SET_ADI_GROUP,
        0,
    ] {
        assert_eq!(
            routed(opcode, &[0; 64]),
            Err(Unroutable::Opcode),
            "{opcode:#x}"
        );
    }
}

proptest! {
    #[test]
    fn no_message_is_for_a_member_that_is_not(
        opcode in prop_oneof![
            Just(op::CONFIG_TX_QUEUES),
            Just(op::CONFIG_RX_QUEUES),
            Just(op::ENABLE_QUEUES),
            Just(op::MAP_QUEUE_VECTOR),
            Just(op::SET_RSS_LUT),
            Just(adi_op::GET_ADI_FAULT),
            Just(adi_op::SET_ADI_QUEUE_STATE),
            Just(adi_op::SET_ADI_VECTOR_STATE),
        ],
        payload in proptest::collection::vec(prop_oneof![3 => 0_u8..4, 1 => any::<u8>()], 0..256),
    ) {
        if let Ok((messages, _)) = route(&parts(), opcode, &payload) {
            prop_assert!(messages.iter().all(|message| message.member < 2));
        }
    }
}

#[test]
fn a_back_end_that_cannot_join_says_so() {
    let adis: Vec<Box<dyn Adi>> = vec![
        Box::new(MockAdi::new("a", 1, 1)),
        Box::new(MockAdi::new("b", 2, 1)),
    ];
    let error = Group::join(adis, None).map(|_| ()).unwrap_err();
    let AdiError::Io { what, source } = error else {
        panic!("{error:?}")
    };
    assert_eq!(what, "joining ADIs in a group");
    assert_eq!(source.kind(), std::io::ErrorKind::Unsupported);
    assert!(matches!(
        Group::join(Vec::new(), None).map(|_| ()),
        Err(AdiError::Gone)
    ));
}

#[test]
fn all_members_log_what_they_write_or_none() {
    let range = IovaRange::new(0, 0x1000).unwrap();
    let log = Arc::new(WriteLog::new(0x1000, &[range]).unwrap());
    for all in [true, false] {
        let mut other = MockAdi::new("b", 2, 1).in_groups();
        if all {
            other = other.logging();
        }
        let members = [MockAdi::new("a", 1, 1).in_groups().logging(), other];
        let states = members.each_ref().map(MockAdi::state);
        let adis = members.map(|adi| Box::new(adi) as Box<dyn Adi>);
        let mut group = Group::join(adis.into(), None).unwrap();
        assert_eq!(group.log_writes(Some(log.clone())), all);
        states
            .iter()
            .for_each(|state| state.lock().unread = vec![0x10]);
        group.collect_writes(range);
        group.settle_writes();
        let [first, second] = states.each_ref().map(|state| state.lock());
        assert_eq!((first.log.is_some(), second.log.is_some()), (true, all));
        assert_eq!((first.settled, second.settled), (1, 1));
        assert_eq!(
            (first.unread.len(), second.unread.len()),
            (0, usize::from(!all))
        );
    }
}
