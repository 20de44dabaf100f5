// SPDX-License-Identifier: GPL-2.0
//! Tests of [`crate::adi_group`]: the members of a group and the messages that form and end it.

use crate::adi_group::{members_listed, Group, Refusal, FORM_LEN, MAX_ADIS};
use crate::ids::AdiId;
use adit_uapi::vfio;
use adit_uapi::virtchnl2::adi::AdiGroup;
use zerocopy::little_endian::U32;
use zerocopy::IntoBytes;

fn listed(argsz: u32, count: u32) -> vfio::Group {
    vfio::Group {
        argsz: U32::new(argsz),
        count: U32::new(count),
        ..vfio::Group::default()
    }
}

#[test]
fn the_number_of_members_fits_the_argument() {
    assert_eq!(members_listed(&listed(24, 1)), Ok(1));
    assert_eq!(members_listed(&listed(16 + 8 * 15, 15)), Ok(15));
    // More may follow in a later version, which flags would announce.
    assert_eq!(members_listed(&listed(u32::MAX, 2)), Ok(2));
    for (argsz, count) in [(24, 0), (23, 1), (16, 1), (0, 1), (16 + 8 * 15 - 1, 15)] {
        let refused = members_listed(&listed(argsz, count));
        assert_eq!(refused, Err(Refusal::Malformed), "{argsz} {count}");
    }
    for count in [16, 17, 0x2000_0000, u32::MAX] {
        let refused = members_listed(&listed(u32::MAX, count));
        assert_eq!(refused, Err(Refusal::TooMany), "{count}");
    }
    let mut flagged = listed(24, 1);
    flagged.flags.set(1);
    assert_eq!(members_listed(&flagged), Err(Refusal::Malformed));
    let mut reserved = listed(24, 1);
    reserved.reserved.set(1 << 31);
    assert_eq!(members_listed(&reserved), Err(Refusal::Malformed));
    let errnos = [Refusal::Malformed, Refusal::Repeated, Refusal::TooMany].map(Refusal::errno);
    assert_eq!(errnos, [22, 22, 7]);
}

#[test]
fn an_adi_is_in_a_group_once() {
    let mut group = Group::led_by(AdiId(7));
    assert_eq!(group.add(AdiId(7)), Err(Refusal::Repeated), "the leader");
    assert_eq!(group.add(AdiId(0)), Ok(()));
    assert_eq!(group.add(AdiId(0)), Err(Refusal::Repeated));
    assert_eq!(group.add(AdiId(0xFFFF)), Ok(()));
    assert_eq!(group.leader(), AdiId(7));
    assert_eq!(group.adis(), [AdiId(7), AdiId(0), AdiId(0xFFFF)]);
    for id in 100..100 + MAX_ADIS as u16 - 3 {
        assert_eq!(group.add(AdiId(id)), Ok(()), "{id}");
    }
    assert_eq!(group.adis().len(), MAX_ADIS);
    assert_eq!(group.add(AdiId(1)), Err(Refusal::TooMany));
}

#[test]
fn the_messages_name_the_leader_and_the_members() {
    let mut group = Group::led_by(AdiId(0x0102));
    let mut payload = [0xEE; FORM_LEN];
    group.add(AdiId(0x0304)).unwrap();
    group.add(AdiId(5)).unwrap();
    assert_eq!(group.form(&mut payload), [2, 1, 2, 0, 4, 3, 5, 0]);
    for id in 10..10 + MAX_ADIS as u16 - 3 {
        group.add(AdiId(id)).unwrap();
    }
    let message = group.form(&mut payload);
    assert_eq!(message.len(), AdiGroup::LEN + 2 * (MAX_ADIS - 1));
    assert_eq!(message[message.len() - 2..], [22, 0]);
    assert_eq!(group.end().as_bytes(), [2, 1, 0, 0]);
}
