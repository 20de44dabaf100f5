// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Clients that send arbitrary data, in any amount, and do not read.

use std::time::{Duration, Instant};

use adit_p4runtime::proto::v1::{
    self, entity::Entity as E, field_match::FieldMatchType, write_request::Atomicity,
};
use proptest::prelude::*;
use proptest::sample::select;
use tonic::Code;

use crate::common::{claim, insert, large_read, nic, Nic, Peer, DEVICE};

/// Returns ids of the program, and others.
fn ids(nic: &Nic) -> Vec<u32> {
    let info = &nic.info;
    let mut ids = vec![0, 1, 2, 3, 7, 0x0200_0001, u32::MAX];
    macro_rules! add {
        ($($list:ident),*) => {
            $(ids.extend(info.$list.iter().filter_map(|e| e.preamble.as_ref()).map(|p| p.id));)*
        };
    }
    add!(
        tables,
        actions,
        action_profiles,
        counters,
        direct_counters,
        meters,
        direct_meters
    );
    add!(value_sets, registers, digests);
    ids
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..9),
        Just(vec![1]),
        Just(vec![0; 40])
    ]
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(0),
        Just(-1),
        Just(1),
        Just(i64::MAX),
        Just(i64::MIN),
        0..20i64
    ]
}

fn matches(ids: Vec<u32>) -> impl Strategy<Value = Vec<v1::FieldMatch>> {
    let kind = prop_oneof![
        bytes().prop_map(|value| FieldMatchType::Exact(v1::field_match::Exact { value })),
        (bytes(), bytes()).prop_map(|(value, mask)| {
            FieldMatchType::Ternary(v1::field_match::Ternary { value, mask })
        }),
        (bytes(), -1..70i32).prop_map(|(value, prefix_len)| {
            FieldMatchType::Lpm(v1::field_match::Lpm { value, prefix_len })
        }),
        (bytes(), bytes())
            .prop_map(|(low, high)| FieldMatchType::Range(v1::field_match::Range { low, high })),
        bytes().prop_map(|value| FieldMatchType::Optional(v1::field_match::Optional { value })),
    ];
    let field = (
        prop_oneof![1..4u32, select(ids)],
        prop::option::weighted(0.9, kind),
    );
    let field = field.prop_map(|(field_id, field_match_type)| v1::FieldMatch {
        field_id,
        field_match_type,
    });
    prop::collection::vec(field, 0..4)
}

fn action(ids: Vec<u32>) -> impl Strategy<Value = v1::Action> {
    let param =
        (0..4u32, bytes()).prop_map(|(param_id, value)| v1::action::Param { param_id, value });
    (select(ids), prop::collection::vec(param, 0..3))
        .prop_map(|(action_id, params)| v1::Action { action_id, params })
}

