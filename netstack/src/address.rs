// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An IP address of the stack, with the length of its network's prefix.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use smoltcp::wire::IpCidr;
use thiserror::Error;

/// A unicast address and the prefix length of its network, such as 10.99.0.3/24.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(IpCidr);

/// The reason that a text is not an [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{text}` is not an address with a prefix length, such as 10.99.0.3/24 or fd99::3/64: {reason}"
)]
pub struct AddressError {
    text: String,
    reason: &'static str,
}

impl Address {
    /// Returns the address without its prefix length.
    #[must_use]
    pub fn ip(self) -> IpAddr {
        self.0.address().into()
    }

    pub(crate) fn cidr(self) -> IpCidr {
        self.0
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = |reason| AddressError {
            text: text.into(),
            reason,
        };
        let (ip, len) = text.split_once('/').ok_or(wrong("it has no `/`"))?;
        let ip: IpAddr = ip
            .parse()
            .map_err(|_| wrong("no IP address before the `/`"))?;
        let max = if ip.is_ipv4() { 32 } else { 128 };
        let len = len.parse::<u8>().ok().filter(|len| (1..=max).contains(len));
        let len = len.ok_or(wrong(
            "the length is not a number from 1 to 32, or 128 for IPv6",
        ))?;
        let cidr = IpCidr::new(ip.into(), len);
        if !cidr.address().is_unicast() {
            return Err(wrong("it is not a unicast address"));
        }
        let loopback = match ip {
            IpAddr::V4(ip) => ip.is_loopback(),
            IpAddr::V6(ip) => ip.is_loopback(),
        };
        if loopback {
            return Err(wrong("it is a loopback address"));
        }
        Ok(Self(cidr))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_others_refused() {
        for good in ["10.99.0.3/24", "10.0.0.1/32", "fd99::3/64", "fe80::1/128"] {
            assert_eq!(good.parse::<Address>().unwrap().to_string(), good);
        }
        for bad in [
            "10.99.0.3",
            "10.99.0.3/0",
            "10.99.0.3/33",
            "10.99.0/24",
            "fd99::3/129",
            "/24",
            "",
            "224.0.0.1/4",
            "255.255.255.255/32",
            "0.0.0.0/8",
            "ff02::1/64",
            "::/64",
            "127.0.0.1/8",
            "::1/128",
            "10.0.0.1/+4x",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
