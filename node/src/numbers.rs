// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Numbers of services, pools and endpoints on a device.
//!
//! Those of services and pools follow from their names, so that they stay over restarts; what is on
//! the device keeps its number. Those of endpoints are counted, and never used again: a connection
//! carries its endpoint's, and must not go on with another one.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash, RandomState};

use siphasher::sip::SipHasher13;

use crate::desired::{EndpointKey, PoolKey};
use crate::model::PortName;

/// The numbers of endpoints that are claimed on the device at a time.
const RESERVE: u32 = 4096;

/// No number is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the program has {size} numbers of {what}, and all are used")]
pub struct Exhausted {
    what: &'static str,
    size: u64,
}

/// A hash that is the same in all builds.
fn hash(text: &str) -> u64 {
    SipHasher13::new().hash(text.as_bytes())
}

/// Numbers by what they are of, from 1 to `most`.
#[derive(Clone, Debug)]
struct Named<K> {
    what: &'static str,
    most: u64,
    of: HashMap<K, u32>,
    used: HashSet<u32>,
}

impl<K: Clone + Eq + Hash + std::fmt::Debug> Named<K> {
    fn new(what: &'static str, most: u64) -> Self {
        Named {
            what,
            most,
            of: HashMap::new(),
            used: HashSet::new(),
        }
    }

    fn get(&mut self, key: &K) -> Result<u32, Exhausted> {
        if let Some(number) = self.of.get(key) {
            return Ok(*number);
        }
        if self.used.len() as u64 >= self.most {
            let (what, size) = (self.what, self.most);
            return Err(Exhausted { what, size });
        }
        let mut at = hash(&format!("{key:?}")) % self.most;
        while self.used.contains(&(at as u32 + 1)) {
            at = (at + 1) % self.most;
        }
        let number = at as u32 + 1;
        self.put(key.clone(), number);
        Ok(number)
    }

    fn put(&mut self, key: K, number: u32) {
        self.used.insert(number);
        self.of.insert(key, number);
    }

    fn free(&mut self, key: &K) {
        if let Some(number) = self.of.remove(key) {
            self.used.remove(&number);
        }
    }
}

/// All numbers of a device.
#[derive(Clone, Debug)]
pub struct Numbers {
    services: Named<PortName>,
    pools: Named<PoolKey>,
    endpoints: HashMap<EndpointKey, u32>,
    used: HashSet<u32>,
    /// The next endpoint's, and the first that is not claimed on the device.
    next: u32,
    claimed: u32,
}

impl Default for Numbers {
    /// Those of a device without services. Its tracker may have connections of an earlier program,
    /// so endpoints are counted from anywhere.
    fn default() -> Self {
        let start = (RandomState::new().hash_one(0) as u32).max(1);
        Numbers {
            services: Named::new("services", u16::MAX.into()),
            pools: Named::new("groups", (1 << 31) - 1),
            endpoints: HashMap::new(),
            used: HashSet::new(),
            next: start,
            claimed: start,
        }
    }
}

impl Numbers {
    /// The number of a service's port.
    ///
    /// # Errors
    /// Fails when all are used.
    pub fn service(&mut self, of: &PortName) -> Result<u16, Exhausted> {
        let number = self.services.get(of)?;
        Ok(number as u16)
    }

    /// The number of a pool.
    ///
    /// # Errors
    /// Fails when all are used.
    pub fn pool(&mut self, of: &PoolKey) -> Result<u32, Exhausted> {
        self.pools.get(of)
    }

