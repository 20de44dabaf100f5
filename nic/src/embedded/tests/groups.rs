// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Groups of ADIs: the virtual port of one has the queues of all.

use std::fs::File;

use adit_function::vport::{RSS_KEY_LEN, RSS_LUT_LEN};
use adit_uapi::virtchnl2::adi::{op as adi_op, AdiCaps, AdiGroup, SuspendAdi, GROUP_VECTOR};
use adit_uapi::virtchnl2::{RssKey, RssLut, VportStats};
use zerocopy::{FromBytes, IntoBytes};

use super::*;
use crate::doorbells::Run;
use crate::drops::DropReason;

/// A UDP packet to `to`, whose flow `port` identifies.
fn udp(to: [u8; 6], port: u16) -> Vec<u8> {
    let mut packet = [to, STRANGER].concat();
    packet.extend([8, 0]);
    packet.extend([
        0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ]);
    packet.extend(port.to_be_bytes());
    packet.extend([0, 9, 0, 26, 0, 0]);
    packet.resize(60, 0xA5);
    packet
}

/// The leader and a member of a group, with their drivers.
struct Group {
    leader: (Owner, AdiDriver),
    member: (Owner, AdiDriver),
}

impl Group {
    /// Two ADIs in a group, whose queues run and have buffers.
    fn new(nic: &Nic) -> Self {
        let (mut leader, mut member) = (owner(nic), owner(nic));
        member.0.adi.reset().unwrap();
        leader.0.adi.reset().unwrap();
        leader.0.adi.lead(&[member.0.adi.created().id]).unwrap();
        let mut group = Self { leader, member };
        group.up();
        group
    }

    fn up(&mut self) {
        let Self { leader, member } = self;
        member.1.queues_up(&mut member.0);
        member.1.post(&mut member.0, 16);
        leader.1.up(&mut leader.0);
        leader.1.post(&mut leader.0, 16);
        self.spread();
    }

    /// Spreads flows over the queues of both.
    fn spread(&mut self) {
        let header = RssKey {
            vport_id: self.leader.1.vport(),
            key_len: U16::new(RSS_KEY_LEN as u16),
            pad: 0,
        };
        let key: Vec<_> = (1..=RSS_KEY_LEN as u8).collect();
        let message = [header.as_bytes(), &key].concat();
        self.leader.0.ok(op::SET_RSS_KEY, &message);
        let lut = self.lut(|at| at % 2);
        self.leader.0.ok(op::SET_RSS_LUT, &lut);
    }

    /// A look-up table.
    fn lut(&self, entry: impl Fn(u32) -> u32) -> Vec<u8> {
        let header = RssLut {
            vport_id: self.leader.1.vport(),
            lut_entries: U16::new(RSS_LUT_LEN as u16),
            ..RssLut::default()
        };
        let entries: Vec<_> = (0..RSS_LUT_LEN as u32)
            .map(|at| U32::new(entry(at)))
            .collect();
        [header.as_bytes(), entries.as_bytes()].concat()
    }

    fn mac(&self) -> [u8; 6] {
        self.leader.1.mac()
    }

    /// Sends packets of `count` flows from the wire; returns how many the leader and the member got.
    fn receive(&mut self, bench: &mut Bench, count: u16) -> (u64, u64) {
        for port in 0..count {
            bench.far.send(&udp(self.mac(), port), Default::default());
        }
        bench.poll();
        let all = |(owner, driver): &mut (Owner, AdiDriver)| {
            std::iter::from_fn(|| driver.recv(owner)).count() as u64
        };
        (all(&mut self.leader), all(&mut self.member))
    }
}

/// The counters of the vport of an ADI.
fn stats((owner, driver): &mut (Owner, AdiDriver)) -> VportStats {
    let asked = VportStats {
        vport_id: driver.vport(),
        ..VportStats::default()
    };
    let reply = owner.ok(op::GET_STATS, asked.as_bytes());
    VportStats::read_from_bytes(&reply).unwrap()
}

/// Frames dropped by ADIs for a reason: received and sent.
fn dropped(bench: &Bench, reason: DropReason) -> (u64, u64) {
    let function = bench.nic.inner.shared.lock();
    let drops = function.datapath().adi_totals().drops;
    (drops.rx.get(reason), drops.tx.get(reason))
}

