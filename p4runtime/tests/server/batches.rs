// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Batches with failing updates.

use std::time::{Duration, Instant};

use adit_p4runtime::proto::v1::{
    self, entity::Entity as E, update::Type, write_request::Atomicity,
};
use tonic::Code;

use crate::common::{claim, codes, insert, nic, nic_of, update, Nic, Peer, PROGRAM};

const EXISTS: i32 = Code::AlreadyExists as i32;
const ABORTED: i32 = Code::Aborted as i32;

fn count(nic: &Nic, index: Option<i64>, packets: i64) -> v1::Update {
    let preamble = nic.info.counters[0].preamble.as_ref().expect("an id");
    let entry = v1::CounterEntry {
        counter_id: preamble.id,
        index: index.map(|index| v1::Index { index }),
        data: Some(v1::CounterData {
            packet_count: packets,
            byte_count: 0,
        }),
    };
    update(Type::Modify, E::CounterEntry(entry))
}

#[test]
fn those_behind_the_one_that_fails_are_done_or_not_as_is_wanted() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let batch = |from: u64| -> Vec<_> {
        [from, from + 1, from, from + 2]
            .iter()
            .map(|dst| insert(nic.station(*dst, "drop", &[])))
            .collect()
    };
    let error = primary.write(batch(0)).unwrap_err();
    assert_eq!(error.code(), Code::Unknown);
    assert_eq!(codes(&error), [0, 0, EXISTS, 0]);
    assert!(error
        .message()
        .starts_with("1 of 4 updates failed, the first: "));
    assert_eq!(primary.entries().len(), 3);

    let before = primary.entries();
    let error = primary
        .write_as(batch(10), Atomicity::RollbackOnError)
        .unwrap_err();
    assert_eq!(codes(&error), [ABORTED, ABORTED, EXISTS, ABORTED]);
    assert_eq!(primary.entries(), before);
    let error = primary.write_as(batch(20), Atomicity::DataplaneAtomic);
    assert_eq!(error.unwrap_err().code(), Code::Unimplemented);
    assert_eq!(primary.entries(), before);
}

#[test]
fn all_that_was_done_is_taken_back() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let (one, two) = (
        nic.station(1, "forward", &[&[7]]),
        nic.station(2, "drop", &[]),
    );
    let any = v1::TableEntry {
        table_id: nic.table("rules"),
        priority: 3,
        action: Some(crate::common::direct(nic.action("limit", &[&[4]]))),
        meter_config: Some(v1::MeterConfig {
            cir: 5,
            cburst: 6,
            pir: 7,
            pburst: 8,
            eburst: 0,
        }),
        ..Default::default()
    };
    let first = vec![
        insert(one.clone()),
        insert(two.clone()),
        insert(any.clone()),
    ];
    primary.write(first).expect("entries");
    for n in 0..8 {
        primary
            .write(vec![count(&nic, Some(n), n)])
            .expect("a count");
    }
    nic.process(0, &crate::common::frame(1, 2));
    let everything = |primary: &mut Peer| {
        let with_all = v1::TableEntry {
            counter_data: Some(v1::CounterData::default()),
            meter_config: Some(v1::MeterConfig::default()),
            ..Default::default()
        };
        let default = v1::TableEntry {
            table_id: one.table_id,
            is_default_action: true,
            ..Default::default()
        };
        let mut found = primary.read(E::TableEntry(with_all));
        found.sort_by_key(|e| format!("{e:?}"));
        found.extend(primary.read(E::TableEntry(default)));
        found.extend(primary.read(E::CounterEntry(v1::CounterEntry::default())));
        found
    };
    let before = everything(&mut primary);
    let modified = nic.station(1, "forward", &[&[9]]);
    let default = v1::TableEntry {
        is_default_action: true,
        r#match: vec![],
        ..nic.station(0, "forward", &[&[1]])
    };
    let batch = vec![
        update(Type::Modify, E::TableEntry(modified)),
        update(Type::Delete, E::TableEntry(one.clone())),
        update(Type::Delete, E::TableEntry(any)),
        update(Type::Modify, E::TableEntry(default)),
        insert(nic.station(3, "drop", &[])),
        // All counters of the array.
        count(&nic, None, 99),
        insert(two.clone()),
    ];
    let error = primary
        .write_as(batch, Atomicity::RollbackOnError)
        .unwrap_err();
    assert_eq!(codes(&error).last(), Some(&EXISTS));
    assert_eq!(everything(&mut primary), before);
}

