// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Concurrency: cores that process the same new flow create one entry for it, and while control
//! planes change groups and sessions, each packet sees a group or session either before or after a
//! change.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Barrier};

use adit_p4_frontend::ir::Program;
use adit_p4_frontend::source::NoIncludes;
use adit_p4_frontend::{compile, Options};
use adit_pipeline::p4::replication::{CloneSession, CloneTo, Replica};
use adit_pipeline::p4::{DropReason, Engine, Input, Output, SentKind, Worker};

fn program(text: &str) -> Program {
    let compiled = compile("racing.p4", text, &NoIncludes, &Options::default());
    compiled.program.expect("the program has no errors")
}

/// Returns the byte that the program writes after the key: the result of `add_entry`, or the
/// entry's value.
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
    let program = program(include_str!("../../p4/tests/timeouts.p4"));
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

/// The copies of a generation, which is identified by their number and port.
fn generation(n: u64) -> Vec<Replica> {
    let copies = 1 + n % 7;
    let replica = |instance| Replica { port: n, instance };
    (0..copies).map(replica).collect()
}

#[test]
fn groups_and_sessions_are_seen_whole() {
    const GROUP: u64 = 7;
    const SESSION: u64 = 5;
    const CHANGES: u64 = 20_000;
    let program = program(include_str!("../../p4/tests/replication.p4"));
    let engine = Arc::new(Engine::load(program).unwrap());
    let done = AtomicBool::new(false);
    let start = Barrier::new(4);
    let replication = engine.replication();
    let session = |n| CloneSession {
        to: CloneTo::Replicas(generation(n)),
        truncate: Some(n as u32),
    };
    replication.insert_group(GROUP, &generation(1)).unwrap();
    replication.insert_session(SESSION, session(1)).unwrap();
    let seen = std::thread::scope(|scope| {
        let readers =
            [(); 2].map(|()| {
                scope.spawn(|| {
                    let mut worker = Engine::worker(&engine);
                    start.wait();
                    let mut seen = 0;
                    while !done.load(Relaxed) {
                        // Multicast; an ingress clone.
                        for (packet, kind) in
                            [([2u8; 5], SentKind::Multicast), ([1; 5], SentKind::Clone)]
                        {
                            let mut copies = Vec::new();
                            worker.process(1, &[Input::new(0, &packet)], &mut |_, output| {
                                match output {
                                    Output::Sent(sent) if sent.kind == kind => {
                                        copies.push((sent.port, sent.truncate))
                                    }
                                    Output::Sent(_) => {}
                                    Output::Dropped(reason) => {
                                        assert_eq!(reason, DropReason::UnknownGroup)
                                    }
                                }
                            });
                            let Some((port, truncate)) = copies.first().copied() else {
                                continue;
                            };
                            assert_eq!(copies.len(), generation(port.into()).len(), "{copies:?}");
                            assert!(copies.iter().all(|c| *c == (port, truncate)), "{copies:?}");
                            if kind == SentKind::Clone {
                                assert_eq!(truncate, Some(port as usize));
                            }
                            seen += 1;
                        }
                    }
                    seen
                })
            });
        // A control plane for each kind; every 50th change removes it.
        let writers = [true, false].map(|groups| {
            let (start, engine) = (&start, &engine);
            scope.spawn(move || {
                let replication = engine.replication();
                start.wait();
                for n in 2..CHANGES {
                    match (groups, n % 50) {
                        (true, 0) => replication.delete_group(GROUP).unwrap(),
                        (true, 1) => replication.insert_group(GROUP, &generation(n)).unwrap(),
                        (true, _) => replication.modify_group(GROUP, &generation(n)).unwrap(),
                        (false, 0) => replication.delete_session(SESSION).unwrap(),
                        (false, 1) => replication.insert_session(SESSION, session(n)).unwrap(),
                        (false, _) => replication.modify_session(SESSION, session(n)).unwrap(),
                    }
                }
            })
        });
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Relaxed);
        readers.map(|reader| reader.join().unwrap())
    });
    assert!(seen.iter().sum::<u64>() > 0, "nobody has read anything");
    assert_eq!(
        replication.group(GROUP).as_deref(),
        Some(&generation(CHANGES - 1)[..])
    );
}