/// The status with which a group is refused.
fn refused(adi: &mut Adi, members: &[AdiId]) -> u32 {
    match adi.lead(members) {
        Err(Error::Refused { status, .. }) => status,
        other => panic!("{members:?}: {other:?}"),
    }
}

fn id((owner, _): &(Owner, AdiDriver)) -> AdiId {
    owner.adi.created().id
}

#[test]
fn flows_are_spread_over_the_queues_of_all_members() {
    let mut bench = Bench::new();
    let mut group = Group::new(&bench.nic);
    let (leader, member) = group.receive(&mut bench, 16);
    assert_eq!(leader + member, 16);
    assert!(leader > 0 && member > 0, "{leader} and {member}");
    assert_eq!(stats(&mut group.leader).rx_unicast.get(), 16);
    assert_eq!(stats(&mut group.member).rx_unicast.get(), 0);
    // A broadcast arrives once.
    let all = frame([0xFF; 6], STRANGER, 1);
    bench.far.send(&all, Default::default());
    bench.poll();
    let (on_leader, on_member) = (
        group.leader.1.recv(&group.leader.0),
        group.member.1.recv(&group.member.0),
    );
    assert_eq!((on_leader, on_member), (Some(all), None));
    // The member's own address is nobody's.
    let other = udp(group.member.1.mac(), 1);
    bench.far.send(&other, Default::default());
    bench.poll();
    assert_eq!(dropped(&bench, DropReason::PortDisabled).0, 1);
    assert_eq!(group.receive(&mut bench, 0), (0, 0));
}

#[test]
fn a_member_sends_as_the_leader_and_faults_alone() {
    let mut bench = Bench::new();
    let mut group = Group::new(&bench.nic);
    let mac = group.mac();
    let Group { leader, member } = &mut group;
    for (n, (owner, driver)) in (0..).zip([&mut *leader, &mut *member]) {
        let sent = frame(STRANGER, mac, n);
        driver.send(owner, &sent);
        bench.poll();
        assert_eq!(bench.far.recv().map(|(frame, _)| frame), Some(sent));
        assert_eq!(driver.completion(owner), Some(0));
    }
    assert_eq!(stats(leader).tx_unicast.get(), 2);
    assert_eq!(stats(member).tx_unicast.get(), 0);
    // Its former address is not one of the group's.
    let own = frame(STRANGER, member.1.mac(), 3);
    member.1.send(&mut member.0, &own);
    bench.poll();
    assert!(bench.far.recv().is_none());
    assert_eq!(dropped(&bench, DropReason::Spoofed).1, 1);
    // A multicast frame of a member does not come back to the group.
    let group_address = frame([0xFF; 6], mac, 4);
    member.1.send(&mut member.0, &group_address);
    bench.poll();
    assert!(bench.far.recv().is_some());
    assert_eq!(leader.1.recv(&leader.0), None);
    // Its interrupts and faults are its own.
    signals(leader.0.interrupts.as_fd());
    signals(member.0.interrupts.as_fd());
    member.1.arm(&mut member.0);
    let sent = frame(STRANGER, mac, 5);
    member.1.send(&mut member.0, &sent);
    bench.poll();
    let signalled = [&*leader, &*member].map(|(owner, _)| signals(owner.interrupts.as_fd()));
    assert_eq!(signalled, [0, 1]);
    member.1.describe(&mut member.0, 0, 64);
    member.1.ring_tx(&mut member.0);
    bench.poll();
    assert_eq!(reason(&mut member.0, &member.1).0, fault_reason::NOT_MAPPED);
    assert_eq!(reason(&mut leader.0, &leader.1).0, fault_reason::NONE);
}

