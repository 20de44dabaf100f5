// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ethernet addresses in text form.

use std::fmt;
use std::str::FromStr;

/// A unicast Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// The address `n` after this one.
    #[must_use]
    pub fn nth(self, n: u32) -> Self {
        let mut bytes = [0; 8];
        bytes[2..].copy_from_slice(&self.0);
        let next = u64::from_be_bytes(bytes)
            .wrapping_add(u64::from(n))
            .to_be_bytes();
        Self([next[2], next[3], next[4], next[5], next[6], next[7]])
    }
}

impl FromStr for MacAddr {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let bad = || format!("`{s}` is not a MAC address such as 02:ad:17:00:00:01");
        let mut bytes = [0; 6];
        let mut parts = s.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(bad)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() {
            return Err(bad());
        }
        if bytes[0] & 1 != 0 || bytes == [0; 6] {
            return Err(format!(
                "`{s}` is not the address of one station: it is a group or zero"
            ));
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_written_and_counted() {
        let mac: MacAddr = "02:AD:17:00:00:ff".parse().unwrap();
        assert_eq!(mac.nth(1).to_string(), "02:ad:17:00:01:00");
        for bad in [
            "",
            "02:ad:17:00:00",
            "02:ad:17:00:00:01:02",
            "2:ad:17:00:00:01",
            "0g:ad:17:00:00:01",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
        ] {
            assert!(bad.parse::<MacAddr>().is_err(), "{bad}");
        }
    }
}
