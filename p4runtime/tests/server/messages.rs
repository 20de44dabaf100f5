// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Error messages: the invalid value, its place, and the accepted values.

use adit_p4runtime::proto::v1::{self, entity::Entity as E, update::Type};
use prost::Message;
use tonic::{Code, Status};

use crate::common::{direct, exact, insert, nic, update, Nic, Peer, DEVICE};

/// Returns the code and message of the only update that failed.
fn failed(result: Result<(), Status>) -> (Code, String) {
    let status = result.unwrap_err();
    let details = adit_p4runtime::proto::Status::decode(status.details()).expect("details");
    let [detail] = &details.details[..] else {
        panic!("{details:?}");
    };
    let error = v1::Error::decode(&*detail.value).expect("an error");
    (Code::from(error.canonical_code), error.message)
}

fn entry(nic: &Nic, change: impl FnOnce(&mut v1::TableEntry)) -> v1::Update {
    let mut entry = nic.station(1, "forward", &[&[1]]);
    change(&mut entry);
    insert(entry)
}

fn with_action(nic: &Nic, change: impl FnOnce(&mut v1::Action)) -> v1::Update {
    let mut action = nic.action("forward", &[&[1]]);
    change(&mut action);
    entry(nic, |entry| entry.action = Some(direct(action)))
}

#[test]
fn unknown_ids_are_decimal_and_come_with_those_that_exist() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let entities = |entity: E| update(Type::Modify, entity);
    let stations = nic.table("stations");
    let learn = nic.action("learn", &[]).action_id;
    let cases = [
        (
            entry(&nic, |entry| entry.table_id = 99999),
            Code::NotFound,
            format!("table 99999 does not exist; tables: stations ({stations}), rules ("),
        ),
        (
            entry(&nic, |entry| entry.r#match = vec![exact(7, 1)]),
            Code::InvalidArgument,
            "match field 7 of table `I.stations` does not exist; match fields: \
             h.ethernet.dst (1)"
                .to_owned(),
        ),
        (
            with_action(&nic, |action| action.action_id = 5),
            Code::InvalidArgument,
            "action 5 does not exist; actions of table `I.stations`: I.forward (".to_owned(),
        ),
        (
            with_action(&nic, |action| action.action_id = learn),
            Code::InvalidArgument,
            format!("action `I.learn` ({learn}) is not one of table `I.stations`; actions of "),
        ),
        (
            with_action(&nic, |action| action.params[0].param_id = 8),
            Code::InvalidArgument,
            "param 8 of action `I.forward` does not exist; params: port (1)".to_owned(),
        ),
        (
            with_action(&nic, |action| action.params.clear()),
            Code::InvalidArgument,
            "param `port` of action `I.forward` is missing".to_owned(),
        ),
        (
            entities(E::CounterEntry(v1::CounterEntry {
                counter_id: 3,
                ..Default::default()
            })),
            Code::NotFound,
            "counter 3 does not exist; counters: seen (".to_owned(),
        ),
        (
            entities(E::MeterEntry(v1::MeterEntry {
                meter_id: 3,
                ..Default::default()
            })),
            Code::NotFound,
            "meter 3 does not exist; meters: shared (".to_owned(),
        ),
        (
            entities(E::RegisterEntry(v1::RegisterEntry {
                register_id: 3,
                ..Default::default()
            })),
            Code::NotFound,
            "register 3 does not exist; registers: marks (".to_owned(),
        ),
        (
            entities(E::DigestEntry(v1::DigestEntry {
                digest_id: 3,
                config: None,
            })),
            Code::NotFound,
            "digest 3 does not exist; digests: learnt_t (".to_owned(),
        ),
        (
            entities(E::ValueSetEntry(v1::ValueSetEntry {
                value_set_id: 3,
                members: vec![],
            })),
            Code::NotFound,
            "value set 3 does not exist; value sets: ".to_owned(),
        ),
        (
            entities(E::ActionProfileMember(v1::ActionProfileMember {
                action_profile_id: 3,
                member_id: 1,
                action: None,
            })),
            Code::NotFound,
            "action profile 3 does not exist; action profiles: paths (".to_owned(),
        ),
        (
            v1::Update {
                r#type: 9,
                entity: None,
            },
            Code::InvalidArgument,
            "the update's type is 9: it takes INSERT (1), MODIFY (2) or DELETE (3)".to_owned(),
        ),
    ];
    for (update, code, why) in cases {
        let (found, message) = failed(primary.write(vec![update]));
        assert!(message.starts_with(&why), "{message}\n{why}");
        assert_eq!(found, code, "{message}");
    }
}

