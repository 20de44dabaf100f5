// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ADIs that are saved, restored and saved again are the same; impossible ones are refused.

use adit_uapi::virtchnl2::adi::{op as adi_op, NonFlexDestroyAdi, SuspendAdi, GROUP_VECTOR};
use adit_uapi::virtchnl2::{op, promisc, PromiscInfo, QueueVector, QueueVectorMaps, RssLut};
use proptest::prelude::*;
use zerocopy::little_endian::{U16, U32};
use zerocopy::IntoBytes;

use super::fuzz::{function, used, with_adis, QUEUES};
use super::*;
use crate::control::mock::MockDataPlane;
use crate::dataplane::{QueueConfig, QueueKind};
use crate::snapshot::{AdiSnapshot, AdisSnapshot};
use crate::testing::adi::{wanted, CreatedAdi};
use crate::testing::driver::{extra_addresses, message, Driver};

/// An owner's use of an ADI.
#[derive(Clone, Debug)]
struct Use {
    pairs: u16,
    vlan: u16,
    mac: Option<u8>,
    up: bool,
    enabled: bool,
    addresses: Vec<u8>,
    without_own: bool,
    multicast: bool,
    table: bool,
    suspended: bool,
    destroyed: bool,
}

fn uses() -> impl Strategy<Value = Use> {
    let numbers = (1_u16..=2, 0_u16..2, prop::option::of(0_u8..8));
    let addresses = prop::collection::vec(0_u8..8, 0..3);
    (numbers, addresses, any::<[bool; 7]>()).prop_map(
        |(
            (pairs, vlan, mac),
            addresses,
            [up, enabled, own, multicast, table, suspended, ended],
        )| {
            Use {
                pairs,
                vlan,
                mac,
                up,
                enabled,
                addresses,
                without_own: own,
                multicast,
                table,
                suspended,
                destroyed: ended,
            }
        },
    )
}

fn mac(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 9, number]
}

/// Creates an ADI and uses it. An address that another one has is not used.
fn run(driver: &mut Driver<MockDataPlane>, n: u32, of: &Use) {
    let mut ext = wanted(of.pairs);
    ext.vlan = U16::new(of.vlan);
    if let Some(number) = of.mac {
        let vports = driver.dp.adis.keys();
        let taken = vports
            .copied()
            .any(|vport| driver.dp.vport(vport).addresses.contains(&mac(number)));
        if !taken {
            ext.mac = mac(number);
        }
    }
    let adi = driver.create_adi(n + 1, &ext);
    if of.up {
        driver.bring_up_adi(&adi);
    }
    if of.enabled {
        driver.ok(op::ENABLE_VPORT, adi.named().as_bytes());
    }
    for &number in &of.addresses {
        driver.send(
            op::ADD_MAC_ADDR,
            &extra_addresses(adi.vport, &[mac(number)]),
        );
    }
    if of.without_own {
        driver.ok(op::DEL_MAC_ADDR, &extra_addresses(adi.vport, &[adi.mac]));
    }
    if of.multicast {
        let modes = PromiscInfo {
            vport_id: U32::new(adi.vport),
            flags: U16::new(promisc::MULTICAST),
            ..PromiscInfo::default()
        };
        driver.ok(op::CONFIG_PROMISCUOUS_MODE, modes.as_bytes());
    }
    if of.table {
        let header = RssLut {
            vport_id: U32::new(adi.vport),
            lut_entries: U16::new(1),
            lut_entries_start: U16::new(3),
            ..RssLut::default()
        };
        let entry = u32::from(of.pairs) - 1;
        driver.ok(op::SET_RSS_LUT, &message(&header, &[U32::new(entry)]));
    }
    if of.suspended {
        suspend(driver, &adi);
    }
    if of.destroyed {
        let message = NonFlexDestroyAdi {
            adi_id: U16::new(adi.id),
            ..NonFlexDestroyAdi::default()
        };
        driver.ok(op::NON_FLEX_DESTROY_ADI, message.as_bytes());
    }
}

fn suspend(driver: &mut Driver<MockDataPlane>, adi: &CreatedAdi) {
    let message = SuspendAdi {
        adi_id: U16::new(adi.id),
        ..SuspendAdi::default()
    };
    driver.ok(adi_op::SUSPEND_ADI, message.as_bytes());
}

