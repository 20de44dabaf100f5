// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ADIs from the guest's point of view: created over the mailbox, driven through doorbells,
//! isolated by the guest's own IOMMU tables.

mod isolation;
mod life;
mod log;
mod no_kick;
mod published;
mod rest;
mod scale;
mod switch;
mod update;

use adit_uapi::virtchnl2::adi::{cause_reason, CreateAdiExt};
use adit_uapi::virtchnl2::{op, status, VportStats};
use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, IntoBytes};

use crate::dataplane::QueueKind;
use crate::drops::DropReason;
use crate::ids::VportId;
use crate::testing::adi::{frame, AdiDriver};
use crate::testing::guest::{wanted, Guest, PF_MAC};

/// The address of a station at the other end of the wire.
const STRANGER: [u8; 6] = [2, 0, 0, 0, 9, 9];
const BROADCAST: [u8; 6] = [0xFF; 6];

/// A guest with two ADIs that have buffers, and a cause ring.
fn pair() -> (Guest, AdiDriver, AdiDriver) {
    let mut guest = Guest::new(8, 16);
    guest.create_vport();
    guest.cause_ring(16);
    let mut adi = |pasid| {
        let mut adi = AdiDriver::new(&mut guest, pasid, &wanted(1));
        adi.post(&mut guest, 16);
        adi
    };
    let (a, b) = (adi(100), adi(200));
    (guest, a, b)
}

/// Frames dropped by all ADIs for a reason: received and sent.
fn dropped(guest: &Guest, reason: DropReason) -> (u64, u64) {
    let drops = guest.function.datapath().adi_totals().drops;
    (drops.rx.get(reason), drops.tx.get(reason))
}

#[test]
fn frames_pass_between_adis_and_the_wire_and_are_told_by_vector() {
    let (mut guest, mut a, mut b) = pair();
    a.arm(&mut guest);
    b.arm(&mut guest);
    let to_b = frame(b.mac(), a.mac(), 1);
    a.send(&mut guest, &to_b);
    guest.poll();
    assert_eq!(b.recv(&guest), Some(to_b));
    assert_eq!(a.completion(&guest), Some(0));
    assert!(guest.far.recv().is_none(), "it stays in the device");
    let mut told = guest.causes();
    told.sort_unstable();
    let (a_id, b_id) = (a.created.id(), b.created.id());
    let interrupt = cause_reason::INTERRUPT;
    assert_eq!(told, [(a_id, 0, interrupt), (b_id, 0, interrupt)]);

    let out = frame(STRANGER, b.mac(), 2);
    b.send(&mut guest, &out);
    guest.poll();
    assert_eq!(guest.far.recv().map(|(frame, _)| frame), Some(out));
    assert!(guest.causes().is_empty(), "its vector was not armed again");
    b.arm(&mut guest);
    guest.poll();
    assert_eq!(guest.causes(), [(b_id, 0, interrupt)], "kept until then");

    let back = frame(a.mac(), STRANGER, 3);
    guest.far.send(&back, Default::default());
    guest.poll();
    assert_eq!(a.recv(&guest), Some(back));
    assert_eq!((a.recv(&guest), b.recv(&guest)), (None, None));
    let totals = guest.function.datapath().adi_totals();
    assert_eq!((totals.frames.tx_unicast, totals.frames.rx_unicast), (2, 2));
    let ask = VportStats {
        vport_id: b.vport(),
        ..VportStats::default()
    };
    let stats = guest.ok(op::GET_STATS, ask.as_bytes());
    let stats = VportStats::read_from_bytes(&stats).unwrap();
    assert_eq!((stats.tx_unicast.get(), stats.rx_bytes.get()), (1, 64));
}

#[test]
fn rings_wrap_and_frames_without_a_buffer_are_dropped_and_counted() {
    let (mut guest, mut a, mut b) = pair();
    for n in 0..200 {
        let sent = frame(b.mac(), a.mac(), n);
        a.send(&mut guest, &sent);
        guest.poll();
        assert_eq!(b.recv(&guest), Some(sent));
        assert_eq!(a.completion(&guest), Some(u16::from(n)));
        b.post(&mut guest, 1);
    }
    for n in 0..20 {
        a.send(&mut guest, &frame(b.mac(), a.mac(), n));
        guest.poll();
    }
    assert_eq!(dropped(&guest, DropReason::NoBuffer), (4, 0));
    let totals = guest.function.datapath().adi_totals();
    assert_eq!(totals.frames.tx_unicast, 220);
    assert_eq!(totals.frames.rx_unicast, 216);
}

