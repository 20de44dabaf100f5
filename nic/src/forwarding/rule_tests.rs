// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Flow rules as ethtool's ntuple filters send them to the device, and the frames that they match.

use adit_function::testing::driver::{self, message, named};
use adit_uapi::virtchnl2::{
    flow_action, flow_rule_status as rule, op, proto_hdr, queue_type, status, FlowRuleAddDel,
    FlowRuleInfo, ProtoHdr, RuleAction,
};

use zerocopy::little_endian::U32;
use zerocopy::FromBytes;

use super::*;
use crate::datapath::{Datapath, Limits};
use crate::ids::VportId;

type Driver = driver::Driver<Datapath>;

fn header(kind: u16, at: usize, spec: &[u8], mask: &[u8]) -> ProtoHdr {
    let mut hdr = ProtoHdr {
        hdr_type: U32::new(kind.into()),
        ..ProtoHdr::default()
    };
    hdr.buffer_spec[at..at + spec.len()].copy_from_slice(spec);
    hdr.buffer_mask[at..at + mask.len()].copy_from_slice(mask);
    hdr
}

/// The rule "flow-type tcp4 dst-port PORT action QUEUE", as Linux encodes it.
fn tcp4(id: u32, port: u16, queue: u32) -> FlowRuleInfo {
    let mut info = FlowRuleInfo {
        rule_id: U32::new(id),
        ..FlowRuleInfo::default()
    };
    let hdrs = &mut info.rule_cfg.proto_hdrs;
    hdrs.count = U32::new(2);
    hdrs.proto_hdr[0] = header(proto_hdr::IPV4, 0, &[], &[]);
    hdrs.proto_hdr[1] = header(proto_hdr::TCP, 2, &port.to_be_bytes(), &[0xFF; 2]);
    info.rule_cfg.action_set.count = U32::new(1);
    info.rule_cfg.action_set.actions[0] = action(flow_action::QUEUE, queue);
    info
}

fn action(kind: u32, conf: u32) -> RuleAction {
    RuleAction {
        action_type: U32::new(kind),
        act_conf: U32::new(conf),
        reserved: [0; 4],
    }
}

fn rules(infos: &[FlowRuleInfo]) -> Vec<u8> {
    let count = U32::new(infos.len() as u32);
    message(
        &FlowRuleAddDel {
            vport_id: U32::new(1),
            count,
        },
        infos,
    )
}

/// A driver of the NIC's data plane, without wires.
fn without_wires(vports: u8, queues: u16) -> Driver {
    let profile = driver::profile(vports, queues);
    let total = u32::from(vports) * u32::from(queues);
    let limits = Limits {
        rx: total,
        tx: 2 * total,
        buffer: 2 * total,
        vectors: profile.vectors().into(),
        layout: profile.layout(),
    };
    let wires = (0..vports).map(|_| None).collect();
    Driver::with(profile, Datapath::new(limits, wires).unwrap())
}

/// A vport with three queues: 4, 5 and 6 of the device.
fn driver() -> Driver {
    let mut driver = without_wires(2, 4);
    driver.create(1, 3);
    driver
}

trait Rules {
    /// Sends rules and returns the status of each.
    fn rules(&mut self, opcode: u32, infos: &[FlowRuleInfo]) -> Vec<u32>;

    /// The queue that a frame is delivered to.
    fn queue_of(&mut self, frame: &[u8]) -> Option<u32>;
}

impl Rules for Driver {
    fn rules(&mut self, opcode: u32, infos: &[FlowRuleInfo]) -> Vec<u32> {
        let reply = self.ok(opcode, &rules(infos)).to_vec();
        let (_, rest) = FlowRuleAddDel::read_from_prefix(&reply).unwrap();
        let infos = rest.chunks(FlowRuleInfo::LEN);
        infos
            .map(|i| FlowRuleInfo::read_from_bytes(i).unwrap().status.get())
            .collect()
    }

    fn queue_of(&mut self, frame: &[u8]) -> Option<u32> {
        let parsed = Parsed::new(frame, frame.len()).unwrap();
        match self
            .dp
            .forwarding(VportId(1))
            .steer(&parsed, frame, &Receive::default())
        {
            Steering::Queue { queue, .. } => Some(queue),
            Steering::Drop | Steering::NoQueue => None,
        }
    }
}