#[test]
fn the_leaders_suspension_is_that_of_all() {
    let mut bench = Bench::new();
    let mut group = Group::new(&bench.nic);
    let named = |of: &(Owner, AdiDriver)| SuspendAdi {
        adi_id: U16::new(id(of).0),
        ..SuspendAdi::default()
    };
    let (on_leader, on_member) = (named(&group.leader), named(&group.member));
    for opcode in [adi_op::SUSPEND_ADI, adi_op::RESUME_ADI] {
        let alone = group
            .member
            .0
            .adi
            .request(opcode, on_member.as_bytes(), &mut Vec::new());
        let refused = matches!(
            alone,
            Err(Error::Refused {
                status: status::ERR_EACCES,
                ..
            })
        );
        assert!(refused, "{opcode:#x}");
    }
    group.leader.0.ok(adi_op::SUSPEND_ADI, on_leader.as_bytes());
    let sent = frame(STRANGER, group.mac(), 1);
    group.member.1.send(&mut group.member.0, &sent);
    assert_eq!(group.receive(&mut bench, 8), (0, 0));
    assert_eq!(dropped(&bench, DropReason::Suspended).0, 8);
    assert!(bench.far.recv().is_none());
    // A member that is reset stays suspended.
    group.member.0.adi.reset().unwrap();
    let Group { member, .. } = &mut group;
    member.1.queues_up(&mut member.0);
    member.1.post(&mut member.0, 16);
    member.1.send(&mut member.0, &sent);
    bench.poll();
    assert!(bench.far.recv().is_none());
    group.leader.0.ok(adi_op::RESUME_ADI, on_leader.as_bytes());
    bench.poll();
    assert_eq!(bench.far.recv().map(|(frame, _)| frame), Some(sent));
    let (leader, member) = group.receive(&mut bench, 16);
    assert!(leader + member == 16 && member > 0, "{leader} and {member}");
}

#[test]
fn a_reset_leaves_the_group_and_an_end_takes_the_queues_out() {
    let mut bench = Bench::new();
    let mut group = Group::new(&bench.nic);
    // Without the member's queues, frames for them are dropped and counted.
    group.member.0.adi.reset().unwrap();
    let (leader, member) = group.receive(&mut bench, 16);
    let lost = dropped(&bench, DropReason::QueueDisabled).0;
    assert!(
        lost > 0 && member == 0 && leader + lost == 16,
        "{leader} and {lost}"
    );
    group.leader.0.adi.reset().unwrap();
    group.up();
    let (leader, member) = group.receive(&mut bench, 16);
    assert!(leader + member == 16 && member > 0, "{leader} and {member}");

    // The next ADI has the member's queues, and gets nothing of the group's.
    let former = group.member.0.adi.created().first_queues;
    assert!(bench.nic.destroy_adi(id(&group.member)));
    let mut next = owner(&bench.nic);
    assert_eq!(next.0.adi.created().first_queues, former);
    for port in 0..16 {
        bench.far.send(&udp(group.mac(), port), Default::default());
    }
    bench.poll();
    assert_eq!(next.1.recv(&next.0), None);
    let table = group.lut(|_| 1);
    let refused = group
        .leader
        .0
        .adi
        .request(op::SET_RSS_LUT, &table, &mut Vec::new());
    assert!(matches!(
        refused,
        Err(Error::Refused {
            status: status::ERR_ERANGE,
            ..
        })
    ));
    let foreign = frame(STRANGER, group.mac(), 1);
    next.1.send(&mut next.0, &foreign);
    bench.poll();
    assert!(bench.far.recv().is_none());
}

#[test]
fn the_end_of_the_leader_ends_the_group() {
    let mut bench = Bench::new();
    let mut group = Group::new(&bench.nic);
    let mac = group.mac();
    assert!(bench.nic.destroy_adi(id(&group.leader)));
    let Group { member, .. } = &mut group;
    member.1.send(&mut member.0, &frame(STRANGER, mac, 1));
    bench.poll();
    assert!(bench.far.recv().is_none(), "the leader's address");
    // The next ADI in the leader's place has no members.
    let mut next = owner(&bench.nic);
    bench.far.send(&udp(next.1.mac(), 1), Default::default());
    bench.poll();
    assert!(next.1.recv(&next.0).is_some());
    // The member is an ADI of its own again.
    member.0.ok(op::ENABLE_VPORT, member.1.named().as_bytes());
    bench.far.send(&udp(member.1.mac(), 1), Default::default());
    let own = frame(STRANGER, member.1.mac(), 2);
    member.1.send(&mut member.0, &own);
    bench.poll();
    assert!(member.1.recv(&member.0).is_some());
    assert_eq!(bench.far.recv().map(|(frame, _)| frame), Some(own));
}

