// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel's expectations (`include/uapi/linux/netfilter/nfnetlink_conntrack.h`, `CTA_EXPECT_*`).

use std::net::IpAddr;
use std::time::Duration;

use adit_conntrack::{Endpoint, Protocol, Tuple};
use anyhow::{Context, Result};
use netlink_packet_netfilter::{NetfilterMessageInner, NetfilterSubsystem};

use super::{attributes_in, number, string, value, NLA_TYPE_MASK};
use crate::netlink::Netlink;
use crate::observation::Expected;

const NFNL_SUBSYS_CTNETLINK_EXP: u8 = 2;
const IPCTNL_MSG_EXP_GET: u8 = 1;
const CTA_EXPECT_MASTER: u16 = 1;
const CTA_EXPECT_TUPLE: u16 = 2;
const CTA_EXPECT_MASK: u16 = 3;
const CTA_EXPECT_TIMEOUT: u16 = 4;
const CTA_EXPECT_HELP_NAME: u16 = 6;
const CTA_EXPECT_ZONE: u16 = 7;
const CTA_EXPECT_FLAGS: u16 = 8;
const CTA_EXPECT_CLASS: u16 = 9;
const CTA_EXPECT_NAT: u16 = 10;
const CTA_EXPECT_FN: u16 = 11;
const CTA_EXPECT_NAT_DIR: u16 = 1;
const CTA_EXPECT_NAT_TUPLE: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
/// `CTA_IP_V4_SRC`, `CTA_IP_V4_DST`, `CTA_IP_V6_SRC`, `CTA_IP_V6_DST`.
const SRC: [u16; 2] = [1, 3];
const DST: [u16; 2] = [2, 4];
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;

type Attributes = Vec<(u16, Vec<u8>)>;

/// All expectations of the network namespace.
pub(super) fn dump(netlink: &Netlink) -> Result<Vec<Expected>> {
    let get = NetfilterMessageInner::Other {
        subsys: NetfilterSubsystem::Other(NFNL_SUBSYS_CTNETLINK_EXP),
        message_type: IPCTNL_MSG_EXP_GET,
        attributes: Vec::new(),
    };
    let mut found = Vec::new();
    netlink.dump(get, &mut |message| {
        if let NetfilterMessageInner::Other { attributes, .. } = message {
            let attributes: Attributes = attributes
                .iter()
                .map(|attribute| {
                    use netlink_packet_core::Nla;
                    (attribute.kind() & NLA_TYPE_MASK, value(attribute))
                })
                .collect();
            found.push(expected(&attributes).context("expectation of the kernel")?);
        }
        Ok(())
    })?;
    Ok(found)
}

fn inside(attributes: &[(u16, Vec<u8>)], kind: u16) -> Result<Option<Attributes>> {
    let found = attributes.iter().find(|attribute| attribute.0 == kind);
    found.map(|(_, value)| attributes_in(value)).transpose()
}

fn expected(attributes: &Attributes) -> Result<Expected> {
    let tuple_in =
        |kind| -> Result<Tuple> { tuple(&inside(attributes, kind)?.context("no tuple")?) };
    let mask = tuple_in(CTA_EXPECT_MASK)?.src();
    let nat = match inside(attributes, CTA_EXPECT_NAT)? {
        Some(nat) => {
            let to = tuple(&inside(&nat, CTA_EXPECT_NAT_TUPLE)?.context("no NAT tuple")?)?;
            let direction = number(&nat, CTA_EXPECT_NAT_DIR) as u32;
            Some((direction, to.src().address, to.src().part))
        }
        None => None,
    };
    Ok(Expected {
        tuple: tuple_in(CTA_EXPECT_TUPLE)?,
        mask: (mask.address, mask.part),
        master: tuple_in(CTA_EXPECT_MASTER)?,
        timeout: Duration::from_secs(number(attributes, CTA_EXPECT_TIMEOUT)),
        class: number(attributes, CTA_EXPECT_CLASS) as u32,
        flags: number(attributes, CTA_EXPECT_FLAGS) as u32,
        zone: number(attributes, CTA_EXPECT_ZONE) as u16,
        helper: string(attributes, CTA_EXPECT_HELP_NAME),
        nat,
        function: string(attributes, CTA_EXPECT_FN),
    })
}

/// The tuple in the attributes of one: addresses, protocol and ports.
pub(super) fn tuple(attributes: &[(u16, Vec<u8>)]) -> Result<Tuple> {
    let ip = inside(attributes, CTA_TUPLE_IP)?.context("no addresses")?;
    let proto = inside(attributes, CTA_TUPLE_PROTO)?.unwrap_or_default();
    let address = |kinds: [u16; 2]| -> Result<IpAddr> {
        let found = ip.iter().find(|attribute| kinds.contains(&attribute.0));
        let octets = &found.context("no address")?.1;
        let v4: Result<[u8; 4], _> = octets.as_slice().try_into();
        let v6: Result<[u8; 16], _> = octets.as_slice().try_into();
        match (v4, v6) {
            (Ok(v4), _) => Ok(v4.into()),
            (_, v6) => Ok(v6.context("address")?.into()),
        }
    };
    let end = |address, port| Endpoint {
        address,
        part: number(&proto, port) as u16,
    };
    let src = end(address(SRC)?, CTA_PROTO_SRC_PORT);
    let dst = end(address(DST)?, CTA_PROTO_DST_PORT);
    let protocol = Protocol(number(&proto, CTA_PROTO_NUM) as u8);
    Ok(Tuple::new(protocol, src, dst)?)
}
