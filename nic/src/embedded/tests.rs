// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ADIs of an embedded NIC: their owners have memory, a file of doorbell pages and eventfds.

mod groups;
mod recovery;

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use adit_uapi::virtchnl2::adi::{fault_reason, AdiFault};
use adit_uapi::virtchnl2::{op, status, QueueRegChunk};
use adit_vfio_user::EventFd;
use zerocopy::little_endian::{U16, U32, U64};

mod suspend;

use super::*;
use crate::awake::Drowsy;
use crate::dataplane::QueueKind;
use crate::interrupts::SLEEP_AFTER_NS;
use crate::mac::MacAddr;
use crate::memory::{Access, Dma, GuestMemory};
use crate::testing::adi::{frame, AdiDriver, Host, IOVA, LEN, RX_DATA, TX_DATA};
use crate::testing::{guest, sealed};
use crate::wire::mock::{FarEnd, MockPort, SPEED_MBPS};
use crate::wire::{PortCaps, WireSpec};

const ALL: Access = Access {
    read: true,
    write: true,
};
const STRANGER: [u8; 6] = [2, 0, 0, 0, 9, 9];
const MAC: [u8; 6] = [2, 0xAD, 0x17, 0, 0, 1];
const LIMITS: AdiLimits = AdiLimits { adis: 4, pairs: 8 };

/// The owner of an ADI with one queue pair.
struct Owner {
    adi: Adi,
    /// Its view of its memory, at the addresses that the ADI uses.
    memory: GuestMemory,
    interrupts: OwnedFd,
}

impl Host for Owner {
    fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    fn ok(&mut self, v_opcode: u32, payload: &[u8]) -> Vec<u8> {
        let mut reply = Vec::new();
        let answered = self.adi.request(v_opcode, payload, &mut reply);
        answered.map(|()| reply).expect("a reply")
    }

    fn read(&mut self, register: u32) -> u32 {
        let mut word = [0; 4];
        let pages = self.adi.pages();
        pages.read_exact_at(&mut word, register.into()).unwrap();
        u32::from_le_bytes(word)
    }

    fn write(&mut self, register: u32, value: u32) {
        let word = value.to_le_bytes();
        self.adi
            .pages()
            .write_all_at(&word, register.into())
            .unwrap();
    }
}

/// The description of an ADI for the driver of the tests: registers are at their offset in the pages.
fn described(adi: &Adi) -> guest::Created {
    let created = adi.created();
    let chunk = |(kind, &first): (QueueKind, &u32)| QueueRegChunk {
        type_: U32::new(kind as u32),
        start_queue_id: U32::new(first),
        num_queues: U32::new(1),
        qtail_reg_start: U64::new(u64::from(kind == QueueKind::RxBuffer) * 0x1000),
        ..QueueRegChunk::default()
    };
    let mut described = guest::Created {
        adi: Default::default(),
        ext: Default::default(),
        chunks: QueueKind::ALL
            .into_iter()
            .zip(&created.first_queues)
            .map(chunk)
            .collect(),
    };
    described.adi.adi_id = U16::new(created.id.0);
    described.adi.vchunk.dynctl_reg_start = U32::new(0x3000);
    described.ext.vport_id = U32::new(created.vport.0);
    described.ext.mac = created.mac;
    described
}

/// Creates an ADI with memory and eventfds, and sets up its queues.
fn owner(nic: &Nic) -> (Owner, AdiDriver) {
    owner_of(nic, &spec(1))
}

fn owner_of(nic: &Nic, spec: &AdiSpec) -> (Owner, AdiDriver) {
    let mut adi = nic.create_adi(spec).unwrap();
    let file = sealed(LEN);
    let mut memory = GuestMemory::new();
    let own = file.try_clone().unwrap();
    memory.map(IOVA, LEN, ALL, Some((own, 0))).unwrap();
    adi.map(IOVA, LEN, ALL, file, 0).unwrap();
    let interrupts = event().unwrap();
    let trigger = EventFd::from_client(interrupts.try_clone().unwrap()).unwrap();
    adi.set_vector(0, Some(&trigger)).unwrap();
    let mut driver = AdiDriver::of(described(&adi), adi.created().pasid.get(), IOVA);
    let mut owner = Owner {
        adi,
        memory,
        interrupts,
    };
    driver.up(&mut owner);
    driver.post(&mut owner, 16);
    (owner, driver)
}

