// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A state that is saved, restored and saved again is the same; one that is impossible is refused.

use std::collections::BTreeSet;

use adit_uapi::regs::queue_len::ENABLE_M;
use adit_uapi::virtchnl2::{
    flow_action, op, promisc, proto_hdr, queue_type, FlowRule, FlowRuleAddDel, FlowRuleInfo,
    PromiscInfo, RssKey, RssLut, RULE_ID_NONE,
};
use proptest::prelude::*;
use zerocopy::little_endian::{U16, U32};
use zerocopy::IntoBytes;

use super::fuzz::{function, fuzz_snapshot, used, QUEUES, VPORTS};
use super::*;
use crate::control::mock::MockDataPlane;
use crate::dataplane::QueueConfig;
use crate::ids::VportId;
use crate::layout::{MailboxRing, RingRegister};
use crate::testing::driver::{extra_addresses, message, named, Driver};

/// A driver's use of a virtual port.
#[derive(Clone, Debug)]
struct Use {
    queues: u16,
    up: Option<u16>,
    disable: bool,
    addresses: Vec<[u8; 6]>,
    without_own: bool,
    promiscuous: u16,
    key: Option<u8>,
    table: Option<u32>,
    event: bool,
    rules: BTreeSet<u32>,
}

fn uses() -> impl Strategy<Value = Use> {
    let queues = 1..=QUEUES;
    let up = prop::option::of(1..=QUEUES);
    let addresses = prop::collection::vec(any::<[u8; 6]>(), 0..4);
    let key = prop::option::of(any::<u8>());
    let table = prop::option::of(0_u32..u32::from(QUEUES));
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), 0_u16..4);
    let rules = prop::collection::btree_set(0_u32..100, 0..4);
    (queues, up, addresses, key, table, flags, rules).prop_map(
        |(queues, up, addresses, key, table, (disable, without_own, event, promiscuous), rules)| {
            Use {
                queues,
                up: up.map(|up| up.min(queues)),
                disable,
                addresses: addresses.into_iter().filter(|a| *a != [0; 6]).collect(),
                without_own,
                promiscuous,
                key,
                table: table.map(|entry| entry.min(u32::from(queues) - 1)),
                event,
                rules,
            }
        },
    )
}

/// A rule that drops TCP over IPv4 to a port.
fn rule(id: u32) -> FlowRuleInfo {
    let mut info = FlowRuleInfo {
        rule_id: U32::new(id),
        ..FlowRuleInfo::default()
    };
    let FlowRule {
        proto_hdrs,
        action_set,
        ..
    } = &mut info.rule_cfg;
    proto_hdrs.count = U32::new(2);
    proto_hdrs.proto_hdr[0].hdr_type = U32::new(proto_hdr::IPV4.into());
    proto_hdrs.proto_hdr[1].hdr_type = U32::new(proto_hdr::TCP.into());
    proto_hdrs.proto_hdr[1].buffer_spec[2..4].copy_from_slice(&(id as u16).to_be_bytes());
    proto_hdrs.proto_hdr[1].buffer_mask[2..4].copy_from_slice(&[0xFF; 2]);
    action_set.count = U32::new(1);
    action_set.actions[0].action_type = U32::new(flow_action::DROP);
    info
}

fn run(driver: &mut Driver<MockDataPlane>, id: u16, of: &Use) {
    driver.create(id, of.queues);
    let vport_id = U32::new(id.into());
    if let Some(up) = of.up {
        driver.bring_up(id, up);
    }
    if of.disable && of.up.is_some() {
        let first = id * driver.control.profile().queues(QueueKind::Tx);
        let list = named(id.into(), &[(queue_type::TX, first.into())]);
        driver.ok(op::DISABLE_QUEUES, &list);
        // The completion queue is removed, and the TX queue still refers to it.
        let list = named(id.into(), &[(queue_type::TX_COMPLETION, first.into())]);
        driver.ok(op::DEL_QUEUES, &list);
    }
    if !of.addresses.is_empty() {
        driver.ok(op::ADD_MAC_ADDR, &extra_addresses(id.into(), &of.addresses));
    }
    if of.without_own {
        let own = driver.control.profile().mac(id);
        driver.ok(op::DEL_MAC_ADDR, &extra_addresses(id.into(), &[own]));
    }
    let modes = PromiscInfo {
        vport_id,
        flags: U16::new(of.promiscuous & (promisc::UNICAST | promisc::MULTICAST)),
        ..PromiscInfo::default()
    };
    driver.ok(op::CONFIG_PROMISCUOUS_MODE, modes.as_bytes());
    if let Some(key) = of.key {
        let header = RssKey {
            vport_id,
            key_len: U16::new(52),
            pad: 0,
        };
        driver.ok(op::SET_RSS_KEY, &message(&header, &[key; 52]));
    }
    if let Some(entry) = of.table {
        let header = RssLut {
            vport_id,
            lut_entries: U16::new(300),
            lut_entries_start: U16::new(7),
            ..RssLut::default()
        };
        driver.ok(op::SET_RSS_LUT, &message(&header, &[U32::new(entry); 300]));
    }
    if !of.rules.is_empty() {
        let header = FlowRuleAddDel {
            vport_id,
            count: U32::new(of.rules.len() as u32),
        };
        let rules: Vec<_> = of.rules.iter().copied().map(rule).collect();
        driver.ok(op::ADD_FLOW_RULE, &message(&header, &rules));
    }
    if of.event {
        driver.control.link_changed(VportId(id.into()));
    }
}

