// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Values, flows and states of a trace as text.

use std::net::{Ipv4Addr, Ipv6Addr};

use adit_pipeline::p4::events::escape;
use adit_pipeline::parse::{Parsed, L3, L4};
use adit_trace::proto::{FlowTuple, Value};
use jiff::Timestamp;

use crate::table::value::{form, show};

/// TCP's flags, from the lowest bit on (RFC 9293, 3.1).
pub(super) const TCP_FLAGS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
/// The offset of the flags in a TCP header.
const TCP_FLAGS_AT: usize = 13;
/// The names of the bits of `ConntrackState_t` (`adit.p4`), from the lowest on: those of Open
/// vSwitch's ct_state.
const STATES: [&str; 8] = ["new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat"];

/// Returns whether a call of an extern is in the text: others are seen in what leaves.
pub(super) fn is_shown(call: &str) -> bool {
    call.ends_with(".execute")
        || call.ends_with(".dpdk_execute")
        || call.ends_with(".execute_meter")
        || call.starts_with("add_entry")
        || call == "input_queue"
        || call == "set_entry_lifetime"
}

/// A value; its format follows from the path of the field.
pub(super) fn value(value: &Value, path: &str) -> String {
    match value.text.is_empty() {
        true => show(&value.value, value.width, form(path, value.width, &[])),
        // A program's text may have any characters.
        false => escape(&value.text),
    }
}

/// A port of a P4 program.
pub(crate) fn port(port: u32) -> String {
    match port {
        0xFFFF_0000.. => format!("{port:#x}"),
        port => port.to_string(),
    }
}

/// The date of a packet.
pub(crate) fn time(since_1970_ns: u64) -> String {
    match Timestamp::from_nanosecond(since_1970_ns.into()) {
        Ok(time) => format!("{time:.6}"),
        Err(_) => format!("{since_1970_ns} ns since 1970"),
    }
}

/// The set bits of a connection's state.
pub(super) fn state(bits: u32) -> String {
    bits_of(bits, &STATES).join("|")
}

fn bits_of(bits: u32, names: &[&'static str]) -> Vec<&'static str> {
    let named = names.iter().enumerate();
    let set = named.filter(|(n, _)| bits >> n & 1 != 0);
    set.map(|(_, name)| *name).collect()
}

fn address(bytes: &[u8]) -> String {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Ipv4Addr::from(bytes).to_string();
    }
    match <[u8; 16]>::try_from(bytes) {
        Ok(bytes) => Ipv6Addr::from(bytes).to_string(),
        Err(_) => String::from("?"),
    }
}

fn end(bytes: &[u8], port: Option<u16>) -> String {
    match (port, bytes.len()) {
        (Some(port), 16) => format!("[{}]:{port}", address(bytes)),
        (Some(port), _) => format!("{}:{port}", address(bytes)),
        (None, _) => address(bytes),
    }
}

fn protocol(number: u8) -> String {
    let name = match number {
        1 => "icmp",
        6 => "tcp",
        17 => "udp",
        47 => "gre",
        58 => "icmpv6",
        132 => "sctp",
        number => return format!("protocol {number}"),
    };
    name.to_owned()
}

/// A tuple of a connection.
pub(super) fn tuple(tuple: &FlowTuple) -> String {
    let has_ports = matches!(tuple.protocol, 6 | 17 | 132);
    let port = |part: u32| has_ports.then_some(part as u16);
    format!(
        "{} > {} {}",
        end(&tuple.source, port(tuple.source_part)),
        end(&tuple.destination, port(tuple.destination_part)),
        protocol(tuple.protocol as u8)
    )
}

/// The addresses, ports and protocol of the frame that begins with `front`.
pub(crate) fn flow(front: &[u8], length: usize) -> String {
    let Ok(parsed) = Parsed::new(front, length) else {
        return String::from("no Ethernet header");
    };
    let Some(addresses) = parsed.addresses(front) else {
        let mac = |bytes: &[u8]| {
            let bytes = bytes.iter().map(|byte| format!("{byte:02x}"));
            bytes.collect::<Vec<_>>().join(":")
        };
        let (to, from) = (mac(&front[..6]), mac(&front[6..12]));
        let kind = match parsed.l3 {
            L3::Arp => String::from("arp"),
            _ => format!("EtherType {:#06x}", parsed.ethertype),
        };
        return format!("{from} > {to} {kind}");
    };
    let (source, destination) = addresses.split_at(addresses.len() / 2);
    let ports = parsed.ports(front);
    let (from, to) = match ports {
        Some(&[a, b, c, d]) => (
            Some(u16::from_be_bytes([a, b])),
            Some(u16::from_be_bytes([c, d])),
        ),
        None => (None, None),
    };
    let flags = match parsed.l4 {
        L4::Tcp => front.get(usize::from(parsed.l4_offset) + TCP_FLAGS_AT),
        _ => None,
    };
    let flags = flags.map(|flags| format!(" [{}]", bits_of((*flags).into(), &TCP_FLAGS).join(",")));
    let fragment = if parsed.is_fragment() {
        ", a fragment"
    } else {
        ""
    };
    format!(
        "{} > {} {}{}{fragment}",
        end(source, from),
        end(destination, to),
        protocol(parsed.ip_proto),
        flags.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_are_short() {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        frame.extend([
            0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        frame.extend([
            3, 0xe8, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x12, 1, 0, 0, 0, 0, 0,
        ]);
        assert_eq!(
            flow(&frame, 54),
            "10.0.0.1:1000 > 10.0.0.2:80 tcp [syn,ack]"
        );
        frame[12..14].copy_from_slice(&[0x88, 0xb5]);
        let ether = "02:00:00:00:00:02 > 02:00:00:00:00:01 EtherType 0x88b5";
        assert_eq!(flow(&frame, 54), ether);
        assert_eq!(flow(&[], 0), "no Ethernet header");
    }

    #[test]
    fn tuples_and_states_are_named() {
        let tuple_of = |protocol, source: &[u8]| FlowTuple {
            source: source.to_vec(),
            destination: source.to_vec(),
            protocol,
            source_part: 7,
            destination_part: 8,
        };
        assert_eq!(
            tuple(&tuple_of(17, &[10, 0, 0, 1])),
            "10.0.0.1:7 > 10.0.0.1:8 udp"
        );
        assert_eq!(tuple(&tuple_of(58, &[0; 16])), ":: > :: icmpv6");
        assert_eq!(state(0x21), "new|trk");
        assert_eq!(state(0xaa), "est|rpl|trk|dnat");
    }
}