fn spec(pairs: u16) -> AdiSpec {
    AdiSpec {
        pairs,
        ..AdiSpec::default()
    }
}

/// Reads an eventfd: the number of signals since it was last read.
fn signals(event: BorrowedFd<'_>) -> u64 {
    let mut count = [0; 8];
    match rustix::io::read(event, &mut count) {
        Ok(8) => u64::from_ne_bytes(count),
        _ => 0,
    }
}

/// A NIC that the test polls.
struct Bench {
    nic: Nic,
    far: FarEnd,
    now: u64,
}

impl Bench {
    fn new() -> Self {
        let (port, far) = MockPort::new(PortCaps::default());
        let nic = Nic::still(vec![MAC], vec![Some(Box::new(port))], LIMITS).unwrap();
        Self { nic, far, now: 1 }
    }

    fn poll(&mut self) {
        self.now += 1_000;
        self.nic.inner.shared.lock().poll(self.now, true);
    }

    fn idle(&mut self, ns: u64) {
        self.poll();
        self.now += ns;
        self.poll();
    }
}

/// The fault record of an ADI.
fn reason(owner: &mut Owner, driver: &AdiDriver) -> (u32, u64) {
    let fault: AdiFault = driver.fault(owner, 0);
    (fault.reason.get(), fault.address.get())
}

#[test]
fn frames_pass_and_vectors_signal_eventfds() {
    let mut bench = Bench::new();
    let ((mut a, mut on_a), (mut b, mut on_b)) = (owner(&bench.nic), owner(&bench.nic));
    assert_eq!(a.adi.link().unwrap(), (true, SPEED_MBPS));
    assert_ne!(on_a.mac(), on_b.mac());
    on_b.arm(&mut b);
    let to_b = frame(on_b.mac(), on_a.mac(), 1);
    on_a.send(&mut a, &to_b);
    bench.poll();
    assert_eq!(on_b.recv(&b), Some(to_b));
    assert_eq!(on_a.completion(&a), Some(0));
    assert_eq!(signals(b.interrupts.as_fd()), 1);
    assert_eq!(signals(a.interrupts.as_fd()), 0, "not armed");
    on_a.arm(&mut a);
    bench.poll();
    assert_eq!(signals(a.interrupts.as_fd()), 1, "kept until then");

    // Without an eventfd a cause is kept, too.
    b.adi.set_vector(0, None).unwrap();
    on_b.arm(&mut b);
    bench
        .far
        .send(&frame(on_b.mac(), STRANGER, 2), Default::default());
    bench.poll();
    let trigger = EventFd::from_client(b.interrupts.try_clone().unwrap()).unwrap();
    b.adi.set_vector(0, Some(&trigger)).unwrap();
    bench.poll();
    assert_eq!(signals(b.interrupts.as_fd()), 1);
    assert!(on_b.recv(&b).is_some());
}

#[test]
fn an_idle_adi_needs_no_kick() {
    let mut bench = Bench::new();
    let (mut a, mut on_a) = owner(&bench.nic);
    bench.idle(SLEEP_AFTER_NS);
    for n in 0..3 {
        let sent = frame(STRANGER, on_a.mac(), n);
        on_a.send(&mut a, &sent);
        on_a.arm(&mut a);
        bench.idle(Drowsy::INTERVAL_NS);
        assert_eq!(bench.far.recv().map(|(frame, _)| frame), Some(sent));
        assert_eq!(signals(a.interrupts.as_fd()), 1);
        bench.idle(SLEEP_AFTER_NS);
        if n == 1 {
            // The state after opening.
            a.adi.reset().unwrap();
            on_a.up(&mut a);
            bench.idle(SLEEP_AFTER_NS);
        }
    }
}

