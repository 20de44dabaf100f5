// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state that a successor of the device takes over, in an update.

use adit_function::slow_path::alter_document;

use crate::function::FunctionState;
use crate::testing::adi::{frame, AdiDriver, IOVA, LEN};
use crate::testing::guest::{wanted, Guest};

/// Restores the state of a function with ADIs, changed as `data` says, four bytes for each change, and
/// lets the successor run. A panic is a bug.
pub fn update(data: &[u8]) {
    let mut guest = Guest::new(4, 8);
    guest.create_vport();
    guest.cause_ring(16);
    let [mut a, mut b] = [100, 200].map(|pasid| AdiDriver::new(&mut guest, pasid, &wanted(1)));
    a.post(&mut guest, 8);
    b.post(&mut guest, 8);
    b.arm(&mut guest);
    let sent = frame(b.mac(), a.mac(), 1);
    a.send(&mut guest, &sent);
    guest.poll();
    a.describe(&mut guest, IOVA + LEN, 64);
    a.ring_tx(&mut guest);
    guest.poll();

    let mut document = guest.state();
    alter_document(&mut document, data);
    let Ok(state) = serde_json::from_value::<FunctionState>(document) else {
        return;
    };
    let (mut next, pages) = guest.successor();
    if next.restore(&state, pages).is_err() {
        return;
    }
    guest.function = next;
    guest.function.go_on();
    b.send(&mut guest, &frame(a.mac(), b.mac(), 2));
    guest
        .far
        .send(&frame([0xFF; 6], b.mac(), 3), Default::default());
    (0..3).for_each(|_| guest.poll());
    guest.function.save().expect("a state");
}