#[test]
fn adis_are_what_was_asked_for_or_refused() {
    let mut guest = Guest::new(3, 5);
    let refuse = |guest: &mut Guest, pasid, ext: CreateAdiExt, with| {
        let refused = guest.create(pasid, &ext).map(|adi| adi.id());
        assert_eq!(refused, Err(with), "{ext:?}");
    };
    for pasid in [0, 1 << 20] {
        refuse(&mut guest, pasid, wanted(1), status::ERR_ERANGE);
    }
    let with = |change: fn(&mut CreateAdiExt)| {
        let mut ext = wanted(1);
        change(&mut ext);
        ext
    };
    let range = status::ERR_ERANGE;
    refuse(&mut guest, 1, wanted(0), range);
    refuse(&mut guest, 1, wanted(6), range);
    refuse(&mut guest, 1, with(|e| e.port = U16::new(1)), range);
    refuse(&mut guest, 1, with(|e| e.vlan = U16::new(4095)), range);
    refuse(&mut guest, 1, with(|e| e.cause_ring = U16::new(64)), range);
    refuse(&mut guest, 1, with(|e| e.mac[0] = 1), status::ERR_EINVAL);
    let mine = with(|e| e.mac = [2, 0, 0, 0, 0, 7]);
    let first = guest.create(1, &mine).unwrap();
    assert_eq!(first.ext.mac, [2, 0, 0, 0, 0, 7]);
    refuse(&mut guest, 1, wanted(1), status::ERR_EEXIST);
    refuse(&mut guest, 2, mine, status::ERR_EEXIST);
    guest.create_vport();
    refuse(&mut guest, 2, with(|e| e.mac = PF_MAC), status::ERR_EEXIST);
    let second = guest.create(2, &wanted(3)).unwrap();
    assert_ne!(second.ext.mac, first.ext.mac);
    // One pair is left, then none.
    refuse(&mut guest, 3, wanted(2), status::ERR_ENOSPC);
    guest.create(3, &wanted(1)).unwrap();
    refuse(&mut guest, 4, wanted(1), status::ERR_ENOSPC);
    assert_eq!(guest.destroy(first.id()), status::SUCCESS);
    assert_eq!(guest.destroy(first.id()), status::ERR_ENXIO);
    let again = guest.create(1, &wanted(1)).unwrap();
    assert_eq!(again.id(), first.id());
}

#[test]
fn frames_and_queues_are_where_the_layout_has_them() {
    let mut guest = Guest::new(4, 8);
    guest.create(1, &wanted(1)).unwrap();
    let adi = guest.create(2, &wanted(2)).unwrap();
    let ext = &adi.ext;
    assert_eq!(ext.frame_offset.get(), 0x1000_4000);
    assert_eq!((ext.frame_pages.get(), ext.asleep_offset.get()), (8, 0x40));
    assert_eq!(ext.kick_offset.get(), 0x3000_1000);
    assert_eq!(ext.vport_id.get(), 2, "behind that of the port");
    let place = |kind| {
        let chunk = adi.chunk(kind);
        (
            chunk.start_queue_id.get(),
            chunk.num_queues.get(),
            chunk.qtail_reg_start.get(),
            chunk.qtail_reg_spacing.get(),
        )
    };
    // The function has four TX and buffer queues and two RX queues of its own.
    assert_eq!(place(QueueKind::Tx), (5, 2, 0x1000_4000, 0x1000));
    assert_eq!(place(QueueKind::RxBuffer), (6, 4, 0x1000_6000, 0x1000));
    assert_eq!(place(QueueKind::Rx), (3, 2, 0, 0));
    assert_eq!(place(QueueKind::TxCompletion), (5, 2, 0, 0));
    let vectors = &adi.adi.vchunk;
    assert_eq!(vectors.start_vector_id.get(), 0);
    assert_eq!(vectors.dynctl_reg_start.get(), 0x1000_A000);
    assert_eq!(vectors.itrn_reg_start.get(), 0x1000_A004);
    assert_eq!(vectors.num_vectors.get(), 2);
}
