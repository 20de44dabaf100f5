// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The number of connections that found no free port, by the address whose ports are in use.

use std::collections::BTreeMap;
use std::net::IpAddr;

use parking_lot::Mutex;

/// The most addresses that are counted for themselves.
const MAX_ADDRESSES: usize = 256;

/// Counters by address; `None` counts for all addresses that are too many.
#[derive(Debug, Default)]
pub(crate) struct Exhausted(Mutex<BTreeMap<Option<IpAddr>, u64>>);

impl Exhausted {
    pub(super) fn count(&self, address: IpAddr) {
        let mut counts = self.0.lock();
        let is_known = counts.contains_key(&Some(address)) || counts.len() < MAX_ADDRESSES;
        *counts.entry(is_known.then_some(address)).or_default() += 1;
    }

    pub(super) fn counts(&self) -> BTreeMap<Option<IpAddr>, u64> {
        self.0.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_bounded() {
        let exhausted = Exhausted::default();
        for n in 0..1000u32 {
            for _ in 0..2 {
                exhausted.count(std::net::Ipv4Addr::from(n).into());
            }
        }
        let counts = exhausted.counts();
        assert_eq!(counts.len(), MAX_ADDRESSES + 1);
        assert_eq!(counts.values().sum::<u64>(), 2000);
        assert_eq!(counts[&Some([0, 0, 0, 9].into())], 2);
    }
}