fn same_data_planes(one: &MockDataPlane, other: &MockDataPlane) {
    assert_eq!(one.queues, other.queues);
    assert_eq!(one.vectors, other.vectors);
    for vport in (0..VPORTS).map(|n| VportId(n.into())) {
        let (a, b) = (one.vport(vport), other.vport(vport));
        assert_eq!(format!("{:?}", sorted(a)), format!("{:?}", sorted(b)));
    }
}

/// A configuration in a form that can be compared.
fn sorted(config: &crate::vport::VportConfig) -> impl std::fmt::Debug + '_ {
    let addresses: BTreeSet<_> = config.addresses.iter().collect();
    let flags = (
        config.enabled,
        config.loopback,
        config.unicast_promiscuous,
        config.multicast_promiscuous,
    );
    let rss = (config.rss_key(), config.rss_lut, config.rss_hash());
    let rules: Vec<_> = config
        .rules
        .iter()
        .map(|(id, rule)| (id, rule.as_bytes()))
        .collect();
    (flags, rss, addresses, &config.rx_queues, rules)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_state_is_the_same_after_it_was_restored(
        ports in prop::collection::vec(prop::option::of(uses()), usize::from(VPORTS)),
        registers in prop::collection::vec((0_usize..10, any::<u32>()), 0..12),
        config in prop::collection::vec((0_u64..0x100, any::<u8>()), 0..12),
        table in prop::collection::vec((0_u64..0x1_0000, any::<u8>()), 0..12),
    ) {
        let (mut function, mut dp) = used(function(), |driver| {
            for (id, port) in (0..).zip(&ports) {
                if let Some(port) = port {
                    run(driver, id, port);
                }
            }
        });
        for (at, value) in registers {
            let (.., offset) = function.layout().mailbox()[at];
            // The rings have no memory: one that is enabled stops with a fault.
            if function.register_write(offset, value) == Some(super::super::WriteEffect::Serve) {
                function.serve(&mut dp);
            }
        }
        config.iter().for_each(|(at, value)| {
            function.config_write(*at, &[*value]);
        });
        table.iter().for_each(|(at, value)| function.msix_write(*at, &[*value]));

        let saved = function.save(&dp).unwrap();
        let text = serde_json::to_string(&saved).unwrap();
        let read: Snapshot = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&read, &saved);
        let (mut other, mut other_dp) = self::function();
        other.restore(&read, &mut other_dp).unwrap();
        other.control.check(&mut other_dp);
        same_data_planes(&dp, &other_dp);
        prop_assert_eq!(other.save(&other_dp).unwrap(), saved);
        for space in [0, 1, 2] {
            let (mut a, mut b) = ([0; 4096], [0; 4096]);
            match space {
                0 => { function.config_read(0, &mut a); other.config_read(0, &mut b); }
                n => {
                    function.msix_read(4096 * n, &mut a);
                    other.msix_read(4096 * n, &mut b);
                }
            }
            prop_assert_eq!(a, b);
        }
    }

    #[test]
    fn an_altered_state_breaks_nothing(data in prop::collection::vec(any::<u8>(), 0..32)) {
        fuzz_snapshot(&data);
    }
}

/// The state of a function that is in use.
fn snapshot() -> Snapshot {
    let (mut function, dp) = used(function(), |driver| {
        driver.create(0, QUEUES);
        driver.bring_up(0, QUEUES);
        let header = FlowRuleAddDel {
            vport_id: U32::new(0),
            count: U32::new(2),
        };
        driver.ok(op::ADD_FLOW_RULE, &message(&header, &[rule(4), rule(5)]));
    });
    let at = |ring, register| function.layout().mailbox_offset(ring, register);
    let len = at(MailboxRing::Atq, RingRegister::Len);
    function.register_write(len, 32 | ENABLE_M);
    function.save(&dp).unwrap()
}