/// A TCP segment, or a UDP datagram, from 10.0.0.1 port 1000 to 10.0.0.2.
fn frame(protocol: u8, port: u16) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, protocol, 0, 0]);
    frame.extend([10, 0, 0, 1, 10, 0, 0, 2, 0x03, 0xE8]);
    frame.extend(port.to_be_bytes());
    frame.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0]);
    frame
}

#[test]
fn a_rule_puts_its_flow_on_its_queue_until_it_is_taken_away() {
    let mut driver = driver();
    let spread: Vec<_> = (80..83)
        .map(|port| driver.queue_of(&frame(6, port)))
        .collect();
    assert_eq!(
        driver.rules(op::ADD_FLOW_RULE, &[tcp4(3, 80, 2), tcp4(1, 81, 1)]),
        [rule::SUCCESS; 2]
    );
    assert_eq!(driver.queue_of(&frame(6, 80)), Some(6));
    assert_eq!(driver.queue_of(&frame(6, 81)), Some(5));
    assert_eq!(driver.queue_of(&frame(6, 82)), spread[2]);
    assert_ne!(driver.queue_of(&frame(17, 80)), Some(6), "another protocol");
    let mut fragment = frame(6, 80);
    fragment[20] = 0x20;
    assert_ne!(driver.queue_of(&fragment), Some(6), "a fragment");
    // The rule can be read back, and exists once.
    let asked = FlowRuleInfo {
        rule_id: U32::new(3),
        ..FlowRuleInfo::default()
    };
    assert_eq!(driver.rules(op::GET_FLOW_RULE, &[asked]), [rule::SUCCESS]);
    let got = FlowRuleInfo::read_from_bytes(&driver.reply[FlowRuleAddDel::LEN..]).unwrap();
    assert_eq!(got.rule_cfg, tcp4(3, 80, 2).rule_cfg);
    assert_eq!(
        driver.rules(op::ADD_FLOW_RULE, &[tcp4(3, 9, 0)]),
        [rule::EXIST]
    );
    assert_eq!(
        driver.rules(op::DEL_FLOW_RULE, &[asked, asked]),
        [rule::SUCCESS, rule::NOT_ADDED]
    );
    assert_eq!(driver.rules(op::GET_FLOW_RULE, &[asked]), [rule::NOT_ADDED]);
    assert_eq!(driver.queue_of(&frame(6, 80)), spread[0]);
}

#[test]
fn the_first_rule_counts_and_can_drop() {
    let mut driver = driver();
    let mut drop = tcp4(2, 80, 0);
    drop.rule_cfg.action_set.actions[0] = action(flow_action::DROP, 0);
    let mut all = tcp4(1, 0, 1);
    all.rule_cfg.proto_hdrs.count = U32::new(1);
    all.rule_cfg.priority = U32::new(5);
    assert_eq!(
        driver.rules(op::ADD_FLOW_RULE, &[all, drop]),
        [rule::SUCCESS; 2]
    );
    assert_eq!(driver.queue_of(&frame(6, 80)), None);
    assert_eq!(driver.queue_of(&frame(17, 80)), Some(5), "any IPv4");
}

#[test]
fn a_rule_of_a_queue_that_is_gone_is_no_rule() {
    let mut driver = driver();
    assert_eq!(
        driver.rules(op::ADD_FLOW_RULE, &[tcp4(0, 80, 2)]),
        [rule::SUCCESS]
    );
    driver.ok(
        op::DEL_QUEUES,
        &named(1, &[(queue_type::RX, 5), (queue_type::RX, 6)]),
    );
    assert_eq!(driver.queue_of(&frame(6, 80)), Some(4));
}

#[test]
fn masks_choose_what_matters() {
    let mut driver = driver();
    let mut net = tcp4(0, 0, 2);
    // 10.0.0.0/30 to anywhere, any port; bits of the value that the mask excludes are set.
    net.rule_cfg.proto_hdrs.proto_hdr[0] =
        header(proto_hdr::IPV4, 12, &[10, 0, 0, 3], &[255, 255, 255, 252]);
    net.rule_cfg.proto_hdrs.proto_hdr[1] = header(proto_hdr::TCP, 0, &[], &[]);
    assert_eq!(driver.rules(op::ADD_FLOW_RULE, &[net]), [rule::SUCCESS]);
    assert_eq!(driver.queue_of(&frame(6, 99)), Some(6));
    let mut other = frame(6, 99);
    other[29] = 8;
    assert_ne!(driver.queue_of(&other), Some(6));
}

