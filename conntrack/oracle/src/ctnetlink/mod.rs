// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel's connections, over ctnetlink (`include/uapi/linux/netfilter/nfnetlink_conntrack.h`).

use std::net::IpAddr;
use std::time::Duration;

use adit_conntrack::{Endpoint, Family, Protocol, Status, Tuple};
use anyhow::{Context, Result};
use netlink_packet_core::{DefaultNla, Nla, NlasIterator};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoInfo, ProtoInfoTCP, ProtoTuple,
    Tuple as TupleAttribute,
};
use netlink_packet_netfilter::{NetfilterMessageInner, NetfilterProtoFamily};

use crate::netlink::Netlink;
use crate::observation::{Entry, Expected};

mod expect;

const CTA_HELP: u16 = 5;
const CTA_HELP_NAME: u16 = 1;
const CTA_TUPLE_MASTER: u16 = 14;
const CTA_TUPLE_ZONE: u16 = 3;
const CTA_ZONE: u16 = 18;
/// `CTA_COUNTERS_ORIG` and `CTA_COUNTERS_REPLY`.
const CTA_COUNTERS: [u16; 2] = [9, 10];
/// `NLA_TYPE_MASK`: the kind without the flag of nested attributes.
const NLA_TYPE_MASK: u16 = 0x3fff;
/// `CTA_COUNTERS_PACKETS` and `CTA_COUNTERS_BYTES`.
const CTA_COUNTERS_VALUES: [u16; 2] = [1, 2];
/// `CTA_PROTO_ICMP_ID`, `_TYPE`, `_CODE`, and those of ICMPv6.
const CTA_PROTO_ICMP: [[u16; 2]; 3] = [[4, 7], [5, 8], [6, 9]];
/// The attributes of `CTA_PROTOINFO_SCTP`, from 1 on.
const SCTP_NAMES: [&str; 3] = ["state", "vtag_original", "vtag_reply"];

/// The connections of a network namespace.
pub struct Conntrack {
    netlink: Netlink,
}

impl Conntrack {
    /// Connects to the connections of the thread's network namespace.
    pub fn open() -> Result<Self> {
        let netlink = Netlink::open()?;
        Ok(Self { netlink })
    }

    /// Sends messages whose success the kernel does not report.
    pub fn send(&self, messages: &[u8]) -> Result<()> {
        self.netlink.send_octets(messages)
    }

