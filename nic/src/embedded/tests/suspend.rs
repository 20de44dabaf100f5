// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Suspension of an ADI, and migration of its owner to another one.

use adit_uapi::virtchnl2::adi::{
    op as adi_op, queue_state_flags as flags, vector_state_flags, AdiQueueState, AdiQueueStates,
    AdiVectorState, AdiVectorStates, SuspendAdi,
};
use adit_uapi::virtchnl2::Vport;
use zerocopy::{FromBytes, IntoBytes};

use super::*;
use crate::drops::DropReason;

impl Owner {
    fn named(&self) -> SuspendAdi {
        SuspendAdi {
            adi_id: U16::new(self.adi.created().id.0),
            ..SuspendAdi::default()
        }
    }

    fn suspend(&mut self) {
        let name = self.named();
        self.ok(adi_op::SUSPEND_ADI, name.as_bytes());
    }

    fn resume(&mut self) {
        let name = self.named();
        self.ok(adi_op::RESUME_ADI, name.as_bytes());
    }

    /// The status with which a message is refused.
    fn refusal(&mut self, opcode: u32, payload: &[u8]) -> u32 {
        match self.adi.request(opcode, payload, &mut Vec::new()) {
            Err(Error::Refused { status, .. }) => status,
            other => panic!("{opcode:#x}: {other:?}"),
        }
    }

    /// The header of a message about its queue of a kind.
    fn queue(&self, kind: QueueKind) -> AdiQueueStates {
        AdiQueueStates {
            adi_id: self.named().adi_id,
            num_states: U16::new(1),
            type_: U32::new(kind as u32),
            start_queue_id: U32::new(self.adi.created().first_queues[kind as usize]),
            ..AdiQueueStates::default()
        }
    }

    fn position(&mut self, kind: QueueKind) -> (u16, u16) {
        let header = self.queue(kind);
        let reply = self.ok(adi_op::GET_ADI_QUEUE_STATE, header.as_bytes());
        let (_, states) = AdiQueueStates::read_from_prefix(&reply).unwrap();
        let state = AdiQueueState::read_from_bytes(states).unwrap();
        (state.next.get(), state.flags.get())
    }

    fn set_position(&self, kind: QueueKind, (next, flags): (u16, u16)) -> Vec<u8> {
        let state = AdiQueueState {
            next: U16::new(next),
            flags: U16::new(flags),
            ..AdiQueueState::default()
        };
        [self.queue(kind).as_bytes(), state.as_bytes()].concat()
    }

    fn vectors(&self) -> AdiVectorStates {
        AdiVectorStates {
            adi_id: self.named().adi_id,
            num_states: U16::new(1),
            ..AdiVectorStates::default()
        }
    }

    fn pending(&mut self) -> u16 {
        let header = self.vectors();
        let reply = self.ok(adi_op::GET_ADI_VECTOR_STATE, header.as_bytes());
        let (_, states) = AdiVectorStates::read_from_prefix(&reply).unwrap();
        AdiVectorState::read_from_bytes(states).unwrap().flags.get()
    }

    /// A copy of its memory.
    fn image(&self) -> Vec<u8> {
        let mut image = vec![0; LEN as usize];
        self.memory.read(IOVA, &mut image).unwrap();
        image
    }
}

impl Bench {
    /// The number of frames for an ADI that were dropped because it is suspended.
    fn dropped(&self, owner: &Owner) -> u64 {
        let function = self.nic.inner.shared.lock();
        let drops = function
            .datapath()
            .drops(owner.adi.created().vport)
            .unwrap();
        drops.rx.get(DropReason::Suspended)
    }
}

#[test]
fn a_suspended_adi_does_nothing_and_goes_on_afterwards() {
    let mut bench = Bench::new();
    let (mut a, mut on_a) = owner(&bench.nic);
    bench.poll();
    a.suspend();
    a.suspend();
    let before = a.image();
    let to_a = frame(on_a.mac(), STRANGER, 1);
    bench.far.send(&to_a, Default::default());
    bench.far.send(&[0xFF; 64], Default::default());
    let sent = frame(STRANGER, on_a.mac(), 2);
    a.memory.write(TX_DATA, &sent).unwrap();
    let before = {
        on_a.describe(&mut a, TX_DATA, 64);
        on_a.ring_tx(&mut a);
        on_a.arm(&mut a);
        assert_ne!(a.image(), before);
        a.image()
    };
    for wait in [0, Drowsy::INTERVAL_NS, SLEEP_AFTER_NS, 10 * SLEEP_AFTER_NS] {
        bench.idle(wait);
    }
    assert!(a.image() == before, "nothing is written");
    assert_eq!(bench.far.recv(), None);
    assert_eq!(signals(a.interrupts.as_fd()), 0);
    assert_eq!(bench.dropped(&a), 2, "the broadcast, too");
    a.resume();
    a.resume();
    bench.poll();
    assert_eq!(bench.far.recv().map(|(frame, _)| frame), Some(sent));
    assert_eq!(on_a.completion(&a), Some(0));
    assert_eq!(signals(a.interrupts.as_fd()), 1);
    bench.far.send(&to_a, Default::default());
    bench.poll();
    assert_eq!(on_a.recv(&a), Some(to_a), "into the first buffer");
    assert_eq!(bench.dropped(&a), 2);
}

