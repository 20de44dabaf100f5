// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The single queue model, as DPDK requests it.

use adit_uapi::virtchnl2::status::{ERR_EINVAL, ERR_ERANGE};
use adit_uapi::virtchnl2::{rxq_flags, AddQueues};
use queue_type::{RX, TX};

use super::*;
use crate::dataplane::{QueueConfig, QueueId, QueueKind, Ring};

/// A request for vport 2 with these queue models for TX and RX queues.
fn with_models(tx: u16, rx: u16) -> CreateVport {
    CreateVport {
        txq_model: U16::new(tx),
        rxq_model: U16::new(rx),
        num_tx_q: U16::new(1),
        num_tx_complq: U16::new(1),
        num_rx_q: U16::new(9),
        num_rx_bufq: U16::new(9),
        vport_index: U16::new(2),
        ..CreateVport::default()
    }
}

fn single_tx(id: u32) -> TxqInfo {
    TxqInfo {
        model: U16::new(queue_model::SINGLE),
        sched_mode: U16::new(sched_mode::QUEUE),
        ..txq(id, 0, 0)
    }
}

fn single_rx(id: u32) -> RxqInfo {
    RxqInfo {
        model: U16::new(queue_model::SINGLE),
        qflags: U16::new(rxq_flags::DESC_SIZE_32BYTE),
        ..rxq(id, [0, 0])
    }
}

fn config(driver: &Driver, kind: QueueKind, index: u32) -> QueueConfig {
    driver.dp.queues[&QueueId { kind, index }].config
}

#[test]
fn each_direction_gets_the_model_that_is_requested() {
    for (tx, rx, counts) in [
        (queue_model::SINGLE, queue_model::SINGLE, (1, 0, 2, 0)),
        (queue_model::SINGLE, queue_model::SPLIT, (1, 0, 2, 4)),
        (queue_model::SPLIT, queue_model::SINGLE, (1, 1, 2, 0)),
    ] {
        let mut driver = Driver::new(3, 2);
        driver.ok(op::CREATE_VPORT, with_models(tx, rx).as_bytes());
        let (granted, chunks) = driver.answer::<CreateVport>();
        assert_eq!((granted.txq_model.get(), granted.rxq_model.get()), (tx, rx));
        let got = (
            granted.num_tx_q.get(),
            granted.num_tx_complq.get(),
            granted.num_rx_q.get(),
            granted.num_rx_bufq.get(),
        );
        assert_eq!(got, counts, "as many as there are");
        let chunks = <[QueueRegChunk]>::ref_from_bytes(chunks).unwrap();
        let tails = chunks
            .iter()
            .find(|chunk| chunk.type_.get() == queue_type::RX)
            .map(|c| (c.qtail_reg_start.get(), c.qtail_reg_spacing.get()));
        // RX queue 4 uses the tail of buffer queue 8: its own is in the unmapped part.
        let expected = match rx {
            queue_model::SINGLE => (0x0300_8000, 0x2000),
            _ => (0x4000, 0x1000),
        };
        assert_eq!(tails, Some(expected));
    }
}

#[test]
fn single_queues_are_set_up_without_others() {
    let mut driver = Driver::new(3, 2);
    let single = queue_model::SINGLE;
    driver.ok(op::CREATE_VPORT, with_models(single, single).as_bytes());
    driver.ok(op::CONFIG_TX_QUEUES, &config_tx(2, &[single_tx(8)]));
    driver.ok(op::CONFIG_RX_QUEUES, &config_rx(2, &[single_rx(4)]));
    let tx = QueueConfig::SingleTx {
        ring: Ring {
            base: 0x18_0000,
            len: 512,
        },
    };
    assert_eq!(config(&driver, QueueKind::Tx, 8), tx);
    let rx = QueueConfig::SingleRx {
        ring: Ring {
            base: 0x104_0000,
            len: 512,
        },
        buffer_len: 2048,
        max_packet_len: 1522,
    };
    assert_eq!(config(&driver, QueueKind::Rx, 4), rx);
    driver.ok(op::ENABLE_QUEUES, &named(2, &[(TX, 8), (RX, 4)]));
    driver.ok(op::DISABLE_QUEUES, &named(2, &[(TX, 8), (RX, 4)]));
}

#[test]
fn a_queue_of_the_other_model_is_refused() {
    let mut driver = Driver::new(3, 2);
    driver.create(0, 2);
    driver.refused(
        op::CONFIG_TX_QUEUES,
        &config_tx(0, &[single_tx(0)]),
        ERR_EINVAL,
    );
    driver.refused(
        op::CONFIG_RX_QUEUES,
        &config_rx(0, &[single_rx(0)]),
        ERR_EINVAL,
    );
    let single = queue_model::SINGLE;
    driver.ok(op::CREATE_VPORT, with_models(single, single).as_bytes());
    driver.refused(
        op::CONFIG_TX_QUEUES,
        &config_tx(2, &[txq(8, 8, 0)]),
        ERR_EINVAL,
    );
    driver.refused(
        op::CONFIG_RX_QUEUES,
        &config_rx(2, &[rxq(4, [8, 9])]),
        ERR_EINVAL,
    );
    let odd = RxqInfo {
        desc_ids: Default::default(),
        ..single_rx(4)
    };
    driver.refused(op::CONFIG_RX_QUEUES, &config_rx(2, &[odd]), ERR_EINVAL);
    let odd = RxqInfo {
        data_buffer_size: U32::new(1 << 14),
        ..single_rx(4)
    };
    driver.refused(op::CONFIG_RX_QUEUES, &config_rx(2, &[odd]), ERR_ERANGE);
}

#[test]
fn more_queues_have_the_model_of_the_first() {
    let mut driver = Driver::new(3, 2);
    let mut request = with_models(queue_model::SPLIT, queue_model::SINGLE);
    request.num_rx_q = U16::new(1);
    driver.ok(op::CREATE_VPORT, request.as_bytes());
    let more = AddQueues {
        vport_id: U32::new(2),
        num_rx_q: U16::new(1),
        ..AddQueues::default()
    };
    driver.ok(op::ADD_QUEUES, more.as_bytes());
    let (_, chunks) = driver.answer::<AddQueues>();
    let chunks = <[QueueRegChunk]>::ref_from_bytes(chunks).unwrap();
    assert_eq!(chunks[0].qtail_reg_start.get(), 0x0300_A000);
}