#[test]
fn errors_of_large_batches_come_through() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    for size in [1usize, 50, 100, 110, 150, 1000, 20_000] {
        let bad = v1::TableEntry {
            table_id: 0x0200_FFFF,
            ..Default::default()
        };
        let batch = vec![insert(bad); size];
        let error = primary.write(batch).unwrap_err();
        assert_eq!(error.code(), Code::Unknown, "{size}: {error:?}");
        let first = "the first: table 33619967 does not exist; tables: stations (";
        assert!(error.message().contains(first), "{size}: {error:?}");
        match size {
            ..115 => assert_eq!(codes(&error), vec![Code::NotFound as i32; size]),
            _ => {
                assert_eq!(error.details(), b"");
                let all = format!("failed: 0-{}", size - 1);
                assert!(error.message().ends_with(&all), "{error:?}");
            }
        }
    }
    let too_many = vec![v1::Update::default(); (1 << 18) + 1];
    let error = primary.write(too_many).unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
}

#[test]
fn an_entry_with_invalid_rates_changes_nothing() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let with = |cir, limit: u8| v1::TableEntry {
        table_id: nic.table("rules"),
        priority: 3,
        action: Some(crate::common::direct(nic.action("limit", &[&[limit]]))),
        meter_config: Some(v1::MeterConfig {
            cir,
            cburst: 6,
            pir: 7,
            pburst: 8,
            eburst: 0,
        }),
        ..Default::default()
    };
    let read = |primary: &mut Peer| {
        primary.read(E::TableEntry(v1::TableEntry {
            table_id: nic.table("rules"),
            meter_config: Some(v1::MeterConfig::default()),
            ..Default::default()
        }))
    };
    let modify = |entry| update(Type::Modify, E::TableEntry(entry));
    let both = [Atomicity::ContinueOnError, Atomicity::RollbackOnError];
    let invalid = Code::InvalidArgument as i32;
    for how in both {
        let error = primary.write_as(vec![insert(with(9, 4))], how).unwrap_err();
        assert_eq!(codes(&error), [invalid], "{error}");
        assert_eq!(read(&mut primary), []);
    }
    primary.write(vec![insert(with(5, 4))]).expect("an entry");
    let before = read(&mut primary);
    assert_eq!(before.len(), 1);
    for how in both {
        let error = primary.write_as(vec![modify(with(9, 5))], how).unwrap_err();
        assert_eq!(codes(&error), [invalid], "{error}");
        assert_eq!(read(&mut primary), before);
    }
}

#[test]
fn a_rollback_is_bounded() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let read = |primary: &mut Peer| primary.read(E::CounterEntry(Default::default()));
    let before = read(&mut primary);
    // `seen` has 8 cells: one whole array more than may be restored.
    let most = (1 << 18) / 8;
    let mut batch = vec![count(&nic, None, 7); most + 1];
    let error = primary
        .write_as(batch.clone(), Atomicity::RollbackOnError)
        .unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted, "{error:?}");
    assert!(error.message().contains("262152 cells"), "{error}");
    assert_eq!(read(&mut primary), before);
    batch.pop();
    primary
        .write_as(batch, Atomicity::RollbackOnError)
        .expect("it may");
    assert_ne!(read(&mut primary), before);
}

/// Creates a device whose counter is large, and a batch that takes long.
fn slow() -> (Nic, Vec<v1::Update>) {
    let nic = nic_of(&PROGRAM.replace("counter(8,", "counter(1048576,"));
    let batch = vec![count(&nic, None, 7); 20_000];
    (nic, batch)
}

#[test]
fn a_batch_ends_with_its_client() {
    let (nic, batch) = slow();
    let mut primary = Peer::primary(&nic, "", 1);
    let mut grpc = primary.grpc.clone();
    let request = v1::WriteRequest {
        device_id: crate::common::DEVICE,
        election_id: Some(v1::Uint128 { high: 0, low: 1 }),
        updates: batch,
        ..Default::default()
    };
    primary.runtime.block_on(async {
        let call = tokio::time::timeout(Duration::from_secs(1), grpc.write(request));
        assert!(call.await.is_err(), "the batch takes longer");
    });
    let begin = Instant::now();
    primary
        .write(vec![insert(nic.station(1, "drop", &[]))])
        .expect("an entry");
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_batch_ends_when_its_client_is_no_longer_the_primary() {
    let (nic, batch) = slow();
    let mut primary = Peer::primary(&nic, "", 1);
    let begin = Instant::now();
    let error = std::thread::scope(|scope| {
        let write = scope.spawn(|| primary.write(batch).unwrap_err());
        std::thread::sleep(Duration::from_secs(1));
        let mut next = Peer::connect(&nic);
        next.open().expect("a stream");
        next.say(claim("", Some(2)));
        assert_eq!(next.arbitrated(), (0, Some(2)));
        write.join().expect("it ends")
    });
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert!(error.message().contains("is below 2"), "{error}");
}