#[test]
fn groups_that_cannot_be_are_refused_and_change_nothing() {
    let mut bench = Bench::new();
    let (mut a, mut b) = (owner(&bench.nic), owner(&bench.nic));
    let vlan = AdiSpec { vlan: 7, ..spec(1) };
    let (mut c, on_vlan) = (owner(&bench.nic), bench.nic.create_adi(&vlan).unwrap());
    let [on_a, on_b, on_c] = [&a, &b, &c].map(id);
    assert_eq!(refused(&mut a.0.adi, &[on_b]), status::ERR_EBUSY);
    for owner in [&mut a, &mut b, &mut c] {
        owner.0.adi.reset().unwrap();
    }
    let lead = |adi: &mut Adi, members: &[AdiId]| refused(adi, members);
    assert_eq!(lead(&mut a.0.adi, &[on_a]), status::ERR_EINVAL, "itself");
    assert_eq!(
        lead(&mut a.0.adi, &[on_b, on_b]),
        status::ERR_EINVAL,
        "twice"
    );
    assert_eq!(
        lead(&mut a.0.adi, &[on_vlan.created().id]),
        status::ERR_EINVAL
    );
    assert_eq!(lead(&mut a.0.adi, &[on_b, AdiId(99)]), status::ERR_ENXIO);
    assert_eq!(lead(&mut a.0.adi, &[on_b; 16]), status::ERR_ERANGE);
    a.0.adi.lead(&[on_b]).unwrap();
    assert_eq!(
        lead(&mut c.0.adi, &[on_b]),
        status::ERR_EEXIST,
        "another's member"
    );
    assert_eq!(lead(&mut c.0.adi, &[on_a]), status::ERR_EEXIST, "a leader");
    assert_eq!(
        lead(&mut b.0.adi, &[on_c]),
        status::ERR_EEXIST,
        "led by a member"
    );
    let enabled =
        b.0.adi
            .request(op::ENABLE_VPORT, b.1.named().as_bytes(), &mut Vec::new());
    assert!(matches!(
        enabled,
        Err(Error::Refused {
            status: status::ERR_EACCES,
            ..
        })
    ));
    // It is no message of owners.
    let header = AdiGroup {
        adi_id: U16::new(on_c.0),
        num_members: U16::ZERO,
    };
    let own =
        c.0.adi
            .request(adi_op::SET_ADI_GROUP, header.as_bytes(), &mut Vec::new());
    assert!(matches!(own, Err(Error::NotForOwners(_))));
    // The group can be replaced, and ended.
    a.0.adi.lead(&[on_c]).unwrap();
    b.0.adi.lead(&[]).unwrap();
    b.1.up(&mut b.0);
    a.0.adi.lead(&[]).unwrap();
    for owner in [&mut a, &mut c] {
        owner.1.up(&mut owner.0);
        owner
            .1
            .send(&mut owner.0, &frame(STRANGER, owner.1.mac(), 1));
        bench.poll();
        assert!(bench.far.recv().is_some());
    }
    let mut reply = Vec::new();
    let mut function = bench.nic.inner.shared.lock();
    assert_eq!(
        function.request(adi_op::GET_ADI_CAPS, &[], &mut reply),
        status::SUCCESS
    );
    assert_eq!(
        AdiCaps::read_from_bytes(&reply).unwrap().max_group.get(),
        16
    );
    let short = [1, 0, 2, 0, 0, 0];
    let truncated = function.request(adi_op::SET_ADI_GROUP, &short, &mut reply);
    assert_eq!(truncated, status::ERR_EINVAL);
}

/// Places the pages of an ADI with one queue pair in a file of two.
fn place_pages(owner: &mut Owner, file: &OwnedFd, place: u32) {
    let runs = [(1, place), (2, 2 + 2 * place), (1, 6 + place)];
    let runs = runs.map(|(pages, at)| Run { pages, at });
    owner
        .adi
        .place_pages(file.try_clone().unwrap(), &runs)
        .unwrap();
}