#[test]
fn queues_that_are_disabled_meanwhile_write_no_marker() {
    let bench = Bench::new();
    let (mut a, on_a) = owner(&bench.nic);
    a.suspend();
    let before = a.image();
    a.ok(op::DISABLE_QUEUES, &on_a.all_queues());
    assert!(a.image() == before);
    a.ok(op::ENABLE_QUEUES, &on_a.all_queues());
    a.resume();
    a.ok(op::DISABLE_QUEUES, &on_a.all_queues());
    assert!(a.image() != before, "a marker");
}

#[test]
fn an_owner_moves_to_another_adi_with_every_ring() {
    let mut bench = Bench::new();
    let (mut a, mut on_a) = owner(&bench.nic);
    // More than a ring, so that the generation is another one.
    for n in 0..40_u8 {
        let from_a = frame(STRANGER, on_a.mac(), n);
        on_a.send(&mut a, &from_a);
        bench
            .far
            .send(&frame(on_a.mac(), STRANGER, n), Default::default());
        bench.poll();
        assert_eq!(on_a.completion(&a), Some(u16::from(n)));
        assert_eq!(on_a.recv(&a).map(|frame| frame[63]), Some(n));
        on_a.post(&mut a, 1);
    }
    on_a.send(&mut a, &frame(STRANGER, on_a.mac(), 40));
    bench.poll();
    // One that has not left, and a cause that waits for the vector to be armed.
    a.suspend();
    on_a.send(&mut a, &frame(STRANGER, on_a.mac(), 41));
    let states = QueueKind::ALL.map(|kind| a.position(kind));
    // TX, RX, completions and buffers, in the second pass: its generation bit is 0.
    assert_eq!(states, [9, 8, 9, 8].map(|next| (next, flags::ENABLED)));
    let pending = a.pending();
    assert_eq!(pending, vector_state_flags::PENDING);
    let image = a.image();
    let tails = [QueueKind::Tx, QueueKind::RxBuffer].map(|kind| on_a.tail(kind));
    let tails = tails.map(|register| (register, a.read(register)));
    while bench.far.recv().is_some() {}
    drop(a);

    let mac = Some(on_a.mac());
    let (mut b, mut on_b) = owner_of(&bench.nic, &AdiSpec { mac, ..spec(1) });
    b.adi.reset().unwrap();
    b.suspend();
    on_b.up(&mut b);
    b.memory.write(IOVA, &image).unwrap();
    for (kind, state) in QueueKind::ALL.into_iter().zip(states) {
        let message = b.set_position(kind, state);
        b.ok(adi_op::SET_ADI_QUEUE_STATE, &message);
        assert_eq!(b.position(kind), state, "{kind:?}");
    }
    let state = AdiVectorState {
        flags: U16::new(pending),
        ..AdiVectorState::default()
    };
    let message = [b.vectors().as_bytes(), state.as_bytes()].concat();
    b.ok(adi_op::SET_ADI_VECTOR_STATE, &message);
    assert_eq!(b.pending(), pending);
    for (register, value) in tails {
        b.write(register, value);
    }
    bench.idle(SLEEP_AFTER_NS);
    assert!(b.image() == image, "suspended still");
    // The driver goes on, with the numbers of the other ADI.
    on_a.created = on_b.created;
    b.resume();
    bench.poll();
    assert_eq!(bench.far.recv().map(|(frame, _)| frame[63]), Some(41));
    for n in [40, 41] {
        assert_eq!(on_a.completion(&b), Some(n));
    }
    for n in 42..100_u8 {
        let mac = on_a.mac();
        on_a.send(&mut b, &frame(STRANGER, mac, n));
        bench.far.send(&frame(mac, STRANGER, n), Default::default());
        bench.poll();
        assert_eq!(bench.far.recv().map(|(frame, _)| frame[63]), Some(n));
        assert_eq!(on_a.completion(&b), Some(u16::from(n)));
        assert_eq!(on_a.recv(&b).map(|frame| frame[63]), Some(n));
        on_a.post(&mut b, 1);
    }
    assert_eq!(signals(b.interrupts.as_fd()), 0, "not armed");
    on_a.arm(&mut b);
    bench.poll();
    assert_eq!(signals(b.interrupts.as_fd()), 1);
}