fn refused(change: impl FnOnce(&mut Snapshot)) -> String {
    let mut saved = snapshot();
    change(&mut saved);
    let (mut function, mut dp) = function();
    let before = function.save(&dp).unwrap();
    let error = function.restore(&saved, &mut dp).unwrap_err();
    assert_eq!(function.save(&dp).unwrap(), before, "{error}");
    assert!(dp.queues.is_empty());
    error.to_string()
}

/// A change of a state.
type Change = fn(&mut Snapshot);

#[test]
fn an_impossible_state_is_refused_for_its_reason() {
    let cases: [(&str, Change); 26] = [
        ("has version 2", |s| s.version = 2),
        ("TX queues: the state is of a function with 5", |s| {
            s.profile.tx_queues = 5;
        }),
        ("addresses", |s| s.profile.macs[0].0[5] ^= 1),
        ("longest frame", |s| s.profile.max_frame += 1),
        ("capabilities", |s| s.profile.capabilities[0] = u64::MAX),
        ("byte 0x0 is", |s| s.config.0[0] ^= 1),
        ("byte 0xfff is", |s| s.config.0.truncate(0xFFF)),
        ("msix[0]", |s| {
            s.msix.push(Part {
                at: 0xFFF8,
                bytes: Hex(vec![1; 16]),
            });
        }),
        ("mailbox.atq", |s| s.mailbox.atq.len |= 1 << 20),
        ("mailbox.arq", |s| s.mailbox.arq.head = 0x2000),
        ("control.vectors: 0", |s| s.control.vectors.insert(0, 0)),
        ("each once", |s| {
            let first = s.control.vports[0].clone();
            s.control.vports.push(first);
        }),
        ("vports[0].id: 2", |s| s.control.vports[0].id = 2),
        ("is not after", |s| s.control.vports[0].queues.swap(0, 1)),
        ("has no such queue", |s| {
            s.control.vports[0].queues[0].index = 4
        }),
        ("vector 9 is not allocated", |s| {
            let vector = &mut s.control.vports[0].queues[0].vector;
            vector.as_mut().unwrap().vector = 9;
        }),
        ("interval 3", |s| {
            let vector = &mut s.control.vports[0].queues[0].vector;
            vector.as_mut().unwrap().itr = 3;
        }),
        ("enabled and not configured", |s| {
            s.control.vports[0].queues[0].config = None;
        }),
        ("refers to", |s| {
            let config = &mut s.control.vports[0].queues[0].config;
            if let Some(QueueConfig::Tx {
                completion_queue, ..
            }) = config
            {
                *completion_queue = 4;
            }
        }),
        ("rss_lut", |s| s.control.vports[0].rss_lut[9] = QUEUES),
        ("rss_hash", |s| s.control.vports[0].rss_hash = u64::MAX),
        ("is no address", |s| {
            s.control.vports[0].addresses.push(Hex([0; 6]));
        }),
        ("rules[1]: id 4 is none, or not after Some(4)", |s| {
            s.control.vports[0].rules[1].id = 4;
        }),
        ("rules[1]: id 4294967295 is none", |s| {
            s.control.vports[0].rules[1].id = RULE_ID_NONE;
        }),
        ("rules[0]: a rule of 663 bytes: it has 664", |s| {
            s.control.vports[0].rules[0].rule.0.pop();
        }),
        ("rules[0]: it would be refused with status", |s| {
            s.control.vports[0].rules[0].rule.0[0] = 0xFF;
        }),
    ];
    for (text, change) in cases {
        let error = refused(change);
        assert!(error.contains(text), "{error:?} has no {text:?}");
    }
}

#[test]
fn messages_that_wait_are_bounded() {
    let message = crate::snapshot::MessageSnapshot {
        opcode: op::EVENT,
        status: 0,
        cookie: 0,
        payload: Hex(vec![0; 4096]),
    };
    let mut saved = snapshot();
    saved.mailbox.backlog = vec![message.clone(); 65];
    let (mut function, mut dp) = function();
    function.restore(&saved, &mut dp).unwrap();
    assert_eq!(function.save(&dp).unwrap().mailbox, saved.mailbox);
    let text = refused(|s| s.mailbox.backlog = vec![message.clone(); 66]);
    assert!(text.contains("at most 65"), "{text}");
    let mut long = message;
    long.payload.0.push(0);
    let text = refused(|s| s.mailbox.backlog.push(long));
    assert!(text.contains("4097 bytes"), "{text}");
}

#[test]
fn a_function_in_reset_has_no_state() {
    let (mut function, dp) = function();
    function.hold_in_reset(true);
    assert_eq!(function.save(&dp), Err(SaveError::InReset));
}