#[test]
fn the_pages_of_a_group_are_one_file() {
    let mut bench = Bench::new();
    let mut group = Group::new(&bench.nic);
    // All tails of TX queues, then those of buffer queues, then the vectors.
    let file = crate::doorbells::shared_file(8).unwrap();
    let old = [&group.leader, &group.member].map(|it| it.0.adi.pages().try_clone().unwrap());
    for (place, (owner, driver)) in (0..).zip([&mut group.leader, &mut group.member]) {
        place_pages(owner, &file, place);
        owner.adi.reset().unwrap();
        for chunk in &mut driver.created.chunks {
            let page = match chunk.type_.get() == QueueKind::RxBuffer as u32 {
                true => 2 + 2 * place,
                false => place,
            };
            chunk.qtail_reg_start = U64::new(u64::from(page) * 0x1000);
        }
        driver.created.adi.vchunk.dynctl_reg_start = U32::new((6 + place) * 0x1000);
    }
    group.up();
    let (leader, member) = group.receive(&mut bench, 16);
    assert!(leader + member == 16 && member > 0, "{leader} and {member}");
    for (owner, driver) in [&mut group.leader, &mut group.member] {
        driver.arm(owner);
        let sent = frame(STRANGER, [0; 6], 1);
        driver.send(owner, &sent);
        bench.poll();
        assert_eq!(signals(owner.interrupts.as_fd()), 1);
        assert_eq!(driver.completion(owner), Some(0));
    }
    // Queues go on when their pages are in another file, with its content.
    let next = crate::doorbells::shared_file(8).unwrap();
    let file = File::from(file);
    let mut content = vec![0; 8 << 12];
    file.read_exact_at(&mut content, 0).unwrap();
    let copy = File::from(next.try_clone().unwrap());
    copy.write_all_at(&content, 0).unwrap();
    for (place, (owner, driver)) in (0..).zip([&mut group.leader, &mut group.member]) {
        place_pages(owner, &next, place);
        let sent = frame(STRANGER, [0; 6], 2);
        driver.send(owner, &sent);
        bench.poll();
        assert_eq!(driver.completion(owner), Some(1));
    }
    // The former files have no effect.
    for file in old.into_iter().chain([file]) {
        file.write_all_at(&7_u32.to_le_bytes(), 0).unwrap();
    }
    bench.poll();
    assert_eq!(dropped(&bench, DropReason::Spoofed).1, 4);
    let wrong = [Run { pages: 3, at: 0 }];
    let (owner, _) = &mut group.leader;
    assert!(owner.adi.place_pages(next, &wrong).is_err());
}

#[test]
fn a_queue_of_a_group_interrupts_by_a_vector_of_another_adi() {
    let mut bench = Bench::new();
    let mut group = Group::new(&bench.nic);
    let sent = frame(STRANGER, group.mac(), 1);
    let Group { leader, member } = &mut group;
    let map = |(owner, driver): &mut (Owner, AdiDriver), vector| {
        let message = driver.vector_map(vector);
        let mapped = (owner.adi).request(op::MAP_QUEUE_VECTOR, &message, &mut Vec::new());
        mapped.is_ok()
    };
    assert!(map(member, GROUP_VECTOR) && !map(member, GROUP_VECTOR | 2));
    let mut alone = owner(&bench.nic);
    assert!(!map(&mut alone, GROUP_VECTOR));
    let signalled = |bench: &mut Bench, leader: &(Owner, _), member: &mut (Owner, AdiDriver)| {
        for owner in [&leader.0, &member.0] {
            signals(owner.interrupts.as_fd());
        }
        member.1.send(&mut member.0, &sent);
        bench.poll();
        [&leader.0, &member.0].map(|owner| signals(owner.interrupts.as_fd()))
    };
    member.1.arm(&mut member.0);
    leader.1.arm(&mut leader.0);
    assert_eq!(signalled(&mut bench, leader, member), [1, 0]);
    // A reset of the leader keeps it, as it keeps the group.
    leader.0.adi.reset().unwrap();
    leader.1.up(&mut leader.0);
    leader.1.arm(&mut leader.0);
    assert_eq!(signalled(&mut bench, leader, member), [1, 0]);
    // The end of the group ends it: the next ADI in the place of the leader is another's.
    let place = leader.0.adi.created().first_queues;
    assert!(bench.nic.destroy_adi(id(leader)));
    let mut next = owner(&bench.nic);
    assert_eq!(next.0.adi.created().first_queues, place);
    signals(next.0.interrupts.as_fd());
    next.1.arm(&mut next.0);
    let own = frame(STRANGER, member.1.mac(), 2);
    member.1.send(&mut member.0, &own);
    bench.poll();
    assert!(member.1.completion(&member.0).is_some());
    assert_eq!(signals(next.0.interrupts.as_fd()), 0);
}
