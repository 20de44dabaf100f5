// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! virtchnl2: the mailbox protocol between a driver and the device's control plane (IDPF,
//! virtchnl2.h).
//!
//! A request and its reply have the same opcode and, unless noted otherwise, the same layout. A
//! message with an array at its end is a struct for the part of fixed size and one for the element:
//! `header + n × element`, `n` being a field of the header. The elements follow the header without
//! a gap.

pub mod adi;
mod caps;
mod event;
mod flow;
mod mac;
mod misc;
mod opcode;
pub mod ptp;
mod ptype;
mod queues;
pub mod rss;
mod stats;
mod status_code;
mod vectors;
mod vport;

pub use caps::{cap, device_type, GetCapabilities};
pub use event::{event_code, Event};
pub use flow::{
    flow_action, flow_rule_status, FlowRule, FlowRuleAddDel, FlowRuleInfo, ProtoHdr, ProtoHdrs,
    RawPattern, RuleAction, RuleActionSet, CTR_ID_NEW, MAX_FLOW_RULES, MAX_NUM_ACTIONS,
    MAX_NUM_PROTO_HDRS, MAX_SIZE_RAW_PACKET, RULE_ID_NONE,
};
pub use mac::{mac_addr_type, promisc, MacAddr, MacAddrList, PromiscInfo};
pub use misc::{
    EdtCaps, GetLanMemoryRegions, Loopback, MemRegion, SriovVfsInfo, VersionInfo, VERSION_MAJOR_2,
    VERSION_MINOR_0,
};
pub use opcode::op;
pub use ptype::{proto_hdr, GetPtypeInfo, Ptype, MAX_PTYPE_10, MAX_PTYPE_8, PTYPE_ID_10_LAST};
pub use queues::{
    queue_model, queue_type, rxq_flags, sched_mode, AddQueues, ConfigRxQueues, ConfigTxQueues,
    DelEnaDisQueues, QueueChunk, QueueChunks, QueueRegChunk, QueueRegChunks, RxqInfo, TxqInfo,
};
pub use rss::{RssHash, RssKey, RssLut};
pub use stats::VportStats;
pub use status_code::status;
pub use vectors::{itr_idx, AllocVectors, QueueVector, QueueVectorMaps, VectorChunk, VectorChunks};
pub use vport::{vport_flags, vport_type, CreateVport, Vport};
