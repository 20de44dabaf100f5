// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ADI owners that write arbitrary bytes to their memory and pages, and a kernel that lets them,
//! and that creates and destroys ADIs and maps and unmaps memory.

use adit_uapi::regs::adi::{FRAMES, KICK};
use adit_uapi::virtchnl2::op;

use super::Choices;
use crate::memory::Dma;
use crate::pasid::testing::{READ_ONLY as RO, READ_WRITE};
use crate::testing::adi::{frame, AdiDriver, IOVA, LEN};
use crate::testing::guest::{wanted, Guest};

/// The number of ADIs that the input drives. One more ADI is a bystander.
const PLAYERS: u32 = 3;

/// Runs the actions encoded in `data` on behalf of ADI owners. A panic is a bug, and so is a
/// changed byte in the bystander's memory, or a frame that is not accounted for.
pub fn adis(data: &[u8]) {
    let mut guest = Guest::new(PLAYERS + 1, PLAYERS + 1);
    guest.cause_ring(8);
    let bystander = AdiDriver::new(&mut guest, 99, &wanted(1));
    let mark = [0xA5; 64];
    let marks = (0..LEN).step_by(0x1000).map(|at| bystander.physical + at);
    for at in marks.clone() {
        guest.memory().write(at + 0xF00, &mark).expect("RAM");
    }
    let mut players: Vec<_> = (1..=PLAYERS)
        .map(|pasid| AdiDriver::new(&mut guest, pasid, &wanted(1)))
        .collect();
    let mut choices = Choices(data);
    let mut from_wire = 0;
    while choices.more() {
        let [what, which] = choices.bytes();
        let player = &mut players[usize::from(which) % PLAYERS as usize];
        step(
            what,
            which,
            &mut choices,
            player,
            &mut guest,
            &mut from_wire,
        );
    }
    for at in marks {
        let mut seen = [0; 64];
        guest.memory().read(at + 0xF00, &mut seen).expect("RAM");
        assert_eq!(seen, mark, "a bystander's memory");
    }
    account(&mut guest, from_wire);
}

fn step(
    what: u8,
    which: u8,
    choices: &mut Choices<'_>,
    player: &mut AdiDriver,
    guest: &mut Guest,
    from_wire: &mut u64,
) {
    match what % 12 {
        0..=2 => {
            let at = player.physical + u64::from(choices.u32()) % LEN;
            let bytes = choices.slice(usize::from(which));
            let room = player.physical + LEN - at;
            let bytes = &bytes[..bytes.len().min(room as usize)];
            guest.memory().write(at, bytes).expect("RAM");
        }
        3 => {
            // A register of the player's own page frame, or of any other.
            let page = u32::from(choices.u8() % 16);
            let offset = [0, 4, 8, 0x40][usize::from(which) % 4];
            let value = choices.u32() & [0xFF, u32::MAX][usize::from(which) / 128];
            guest.write(FRAMES.base + page * 0x1000 + offset, value);
        }
        4 => guest.write(KICK.base + u32::from(which % 8) * 0x1000, 1),
        5 => {
            let to = [player.mac(), [0xFF; 6]][usize::from(which) % 2];
            let seen = frame(to, [2, 0, 0, 0, 9, 9], which);
            guest.far.send(&seen, Default::default());
            *from_wire += u64::from(which % 2 == 0);
        }
        6 => {
            let sent = frame([0xFF; 6], player.mac(), which);
            player.send(guest, &sent);
        }
        7 => player.post(guest, u64::from(which % 32)),
        8 => {
            let page = (u64::from(choices.u8()) % (LEN >> 12)) << 12;
            let (iova, physical) = (IOVA + page, player.physical + page);
            let memory = &guest.function.datapath().queues().memory;
            let rights = if which & 0x40 != 0 { RO } else { READ_WRITE };
            match which & 0x80 {
                0 => guest.tables.unmap(memory, player.pasid, iova),
                _ => guest
                    .tables
                    .map(memory, player.pasid, iova, physical, rights),
            }
        }
        9 if which & 0x80 != 0 => {
            guest.destroy(player.created.id());
            let created = guest.create(player.pasid, &wanted(1));
            player.created = created.expect("there was one");
            player.up(guest);
        }
        9 => {
            guest.call(op::DISABLE_QUEUES, &player.all_queues());
            guest.call(op::ENABLE_QUEUES, &player.all_queues());
        }
        10 => {
            guest.causes();
            guest.arm_cause_vector();
        }
        _ => {
            guest.now += u64::from(choices.u16()) << (which & 0xF);
            guest.poll();
        }
    }
}

/// Checks that every unicast frame from the wire to an ADI was delivered or counted as a drop.
fn account(guest: &mut Guest, from_wire: u64) {
    while guest.far.waiting() > 0 {
        guest.poll();
    }
    let totals = guest.function.datapath().adi_totals();
    let ends = totals.frames.rx_unicast + totals.drops.rx.total();
    assert!(ends >= from_wire, "{from_wire} frames, {totals:?}");
}
