// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state of a program, as it is handed over to the server of another process.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_p4runtime::client::{Client, Target};
use adit_p4runtime::p4info::p4info;
use adit_p4runtime::program::Package;
use adit_p4runtime::proto::config::P4Info;
use adit_p4runtime::proto::v1::{self, entity::Entity as E, update::Type};
use adit_p4runtime::server::{
    listen_with, Limits, Listening, Pipeline, PipelineHandle, Routes, Server,
};
use adit_pipeline::p4::objects::{Count, Object};
use adit_pipeline::p4::tables::{EntryState, Origin};
use adit_pipeline::p4::{Engine, Input, Output};

use crate::common::{direct, exact, insert, lpm, update, DEVICE};

const PROGRAM: &str = include_str!("succession.p4");
const SECOND: u64 = 1_000_000_000;

/// The clock of both processes.
#[derive(Clone, Default)]
struct Clock(Arc<AtomicU64>);

impl PipelineHandle for Clock {
    fn commit(&self, _: Arc<Engine>) -> Result<(), String> {
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The device of one process.
struct Device {
    engine: Arc<Engine>,
    info: P4Info,
    clock: Clock,
    server: Arc<Server>,
    listening: Listening,
}

impl Device {
    /// A device with the test's program; a control plane has made these updates.
    fn new(clock: &Clock, updates: impl FnOnce(&P4Info) -> Vec<v1::Update>) -> Self {
        let program = Package::source(PROGRAM).program().expect("no errors");
        let info = p4info(&program).expect("ids").p4info;
        let engine = Arc::new(Engine::load(program).expect("an engine"));
        let pipeline = Pipeline::of_engine(engine.clone()).expect("a pipeline");
        let failed = pipeline.write(&updates(&info), clock.now_ns());
        assert!(failed.is_empty(), "{failed:?}");
        let server = Server::new(DEVICE, Arc::new(clock.clone()), Some(pipeline));
        let server = Arc::new(server);
        let address = "127.0.0.1:0".parse().expect("an address");
        let (limits, further) = (Limits::default(), Routes::default());
        let listening = listen_with(server.clone(), &address, None, limits, further);
        Self {
            engine,
            info,
            clock: clock.clone(),
            server,
            listening: listening.expect("a port"),
        }
    }

    /// A client that may write.
    fn client(&self) -> Client {
        let target = Target {
            address: self.listening.address.clone(),
            device_id: DEVICE,
            role: String::new(),
            tls: None,
        };
        Client::connect(target).expect("a server")
    }

    /// A device that takes over the state of another one.
    fn successor(&self) -> Self {
        let next = Self::new(&self.clock, |_| Vec::new());
        let state = self.server.save_state(false).expect("a state");
        next.server.restore_state(&state, false).expect("it fits");
        // All that a state has is there now.
        assert_eq!(next.server.save_state(false).as_ref(), Ok(&state));
        assert_eq!(next.info, self.info);
        next
    }

    /// Processes a packet with these bytes; returns the first one's replacement.
    fn process(&self, packet: [u8; 4]) -> u8 {
        let mut sent = Vec::new();
        let mut worker = Engine::worker(&self.engine);
        worker.process(
            self.clock.now_ns(),
            &[Input::new(0, &packet)],
            &mut |_, output| {
                if let Output::Sent(leaves) = output {
                    leaves.copy_to(&packet, &mut sent);
                }
            },
        );
        sent[0]
    }

    fn entries(&self, table: &str) -> Vec<EntryState> {
        let mut all = self.engine.table(table).expect("a table").all();
        all.sort_by_key(|state| format!("{:?}", state.entry.keys));
        all
    }

    /// The entries of all tables without their ids, and the registers.
    fn everything(&self) -> impl PartialEq + std::fmt::Debug {
        let tables = ["own", "fixed", "flows"].map(|table| {
            let all = self.entries(&format!("MainControl.{table}")).into_iter();
            let all = all.map(|state| (state.entry, state.origin, state.count, state.last_hit_ns));
            all.collect::<Vec<_>>()
        });
        (tables, [0, 1, 2, 3].map(|at| self.register(at)))
    }

    fn register(&self, at: u64) -> u64 {
        match self.engine.object("MainControl.marks") {
            Some(Object::Register(register)) => register.get(at).expect("an element")[0],
            other => panic!("{other:?}"),
        }
    }
}

fn id(info: &P4Info, name: &str) -> u32 {
    let tables = info.tables.iter().filter_map(|t| t.preamble.as_ref());
    let actions = info.actions.iter().filter_map(|a| a.preamble.as_ref());
    let registers = info.registers.iter().filter_map(|r| r.preamble.as_ref());
    let mut all = tables.chain(actions).chain(registers);
    all.find(|p| p.alias == name).expect("it is there").id
}

fn own(info: &P4Info, key: u64, value: u8) -> E {
    E::TableEntry(v1::TableEntry {
        table_id: id(info, "own"),
        r#match: vec![exact(1, key)],
        action: Some(direct(v1::Action {
            action_id: id(info, "set"),
            params: vec![v1::action::Param {
                param_id: 1,
                value: vec![value],
            }],
        })),
        ..Default::default()
    })
}

#[test]
fn entries_of_the_source_that_were_deleted_or_changed_stay_so() {
    let old = Device::new(&Clock::default(), |info| {
        vec![
            update(Type::Delete, own(info, 1, 0)),
            update(Type::Modify, own(info, 2, 0x22)),
            // There is room for it only without the first one.
            update(Type::Insert, own(info, 9, 0x99)),
        ]
    });
    for device in [&old, &old.successor()] {
        let values = [1, 2, 3, 9].map(|key| device.process([0, key, 0, 0]));
        assert_eq!(values, [0, 0x22, 0x13, 0x99]);
    }
}

#[test]
fn packets_are_counted_on_for_entries_of_the_source() {
    let old = Device::new(&Clock::default(), |_| Vec::new());
    old.process([0, 3, 0, 0]);
    old.process([0, 3, 0, 0]);
    // Of a table whose entries are constant.
    old.process([2, 5, 0, 0]);
    let counted = |device: &Device, table: &str| -> u64 {
        let counts = device.entries(table).into_iter().filter_map(|s| s.count);
        counts.map(|Count { packets, .. }| packets).sum()
    };
    for device in [&old, &old.successor()] {
        assert_eq!(counted(device, "MainControl.own"), 2);
        assert_eq!(counted(device, "MainControl.fixed"), 1);
    }
}

#[test]
fn flow_ids_go_on() {
    let old = Device::new(&Clock::default(), |_| Vec::new());
    let ids = [3, 3].map(|op| old.process([op, 0, 0, 0]));
    assert_eq!(ids, [1, 2]);
    assert_eq!(old.successor().process([3, 0, 0, 0]), 3);
}

#[test]
fn registers_have_the_values_that_packets_have_written() {
    let old = Device::new(&Clock::default(), |_| Vec::new());
    // The program begins with 7 in each.
    for (at, value) in [(0, 0), (1, 5)] {
        old.process([4, at, value, 0]);
    }
    let next = old.successor();
    assert_eq!([0, 1, 2].map(|at| next.register(at)), [0, 5, 7]);
}

#[test]
fn learnt_entries_go_on_and_expire() {
    let clock = Clock::default();
    let old = Device::new(&clock, |_| Vec::new());
    assert_eq!(old.process([1, 8, 0, 0]), 0xFF, "it is learnt");
    clock.0.store(4 * SECOND, Relaxed);
    let next = old.successor();
    let [entry] = &next.entries("MainControl.flows")[..] else {
        panic!("it is not there");
    };
    assert_eq!((entry.origin, entry.last_hit_ns), (Origin::Packet, 0));
    assert_eq!(old.successor().process([1, 8, 0, 0]), 8, "it is known");
    // Its lifetime began with the old process.
    for (at, removed) in [(9, 0), (10, 1)] {
        assert_eq!(next.engine.expire(at * SECOND), removed);
    }
}

#[test]
fn a_copy_and_the_rest_are_the_whole() {
    let clock = Clock::default();
    let old = Device::new(&clock, |info| vec![update(Type::Delete, own(info, 1, 0))]);
    old.process([0, 3, 0, 0]);
    old.process([1, 8, 0, 0]);
    let copy = old.server.copy_state(Duration::from_secs(9));
    let copy = copy.expect("a state").expect("nobody writes");
    let next = Device::new(&clock, |_| Vec::new());
    next.server.load_copy(&copy).expect("it fits");

    // Packets and a client go on meanwhile.
    clock.0.store(SECOND, Relaxed);
    old.process([0, 3, 0, 0]);
    old.process([2, 5, 0, 0]);
    old.process([4, 1, 0, 0]);
    old.process([1, 7, 0, 0]);
    let flow = |key, value| {
        E::TableEntry(v1::TableEntry {
            table_id: id(&old.info, "flows"),
            r#match: vec![exact(1, key)],
            action: Some(direct(v1::Action {
                action_id: id(&old.info, "known"),
                params: vec![v1::action::Param {
                    param_id: 1,
                    value: vec![value],
                }],
            })),
            ..Default::default()
        })
    };
    let mut client = old.client();
    let mut write = |updates| client.write(updates, true);
    write(vec![
        update(Type::Insert, own(&old.info, 9, 9)),
        update(Type::Modify, own(&old.info, 2, 0x22)),
        // Another entry, which may have the first one's id, and is hit as often.
        update(Type::Delete, own(&old.info, 3, 0)),
        update(Type::Insert, own(&old.info, 4, 4)),
        // One that a packet has added.
        update(Type::Modify, flow(8, 5)),
    ])
    .expect("they are right");
    old.process([0, 4, 0, 0]);
    // What is not done is not done there either.
    write(vec![update(Type::Insert, own(&old.info, 5, 5))]).expect_err("the table is full");

    let rest = old.server.save_state(true).expect("a state");
    next.server.restore_state(&rest, true).expect("it fits");
    assert_eq!(next.everything(), old.everything());

    // A part is no whole, and without a copy there is no rest.
    let whole = old.server.save_state(false).expect("a state");
    let fresh = Device::new(&clock, |_| Vec::new());
    for (state, has_copy) in [(&rest, false), (&copy, false), (&whole, true)] {
        assert!(fresh.server.restore_state(state, has_copy).is_err());
    }
    assert!(fresh.server.load_copy(&whole).is_err());
    assert!(old.server.save_state(true).is_err());
}

/// Prints the time of a step.
fn timed<T>(what: &str, step: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = step();
    println!("{what}: {:?}", begun.elapsed());
    result
}

#[test]
#[ignore = "a measurement of a million routes"]
fn measures() {
    let text = include_str!("../../../p4/l3.p4");
    let server = |updates: &dyn Fn(&P4Info) -> Vec<v1::Update>| {
        let program = Package::source(text).program().expect("no errors");
        let info = p4info(&program).expect("ids").p4info;
        let engine = Arc::new(Engine::load(program).expect("an engine"));
        let pipeline = Pipeline::of_engine(engine).expect("a pipeline");
        assert!(pipeline.write(&updates(&info), 0).is_empty());
        Server::new(DEVICE, Arc::new(Clock::default()), Some(pipeline))
    };
    let none = |_: &P4Info| Vec::new();
    let route = |info: &P4Info, n: u32| v1::TableEntry {
        table_id: id(info, "ipv4_routes"),
        r#match: vec![lpm(1, (0x0A00_0000 + n).into(), 32)],
        action: Some(direct(v1::Action {
            action_id: id(info, "set_nexthop"),
            params: vec![v1::action::Param {
                param_id: 1,
                value: vec![9],
            }],
        })),
        ..Default::default()
    };
    let old = server(&|info| (0..1_000_000).map(|n| insert(route(info, n))).collect());
    let whole = timed("save", || old.save_state(false)).expect("a state");
    let new = server(&none);
    timed("restore", || new.restore_state(&whole, false)).expect("it fits");
    let copy = timed("copy", || old.copy_state(Duration::from_secs(9)));
    let copy = copy.expect("a state").expect("nobody writes");
    let new = server(&none);
    timed("restore the copy", || new.load_copy(&copy)).expect("it fits");
    let rest = timed("save the rest", || old.save_state(true)).expect("a state");
    timed("restore the rest", || new.restore_state(&rest, true)).expect("it fits");
}
