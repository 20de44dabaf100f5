// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The packets that are followed, on the command line.

use std::net::IpAddr;

use adit_trace::proto::{Filter, Prefix};
use clap::Args;

use super::text::TCP_FLAGS;

/// The packets to follow: all options that are given hold, as packets enter the program.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Packets {
    /// The port at which they enter, as programs number it: 0 for the first wire, `vport0` or 4096
    /// for the first virtual port
    #[arg(long, value_name = "N|vportN", value_parser = port)]
    pub(super) port: Option<u32>,
    /// Their source or destination address
    #[arg(long, value_name = "ADDR[/LEN]", value_parser = prefix)]
    host: Option<Prefix>,
    /// Their source address
    #[arg(long, value_name = "ADDR[/LEN]", value_parser = prefix)]
    src: Option<Prefix>,
    /// Their destination address
    #[arg(long, value_name = "ADDR[/LEN]", value_parser = prefix)]
    dst: Option<Prefix>,
    /// Their protocol: tcp, udp, sctp, icmp, icmpv6 or a number
    #[arg(short, long, value_name = "PROTOCOL", value_parser = protocol)]
    proto: Option<u8>,
    /// Their source or destination port; with --host, the same end's
    #[arg(long, value_name = "N")]
    l4_port: Option<u16>,
    /// Their source port
    #[arg(long, value_name = "N")]
    sport: Option<u16>,
    /// Their destination port
    #[arg(long, value_name = "N")]
    dport: Option<u16>,
    /// Their TCP flags, those with `!` unset: `syn,!ack`
    #[arg(long, value_name = "FLAGS", value_parser = flags)]
    flags: Option<(u8, u8)>,
    /// Their EtherType, such as 0x0806
    #[arg(long, value_name = "N", value_parser = ether_type)]
    ether_type: Option<u16>,
    /// Also packets that hold it all in a VXLAN or GENEVE tunnel that a wire has received
    #[arg(long)]
    in_tunnels: bool,
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A port, as programs number it: a number, or `vport` and the number of a virtual port.
pub(crate) fn port(text: &str) -> Result<u32, String> {
    let vport = text.strip_prefix("vport").map(|n| {
        let n: Option<u32> = n.parse().ok();
        n.and_then(|n| n.checked_add(adit_pipeline::p4::FIRST_HOST_PORT))
    });
    let port = vport.unwrap_or_else(|| number(text));
    port.ok_or_else(|| "a number, or `vport` and a number, is expected".to_owned())
}

fn ether_type(text: &str) -> Result<u16, String> {
    let number = number(text).and_then(|n| u16::try_from(n).ok());
    number.ok_or_else(|| "a number of 16 bits is expected".to_owned())
}

fn protocol(text: &str) -> Result<u8, String> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "icmp" => 1,
        "tcp" => 6,
        "udp" => 17,
        "icmpv6" => 58,
        "sctp" => 132,
        other => other.parse().map_err(|_| {
            "tcp, udp, sctp, icmp, icmpv6 or a number up to 255 is expected".to_owned()
        })?,
    })
}

fn prefix(text: &str) -> Result<Prefix, String> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| "no IP address".to_owned())?;
    let bytes = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let most = bytes.len() as u32 * 8;
    let length = length.map_or(Some(most), |length| length.parse().ok());
    match length.filter(|length| *length <= most) {
        Some(length) => Ok(Prefix {
            address: bytes,
            length,
        }),
        None => Err(format!("the prefix has a length of 0 to {most}")),
    }
}

/// Mask and value.
fn flags(text: &str) -> Result<(u8, u8), String> {
    let (mut mask, mut value) = (0, 0);
    for word in text.split(',') {
        let name = word.strip_prefix('!').unwrap_or(word).to_ascii_lowercase();
        let at = TCP_FLAGS.iter().position(|flag| *flag == name);
        let at = at.ok_or_else(|| format!("`{word}` is none of {}", TCP_FLAGS.join(", ")))?;
        mask |= 1 << at;
        if !word.starts_with('!') {
            value |= 1 << at;
        }
    }
    Ok((mask, value))
}

impl Packets {
    /// The filter's message.
    pub(super) fn filter(&self) -> Filter {
        let (mask, value) = self.flags.unwrap_or_default();
        Filter {
            port: self.port,
            ether_type: self.ether_type.map(u32::from),
            protocol: self.proto.map(u32::from),
            source: self.src.clone(),
            destination: self.dst.clone(),
            either: self.host.clone(),
            source_port: self.sport.map(u32::from),
            destination_port: self.dport.map(u32::from),
            either_port: self.l4_port.map(u32::from),
            tcp_flags_mask: mask.into(),
            tcp_flags: value.into(),
            destinations: Vec::new(),
            in_tunnels: self.in_tunnels,
            from_wires: false,
            replies_in_zone: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_understood() {
        assert_eq!(port("vport1"), Ok(0x1001));
        assert_eq!(port("0x1000"), Ok(0x1000));
        assert_eq!(prefix("10.0.0.0/8").unwrap().length, 8);
        assert_eq!(prefix("fd00::1").unwrap().length, 128);
        assert_eq!(flags("syn,!ack"), Ok((0x12, 2)));
        assert_eq!(protocol("TCP"), Ok(6));
        assert_eq!(ether_type("0x806"), Ok(0x806));
    }

    #[test]
    fn others_are_refused() {
        assert!(port("vport").is_err() && port("vport4294967295").is_err() && port("x").is_err());
        assert!(prefix("10.0.0.0/33").is_err() && prefix("10.0.0").is_err());
        assert!(flags("syn,foo").is_err() && flags("").is_err());
        assert!(protocol("256").is_err() && ether_type("65536").is_err());
    }
}