/// Restores a state to another function, and checks that it is the same there.
fn same_elsewhere(saved: &Snapshot, dp: &MockDataPlane) {
    let text = serde_json::to_string(saved).unwrap();
    let read: Snapshot = serde_json::from_str(&text).unwrap();
    assert_eq!(&read, saved);
    let (mut other, mut other_dp) = with_adis();
    other.restore(&read, &mut other_dp).unwrap();
    other.control.check(&mut other_dp);
    assert_eq!(&other.save(&other_dp).unwrap(), saved);
    assert_eq!(other_dp.queues, dp.queues);
    assert_eq!(other_dp.vectors, dp.vectors);
    assert_eq!(other_dp.adis, dp.adis);
    assert_eq!(other_dp.suspended, dp.suspended);
    let groups = |dp: &MockDataPlane| {
        let groups = dp.groups.clone().into_iter();
        groups
            .filter(|(_, members)| !members.is_empty())
            .collect::<Vec<_>>()
    };
    assert_eq!(groups(&other_dp), groups(dp));
    for &vport in dp.adis.keys() {
        let (a, b) = (dp.vport(vport), other_dp.vport(vport));
        assert_eq!(a.addresses, b.addresses);
        assert_eq!((a.enabled, a.rss_lut), (b.enabled, b.rss_lut));
        assert_eq!(a.rx_queues, b.rx_queues);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn adis_are_the_same_after_they_were_restored(
        adis in prop::collection::vec(uses(), 0..4),
        ring in any::<bool>(),
    ) {
        let (function, dp) = used(with_adis(), |driver| {
            if ring {
                driver.cause_ring();
            }
            driver.create(0, QUEUES);
            driver.bring_up(0, QUEUES);
            for (n, one) in (0..).zip(&adis) {
                run(driver, n, one);
            }
        });
        same_elsewhere(&function.save(&dp).unwrap(), &dp);
    }
}

#[test]
fn an_address_that_an_adi_has_given_up_can_be_another_ones() {
    for reversed in [false, true] {
        let (function, dp) = used(with_adis(), |driver| {
            let (first, second) = (wanted(1), wanted(1));
            let first = driver.create_adi(1, &first);
            let second = driver.create_adi(2, &second);
            let (from, to) = match reversed {
                false => (first, second),
                true => (second, first),
            };
            driver.ok(op::DEL_MAC_ADDR, &extra_addresses(from.vport, &[from.mac]));
            driver.ok(op::ADD_MAC_ADDR, &extra_addresses(to.vport, &[from.mac]));
        });
        same_elsewhere(&function.save(&dp).unwrap(), &dp);
    }
}

#[test]
fn groups_and_the_next_id_are_restored() {
    let (function, dp) = used(with_adis(), |driver| {
        let [a, b, c] = [1, 2, 3].map(|pasid| driver.create_adi(pasid, &wanted(1)));
        driver.group_adis(b.id, &[c.id, a.id]);
        driver.bring_up_adi(&b);
        // To the vector of the last one.
        let map = QueueVector {
            queue_id: U32::new(b.first(QueueKind::Rx)),
            vector_id: U16::new(GROUP_VECTOR | 2),
            queue_type: U32::new(QueueKind::Rx as u32),
            ..QueueVector::default()
        };
        let header = QueueVectorMaps {
            vport_id: U32::new(b.vport),
            num_qv_maps: U16::new(1),
            ..QueueVectorMaps::default()
        };
        driver.ok(op::MAP_QUEUE_VECTOR, &message(&header, &[map]));
        driver.ok(op::ENABLE_VPORT, b.named().as_bytes());
        suspend(driver, &b);
    });
    let saved = function.save(&dp).unwrap();
    let adis = saved.control.adis.as_ref().unwrap();
    assert_eq!(adis.list[1].members, [2, 0]);
    assert!(adis.list.iter().all(|adi| adi.suspended));
    assert_eq!(adis.next, 3);
    same_elsewhere(&saved, &dp);
}

#[test]
fn a_function_without_adis_has_no_state_of_them() {
    let (function, dp) = with_adis();
    let saved = function.save(&dp).unwrap();
    assert_eq!(saved.control.adis, None);
    let text = serde_json::to_string(&saved).unwrap();
    assert!(!text.contains("adis"), "an older release reads it");
}

/// The state of a function with three ADIs, of which the second leads the third.
fn snapshot() -> Snapshot {
    let (function, dp) = used(with_adis(), |driver| {
        driver.cause_ring();
        let one = driver.create_adi(7, &wanted(2));
        driver.bring_up_adi(&one);
        let [leader, member] = [8, 9].map(|pasid| driver.create_adi(pasid, &wanted(1)));
        driver.group_adis(leader.id, &[member.id]);
    });
    function.save(&dp).unwrap()
}

fn refused(change: impl FnOnce(&mut AdisSnapshot)) -> String {
    let mut saved = snapshot();
    change(saved.control.adis.as_mut().unwrap());
    let (mut function, mut dp) = with_adis();
    let before = function.save(&dp).unwrap();
    let error = function.restore(&saved, &mut dp).unwrap_err();
    assert_eq!(function.save(&dp).unwrap(), before, "{error}");
    assert!(dp.adis.is_empty() && dp.queues.is_empty());
    error.to_string()
}

#[test]
fn adis_that_are_impossible_are_refused_for_their_reason() {
    type Change = fn(&mut AdisSnapshot);
    let cases: [(&str, Change); 29] = [
        ("adis.next: 5: at most 4", |s| s.next = 5),
        ("adis.rings: ring 64: there are 64", |s| {
            s.rings.insert(64, 1);
        }),
        ("adis.rings: ring 0: vector 2 is not allocated", |s| {
            s.rings.insert(0, 2);
        }),
        ("list[0].id: 4: ids are from 0 to 3", |s| {
            s.list[0].id = 4;
            s.list[0].vport.id = 6;
        }),
        ("list[1].id: 0: ids are from 0 to 3, each once", |s| {
            s.list[1].id = 0;
            s.list[1].vport.id = 2;
        }),
        ("list[0].pasid: 0: 20 bits, and not 0", |s| {
            s.list[0].pasid = 0
        }),
        ("list[2].pasid: 8: each is of one ADI", |s| {
            s.list[2].pasid = 8
        }),
        ("list[0].port: 2: ports are from 0 to 1", |s| {
            s.list[0].port = 2
        }),
        ("list[0].vlan: 4095: at most 4094", |s| {
            s.list[0].vlan = 4095
        }),
        ("list[0].mac: it is no unicast address", |s| {
            s.list[0].mac.0[0] = 3
        }),
        ("list[0].ring: 64: there are 64", |s| s.list[0].ring = 64),
        (
            "list[0].first_pair: 2 queue pairs from 7 on: there are 8",
            |s| {
                s.list[0].first_pair = 7;
            },
        ),
        ("list[1].first_pair: 1 queue pairs from 1 on", |s| {
            s.list[1].first_pair = 1;
        }),
        ("list[0].vport.id: 3: that of the ADI is 2", |s| {
            s.list[0].vport.id = 3
        }),
        ("list[0].vport.link_event: an ADI has none", |s| {
            s.list[0].vport.link_event = true;
        }),
        ("list[0].vport.single_tx", |s| {
            s.list[0].vport.single_tx = true
        }),
        ("list[0].vport.unicast_promiscuous", |s| {
            s.list[0].vport.unicast_promiscuous = true;
        }),
        (
            "0 queues and 0 vectors take 0 queue pairs: an ADI has 1 to 8",
            |s| {
                s.list[0].vport.queues.clear();
                s.list[0].vectors = 0;
            },
        ),
        ("10 queues and 9 vectors take 9 queue pairs", |s| {
            s.list[0].vectors = 9
        }),
        ("list[0].vport.queues[0]", |s| {
            s.list[0].vport.queues[0].index = 0
        }),
        ("vector 2 is not allocated", |s| {
            let vector = &mut s.list[0].vport.queues[0].vector;
            vector.as_mut().unwrap().vector = 2;
        }),
        ("list[0].vport.queues[0]: ", |s| {
            if let Some(QueueConfig::Tx {
                completion_queue, ..
            }) = &mut s.list[0].vport.queues[0].config
            {
                *completion_queue = 0;
            }
        }),
        (
            "list[0].vport.rss_lut: it has 512 entries below 1024",
            |s| {
                s.list[0].vport.rss_lut = vec![1024; 512];
            },
        ),
        (
            "list[0].vport.queues: vector 0x8000: the ADI's group",
            |s| {
                let vector = &mut s.list[0].vport.queues[0].vector;
                vector.as_mut().unwrap().vector = GROUP_VECTOR;
            },
        ),
        ("list[1].members: 3: there is no such ADI", |s| {
            s.list[1].members = vec![3]
        }),
        ("list[1].members: 1: there is no such ADI", |s| {
            s.list[1].members = vec![1]
        }),
        ("list[1].members: 2: it has another group", |s| {
            s.list[0].members = vec![2]
        }),
        ("list[1].members: 2: a member is not enabled", |s| {
            s.list[2].vport.enabled = true;
        }),
        (
            "list[1].members: 2: its port, its VLAN or its suspension",
            |s| {
                s.list[2].suspended = true;
            },
        ),
    ];
    for (text, change) in cases {
        let error = refused(change);
        assert!(error.contains(text), "{error:?} has no {text:?}");
    }
    let many = refused(|s| s.list[1].members = vec![0; 16]);
    assert!(many.contains("there are 16: at most 15"), "{many}");
}

#[test]
fn a_function_that_has_no_adis_refuses_them() {
    let (mut function, mut dp) = function();
    let mut saved = function.save(&dp).unwrap();
    let list = Vec::<AdiSnapshot>::new();
    saved.control.adis = Some(Box::new(AdisSnapshot {
        next: 0,
        rings: Default::default(),
        list,
    }));
    let error = function.restore(&saved, &mut dp).unwrap_err().to_string();
    assert_eq!(error, "control.adis: the function has no ADIs");
}

#[test]
fn an_address_of_two_adis_is_refused_by_the_data_plane() {
    let mut saved = snapshot();
    let list = &mut saved.control.adis.as_mut().unwrap().list;
    let other = list[0].vport.addresses[0].clone();
    list[1].vport.addresses.push(other);
    let (mut function, mut dp) = with_adis();
    let error = function.restore(&saved, &mut dp).unwrap_err();
    assert!(matches!(error, RestoreError::DataPlane { .. }), "{error}");
}
