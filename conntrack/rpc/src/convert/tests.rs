// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the conversion of messages.

use std::time::Duration;

use adit_conntrack::{
    Counters, Endpoint, Label, NewConnection, NewProto, Protocol, Seed, Settings, Status, TcpState,
    Time, Tracker, Tuple, Zone,
};

use super::filter::filter;
use super::*;
use crate::proto;

const START: Duration = Duration::from_secs(1_700_000_000);

fn end(last: u8, part: u16) -> Endpoint {
    Endpoint {
        address: [10, 0, 0, last].into(),
        part,
    }
}

#[test]
fn a_connection_is_restored_from_its_message() {
    let original = Tuple::new(Protocol::TCP, end(1, 1000), end(2, 80)).unwrap();
    let reply = Tuple::new(Protocol::TCP, end(3, 8080), end(1, 1000)).unwrap();
    let new = NewConnection {
        zone: Zone::in_direction(7, adit_conntrack::Direction::Reply),
        status: Status::SEEN_REPLY | Status::ASSURED,
        mark: 0x12,
        label: Label::new(1 << 100 | 1),
        proto: NewProto::Tcp {
            state: Some(TcpState::FinWait),
            scales: None,
            flags: Default::default(),
        },
        counters: [
            Counters {
                packets: 1,
                bytes: 60,
            },
            Counters {
                packets: 2,
                bytes: 120,
            },
        ],
        start: Some(Time::from_secs(5)),
        ..NewConnection::new(original, reply, Duration::from_secs(30))
    };
    let now = Time::from_secs(10);
    let trackers = [1, 2].map(|key| Tracker::new(16, Seed::new([key; 16]), Settings::default()));
    let first = trackers[0].create_connection(&new, now).unwrap();
    let message = connection_message(&trackers[0].get(first, now).unwrap(), START);
    assert_eq!(message.start_ns, 1_700_000_005_000_000_000);
    assert_eq!(message.label[12], 0x10);
    let restored = new_connection(Some(&message), START).unwrap();
    let second = trackers[1].create_connection(&restored, now).unwrap();
    let copy = connection_message(&trackers[1].get(second, now).unwrap(), START);
    let with_id = proto::Connection {
        id: message.id,
        ..copy
    };
    assert_eq!(with_id, message);
}

#[test]
fn malformed_fields_are_named() {
    let text = |error: Malformed| error.to_string();
    let bad = proto::Tuple {
        src: Some(proto::Endpoint {
            address: vec![1, 2, 3],
            part: 0,
        }),
        dst: None,
        protocol: 6,
    };
    assert_eq!(
        text(tuple("tuple", Some(&bad)).unwrap_err()),
        "tuple: address of 3 bytes; it has 4 or 16"
    );
    assert_eq!(
        text(tuple("tuple", None).unwrap_err()),
        "tuple: absent, but required"
    );
    let wide = proto::Filter {
        protocol: Some(256),
        ..Default::default()
    };
    assert_eq!(
        text(filter(Some(&wide)).unwrap_err()),
        "filter.protocol: 256 has more than 8 bits"
    );
    let short = proto::Filter {
        label: vec![0; 15],
        ..Default::default()
    };
    assert_eq!(
        text(filter(Some(&short)).unwrap_err()),
        "filter.label: 15 bytes; a label has 16"
    );
    let state = proto::Filter {
        tcp_state: Some(10),
        ..Default::default()
    };
    assert!(filter(Some(&state)).is_err());
    let mixed = proto::Filter {
        original: Some(proto::TupleFilter {
            src: Some(proto::AddressFilter {
                address: vec![10, 0, 0, 0],
                mask: vec![0xFF; 16],
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    assert!(filter(Some(&mixed)).is_err());
}