#[test]
fn what_is_not_registered_for_it_faults_and_harms_nobody() {
    let mut bench = Bench::new();
    let ((mut a, mut on_a), (mut b, mut on_b)) = (owner(&bench.nic), owner(&bench.nic));
    // The neighbour has memory there.
    let theirs = IOVA + 0x10_0000;
    b.adi.map(theirs, 0x1000, ALL, sealed(0x1000), 0).unwrap();
    on_a.describe(&mut a, theirs, 64);
    on_a.ring_tx(&mut a);
    bench.poll();
    assert!(bench.far.recv().is_none());
    assert_eq!(signals(a.adi.fault()), 1);
    assert_eq!(reason(&mut a, &on_a), (fault_reason::NOT_MAPPED, theirs));
    // Memory that may only be read is not received into.
    let only = IOVA + 0x20_0000;
    let read = Access {
        write: false,
        ..ALL
    };
    b.adi.reset().unwrap();
    b.adi
        .map(only, 0x10_000, read, sealed(0x10_000), 0)
        .unwrap();
    on_b.up(&mut b);
    on_b.post_at(&mut b, 1, only);
    bench
        .far
        .send(&frame(on_b.mac(), STRANGER, 2), Default::default());
    bench.poll();
    assert_eq!(signals(b.adi.fault()), 1);
    assert_eq!(reason(&mut b, &on_b), (fault_reason::PERMISSION, only));
    assert_eq!(signals(a.adi.fault()), 0);
    a.ok(op::DISABLE_QUEUES, &on_a.all_queues());
    on_a.up(&mut a);
    on_a.send(&mut a, &frame(STRANGER, on_a.mac(), 1));
    bench.poll();
    assert!(bench.far.recv().is_some());
}

#[test]
fn a_window_that_is_unmapped_is_not_used_any_more() {
    let mut bench = Bench::new();
    let (mut a, mut on_a) = owner(&bench.nic);
    let (second, file) = (IOVA + LEN, sealed(0x2000));
    let own = file.try_clone().unwrap();
    a.memory.map(second, 0x2000, ALL, Some((own, 0))).unwrap();
    a.adi.map(second, 0x2000, ALL, file, 0).unwrap();
    let sent = frame(STRANGER, on_a.mac(), 1);
    a.memory.write(second, &sent).unwrap();
    on_a.describe(&mut a, second, 64);
    on_a.ring_tx(&mut a);
    bench.poll();
    assert_eq!(bench.far.recv().map(|(frame, _)| frame), Some(sent));
    for (iova, len) in [
        (second, 0x1000),
        (second + 0x1000, 0x1000),
        (IOVA, LEN + 0x2000),
    ] {
        let refused = a.adi.unmap(iova, len);
        assert!(
            matches!(refused, Err(Error::NotRegistered { .. })),
            "{iova:#x}"
        );
    }
    a.adi.unmap(second, 0x2000).unwrap();
    assert!(a.adi.unmap(second, 0x2000).is_err());
    on_a.describe(&mut a, second, 64);
    on_a.ring_tx(&mut a);
    bench.poll();
    assert!(bench.far.recv().is_none());
    assert_eq!(reason(&mut a, &on_a), (fault_reason::NOT_MAPPED, second));
}

#[test]
fn a_reset_restores_the_state_after_creation_and_keeps_memory_and_eventfds() {
    let mut bench = Bench::new();
    let (mut a, mut on_a) = owner(&bench.nic);
    on_a.describe(&mut a, 0, 64);
    on_a.ring_tx(&mut a);
    bench.poll();
    assert_ne!(reason(&mut a, &on_a).0, fault_reason::NONE);
    signals(a.adi.fault());
    a.adi.reset().unwrap();
    assert_eq!(reason(&mut a, &on_a).0, fault_reason::NONE);
    let tail = on_a.tail(QueueKind::Tx);
    assert_eq!(a.read(tail), 0);
    let refused = a
        .adi
        .request(op::ENABLE_QUEUES, &on_a.all_queues(), &mut Vec::new());
    assert!(matches!(refused, Err(Error::Refused { .. })));
    on_a.up(&mut a);
    on_a.arm(&mut a);
    on_a.send(&mut a, &frame(STRANGER, on_a.mac(), 3));
    bench.poll();
    assert!(bench.far.recv().is_some());
    assert_eq!(signals(a.interrupts.as_fd()), 1);
    on_a.describe(&mut a, 0, 64);
    on_a.ring_tx(&mut a);
    bench.poll();
    assert_eq!(signals(a.adi.fault()), 1);
}

