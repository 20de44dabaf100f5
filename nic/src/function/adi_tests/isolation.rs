// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Isolation of ADIs: accesses that an ADI may not make, and the faults that they cause.

use adit_uapi::virtchnl2::adi::{fault_flags, fault_reason};
use adit_uapi::virtchnl2::{queue_type, ConfigRxQueues, ConfigTxQueues, RxqInfo, TxqInfo};
use zerocopy::little_endian::U32;

use super::*;
use crate::memory::Dma;
use crate::pasid::testing::READ_WRITE;
use crate::testing::adi::{BUFFERS, IOVA, LEN, READ_ONLY, TX_DATA};

/// The address of memory that only the second ADI of [`pair`] has.
const ONLY_B: u64 = 0x9000_0000;

/// Checks that the neighbours are unaffected: frames pass between `b` and the wire.
fn unharmed(guest: &mut Guest, b: &mut AdiDriver) {
    let sent = frame(STRANGER, b.mac(), 0xB0);
    b.send(guest, &sent);
    let back = frame(b.mac(), STRANGER, 0xB1);
    guest.far.send(&back, Default::default());
    guest.poll();
    assert_eq!(guest.far.recv().map(|(frame, _)| frame), Some(sent));
    assert_eq!(b.recv(guest), Some(back));
    assert!(b.completion(guest).is_some());
    b.post(guest, 1);
}

/// Checks that a fault has stopped a queue of `a`, and that it is reported.
fn told(guest: &mut Guest, a: &AdiDriver, reason: u32, address: u64, kind: u32, write: bool) {
    guest.poll();
    let id = a.created.id();
    let causes = guest.causes();
    assert!(causes.contains(&(id, 0, cause_reason::FAULT)), "{causes:?}");
    let fault = a.fault(guest, fault_flags::CLEAR);
    assert_eq!((fault.reason.get(), fault.address.get()), (reason, address));
    assert_eq!(fault.queue_type.get(), kind);
    assert_eq!(fault.flags.get() & fault_flags::WRITE != 0, write);
    assert_eq!(fault.pasid.get(), a.pasid);
    assert_eq!(
        a.fault(guest, 0).reason.get(),
        fault_reason::NONE,
        "cleared"
    );
}

#[test]
fn what_is_not_mapped_for_it_is_not_sent() {
    let (mut guest, mut a, mut b) = pair();
    let memory = &guest.function.datapath().queues().memory;
    let secret = b.physical + 0x5000;
    memory
        .write(secret, &frame(STRANGER, a.mac(), 0x5E))
        .unwrap();
    guest
        .tables
        .map(memory, b.pasid, ONLY_B, secret, READ_WRITE);
    // The neighbour's address, its physical address, an unmapped one, and addresses at the ends.
    for iova in [ONLY_B, secret, IOVA + LEN, 0, u64::MAX - 63] {
        a.describe(&mut guest, iova, 64);
        a.ring_tx(&mut guest);
        guest.poll();
        assert!(guest.far.recv().is_none(), "{iova:#x} was read");
        assert_eq!(a.completion(&guest), None);
        let unmapped = fault_reason::NOT_MAPPED;
        told(&mut guest, &a, unmapped, iova, queue_type::TX, false);
        unharmed(&mut guest, &mut b);
        a.restart(&mut guest);
        a.post(&mut guest, 16);
        unharmed(&mut guest, &mut a);
    }
    assert_eq!(a.fault(&mut guest, 0).count.get(), 5);
    assert_eq!(b.fault(&mut guest, 0).count.get(), 0);
    let totals = guest.function.datapath().adi_totals();
    assert_eq!(totals.faults[fault_reason::NOT_MAPPED as usize], 5);
    assert_eq!(dropped(&guest, DropReason::QueueFault), (0, 5));
}

#[test]
fn what_it_may_only_read_is_not_received_into() {
    let (mut guest, mut a, mut b) = pair();
    a.restart(&mut guest);
    a.post_at(&mut guest, 1, READ_ONLY);
    let sent = frame(a.mac(), b.mac(), 0xEE);
    b.send(&mut guest, &sent);
    guest.poll();
    assert_eq!(b.completion(&guest), Some(0), "the sender is not stopped");
    let refused = fault_reason::PERMISSION;
    told(&mut guest, &a, refused, READ_ONLY, queue_type::RX, true);
    let mut page = [1; 64];
    let at = a.physical + (READ_ONLY - IOVA);
    guest.memory().read(at, &mut page).unwrap();
    assert_eq!(page, [0; 64]);
    unharmed(&mut guest, &mut b);
    // The read-only page may be sent from.
    a.restart(&mut guest);
    guest
        .memory()
        .write(at, &frame(STRANGER, a.mac(), 1))
        .unwrap();
    a.describe(&mut guest, READ_ONLY, 64);
    a.ring_tx(&mut guest);
    guest.poll();
    assert!(guest.far.recv().is_some());
}

