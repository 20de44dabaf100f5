// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Places of streams, which are limited in number: in all, and for each peer, so that one client does not
//! take those of all others.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tonic::{Request, Status};

/// The peer of a call: its address, of IPv6 the network of 64 bits, or nothing for those on a UNIX socket,
/// who are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Peer(Option<IpAddr>);

impl Peer {
    /// The peer of a request, whose port does not count.
    pub(super) fn of<T>(request: &Request<T>) -> Self {
        let address = request.remote_addr();
        Peer(address.map(|address| match address.ip().to_canonical() {
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
            ip => ip,
        }))
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("local clients"),
        }
    }
}

/// The places of a kind of streams.
pub(super) struct Places {
    what: &'static str,
    max: usize,
    /// The number of places that each peer has.
    taken: Mutex<BTreeMap<Peer, usize>>,
}

/// A place, which is free again when this is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    peer: Peer,
}

impl Places {
    pub(super) fn new(what: &'static str, max: usize) -> Arc<Self> {
        Arc::new(Places {
            what,
            max,
            taken: Mutex::default(),
        })
    }

    /// The most places of one peer: some are left for others.
    fn max_of_peer(&self) -> usize {
        self.max - self.max / 4
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<Peer, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a peer.
    pub(super) fn take(self: &Arc<Self>, peer: Peer) -> Result<Place, Status> {
        let mut taken = self.taken();
        let (all, theirs) = (
            taken.values().sum::<usize>(),
            taken.get(&peer).copied().unwrap_or(0),
        );
        let what = self.what;
        if theirs >= self.max_of_peer() {
            return Err(Status::resource_exhausted(format!(
                "{theirs} {what} of {peer} are under way, the limit for one peer: try again"
            )));
        }
        if all >= self.max {
            return Err(Status::resource_exhausted(format!(
                "{all} {what} are under way, the limit: try again"
            )));
        }
        *taken.entry(peer).or_default() += 1;
        Ok(Place {
            places: self.clone(),
            peer,
        })
    }

    /// The number of free places.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.max - self.taken().values().sum::<usize>()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if let Some(count) = taken.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8) -> Peer {
        Peer(Some([10, 0, 0, last].into()))
    }

    #[test]
    fn a_peer_leaves_places_for_others() {
        let places = Places::new("lists", 8);
        let take = |peer| {
            places
                .take(peer)
                .map_err(|status| status.message().to_owned())
        };
        let mut theirs: Vec<_> = (0..6).map(|_| take(peer(1)).ok()).collect();
        let refusal = "6 lists of 10.0.0.1 are under way, the limit for one peer: try again";
        assert_eq!(take(peer(1)).err().as_deref(), Some(refusal));
        let others = [take(peer(2)).ok(), take(Peer(None)).ok()];
        assert!(others.iter().all(Option::is_some));
        let refusal = "8 lists are under way, the limit: try again";
        assert_eq!(take(peer(3)).err().as_deref(), Some(refusal));
        theirs.pop();
        assert_eq!(places.free(), 1);
        assert!(take(peer(1)).is_ok());
        drop((theirs, others));
        assert_eq!(places.free(), 8);
        assert!(places.taken().is_empty());
    }

    #[test]
    fn addresses_of_a_peer_are_the_same() {
        let mut request = Request::new(());
        assert_eq!(Peer::of(&request).to_string(), "local clients");
        let mut from = |address: &str| {
            request
                .extensions_mut()
                .insert(tonic::transport::server::TcpConnectInfo {
                    local_addr: None,
                    remote_addr: Some(address.parse().expect("an address")),
                });
            Peer::of(&request)
        };
        assert_eq!(from("[::ffff:10.0.0.1]:9"), peer(1));
        assert_eq!(from("[fd00:1::1]:9"), from("[fd00:1::2:0:0:9]:10"));
        assert_ne!(from("[fd00:1::1]:9"), from("[fd00:1:0:1::1]:9"));
    }
}
