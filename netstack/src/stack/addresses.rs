// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The addresses of an interface, and its routes.

use std::net::{IpAddr, Ipv6Addr};

use smoltcp::iface::Interface;
use smoltcp::wire::{EthernetAddress, IpCidr};

use crate::{Address, Config, Error};

/// The maximum number of addresses: those of smoltcp's interface, of which one is link-local.
const MAX_ADDRESSES: usize = 7;

/// Sets the addresses, and with those of IPv6 a link-local one, from which neighbours are solicited.
pub(super) fn set_addresses(
    interface: &mut Interface,
    config: &Config,
    mac: EthernetAddress,
) -> Result<(), Error> {
    let count = config.addresses.len();
    if count == 0 {
        return Err(Error::NoAddress);
    }
    if count > MAX_ADDRESSES {
        let max = MAX_ADDRESSES;
        return Err(Error::TooManyAddresses { count, max });
    }
    let mut addresses: Vec<_> = config.addresses.iter().map(|it| it.cidr()).collect();
    if config.addresses.iter().any(|it| it.ip().is_ipv6()) {
        addresses.push(link_local(mac));
    }
    interface.update_ip_addrs(|list| {
        // Cannot fail: `MAX_ADDRESSES` and one fit.
        let _ = list.extend_from_slice(&addresses);
    });
    Ok(())
}

/// Returns the link-local address of a MAC address (RFC 4291, appendix A).
fn link_local(mac: EthernetAddress) -> IpCidr {
    let [a, b, c, d, e, f] = mac.0;
    let word = |high, low| u16::from_be_bytes([high, low]);
    let ip = Ipv6Addr::new(
        0xFE80,
        0,
        0,
        0,
        word(a ^ 2, b),
        word(c, 0xFF),
        word(0xFE, d),
        word(e, f),
    );
    IpCidr::new(ip.into(), 64)
}

pub(super) fn set_gateways(interface: &mut Interface, config: &Config) -> Result<(), Error> {
    let mut families = Vec::new();
    for gateway in &config.gateways {
        let ours = |it: &Address| it.cidr().contains_addr(&(*gateway).into());
        if !config.addresses.iter().any(ours) {
            return Err(Error::Gateway(*gateway));
        }
        if families.contains(&gateway.is_ipv4()) {
            return Err(Error::SecondGateway(*gateway));
        }
        families.push(gateway.is_ipv4());
        let routes = interface.routes_mut();
        // Two routes fit, which is what smoltcp's interface has space for by default.
        match gateway {
            IpAddr::V4(ip) => drop(routes.add_default_ipv4_route(*ip)),
            IpAddr::V6(ip) => drop(routes.add_default_ipv6_route(*ip)),
        }
    }
    Ok(())
}