#[test]
fn an_adi_that_is_destroyed_under_its_owner_is_gone() {
    let mut bench = Bench::new();
    let (mut a, mut on_a) = owner(&bench.nic);
    let id = a.adi.created().id;
    assert_eq!(bench.nic.adis(), [id]);
    on_a.send(&mut a, &frame(STRANGER, on_a.mac(), 1));
    assert_eq!(signals(a.adi.gone()), 0);
    assert!(bench.nic.destroy_adi(id) && !bench.nic.destroy_adi(id));
    assert_eq!(signals(a.adi.gone()), 1);
    bench.poll();
    assert!(bench.far.recv().is_none());
    assert!(matches!(a.adi.reset(), Err(Error::Gone)));
    assert!(matches!(a.adi.link(), Err(Error::Gone)));
    assert!(matches!(a.adi.set_vector(0, None), Err(Error::Gone)));
    let more = a.adi.map(0, 0x1000, ALL, sealed(0x1000), 0);
    assert!(matches!(more, Err(Error::Gone)));
    a.adi.unmap(IOVA, LEN).unwrap();

    // The next one has its place, and what the former owner writes has no effect.
    let (mut b, mut on_b) = owner(&bench.nic);
    let next = b.adi.created().id;
    assert_eq!(b.adi.created().first_queues, a.adi.created().first_queues);
    on_a.ring_tx(&mut a);
    bench.poll();
    assert_eq!(reason(&mut b, &on_b).0, fault_reason::NONE);
    drop(a);
    assert_eq!(bench.nic.adis(), [next]);
    on_b.send(&mut b, &frame(STRANGER, on_b.mac(), 2));
    bench.poll();
    assert!(bench.far.recv().is_some());
    drop(b);
    assert!(bench.nic.adis().is_empty());
    assert_eq!(
        bench.nic.inner.shared.lock().datapath().adi_totals().adis,
        0
    );
}

#[test]
fn an_address_that_another_adi_was_given_is_nobodys_default() {
    let bench = Bench::new();
    let first = bench.nic.create_adi(&spec(1)).unwrap();
    // The default of the next ADI but one.
    let mut next = first.created().mac;
    next[5] += 2;
    let taken = AdiSpec {
        mac: Some(next),
        ..spec(1)
    };
    drop(first);
    let given = bench.nic.create_adi(&taken).unwrap();
    let others: Vec<_> = (0..3)
        .map(|_| bench.nic.create_adi(&spec(1)).unwrap())
        .collect();
    let all = others.iter().chain([&given]);
    let all: std::collections::BTreeSet<_> = all.map(|adi| adi.created().mac).collect();
    assert_eq!(all.len(), 4, "{all:x?}");
    assert_eq!(given.created().mac, next);
}

