// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cores that meet a new flow at the same time make one entry of it.

use std::sync::{Arc, Barrier};

use adit_p4_frontend::source::NoIncludes;
use adit_p4_frontend::{compile, Options};
use adit_pipeline::p4::{Engine, Input, Output, Worker};

/// What the program writes behind the key: what `add_entry` said, or what the entry says.
fn result(worker: &mut Worker, key: u8) -> u8 {
    let packet = [0, key, 0, 0];
    let mut result = 0;
    worker.process(1, &[Input::new(0, &packet)], &mut |_, output| {
        if let Output::Sent(sent) = output {
            result = sent.headers[3];
        }
    });
    result
}

#[test]
fn one_entry_a_flow() {
    const ADDED: u8 = 0xff;
    const NOT_DONE: u8 = 0xee;
    let text = include_str!("../../p4/tests/timeouts.p4");
    let compiled = compile("timeouts.p4", text, &NoIncludes, &Options::default());
    let program = compiled.program.expect("the program has no errors");
    for _ in 0..50 {
        let engine = Arc::new(Engine::load(program.clone()).unwrap());
        let start = Barrier::new(3);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut worker = Engine::worker(&engine);
                    start.wait();
                    for key in 1..=3 {
                        let result = result(&mut worker, key);
                        assert!(
                            [ADDED, NOT_DONE, key + 0x40].contains(&result),
                            "{result:#x}"
                        );
                    }
                });
            }
        });
        let mut worker = Engine::worker(&engine);
        for key in 1..=3 {
            result(&mut worker, key);
            assert_eq!(result(&mut worker, key), key + 0x40);
        }
        assert_eq!(engine.table("MainControl.flows").unwrap().len(), 3);
        assert_eq!(result(&mut worker, 4), NOT_DONE);
    }
}