    /// All connections whose timeout has not passed.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        self.dump(entry)
    }

    /// All expectations whose time has not passed.
    pub fn expected(&self) -> Result<Vec<Expected>> {
        expect::dump(&self.netlink)
    }

    /// Deletes all connections.
    pub fn flush(&self) -> Result<()> {
        self.netlink
            .request(
                NetfilterProtoFamily::Unspec,
                ConntrackMessage::Delete(Vec::new()),
            )
            .context("flush of the kernel's connections")
    }

    /// Deletes the connections of which `is_meant` holds. Returns their number.
    pub fn delete(&self, is_meant: impl Fn(&Entry) -> bool) -> Result<usize> {
        let all = self.dump(|attributes| Ok((entry(attributes)?, Original::of(attributes)?)))?;
        let meant = all.into_iter().filter(|(entry, _)| is_meant(entry));
        let mut count = 0;
        for (_, original) in meant {
            self.netlink
                .request(
                    original.family,
                    ConntrackMessage::Delete(vec![original.tuple]),
                )
                .context("deletion of a connection of the kernel")?;
            count += 1;
        }
        Ok(count)
    }

    /// Sets the timeout of each connection, in whole seconds.
    pub fn set_timeout(&self, timeout: Duration) -> Result<()> {
        let seconds = u32::try_from(timeout.as_secs())?;
        for Original { family, tuple } in self.dump(Original::of)? {
            let attributes = vec![tuple, ConntrackAttribute::CtaTimeout(seconds)];
            self.netlink
                .request(family, ConntrackMessage::New(attributes))
                .context("new timeout of a connection of the kernel")?;
        }
        Ok(())
    }

    fn dump<T>(&self, convert: impl Fn(&[ConntrackAttribute]) -> Result<T>) -> Result<Vec<T>> {
        let mut found = Vec::new();
        let get = ConntrackMessage::Get(Vec::new());
        self.netlink.dump(get, &mut |message| {
            if let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = message {
                found.push(convert(&attributes).context("connection of the kernel")?);
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// The tuple that names a connection, as the kernel has sent it.
struct Original {
    family: NetfilterProtoFamily,
    tuple: ConntrackAttribute,
}

impl Original {
    fn of(attributes: &[ConntrackAttribute]) -> Result<Self> {
        let is_it = |it: &&ConntrackAttribute| matches!(it, ConntrackAttribute::CtaTupleOrig(_));
        let tuple = attributes.iter().find(is_it).context("no tuple")?;
        Ok(Original {
            family: match entry(attributes)?.tuples[0].family() {
                Family::V4 => NetfilterProtoFamily::IPv4,
                Family::V6 => NetfilterProtoFamily::IPv6,
            },
            tuple: tuple.clone(),
        })
    }
}

fn entry(attributes: &[ConntrackAttribute]) -> Result<Entry> {
    let mut tuples = [None; 2];
    // Of a zone that applies to one direction, the direction's tuple has the number.
    let mut zones = Vec::new();
    let mut found = Entry {
        tuples: [Tuple::new(Protocol(0), NOWHERE, NOWHERE)?; 2],
        status: Status::NONE,
        timeout: Duration::ZERO,
        mark: 0,
        proto: Vec::new(),
        counters: [(0, 0); 2],
        zone: 0,
        helper: None,
        master: None,
    };
    for attribute in attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(attributes) => {
                tuples[0] = Some(tuple(attributes)?);
                zones.extend(zone_in(attributes));
            }
            ConntrackAttribute::CtaTupleReply(attributes) => {
                tuples[1] = Some(tuple(attributes)?);
                zones.extend(zone_in(attributes));
            }
            ConntrackAttribute::CtaStatus(status) => {
                found.status = Status::from_bits(status.bits());
            }
            ConntrackAttribute::CtaTimeout(seconds) => {
                found.timeout = Duration::from_secs((*seconds).into());
            }
            ConntrackAttribute::CtaMark(mark) => found.mark = *mark,
            ConntrackAttribute::CtaProtoInfo(infos) => {
                for info in infos {
                    found.proto.extend(proto(info)?);
                }
            }
            ConntrackAttribute::Other(other) => {
                let kind = other.kind() & NLA_TYPE_MASK;
                let direction = CTA_COUNTERS.iter().position(|&counters| counters == kind);
                if let Some(direction) = direction {
                    let value = |kind| Ok::<_, anyhow::Error>(number(&nested(other)?, kind));
                    let [packets, bytes] = CTA_COUNTERS_VALUES.map(value);
                    found.counters[direction] = (packets?, bytes?);
                }
                match kind {
                    CTA_ZONE => found.zone = number(&[(0, value(other))], 0) as u16,
                    CTA_HELP => found.helper = Some(string(&nested(other)?, CTA_HELP_NAME)),
                    CTA_TUPLE_MASTER => {
                        found.master = Some(expect::tuple(&nested(other)?)?);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
    found.zone = zones.first().copied().unwrap_or(found.zone);
    let [original, reply] = tuples;
    found.tuples = [
        original.context("no original tuple")?,
        reply.context("no reply tuple")?,
    ];
    Ok(found)
}

const NOWHERE: Endpoint = Endpoint {
    address: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
    part: 0,
};

/// The nested attributes: kind and value.
fn nested(attribute: &DefaultNla) -> Result<Vec<(u16, Vec<u8>)>> {
    attributes_in(&value(attribute))
}

fn value(attribute: &DefaultNla) -> Vec<u8> {
    let mut value = vec![0; attribute.value_len()];
    attribute.emit_value(&mut value);
    value
}

/// The attributes in a value: kind, without the flag of nested ones, and value.
fn attributes_in(value: &[u8]) -> Result<Vec<(u16, Vec<u8>)>> {
    let attributes = NlasIterator::new(value);
    attributes
        .map(|attribute| {
            let attribute = attribute.context("nested attribute")?;
            let kind = attribute.kind() & NLA_TYPE_MASK;
            Ok((kind, attribute.value().to_vec()))
        })
        .collect()
}

/// The text in an attribute, without the zero at its end; empty if it is missing.
fn string(attributes: &[(u16, Vec<u8>)], kind: u16) -> String {
    let found = attributes.iter().find(|attribute| attribute.0 == kind);
    let octets = found.map_or(&[][..], |attribute| &attribute.1);
    String::from_utf8_lossy(octets)
        .trim_end_matches('\0')
        .to_owned()
}

/// The number in an attribute, in network byte order; zero if it is missing.
fn number(attributes: &[(u16, Vec<u8>)], kind: u16) -> u64 {
    let found = attributes.iter().find(|attribute| attribute.0 == kind);
    let octets = found.map_or(&[][..], |attribute| &attribute.1);
    octets
        .iter()
        .fold(0, |number, &octet| number << 8 | u64::from(octet))
}

fn tuple(attributes: &[TupleAttribute]) -> Result<Tuple> {
    let (mut src, mut dst) = (NOWHERE, NOWHERE);
    let mut protocol = 0;
    for attribute in attributes {
        match attribute {
            TupleAttribute::Ip(addresses) => {
                for address in addresses {
                    match address {
                        IPTuple::SourceAddress(address) => src.address = *address,
                        IPTuple::DestinationAddress(address) => dst.address = *address,
                        _ => {}
                    }
                }
            }
            TupleAttribute::Proto(parts) => {
                for part in parts {
                    match part {
                        ProtoTuple::Protocol(number) => protocol = u8::from(*number),
                        ProtoTuple::SourcePort(port) => src.part = *port,
                        ProtoTuple::DestinationPort(port) => dst.part = *port,
                        ProtoTuple::Other(other) => icmp_part(other, &mut src, &mut dst),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(Tuple::new(Protocol(protocol), src, dst)?)
}

/// The zone of a tuple.
fn zone_in(attributes: &[TupleAttribute]) -> Option<u16> {
    attributes.iter().find_map(|attribute| match attribute {
        TupleAttribute::Other(other) if other.kind() & NLA_TYPE_MASK == CTA_TUPLE_ZONE => {
            Some(number(&[(0, value(other))], 0) as u16)
        }
        _ => None,
    })
}

/// Takes the identifier, type or code of an ICMP message into a tuple.
fn icmp_part(attribute: &DefaultNla, src: &mut Endpoint, dst: &mut Endpoint) {
    let value = number(&[(0, value(attribute))], 0) as u16;
    let [id, kind, code] = CTA_PROTO_ICMP.map(|kinds| kinds.contains(&attribute.kind()));
    if id {
        src.part = value;
    } else if kind {
        dst.part |= value << 8;
    } else if code {
        dst.part |= value;
    }
}

fn proto(info: &ProtoInfo) -> Result<Vec<(&'static str, u32)>> {
    Ok(match info {
        ProtoInfo::TCP(attributes) => {
            let values = attributes.iter().filter_map(|attribute| {
                Some(match attribute {
                    ProtoInfoTCP::State(state) => ("state", u32::from(*state)),
                    ProtoInfoTCP::OriginalWindowScale(scale) => {
                        ("wscale_original", u32::from(*scale))
                    }
                    ProtoInfoTCP::ReplyWindowScale(scale) => ("wscale_reply", u32::from(*scale)),
                    ProtoInfoTCP::OriginalFlags(flags) => ("flags_original", flags.flags.into()),
                    ProtoInfoTCP::ReplyFlags(flags) => ("flags_reply", flags.flags.into()),
                    _ => return None,
                })
            });
            values.collect()
        }
        ProtoInfo::Other(attribute) => {
            let attributes = nested(attribute)?;
            let names = SCTP_NAMES.iter().zip(1..);
            names
                .map(|(&name, kind)| (name, number(&attributes, kind) as u32))
                .collect()
        }
        _ => Vec::new(),
    })
}