#[test]
fn a_page_that_was_taken_away_is_gone() {
    let (mut guest, mut a, mut b) = pair();
    let sent = frame(STRANGER, a.mac(), 1);
    a.send(&mut guest, &sent);
    guest.poll();
    assert!(guest.far.recv().is_some());
    let memory = &guest.function.datapath().queues().memory;
    guest.tables.unmap(memory, a.pasid, BUFFERS);
    guest.tables.unmap(memory, a.pasid, TX_DATA);
    a.describe(&mut guest, TX_DATA, 64);
    a.ring_tx(&mut guest);
    let gone = fault_reason::NOT_MAPPED;
    told(&mut guest, &a, gone, TX_DATA, queue_type::TX, false);
    assert!(guest.far.recv().is_none());
    b.send(&mut guest, &frame(a.mac(), b.mac(), 2));
    told(&mut guest, &a, gone, BUFFERS, queue_type::RX, false);
    unharmed(&mut guest, &mut b);
    let memory = &guest.function.datapath().queues().memory;
    guest.tables.detach(memory, a.pasid);
    a.restart_quietly(&mut guest);
    a.describe(&mut guest, TX_DATA, 64);
    a.ring_tx(&mut guest);
    guest.poll();
    let fault = a.fault(&mut guest, 0);
    assert_eq!(fault.reason.get(), fault_reason::PASID);
    unharmed(&mut guest, &mut b);
}

#[test]
fn queues_vectors_and_pasids_are_its_own_or_refused() {
    let (mut guest, a, b) = pair();
    guest.ok(op::DISABLE_QUEUES, &a.all_queues());
    let theirs = |bytes: &[u8], at: usize, value: U32| {
        let mut bytes = bytes.to_vec();
        bytes[at..at + 4].copy_from_slice(value.as_bytes());
        bytes
    };
    let access = status::ERR_EACCES;
    let refused = |guest: &mut Guest, opcode, payload: Vec<u8>| guest.call(opcode, &payload).0;
    // Each of the three PASIDs of the first queue, and of the second.
    let (tx, rx) = (a.tx_config(), a.rx_config());
    for queue in 0..2 {
        for pasid in [0, b.pasid, 7] {
            for field in [36, 40, 44] {
                let at = ConfigTxQueues::LEN + queue * TxqInfo::LEN + field;
                let bad = theirs(&tx, at, U32::new(pasid));
                assert_eq!(refused(&mut guest, op::CONFIG_TX_QUEUES, bad), access);
            }
            for field in [60, 64, 68] {
                let at = ConfigRxQueues::LEN + queue * RxqInfo::LEN + field;
                let bad = theirs(&rx, at, U32::new(pasid));
                assert_eq!(refused(&mut guest, op::CONFIG_RX_QUEUES, bad), access);
            }
        }
    }
    // The neighbour's queues: in a configuration, by queue id and by vector.
    let bad = theirs(&tx, 16 + 12, U32::new(b.queue(QueueKind::Tx)));
    assert_eq!(refused(&mut guest, op::CONFIG_TX_QUEUES, bad), access);
    let bad = theirs(&tx, 16 + 26, U32::new(b.queue(QueueKind::TxCompletion)));
    assert_eq!(refused(&mut guest, op::CONFIG_TX_QUEUES, bad), access);
    let bad = theirs(&rx, 24 + 52, U32::new(b.queue(QueueKind::RxBuffer)));
    assert_eq!(refused(&mut guest, op::CONFIG_RX_QUEUES, bad), access);
    for opcode in [op::ENABLE_QUEUES, op::DISABLE_QUEUES] {
        let bad = theirs(&b.all_queues(), 0, a.vport());
        assert_eq!(refused(&mut guest, opcode, bad), access);
    }
    let bad = theirs(&b.vector_map(0), 0, a.vport());
    assert_eq!(refused(&mut guest, op::MAP_QUEUE_VECTOR, bad), access);
    let bad = a.vector_map(1);
    let none = status::ERR_ENXIO;
    assert_eq!(refused(&mut guest, op::MAP_QUEUE_VECTOR, bad), none);
    // Operations for the function's own vports only.
    let name = a.vport().as_bytes().repeat(32);
    for opcode in [op::DESTROY_VPORT, op::LOOPBACK] {
        assert_eq!(refused(&mut guest, opcode, name.clone()), none);
    }
    let all = a.all_queues();
    assert_eq!(refused(&mut guest, op::DEL_QUEUES, all), none);
    let mut more = name.clone();
    more[4] = 1;
    assert_eq!(refused(&mut guest, op::ADD_QUEUES, more), none);
    let promiscuous = [a.vport().as_bytes(), &[1, 0, 0, 0]].concat();
    let seen = refused(&mut guest, op::CONFIG_PROMISCUOUS_MODE, promiscuous);
    assert_eq!(seen, access, "what is for others");
}

impl AdiDriver {
    /// Restarts like `restart`, for an ADI whose memory may be unmapped.
    fn restart_quietly(&mut self, guest: &mut Guest) {
        guest.ok(op::DISABLE_QUEUES, &self.all_queues());
        self.fault(guest, fault_flags::CLEAR);
        self.up(guest);
    }
}
