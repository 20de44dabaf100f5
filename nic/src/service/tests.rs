// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A frozen device whose keeper is gone.

use std::time::{Duration, Instant};

use adit_vfio_user::Device as _;

use super::*;
use crate::connections::tracker;
use crate::fuzzing::loaded;
use crate::program::Program;

/// A device whose driver has loaded, as its keeper sees it.
fn load(takes_over: bool) -> Load {
    let shared = Arc::new(Shared::new(loaded(), tracker(16).unwrap()).unwrap());
    let engine = Program::standard_engine().unwrap();
    let program = p4rt::Loaded::of_engine(engine, false).unwrap();
    let server = program.run(&shared, 1, &Arc::default()).unwrap();
    Load {
        shared,
        server,
        stop: Arc::new(StopHandle::new().unwrap()),
        copied: None,
        freeze: None,
        takes_over,
    }
}

#[test]
fn a_frozen_device_ends_with_its_keeper_and_polls_nothing() {
    for takes_over in [false, true] {
        let mut load = load(takes_over);
        let shared = load.shared.clone();
        let function = shared.lock();
        let pages = function.datapath().queues().doorbells.fd();
        let pages = pages.try_clone_to_owned().unwrap();
        drop(function);
        let front = Front::new(&shared, pages.as_fd(), takes_over, Box::new(|_| ()));
        let mut front = front.unwrap();
        match takes_over {
            true => shared.freeze(),
            false => drop(load.freeze().unwrap()),
        }
        let leaving = std::thread::spawn(move || front.disconnected());
        load.abandoned();
        assert!(load.stop.is_stopped());
        // The engine ends in place of polling when the freeze does.
        assert!(shared.freezer().is_frozen() && shared.stopping());
        drop(load);
        let until = Instant::now() + Duration::from_secs(20);
        while !leaving.is_finished() {
            assert!(Instant::now() < until, "the client's end waits for ever");
            std::thread::yield_now();
        }
        leaving.join().unwrap();
    }
}