#[test]
fn requests_that_cannot_be_met_are_refused() {
    let bench = Bench::new();
    let refused = |spec: AdiSpec| match bench.nic.create_adi(&spec).map(|_| ()) {
        Err(Error::Refused { status, .. }) => status,
        other => panic!("{spec:?}: {other:?}"),
    };
    assert_eq!(refused(spec(0)), status::ERR_ERANGE);
    assert_eq!(refused(AdiSpec { port: 1, ..spec(1) }), status::ERR_ERANGE);
    let vlan = 4095;
    assert_eq!(refused(AdiSpec { vlan, ..spec(1) }), status::ERR_ERANGE);
    let group = Some([1, 0, 0, 0, 0, 0]);
    assert_eq!(
        refused(AdiSpec {
            mac: group,
            ..spec(1)
        }),
        status::ERR_EINVAL
    );
    let mac = Some([2, 0, 0, 0, 0, 7]);
    let mut adi = bench.nic.create_adi(&AdiSpec { mac, ..spec(7) }).unwrap();
    assert_eq!(Some(adi.created().mac), mac);
    assert_eq!(adi.page_count(), 28);
    assert_eq!(adi.pages().metadata().unwrap().len(), 28 << 12);
    assert_eq!(refused(AdiSpec { mac, ..spec(1) }), status::ERR_EEXIST);
    assert_eq!(refused(spec(2)), status::ERR_ENOSPC);

    let foreign = adi.request(op::NON_FLEX_DESTROY_ADI, &[0; 4], &mut Vec::new());
    assert!(matches!(foreign, Err(Error::NotForOwners(_))));
    let vector = adi.set_vector(7, None);
    assert!(matches!(
        vector,
        Err(Error::NoSuchVector {
            vector: 7,
            count: 7
        })
    ));
    for (iova, len, offset) in [(1, 0x1000, 0), (0, 0xFFF, 0), (0, 0x1000, 8)] {
        let refused = adi.map(iova, len, ALL, sealed(0x2000), offset);
        assert!(matches!(refused, Err(Error::Unaligned { .. })));
    }
    let refused = adi.map(0, MAX_REGISTERED_LEN + 0x1000, ALL, sealed(0x1000), 0);
    assert!(matches!(
        refused,
        Err(Error::TooLarge { registered: 0, .. })
    ));
    for (iova, len) in [(0, 0), (0, 0x2000), (u64::MAX - 0xFFF, 0x2000)] {
        let refused = adi.map(iova, len, ALL, sealed(0x1000), 0);
        assert!(matches!(refused, Err(Error::Map(_))), "{iova:#x}");
    }
    adi.map(0, 0x1000, ALL, sealed(0x1000), 0).unwrap();
    let twice = adi.map(0, 0x1000, ALL, sealed(0x1000), 0);
    assert!(matches!(twice, Err(Error::Map(MapError::Overlap { .. }))));
}

/// A running NIC without a wire.
fn running() -> Nic {
    Nic::start(&setup(), LIMITS).unwrap()
}

fn setup() -> Setup {
    Setup {
        wires: vec![WireSpec::None],
        mac: MacAddr(MAC),
        p4: None,
        p4_options: Default::default(),
        connections: 64,
        reserved_ports: Vec::new(),
        p4rt: None,
        metrics: None,
    }
}

/// Waits for a condition that another thread establishes.
fn wait(mut met: impl FnMut() -> bool) {
    while !met() {
        std::thread::yield_now();
    }
}

#[test]
fn nothing_is_accessed_after_an_unmap_or_an_end_under_traffic() {
    let nic = running();
    for round in 0..20 {
        let ((mut a, mut on_a), (mut b, mut on_b)) = (owner(&nic), owner(&nic));
        for n in 0..8 {
            on_a.send(&mut a, &frame(on_b.mac(), on_a.mac(), n));
        }
        wait(|| on_b.recv(&b).is_some());
        let pattern = vec![0xAA; 0x8000];
        // The engine is in the middle of the frames.
        if round % 2 == 0 {
            b.adi.unmap(IOVA, LEN).unwrap();
        } else {
            assert!(nic.destroy_adi(b.adi.created().id));
        }
        b.memory.write(RX_DATA, &pattern).unwrap();
        for n in 0..8 {
            on_a.send(&mut a, &frame(on_b.mac(), on_a.mac(), n));
        }
        wait(|| on_a.completion(&a) == Some(15));
        let mut seen = vec![0; pattern.len()];
        b.memory.read(RX_DATA, &mut seen).unwrap();
        assert!(seen == pattern, "round {round}");
        on_a.describe(&mut a, TX_DATA, 64);
        on_a.ring_tx(&mut a);
        drop((b, a));
    }
    assert!(nic.adis().is_empty());
    assert!(nic.metrics().contains("adit_adis 0"));
    nic.stop().unwrap();
}

#[test]
fn adis_are_gone_when_the_nic_has_stopped() {
    let nic = running();
    let (a, _) = owner(&nic);
    nic.stop().unwrap();
    assert_eq!(signals(a.adi.gone()), 1);
    assert!(matches!(a.adi.link(), Err(Error::Gone)));
}
