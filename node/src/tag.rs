// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Metadata of entries, which the device keeps: what an entry is of, so that a later run recognises
//! it, and entries of others are left alone.

use std::net::SocketAddr;

use crate::desired::{EndpointKey, Kind, PoolKey};
use crate::model::{is_name, Conditions, Family, Name, Policy, PortName};

/// The first word.
const MARK: &str = "svc";

/// The object that an entry belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tag {
    /// A frontend of a service's port.
    Frontend(PortName, Kind),
    /// A pool.
    Pool(PoolKey),
    /// A member of a pool with affinity.
    Sticky(Name),
    /// An endpoint.
    Endpoint(EndpointKey, Conditions),
    /// An address of services.
    Address,
    /// The first number that no endpoint has had.
    Next(u32),
}

fn port_words(of: &PortName) -> String {
    format!("{} {}/{}", of.service, of.port, of.protocol)
}

fn condition_letters(it: Conditions) -> String {
    let letters = [(it.ready, 'r'), (it.serving, 's'), (it.terminating, 't')];
    let letters = letters.into_iter();
    letters
        .map(|(is, letter)| if is { letter } else { '-' })
        .collect()
}

impl Tag {
    /// The metadata.
    pub fn bytes(&self) -> Vec<u8> {
        let text = match self {
            Tag::Frontend(of, kind) => format!("{MARK} frontend {} {kind:?}", port_words(of)),
            Tag::Pool(pool) => {
                let of = port_words(&pool.of);
                format!("{MARK} pool {of} {:?} {:?}", pool.family, pool.policy)
            }
            Tag::Sticky(service) => format!("{MARK} sticky {service}"),
            Tag::Endpoint(key, conditions) => {
                let (of, at) = (port_words(&key.of), key.at);
                let conditions = condition_letters(*conditions);
                format!("{MARK} endpoint {of} {at} {conditions} {}", key.uid)
            }
            Tag::Address => format!("{MARK} address"),
            Tag::Next(number) => format!("{MARK} next {number}"),
        };
        text.into_bytes()
    }

    /// Reads metadata; `None` if it is another's.
    pub fn read(metadata: &[u8]) -> Option<Tag> {
        let text = std::str::from_utf8(metadata).ok()?;
        let mut words = text.split(' ');
        let mut word = || words.next();
        if word()? != MARK {
            return None;
        }
        let tag = match word()? {
            "frontend" => Tag::Frontend(port(word()?, word()?)?, word()?.parse().ok()?),
            "pool" => Tag::Pool(PoolKey {
                of: port(word()?, word()?)?,
                family: match word()? {
                    "V4" => Family::V4,
                    "V6" => Family::V6,
                    _ => return None,
                },
                policy: match word()? {
                    "Cluster" => Policy::Cluster,
                    "Local" => Policy::Local,
                    _ => return None,
                },
            }),
            "sticky" => Tag::Sticky(word()?.parse().ok()?),
            "endpoint" => {
                let (of, at) = (port(word()?, word()?)?, word()?.parse::<SocketAddr>().ok()?);
                let letters = word()?;
                let conditions = Conditions {
                    ready: letters.contains('r'),
                    serving: letters.contains('s'),
                    terminating: letters.contains('t'),
                };
                let uid = word()?.to_owned();
                Tag::Endpoint(EndpointKey { of, at, uid }, conditions)
            }
            "address" => Tag::Address,
            "next" => Tag::Next(word()?.parse().ok()?),
            _ => return None,
        };
        Some(tag)
    }

    /// The service that the entry is of; none if it is of several.
    pub fn service(&self) -> Option<&Name> {
        match self {
            Tag::Frontend(of, _) => Some(&of.service),
            Tag::Pool(pool) => Some(&pool.of.service),
            Tag::Sticky(service) => Some(service),
            Tag::Endpoint(key, _) => Some(&key.of.service),
            Tag::Address | Tag::Next(_) => None,
        }
    }
}

fn port(service: &str, port: &str) -> Option<PortName> {
    let (name, protocol) = port.rsplit_once('/')?;
    (name.is_empty() || is_name(name)).then_some(PortName {
        service: service.parse().ok()?,
        port: name.to_owned(),
        protocol: protocol.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Protocol;

    #[test]
    fn what_is_written_is_read() {
        for name in ["", "http"] {
            let of = PortName {
                service: Name::new("shop", "web.a"),
                port: name.to_owned(),
                protocol: Protocol::Udp,
            };
            let key = EndpointKey {
                of: of.clone(),
                at: "[fd00::1]:80".parse().expect("an address"),
                uid: name.to_owned(),
            };
            let pool = PoolKey {
                of: of.clone(),
                family: Family::V6,
                policy: Policy::Local,
            };
            for tag in [
                Tag::Frontend(of, Kind::NodePort),
                Tag::Pool(pool),
                Tag::Sticky(Name::new("a", "b")),
                Tag::Endpoint(key, Conditions::default()),
                Tag::Address,
                Tag::Next(77),
            ] {
                assert_eq!(Tag::read(&tag.bytes()), Some(tag.clone()), "{tag:?}");
            }
        }
        for other in [
            "",
            "svc",
            "svc ",
            "web",
            "svc next -1",
            "svc pool a/b /TCP V4",
            "svc what",
        ] {
            assert_eq!(Tag::read(other.as_bytes()), None, "{other}");
        }
        assert_eq!(Tag::read(&[0xff, 0x20]), None);
    }

    #[test]
    fn the_longest_fits_into_metadata() {
        let long = "a".repeat(253);
        let of = PortName {
            service: Name::new(&*long, &*long),
            port: long.clone(),
            protocol: Protocol::Sctp,
        };
        let key = EndpointKey {
            of,
            at: "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"
                .parse()
                .expect("one"),
            uid: "a".repeat(64),
        };
        // The server keeps 1,000 bytes with an entry.
        assert!(Tag::Endpoint(key, Conditions::default()).bytes().len() < 1000);
    }
}
