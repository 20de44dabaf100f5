// SPDX-License-Identifier: GPL-2.0
//! Tests of [`crate::adi_life`].

use std::cell::RefCell;

use crate::adi_life::{latest_first, Life};

#[test]
fn an_ended_adi_does_not_come_back() {
    for stage in [Life::Ended, Life::Active, Life::Lost] {
        assert_eq!(Life::from_raw(stage.to_raw()), stage);
    }
    assert_eq!(Life::from_raw(99), Life::Ended);
    assert_eq!(Life::Active.after_loss(), Life::Lost);
    assert_eq!(Life::Lost.after_loss(), Life::Lost);
    assert_eq!(Life::Ended.after_loss(), Life::Ended);
    assert_eq!(Life::Lost.after_restoration(), Life::Active);
    assert_eq!(Life::Ended.after_restoration(), Life::Ended);
}

/// An ADI with its place in the device.
struct Adi {
    place: u32,
    life: Life,
    last_present: u64,
    /// The device refuses to create it.
    refused: bool,
}

/// A function with its ADIs, in the order of their PASIDs.
#[derive(Default)]
struct Function {
    restarts: u64,
    adis: Vec<Adi>,
}

impl Function {
    fn create(&mut self, place: u32) {
        self.adis.push(Adi {
            place,
            life: Life::Active,
            last_present: self.restarts,
            refused: false,
        });
    }

    fn restart(&mut self) {
        self.restarts += 1;
        let restart = self.restarts;
        for adi in &mut self.adis {
            adi.life = adi.life.after_loss();
        }
        let (adis, taken) = (RefCell::new(&mut self.adis), RefCell::new(Vec::new()));
        let latest_before = |before| {
            let adis = adis.borrow();
            let lost = adis.iter().filter(|adi| adi.life == Life::Lost);
            lost.map(|adi| adi.last_present)
                .filter(|last| *last < before)
                .max()
        };
        latest_first(restart, latest_before, |last| {
            for adi in adis.borrow_mut().iter_mut() {
                let lost = adi.life == Life::Lost && adi.last_present == last;
                if lost && !adi.refused && !taken.borrow().contains(&adi.place) {
                    taken.borrow_mut().push(adi.place);
                    adi.life = adi.life.after_restoration();
                    adi.last_present = restart;
                }
            }
        });
    }

    fn stages(&self) -> Vec<Life> {
        self.adis.iter().map(|adi| adi.life).collect()
    }
}

#[test]
fn an_adi_that_was_not_restored_does_not_displace_its_successor() {
    let mut function = Function::default();
    function.create(5);
    function.adis[0].refused = true;
    function.restart();
    assert_eq!(function.stages(), [Life::Lost]);
    // Its place is assigned to another ADI, with a greater PASID.
    function.create(5);
    function.adis[0].refused = false;
    function.restart();
    assert_eq!(function.stages(), [Life::Lost, Life::Active]);
    // Also when the device failed while it was restoring the successor.
    function.adis[1].refused = true;
    function.adis[0].refused = true;
    function.restart();
    assert_eq!(function.stages(), [Life::Lost, Life::Lost]);
    function.adis[0].refused = false;
    function.adis[1].refused = false;
    function.restart();
    assert_eq!(function.stages(), [Life::Lost, Life::Active]);
}

#[test]
fn an_adi_that_was_not_restored_is_restored_later() {
    let mut function = Function::default();
    function.create(1);
    function.create(2);
    function.adis[0].refused = true;
    function.restart();
    function.adis[0].refused = false;
    function.restart();
    assert_eq!(function.stages(), [Life::Active, Life::Active]);
}

#[test]
fn restoration_ends_whatever_is_lost() {
    let mut restored = Vec::new();
    latest_first(3, |_| Some(2), |last| restored.push(last));
    assert_eq!(restored, [2]);
}
