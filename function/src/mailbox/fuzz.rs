// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The entry point of the mailbox's fuzz target.

use super::{Mailbox, MailboxEvent, Served};
use crate::control::mock::MockDataPlane;
use crate::control::{Control, Profile};
use crate::layout::RegisterLayout;
use crate::memory::Dma;
use crate::testing::{ram, RAM, RAM_LEN};

/// The maximum ring length: the width of the length field in ARQLEN.
const MAX_RING: u64 = 0x1FFF;

/// Runs the actions encoded in `data` on behalf of a driver: writes to registers and memory. The
/// lowest bit of the first byte chooses the register layout: PF or VF.
///
/// Exceeding the bounds of the rings or a panic is a bug.
pub fn fuzz_mailbox(data: &[u8]) {
    let Some((&first, mut rest)) = data.split_first() else {
        return;
    };
    let layout = RegisterLayout::ALL[usize::from(first & 1)];
    let profile = Profile::new(vec![[2, 0, 0, 0, 0, 1]], 2);
    let Ok(profile) = profile.and_then(|profile| profile.with_layout(layout)) else {
        return;
    };
    let mut dp = MockDataPlane::new(&profile, ram());
    let mut control = Control::new(profile);
    let mut mailbox = Mailbox::new(layout);
    while let Some((&[what, a, b, c, d], after)) = rest.split_first_chunk() {
        rest = after;
        let value = u32::from_le_bytes([a, b, c, d]);
        // Half of the values are aligned addresses in memory, so that rings sometimes work.
        let near = RAM as u32 + value % RAM_LEN as u32;
        let value = if what & 0x80 == 0 { near & !7 } else { value };
        if what & 0x40 == 0 {
            let (_, _, register) = layout.mailbox()[usize::from(what % 10)];
            // Half of the lengths and indexes are small.
            let value = if what & 0x20 == 0 {
                value
            } else {
                value & 0x8000_000F
            };
            let before = *mailbox.counters();
            if mailbox.write(register, value) != MailboxEvent::None {
                let mut served = mailbox.serve(&mut control, &mut dp);
                // A reset ends the ring, whose tail is 0 then.
                if served.reset {
                    assert_eq!(layout, RegisterLayout::Vf);
                    dp.reset();
                    control.reset();
                    mailbox.reset();
                    served = mailbox.serve(&mut control, &mut dp);
                    assert_eq!(served, Served::default());
                }
            }
            let after = mailbox.counters();
            assert!(after.requests - before.requests <= MAX_RING);
            assert!(after.posted - before.posted <= 2 * MAX_RING);
        } else {
            let len = rest.len().min(usize::from(what & 0x3F));
            let (bytes, after) = rest.split_at(len);
            rest = after;
            // An access outside of memory faults, which is fine.
            let _ = dp.memory.write(u64::from(value), bytes);
        }
    }
    control.check(&mut dp);
}