    /// The number of an endpoint.
    pub fn endpoint(&mut self, of: &EndpointKey) -> u32 {
        if let Some(number) = self.endpoints.get(of) {
            return *number;
        }
        while self.next == 0 || self.used.contains(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let number = self.next;
        self.next = number.wrapping_add(1);
        self.put_endpoint(of.clone(), number);
        number
    }

    /// The first number that no endpoint may have had once the device knows it: it has to be written
    /// before endpoints with new numbers are.
    pub fn claim(&mut self) -> u32 {
        if self.next.wrapping_sub(self.claimed) as i32 > 0 {
            self.claimed = self.next.wrapping_add(RESERVE);
        }
        self.claimed
    }

    /// Goes on from what has been claimed: by this run, and on the device.
    pub fn resume(&mut self, claimed: Option<u32>, on_device: Option<u32>) {
        let later = |one: u32, other: u32| match one.wrapping_sub(other) as i32 > 0 {
            true => one,
            false => other,
        };
        let known = claimed.into_iter().chain(on_device).reduce(later);
        if let Some(known) = known {
            self.next = known;
            self.claimed = known;
        }
    }

    /// Takes a number that a service's port has on the device.
    pub fn put_service(&mut self, of: PortName, number: u16) {
        self.services.put(of, number.into());
    }

    /// Takes a number that a pool has on the device.
    pub fn put_pool(&mut self, of: PoolKey, number: u32) {
        self.pools.put(of, number);
    }

    /// Takes a number that an endpoint has on the device.
    pub fn put_endpoint(&mut self, of: EndpointKey, number: u32) {
        self.used.insert(number);
        self.endpoints.insert(of, number);
    }

    /// Keeps others' numbers from being used.
    pub fn avoid(&mut self, service: Option<u16>, pool: Option<u32>, endpoint: Option<u32>) {
        self.services.used.extend(service.map(u32::from));
        self.pools.used.extend(pool);
        self.used.extend(endpoint);
    }

    /// Frees the number of a service's port.
    pub fn free_service(&mut self, of: &PortName) {
        self.services.free(of);
    }

    /// Frees the number of a pool.
    pub fn free_pool(&mut self, of: &PoolKey) {
        self.pools.free(of);
    }

    /// Forgets an endpoint; its number is not used again.
    pub fn forget_endpoint(&mut self, of: &EndpointKey) {
        if let Some(number) = self.endpoints.remove(of) {
            self.used.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Name, Protocol};

    fn port(name: &str) -> PortName {
        PortName {
            service: Name::new("default", name),
            port: String::new(),
            protocol: Protocol::Tcp,
        }
    }

    fn endpoint(last: u8) -> EndpointKey {
        EndpointKey {
            of: port("web"),
            at: ([10, 0, 0, last], 80).into(),
            uid: String::new(),
        }
    }

    #[test]
    fn services_have_the_same_numbers_in_every_run() {
        let (mut one, mut other) = (Numbers::default(), Numbers::default());
        for name in ["a", "b", "c"] {
            assert_eq!(one.service(&port(name)), other.service(&port(name)));
        }
        assert_eq!(one.service(&port("a")), one.service(&port("a")));
    }

    #[test]
    fn all_services_have_numbers_until_none_is_left() {
        let mut numbers = Numbers::default();
        numbers.avoid(Some(7), None, None);
        let all: HashSet<_> = (0..65534)
            .map(|n| numbers.service(&port(&n.to_string())).expect("one is free"))
            .collect();
        assert_eq!(all.len(), 65534);
        assert!(!all.contains(&0) && !all.contains(&7));
        let error = numbers.service(&port("more")).expect_err("none is free");
        assert!(error.to_string().contains("65535 numbers of services"));
        numbers.free_service(&port("5"));
        assert!(numbers.service(&port("more")).is_ok());
    }

    #[test]
    fn an_endpoint_that_comes_back_is_another_one() {
        let mut numbers = Numbers::default();
        let first = numbers.endpoint(&endpoint(1));
        assert_eq!(numbers.endpoint(&endpoint(1)), first);
        numbers.forget_endpoint(&endpoint(1));
        assert_ne!(numbers.endpoint(&endpoint(1)), first);
    }

    #[test]
    fn runs_go_on_where_the_last_one_was() {
        let mut numbers = Numbers::default();
        numbers.resume(None, Some(70));
        assert_eq!(numbers.claim(), 70, "nothing is claimed without need");
        assert_eq!(numbers.endpoint(&endpoint(1)), 70);
        let claimed = numbers.claim();
        let mut next = Numbers::default();
        next.resume(Some(claimed), Some(70));
        assert!(next.endpoint(&endpoint(1)) >= claimed);
    }

    #[test]
    fn numbers_are_claimed_before_they_are_used_also_where_they_wrap() {
        let mut numbers = Numbers::default();
        numbers.resume(None, Some(u32::MAX - 1));
        let mut claims = HashSet::new();
        let mut all = HashSet::new();
        for n in 0..10_000_u32 {
            let key = EndpointKey {
                uid: n.to_string(),
                ..endpoint(1)
            };
            let number = numbers.endpoint(&key);
            assert!(number != 0 && all.insert(number));
            let claimed = numbers.claim();
            assert!(
                (claimed.wrapping_sub(number) as i32) > 0,
                "{claimed} {number}"
            );
            claims.insert(claimed);
        }
        assert!(claims.len() <= 4, "few claims: {}", claims.len());
    }
}
