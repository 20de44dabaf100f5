// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A driver that sends arbitrary messages in any order.

use adit_uapi::virtchnl2::{AddQueues, AllocVectors, VectorChunk, VectorChunks};
use proptest::prelude::*;

use super::*;

/// A queue id that often exists.
fn id() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0_u32..8, 1 => any::<u32>()]
}

/// A message that is often valid, with its opcode.
fn sensible() -> impl Strategy<Value = (u32, Vec<u8>)> {
    let vport = || prop_oneof![8 => 0_u32..2, 1 => any::<u32>()];
    let queues = proptest::collection::vec((0_u32..4, id()), 1..6);
    let opcode = prop_oneof![
        4 => Just(op::ENABLE_QUEUES),
        3 => Just(op::DISABLE_QUEUES),
        1 => Just(op::DEL_QUEUES),
    ];
    let vports = prop_oneof![
        2 => Just(op::ENABLE_VPORT),
        1 => Just(op::DISABLE_VPORT),
        1 => Just(op::DESTROY_VPORT),
    ];
    let map = prop_oneof![3 => Just(op::MAP_QUEUE_VECTOR), 1 => Just(op::UNMAP_QUEUE_VECTOR)];
    let entry = (0_u32..2, id(), 0_u16..8, 0_u32..3);
    let tx = (0_u32..8, 0_u16..8).prop_flat_map(|(queue, completion)| {
        proptest::bool::ANY.prop_map(move |completion_queue| match completion_queue {
            true => complq(queue),
            false => txq(queue, completion, 0),
        })
    });
    let rx = (0_u32..8, 0_u16..8, 0_u16..8, any::<bool>()).prop_map(|(queue, a, b, buffers)| {
        if buffers {
            bufq(queue)
        } else {
            rxq(queue, [a, b])
        }
    });
    prop_oneof![
        2 => (0_u16..3, 0_u16..4).prop_map(|(index, n)| {
            let request = CreateVport {
                txq_model: U16::new(1),
                rxq_model: U16::new(1),
                num_tx_q: U16::new(n),
                num_tx_complq: U16::new(n),
                num_rx_q: U16::new(n),
                num_rx_bufq: U16::new(2 * n),
                vport_index: U16::new(index),
                ..CreateVport::default()
            };
            (op::CREATE_VPORT, request.as_bytes().to_vec())
        }),
        2 => (vports, vport()).prop_map(|(opcode, id)| (opcode, name(id).as_bytes().to_vec())),
        4 => (vport(), proptest::collection::vec(tx, 1..5))
            .prop_map(|(id, infos)| (op::CONFIG_TX_QUEUES, config_tx(id, &infos))),
        4 => (vport(), proptest::collection::vec(rx, 1..5))
            .prop_map(|(id, infos)| (op::CONFIG_RX_QUEUES, config_rx(id, &infos))),
        6 => (opcode, vport(), queues).prop_map(|(opcode, id, q)| (opcode, named(id, &q))),
        3 => (map, vport(), proptest::collection::vec(entry, 1..5))
            .prop_map(|(opcode, id, entries)| (opcode, maps(id, &entries))),
        2 => (0_u16..8).prop_map(|n| {
            let request = AllocVectors { num_vectors: U16::new(n), ..AllocVectors::default() };
            (op::ALLOC_VECTORS, request.as_bytes().to_vec())
        }),
        1 => (0_u16..8, 0_u16..8).prop_map(|(start, n)| {
            let chunk = VectorChunk {
                start_vector_id: U16::new(start),
                num_vectors: U16::new(n),
                ..VectorChunk::default()
            };
            let header = VectorChunks { num_vchunks: U16::new(1), ..VectorChunks::default() };
            (op::DEALLOC_VECTORS, message(&header, &[chunk]))
        }),
        1 => (vport(), 0_u16..3, 0_u16..3).prop_map(|(id, tx, rx)| {
            let request = AddQueues {
                vport_id: U32::new(id),
                num_tx_q: U16::new(tx),
                num_tx_complq: U16::new(tx),
                num_rx_q: U16::new(rx),
                num_rx_bufq: U16::new(rx),
                ..AddQueues::default()
            };
            (op::ADD_QUEUES, request.as_bytes().to_vec())
        }),
    ]
}

/// Any message: random, or a valid one with a byte changed or truncated.
fn any_message() -> impl Strategy<Value = (u32, Vec<u8>)> {
    let made_up = (
        prop_oneof![490_u32..560, 0_u32..3, any::<u32>()],
        proptest::collection::vec(any::<u8>(), 0..300),
    );
    let bent = (sensible(), any::<prop::sample::Index>(), any::<u8>()).prop_map(
        |((opcode, mut payload), at, byte)| {
            let at = at.index(payload.len());
            payload[at] = byte;
            (opcode, payload)
        },
    );
    let cut = (sensible(), any::<prop::sample::Index>()).prop_map(|((opcode, mut payload), at)| {
        payload.truncate(at.index(payload.len()));
        (opcode, payload)
    });
    prop_oneof![8 => sensible(), 1 => made_up, 1 => bent, 1 => cut]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn both_planes_agree_whatever_is_sent(
        messages in proptest::collection::vec(any_message(), 0..120)
    ) {
        let mut driver = Driver::new(2, 2);
        for (opcode, payload) in messages {
            let status = driver.send(opcode, &payload);
            prop_assert!(driver.reply.len() <= 4096);
            if status != 0 {
                prop_assert_eq!(&driver.reply, &payload);
            }
            driver.control.check(&mut driver.dp);
        }
        prop_assert!(driver.events().len() <= 2);
    }

    #[test]
    fn any_bytes_are_survived(data in proptest::collection::vec(any::<u8>(), 0..2000)) {
        fuzz_control(&data);
    }
}