fn table_action(ids: Vec<u32>) -> impl Strategy<Value = Option<v1::TableAction>> {
    use v1::table_action::Type as T;
    let one_shot = (action(ids.clone()), -1..3i32).prop_map(|(action, weight)| {
        T::ActionProfileActionSet(v1::ActionProfileActionSet {
            action_profile_actions: vec![v1::ActionProfileAction {
                action: Some(action),
                weight,
                ..Default::default()
            }],
            ..Default::default()
        })
    });
    let kind = prop_oneof![
        5 => action(ids).prop_map(T::Action),
        1 => (0..4u32).prop_map(T::ActionProfileMemberId),
        1 => (0..4u32).prop_map(T::ActionProfileGroupId),
        1 => one_shot,
    ];
    let kind = prop::option::weighted(0.9, kind).prop_map(|kind| v1::TableAction { r#type: kind });
    prop::option::weighted(0.9, kind)
}

fn counts() -> impl Strategy<Value = Option<v1::CounterData>> {
    let data = (number(), number()).prop_map(|(byte_count, packet_count)| v1::CounterData {
        byte_count,
        packet_count,
    });
    prop::option::weighted(0.3, data)
}

fn rates() -> impl Strategy<Value = Option<v1::MeterConfig>> {
    let config = (number(), number(), number(), number(), number());
    let config = config.prop_map(|(cir, cburst, pir, pburst, eburst)| v1::MeterConfig {
        cir,
        cburst,
        pir,
        pburst,
        eburst,
    });
    prop::option::weighted(0.3, config)
}

fn table_entry(ids: Vec<u32>) -> impl Strategy<Value = v1::TableEntry> {
    let parts = (
        select(ids.clone()),
        matches(ids.clone()),
        table_action(ids),
        prop_oneof![Just(0), Just(1), Just(-5), any::<i32>()],
        (counts(), rates()),
        prop::bool::weighted(0.1),
        prop_oneof![4 => Just(0), 1 => number()],
        prop_oneof![4 => Just(vec![]), 1 => bytes()],
    );
    parts.prop_map(
        |(
            table_id,
            r#match,
            action,
            priority,
            (counter_data, meter_config),
            is_default_action,
            idle_timeout_ns,
            metadata,
        )| {
            v1::TableEntry {
                table_id,
                r#match,
                action,
                priority,
                counter_data,
                meter_config,
                is_default_action,
                idle_timeout_ns,
                metadata,
                ..Default::default()
            }
        },
    )
}

fn index() -> impl Strategy<Value = Option<v1::Index>> {
    prop::option::weighted(0.8, number().prop_map(|index| v1::Index { index }))
}

fn entity(ids: Vec<u32>) -> impl Strategy<Value = E> {
    use v1::action_profile_group::{member::WatchKind, Member};
    let id = || select(ids.clone());
    let member =
        (0..4u32, -1..3i32, prop::option::of(bytes())).prop_map(|(member_id, weight, port)| {
            Member {
                member_id,
                weight,
                watch_kind: port.map(WatchKind::WatchPort),
            }
        });
    let replica =
        (prop::option::of(bytes()), any::<u32>()).prop_map(|(port, instance)| v1::Replica {
            instance,
            port_kind: port.map(v1::replica::PortKind::Port),
            backup_replicas: vec![],
        });
    let replicas = prop::collection::vec(replica, 0..4).boxed();
    let set_member = matches(ids.clone()).prop_map(|r#match| v1::ValueSetMember { r#match });
    prop_oneof![
        6 => table_entry(ids.clone()).prop_map(E::TableEntry),
        2 => (id(), 0..4u32, prop::option::of(action(ids.clone()))).prop_map(
            |(action_profile_id, member_id, action)| {
                E::ActionProfileMember(v1::ActionProfileMember { action_profile_id, member_id, action })
            }
        ),
        2 => (id(), 0..4u32, prop::collection::vec(member, 0..4), -1..4i32).prop_map(
            |(action_profile_id, group_id, members, max_size)| {
                E::ActionProfileGroup(v1::ActionProfileGroup { action_profile_id, group_id, members, max_size })
            }
        ),
        1 => (id(), index(), counts()).prop_map(|(counter_id, index, data)| {
            E::CounterEntry(v1::CounterEntry { counter_id, index, data })
        }),
        1 => (id(), index(), rates()).prop_map(|(meter_id, index, config)| {
            E::MeterEntry(v1::MeterEntry { meter_id, index, config, counter_data: None })
        }),
        1 => (id(), index(), prop::option::of(bytes())).prop_map(|(register_id, index, data)| {
            let data = data.map(|b| v1::P4Data { data: Some(v1::p4_data::Data::Bitstring(b)) });
            E::RegisterEntry(v1::RegisterEntry { register_id, index, data })
        }),
        1 => (prop::option::of(table_entry(ids.clone())), counts()).prop_map(|(table_entry, data)| {
            E::DirectCounterEntry(v1::DirectCounterEntry { table_entry, data })
        }),
        1 => (prop::option::of(table_entry(ids.clone())), rates()).prop_map(|(table_entry, config)| {
            E::DirectMeterEntry(v1::DirectMeterEntry { table_entry, config, counter_data: None })
        }),
        1 => (id(), prop::collection::vec(set_member, 0..6)).prop_map(|(value_set_id, members)| {
            E::ValueSetEntry(v1::ValueSetEntry { value_set_id, members })
        }),
        1 => (0..4u32, replicas.clone()).prop_map(|(multicast_group_id, replicas)| {
            let group = v1::MulticastGroupEntry { multicast_group_id, replicas, ..Default::default() };
            let kind = v1::packet_replication_engine_entry::Type::MulticastGroupEntry(group);
            E::PacketReplicationEngineEntry(v1::PacketReplicationEngineEntry { r#type: Some(kind) })
        }),
        1 => (0..4u32, replicas, any::<i32>()).prop_map(|(session_id, replicas, packet_length_bytes)| {
            let session = v1::CloneSessionEntry { session_id, replicas, packet_length_bytes, ..Default::default() };
            let kind = v1::packet_replication_engine_entry::Type::CloneSessionEntry(session);
            E::PacketReplicationEngineEntry(v1::PacketReplicationEngineEntry { r#type: Some(kind) })
        }),
        1 => (id(), number(), any::<i32>()).prop_map(|(digest_id, time, max_list_size)| {
            let config = v1::digest_entry::Config { max_timeout_ns: time, max_list_size, ack_timeout_ns: time };
            E::DigestEntry(v1::DigestEntry { digest_id, config: Some(config) })
        }),
        1 => id().prop_map(|id| E::ExternEntry(v1::ExternEntry { extern_type_id: id, ..Default::default() })),
    ]
}

/// Returns entities that are valid if those that they depend on exist, and no equal one does.
fn likely(nic: &Nic) -> Vec<E> {
    let id = |preamble: &Option<adit_p4runtime::proto::config::Preamble>| {
        preamble.as_ref().expect("an id").id
    };
    let profile = id(&nic.info.action_profiles[0].preamble);
    let mut all: Vec<E> = (0..4)
        .map(|dst| E::TableEntry(nic.station(dst, "forward", &[&[1]])))
        .collect();
    for member_id in [1, 2] {
        all.push(E::ActionProfileMember(v1::ActionProfileMember {
            action_profile_id: profile,
            member_id,
            action: Some(nic.action("forward", &[&[2]])),
        }));
        let members = vec![v1::action_profile_group::Member {
            member_id,
            weight: 2,
            watch_kind: None,
        }];
        all.push(E::ActionProfileGroup(v1::ActionProfileGroup {
            action_profile_id: profile,
            group_id: 1,
            members,
            max_size: 0,
        }));
    }
    for kind in [
        v1::table_action::Type::ActionProfileGroupId(1),
        v1::table_action::Type::ActionProfileMemberId(2),
    ] {
        all.push(E::TableEntry(v1::TableEntry {
            table_id: nic.table("routes"),
            r#match: vec![crate::common::lpm(1, 0x0200_0000_0000, 8)],
            action: Some(v1::TableAction { r#type: Some(kind) }),
            ..Default::default()
        }));
    }
    for index in [None, Some(v1::Index { index: 3 })] {
        all.push(E::CounterEntry(v1::CounterEntry {
            counter_id: id(&nic.info.counters[0].preamble),
            index,
            data: Some(v1::CounterData {
                byte_count: 3,
                packet_count: 4,
            }),
        }));
        all.push(E::RegisterEntry(v1::RegisterEntry {
            register_id: id(&nic.info.registers[0].preamble),
            index,
            data: Some(v1::P4Data {
                data: Some(v1::p4_data::Data::Bitstring(vec![5])),
            }),
        }));
        all.push(E::MeterEntry(v1::MeterEntry {
            meter_id: id(&nic.info.meters[0].preamble),
            index,
            config: Some(v1::MeterConfig {
                cir: 1,
                cburst: 2,
                pir: 3,
                pburst: 4,
                eburst: 0,
            }),
            counter_data: None,
        }));
    }
    all
}

/// Reads all entities.
fn everything(peer: &mut Peer) -> Vec<String> {
    let entry = v1::TableEntry {
        counter_data: Some(v1::CounterData::default()),
        meter_config: Some(v1::MeterConfig::default()),
        ..Default::default()
    };
    let all = [
        E::TableEntry(entry),
        E::ActionProfileMember(Default::default()),
        E::ActionProfileGroup(Default::default()),
        E::CounterEntry(Default::default()),
        E::MeterEntry(Default::default()),
        E::RegisterEntry(Default::default()),
        E::ValueSetEntry(Default::default()),
        E::PacketReplicationEngineEntry(Default::default()),
        E::DigestEntry(Default::default()),
    ];
    let found = all.into_iter().flat_map(|e| peer.read(e));
    let mut found: Vec<String> = found.map(|e| format!("{e:?}")).collect();
    // The order of entries in a table is unspecified.
    found.sort();
    found
}

#[test]
fn any_batch_is_done_or_refused_and_what_is_refused_changes_nothing() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let nearly = select(likely(&nic)).boxed();
    let entity = prop_oneof![1 => entity(ids(&nic)).boxed(), 2 => nearly];
    let update = (0..5i32, prop::option::weighted(0.98, entity));
    let update = update.prop_map(|(kind, entity)| v1::Update {
        r#type: kind,
        entity: Some(v1::Entity { entity }),
    });
    let batch = prop::collection::vec(update, 1..6);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 1500,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let primary = std::cell::RefCell::new(&mut primary);
    let done = std::cell::Cell::new(0);
    runner
        .run(&(batch, any::<bool>()), |(batch, rolls_back)| {
            let primary = &mut **primary.borrow_mut();
            let before = everything(primary);
            let how = match rolls_back {
                true => Atomicity::RollbackOnError,
                false => Atomicity::ContinueOnError,
            };
            match primary.write_as(batch.clone(), how) {
                Ok(()) => done.set(done.get() + 1),
                Err(error) => {
                    prop_assert_eq!(error.code(), Code::Unknown, "{:?}", error);
                    let codes = crate::common::codes(&error);
                    prop_assert_eq!(codes.len(), batch.len());
                    prop_assert!(!codes.contains(&(Code::Internal as i32)));
                    let all_failed = codes.iter().all(|code| *code != 0);
                    if rolls_back || all_failed {
                        prop_assert_eq!(everything(primary), before);
                    } else {
                        done.set(done.get() + 1);
                    }
                }
            }
            // Arbitrary reads are harmless, too.
            for update in batch {
                if let Some(entity) = update.entity.and_then(|e| e.entity) {
                    if let Err(error) = primary.try_read(entity) {
                        let known = [
                            Code::InvalidArgument,
                            Code::NotFound,
                            Code::OutOfRange,
                            Code::Unimplemented,
                        ];
                        prop_assert!(known.contains(&error.code()), "{error:?}");
                        prop_assert!(!error.message().is_empty());
                    }
                }
            }
            Ok(())
        })
        .unwrap();
    assert!(
        done.get() > 100,
        "only {} batches did something",
        done.get()
    );
}

#[test]
fn requests_are_bounded() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let large = v1::TableEntry {
        metadata: vec![0; 33 << 20],
        ..nic.station(1, "drop", &[])
    };
    let error = primary.write(vec![insert(large)]).unwrap_err();
    assert_eq!(error.code(), Code::OutOfRange, "{error:?}");
    // The connection stays open.
    primary
        .write(vec![insert(nic.station(1, "drop", &[]))])
        .expect("an entry");
    let many = (0..5000).map(|n| insert(nic.station(n + 2, "drop", &[])));
    let error = primary.write(many.collect()).unwrap_err();
    assert!(error.message().contains("`I.stations` "), "{error}");
    assert_eq!(primary.entries().len(), 4096);
}

#[test]
fn streams_are_bounded() {
    let nic = nic();
    let mut streams: Vec<Peer> = Vec::new();
    let refused = loop {
        let mut peer = Peer::connect(&nic);
        match peer.open() {
            Ok(()) => streams.push(peer),
            Err(error) => break error,
        }
        assert!(streams.len() <= 64);
    };
    assert_eq!(refused.code(), Code::ResourceExhausted);
    // The limit of one peer: the other places are not for it.
    assert_eq!(streams.len(), 48);
    streams.truncate(10);
    let deadline = Instant::now() + Duration::from_secs(60);
    // Closed streams free their places.
    while Peer::connect(&nic).open().is_err() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn who_does_not_read_keeps_nobody_from_writing() {
    let nic = nic();
    let (mut primary, mut reader, request) = large_read(&nic);
    let mut stalled = Vec::new();
    for _ in 0..8 {
        let call = reader.grpc.read(request.clone());
        stalled.push(reader.runtime.block_on(call).expect("it begins"));
    }
    std::thread::sleep(Duration::from_millis(200));
    let begin = Instant::now();
    primary
        .write(vec![insert(nic.station(5000, "drop", &[]))])
        .expect("an entry");
    assert!(begin.elapsed() < Duration::from_secs(5));
    drop(stalled);
    // Reads that wait for their turn get it.
    assert_eq!(primary.entries().len(), 4001);
}

#[test]
fn nonsense_on_a_stream_ends_it_and_no_other() {
    use v1::stream_message_request::Update as Said;
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let role = |role| {
        let Said::Arbitration(mut said) = claim("x", Some(1)) else {
            unreachable!()
        };
        said.role = Some(role);
        Said::Arbitration(said)
    };
    for (bad, code) in [
        (
            Said::Arbitration(v1::MasterArbitrationUpdate {
                device_id: 99,
                ..Default::default()
            }),
            Code::NotFound,
        ),
        (claim("", Some(1)), Code::InvalidArgument),
        (
            role(v1::Role {
                name: "r".repeat(5000),
                ..Default::default()
            }),
            Code::InvalidArgument,
        ),
    ] {
        let mut peer = Peer::connect(&nic);
        peer.open().expect("a stream");
        peer.say(bad);
        let error = peer.heard().unwrap_err();
        assert_eq!(error.code(), code, "{error:?}");
    }
    primary
        .write(vec![insert(nic.station(1, "drop", &[]))])
        .expect("it goes on");
}

/// A request of empty elements, which are two bytes each. Encoded, an empty string is an empty
/// message.
#[derive(Clone, PartialEq, prost::Message)]
struct Empties {
    #[prost(uint64, tag = "1")]
    device_id: u64,
    #[prost(string, repeated, tag = "2")]
    entities: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    updates: Vec<String>,
}

#[test]
fn requests_that_are_large_only_when_decoded_are_bounded() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    const MANY: usize = 1 << 21;
    let requests = [
        (
            "/p4.v1.P4Runtime/Write",
            Empties {
                device_id: DEVICE,
                updates: vec![String::new(); MANY],
                ..Default::default()
            },
        ),
        (
            "/p4.v1.P4Runtime/Read",
            Empties {
                device_id: DEVICE,
                entities: vec![String::new(); MANY],
                ..Default::default()
            },
        ),
    ];
    for (path, request) in requests {
        let address = format!("http://{}", nic.listening.address);
        let error = primary.runtime.block_on(async {
            let channel = tonic::transport::Channel::from_shared(address).expect("an address");
            let channel = channel.connect().await.expect("the server listens");
            let mut grpc = tonic::client::Grpc::new(channel);
            grpc.ready().await.expect("a connection");
            let codec = tonic_prost::ProstCodec::<Empties, v1::ReadResponse>::default();
            let path = path.parse().expect("a path");
            let call = grpc.server_streaming(tonic::Request::new(request), path, codec);
            match call.await {
                Ok(answer) => answer.into_inner().message().await.unwrap_err(),
                Err(error) => error,
            }
        });
        assert_eq!(error.code(), Code::ResourceExhausted, "{path}: {error:?}");
        assert!(
            error.message().contains("are under way on this connection"),
            "{path}: {error}"
        );
    }
    // A batch of as many updates as there may be is not refused for its size.
    let usual = insert(nic.station(1, "forward", &[&[1]]));
    let error = primary.write(vec![usual; 1 << 18]).unwrap_err();
    assert_eq!(error.code(), Code::Unknown, "{error:?}");
    assert!(error.message().starts_with("262143 of 262144"), "{error}");
}