#[test]
fn a_queue_that_a_fault_has_stopped_is_so_elsewhere() {
    let mut bench = Bench::new();
    let (mut a, mut on_a) = owner(&bench.nic);
    on_a.describe(&mut a, 0, 64);
    on_a.ring_tx(&mut a);
    bench.poll();
    a.suspend();
    let stopped = a.position(QueueKind::Tx);
    assert_eq!(stopped, (0, flags::ENABLED | flags::STOPPED));
    let (mut b, mut on_b) = owner(&bench.nic);
    b.suspend();
    let message = b.set_position(QueueKind::Tx, stopped);
    b.ok(adi_op::SET_ADI_QUEUE_STATE, &message);
    b.resume();
    let sent = frame(STRANGER, on_b.mac(), 1);
    on_b.send(&mut b, &sent);
    bench.poll();
    assert_eq!(bench.far.recv(), None);
    on_b.restart(&mut b);
    on_b.send(&mut b, &sent);
    bench.poll();
    assert_eq!(bench.far.recv().map(|(frame, _)| frame), Some(sent));
}

#[test]
fn states_that_cannot_be_are_refused_and_change_nothing() {
    let bench = Bench::new();
    let (mut a, on_a) = owner(&bench.nic);
    let (get, set) = (adi_op::GET_ADI_QUEUE_STATE, adi_op::SET_ADI_QUEUE_STATE);
    let header = a.queue(QueueKind::Tx);
    assert_eq!(a.refusal(get, header.as_bytes()), status::ERR_ESM);
    let vectors = a.vectors();
    let (get_vectors, set_vectors) = (adi_op::GET_ADI_VECTOR_STATE, adi_op::SET_ADI_VECTOR_STATE);
    assert_eq!(a.refusal(get_vectors, vectors.as_bytes()), status::ERR_ESM);
    a.suspend();
    let before = QueueKind::ALL.map(|kind| a.position(kind));
    let ring = crate::testing::adi::RING;
    for (state, expected) in [
        ((ring, flags::ENABLED), status::ERR_ERANGE),
        ((0, flags::ENABLED | 0x10), status::ERR_EINVAL),
        ((1, 0), status::ERR_EINVAL),
        ((0, 0), status::ERR_ESM),
    ] {
        let message = a.set_position(QueueKind::RxBuffer, state);
        assert_eq!(a.refusal(set, &message), expected, "{state:?}");
        let short = &message[..message.len() - 1];
        assert_eq!(a.refusal(set, short), status::ERR_EINVAL);
    }
    for change in [
        AdiQueueStates {
            type_: U32::new(9),
            ..header
        },
        AdiQueueStates {
            num_states: U16::ZERO,
            ..header
        },
        AdiQueueStates {
            num_states: U16::new(u16::MAX),
            ..header
        },
        AdiQueueStates {
            start_queue_id: U32::new(0),
            ..header
        },
        AdiQueueStates {
            start_queue_id: U32::new(u32::MAX),
            ..header
        },
        AdiQueueStates {
            adi_id: U16::new(99),
            ..header
        },
    ] {
        a.refusal(get, change.as_bytes());
        a.refusal(set, &[change.as_bytes(), &[0; 8]].concat());
    }
    for (first, count) in [(1, 1), (0, 2), (0, 0), (u16::MAX, u16::MAX)] {
        let change = AdiVectorStates {
            num_states: U16::new(count),
            start_vector_id: U16::new(first),
            ..vectors
        };
        a.refusal(get_vectors, change.as_bytes());
        a.refusal(set_vectors, &[change.as_bytes(), &[0; 4]].concat());
    }
    let unknown = [vectors.as_bytes(), &[2, 0, 0, 0]].concat();
    assert_eq!(a.refusal(set_vectors, &unknown), status::ERR_EINVAL);
    assert_eq!(QueueKind::ALL.map(|kind| a.position(kind)), before);
    // A queue that is not enabled has no state.
    a.ok(op::DISABLE_QUEUES, &on_a.all_queues());
    assert_eq!(a.position(QueueKind::Tx), (0, 0));
    let message = a.set_position(QueueKind::Tx, (0, 0));
    a.ok(set, &message);
    let message = a.set_position(QueueKind::Tx, (0, flags::ENABLED));
    assert_eq!(a.refusal(set, &message), status::ERR_ESM);
    // A reset ends the suspension.
    a.adi.reset().unwrap();
    assert_eq!(a.refusal(get, header.as_bytes()), status::ERR_ESM);
    let disabled = Vport {
        vport_id: on_a.vport(),
        ..Vport::default()
    };
    a.ok(op::DISABLE_VPORT, disabled.as_bytes());
}
