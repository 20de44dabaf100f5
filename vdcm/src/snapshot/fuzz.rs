// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The entry point of the fuzz target of saved states.

use adit_function::slow_path::alter_document;

use super::{from_value, parse};
use crate::testing::running_vdev;

/// Parses `data` as a saved state; then restores a state of a device with running queues, changed as
/// `data` says. A panic is a bug, and so is a device that cannot be used afterwards, or that has
/// another state than the one that it accepted.
pub fn fuzz_state(data: &[u8]) {
    let _ = parse(data);
    let source = running_vdev();
    source.suspend().expect("an ADI");
    let saved = source.save().expect("a state");
    let mut document = serde_json::to_value(&saved).expect("JSON");
    alter_document(&mut document, data);
    let Ok(state) = from_value(document) else {
        return;
    };
    let target = running_vdev();
    let checked = target.check_state(&state).is_ok();
    match target.restore(&state) {
        Ok(()) => {
            assert!(checked && target.is_suspended());
            let again = target.save().expect("a state");
            assert_eq!(again.adis, state.adis);
            assert_eq!(again.mailbox_vector, state.mailbox_vector);
        }
        Err(_) => assert!(!target.is_suspended()),
    }
    target.resume().expect("an ADI");
    assert!(!target.is_gone());
}