#[test]
fn values_that_do_not_fit_are_out_of_range() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let exact_bytes = |value: &[u8]| v1::FieldMatch {
        field_id: 1,
        field_match_type: Some(v1::field_match::FieldMatchType::Exact(
            v1::field_match::Exact {
                value: value.to_vec(),
            },
        )),
    };
    let dst = |value: &[u8]| {
        let is = exact_bytes(value);
        entry(&nic, |entry| entry.r#match = vec![is])
    };
    let register = |value: &[u8], index| {
        let id = nic.info.registers[0].preamble.as_ref().expect("an id").id;
        let data = Some(v1::p4_data::Data::Bitstring(value.to_vec()));
        let entry = v1::RegisterEntry {
            register_id: id,
            index: Some(v1::Index { index }),
            data: Some(v1::P4Data { data }),
        };
        update(Type::Modify, E::RegisterEntry(entry))
    };
    let cases = [
        (
            dst(&[1, 0, 0, 0, 0, 0, 0]),
            "`h.ethernet.dst`: the value 0x01000000000000 does not fit into 48 bits",
        ),
        (
            with_action(&nic, |action| action.params[0].value = vec![2, 0]),
            "`port`: the value 0x0200 does not fit into 9 bits",
        ),
        (
            dst(&[]),
            "`h.ethernet.dst`: an empty byte string is no value",
        ),
        (
            register(&[1, 0, 0, 0, 0], 0),
            "`data`: the value 0x0100000000 does not fit into 32 bits",
        ),
        (register(&[1], 4), "the index 4 is beyond the 4 elements"),
    ];
    for (update, why) in cases {
        let (code, message) = failed(primary.write(vec![update]));
        assert_eq!(message, why);
        assert_eq!(code, Code::OutOfRange, "{message}");
    }
    // Leading zeros are not part of a value.
    primary.write(vec![dst(&[0; 40])]).expect("it fits");
}

#[test]
fn unknown_enum_values_come_with_the_accepted_ones() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let request = v1::WriteRequest {
        device_id: DEVICE,
        election_id: Some(v1::Uint128 { high: 0, low: 1 }),
        atomicity: 999,
        ..Default::default()
    };
    let error = primary.runtime.block_on(primary.grpc.write(request));
    let error = error.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    let why = "atomicity is 999: it takes CONTINUE_ON_ERROR (0) or ROLLBACK_ON_ERROR (1)";
    assert_eq!(error.message(), why);

    let request = v1::SetForwardingPipelineConfigRequest {
        device_id: DEVICE,
        election_id: Some(v1::Uint128 { high: 0, low: 1 }),
        action: 0,
        ..Default::default()
    };
    let call = primary.grpc.set_forwarding_pipeline_config(request);
    let error = primary.runtime.block_on(call).unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(
        error
            .message()
            .starts_with("action is 0: it takes VERIFY (1), "),
        "{error}"
    );

    let request = v1::GetForwardingPipelineConfigRequest {
        device_id: DEVICE,
        response_type: 999,
    };
    let call = primary.grpc.get_forwarding_pipeline_config(request);
    let error = primary.runtime.block_on(call).unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(
        error
            .message()
            .starts_with("response_type is 999: it takes ALL (0), "),
        "{error}"
    );
}

#[test]
fn election_ids_say_what_the_role_has_seen() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 10);
    let denied = |peer: &mut Peer| {
        let error = peer.write(vec![]).unwrap_err();
        assert_eq!(error.code(), Code::PermissionDenied);
        error.message().to_owned()
    };
    primary.election = 11;
    assert!(denied(&mut primary).starts_with("election_id 11 is above 10, the highest that"));
    primary.election = 1;
    let below = "election_id 1 is below 10, the highest that role \"\" has seen";
    assert_eq!(denied(&mut primary), below);
    primary.role = "r".to_owned();
    assert!(denied(&mut primary).starts_with("role \"r\" has no primary: "));
    drop(primary);
    // The order in the README: the second client has a lower id, and its stream is open.
    let mut second = Peer::connect(&nic);
    second.open().expect("a stream");
    second.say(crate::common::claim("", Some(1)));
    second.arbitrated();
    second.election = 1;
    assert_eq!(denied(&mut second), below);
    second.election = 10;
    assert!(denied(&mut second).contains("has ended"));
}
