// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The entry point of the fuzz target of saved states.

use adit_uapi::virtchnl2::op;
use serde_json::{Number, Value};
use zerocopy::IntoBytes;

use super::SlowPath;
use crate::control::mock::MockDataPlane;
use crate::control::{AdiLimits, Profile};
use crate::layout::RegisterLayout;
use crate::memory::GuestMemory;
use crate::pci::{ConfigSpace, BAR2_LEN, DEFAULT_ID};
use crate::snapshot::{RestoreError, Snapshot};
use crate::testing::adi;
use crate::testing::driver::{self, Driver};

/// The number of RX queues of a virtual port.
pub(super) const QUEUES: u16 = 2;
/// The number of virtual ports.
pub(super) const VPORTS: u8 = 2;

/// A function without a driver, and its data plane.
pub(super) fn function() -> (SlowPath, MockDataPlane) {
    let profile = driver::profile(VPORTS, QUEUES);
    of(profile.with_layout(RegisterLayout::Vf).expect("a layout"))
}

/// A function that can have ADIs, without a driver, and its data plane.
pub(super) fn with_adis() -> (SlowPath, MockDataPlane) {
    let limits = AdiLimits { adis: 4, pairs: 8 };
    let profile = driver::profile(VPORTS, QUEUES).with_adis(limits);
    of(profile.expect("space in BAR0"))
}

fn of(profile: Profile) -> (SlowPath, MockDataPlane) {
    let dp = MockDataPlane::new(&profile, GuestMemory::new());
    let (vectors, layout) = (profile.vectors().into(), profile.layout());
    let config = ConfigSpace::idpf(DEFAULT_ID, vectors, layout).expect("a space");
    (SlowPath::new(config, BAR2_LEN as usize, profile), dp)
}

/// A function of which a driver uses the control plane.
pub(super) fn used(
    (mut function, dp): (SlowPath, MockDataPlane),
    run: impl FnOnce(&mut Driver<MockDataPlane>),
) -> (SlowPath, MockDataPlane) {
    let mut driver = Driver::with(function.control.profile().clone(), dp);
    run(&mut driver);
    function.control = driver.control;
    (function, driver.dp)
}

/// Restores a saved state, changed as `data` says, four bytes for each change: that of a function with
/// ADIs and of one without. A panic, or two planes that do not agree, is a bug.
pub fn fuzz_snapshot(data: &[u8]) {
    fuzz(function, data, |_| ());
    fuzz(with_adis, data, |driver| {
        driver.cause_ring();
        let one = driver.create_adi(7, &adi::wanted(2));
        driver.bring_up_adi(&one);
        driver.ok(op::ENABLE_VPORT, one.named().as_bytes());
        let [leader, member] = [8, 9].map(|pasid| driver.create_adi(pasid, &adi::wanted(1)));
        driver.group_adis(leader.id, &[member.id]);
    });
}

fn fuzz(
    new: fn() -> (SlowPath, MockDataPlane),
    data: &[u8],
    run: impl FnOnce(&mut Driver<MockDataPlane>),
) {
    let (source, dp) = used(new(), |driver| {
        driver.create(1, QUEUES);
        driver.bring_up(1, QUEUES);
        run(driver);
    });
    let saved = source.save(&dp).expect("a state");
    let mut document = serde_json::to_value(saved).expect("JSON");
    alter_document(&mut document, data);
    let Ok(saved) = serde_json::from_value::<Snapshot>(document) else {
        return;
    };
    let (mut function, mut dp) = new();
    let before = function.save(&dp).expect("a state");
    match function.restore(&saved, &mut dp) {
        Ok(()) => {
            function.control.check(&mut dp);
            let again = function.save(&dp).expect("a state");
            assert_eq!(again.mailbox, saved.mailbox);
            assert_eq!(again.control.vports.len(), saved.control.vports.len());
        }
        Err(RestoreError::DataPlane { .. }) => {}
        Err(_) => assert_eq!(function.save(&dp).expect("a state"), before),
    }
}

/// Changes values of a JSON document as `data` says, four bytes for each change.
pub fn alter_document(document: &mut Value, data: &[u8]) {
    for change in data.chunks_exact(4).take(16) {
        let seed = change.try_into().map_or(0, u32::from_le_bytes);
        alter(document, &mut Choices(seed));
    }
}

/// Choices that follow from a number (Numerical Recipes' generator).
struct Choices(u32);

impl Choices {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0 >> 16
    }

    fn below(&mut self, most: usize) -> usize {
        self.next() as usize % most.max(1)
    }
}

/// Replaces a value somewhere below `value`.
fn alter(value: &mut Value, choices: &mut Choices) {
    match value {
        Value::Array(items) if !items.is_empty() && choices.below(8) != 0 => {
            let at = choices.below(items.len());
            alter(&mut items[at], choices);
        }
        Value::Array(items) => match items.first().cloned() {
            Some(first) if choices.below(2) == 0 => items.push(first),
            _ => drop(items.pop()),
        },
        Value::Object(fields) => {
            let at = choices.below(fields.len());
            if let Some(field) = fields.values_mut().nth(at) {
                alter(field, choices);
            }
        }
        Value::Number(number) => {
            let old = number.as_u64().unwrap_or(0);
            let new = match choices.below(4) {
                0 => choices.below(256) as u64,
                1 => old ^ 1 << choices.below(64),
                2 => u64::MAX >> choices.below(64),
                _ => old.wrapping_add(1),
            };
            *number = Number::from(new);
        }
        Value::Bool(flag) => *flag = !*flag,
        Value::Null => *value = Value::from(choices.below(256)),
        Value::String(text) => match choices.below(4) {
            // Hexadecimal digits: one byte to a character.
            0 => text.truncate(choices.below(text.len())),
            1 => text.push_str("00"),
            2 => *value = Value::Null,
            _ => {
                let at = choices.below(text.len());
                if text.is_char_boundary(at) {
                    text.insert_str(at, "a7");
                }
            }
        },
    }
}