#[test]
fn each_bad_rule_says_why() {
    type Change = fn(&mut FlowRuleInfo);
    let cases: [(Change, u32); 13] = [
        (|r| r.rule_id = U32::new(u32::MAX), rule::NOT_ADDED),
        (
            |r| r.rule_cfg.proto_hdrs.tunnel_level = 1,
            rule::FLOW_TYPE_NOT_SUPPORTED,
        ),
        (
            |r| r.rule_cfg.proto_hdrs.count = U32::new(0),
            rule::FLOW_TYPE_NOT_SUPPORTED,
        ),
        (
            |r| r.rule_cfg.proto_hdrs.count = U32::new(5),
            rule::FLOW_TYPE_NOT_SUPPORTED,
        ),
        (
            |r| r.rule_cfg.proto_hdrs.count = U32::new(3),
            rule::FLOW_TYPE_NOT_SUPPORTED,
        ),
        (
            |r| r.rule_cfg.proto_hdrs.proto_hdr[1].hdr_type = U32::new(0x1_0000 + 25),
            rule::FLOW_TYPE_NOT_SUPPORTED,
        ),
        (
            |r| r.rule_cfg.proto_hdrs.proto_hdr[0].buffer_mask[20] = 1,
            rule::MATCH_KEY_NOT_SUPPORTED,
        ),
        (
            |r| {
                r.rule_cfg.proto_hdrs.proto_hdr[1].hdr_type = U32::new(0x1_0000 + 25);
                r.rule_cfg.action_set.count = U32::new(0);
            },
            rule::FLOW_TYPE_NOT_SUPPORTED,
        ),
        (
            |r| r.rule_cfg.action_set.count = U32::new(0),
            rule::ACTION_COMBINATION_INVALID,
        ),
        (
            |r| r.rule_cfg.action_set.count = U32::new(9),
            rule::ACTION_NOT_SUPPORTED,
        ),
        (
            |r| {
                r.rule_cfg.action_set.count = U32::new(2);
                r.rule_cfg.action_set.actions[1] = action(flow_action::DROP, 0);
            },
            rule::ACTION_COMBINATION_INVALID,
        ),
        (
            |r| r.rule_cfg.action_set.actions[0] = action(flow_action::MARK, 0),
            rule::ACTION_NOT_SUPPORTED,
        ),
        (
            |r| r.rule_cfg.action_set.actions[0] = action(flow_action::QUEUE, 3),
            rule::ACTION_DATA_INVALID,
        ),
    ];
    let mut driver = driver();
    for (change, status) in cases {
        let mut bad = tcp4(7, 80, 1);
        change(&mut bad);
        assert_eq!(driver.rules(op::ADD_FLOW_RULE, &[bad]), [status]);
        let forwarding = driver.dp.forwarding(VportId(1));
        assert!(forwarding.rules.is_empty() && forwarding.flows.is_empty());
    }
    let same = [tcp4(1, 80, 0), tcp4(2, 80, 1)];
    assert_eq!(
        driver.rules(op::ADD_FLOW_RULE, &same),
        [rule::SUCCESS, rule::EXIST]
    );
    assert_eq!(driver.rules(op::DEL_FLOW_RULE, &same[..1]), [rule::SUCCESS]);
    let many: Vec<_> = (0..=MAX_FLOWS as u32)
        .map(|id| tcp4(id, id as u16, 1))
        .collect();
    let (last, fit) = many.split_last().unwrap();
    for six in fit.chunks(6) {
        assert!(driver
            .rules(op::ADD_FLOW_RULE, six)
            .iter()
            .all(|&s| s == rule::SUCCESS));
    }
    assert_eq!(
        driver.rules(op::ADD_FLOW_RULE, &[*last]),
        [rule::NORESOURCE]
    );
    assert_eq!(
        driver.send(op::ADD_FLOW_RULE, &rules(&many[..7])),
        status::ERR_ERANGE
    );
    assert_eq!(
        driver.send(op::ADD_FLOW_RULE, &rules(&[])),
        status::ERR_EINVAL
    );
}

#[test]
fn a_vport_says_what_its_rules_can_do() {
    let mut driver = without_wires(1, 2);
    let vport = driver.create(0, 1);
    assert_eq!(vport.vport_flags.get(), 1 << 3);
    assert_eq!(
        vport.sideband_flow_caps.get() & 0b11,
        0b11,
        "TCP and UDP over IPv4"
    );
    assert_ne!(vport.sideband_flow_actions.get() & flow_action::QUEUE, 0);
    assert_eq!(vport.flow_steer_max_rules.get(), MAX_FLOWS as u32);
}
