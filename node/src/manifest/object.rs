// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The parts of Kubernetes objects that are read: Service (core/v1) and EndpointSlice
//! (discovery.k8s.io/v1). Fields that are not here are accepted and ignored.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::de::{self, Deserializer, Visitor};
use serde::Deserialize;

use crate::model::{Policy, Protocol};

/// The part that all objects have.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Head {
    pub(super) api_version: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) metadata: Option<Metadata>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Metadata {
    pub(super) name: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) labels: Option<BTreeMap<String, Option<String>>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ServiceObject {
    pub(super) spec: Option<ServiceSpec>,
    pub(super) status: Option<ServiceStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceSpec {
    pub(super) r#type: Option<ServiceType>,
    #[serde(rename = "clusterIP")]
    pub(super) cluster_ip: Option<ClusterIp>,
    #[serde(rename = "clusterIPs")]
    pub(super) cluster_ips: Option<Vec<ClusterIp>>,
    #[serde(rename = "externalIPs")]
    pub(super) external_ips: Option<Vec<Address>>,
    pub(super) ports: Option<Vec<ServicePortObject>>,
    pub(super) session_affinity: Option<SessionAffinity>,
    pub(super) session_affinity_config: Option<AffinityConfig>,
    pub(super) internal_traffic_policy: Option<Policy>,
    pub(super) external_traffic_policy: Option<Policy>,
    pub(super) load_balancer_source_ranges: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum ServiceType {
    #[default]
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    NodePort,
    LoadBalancer,
    ExternalName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum SessionAffinity {
    #[serde(rename = "ClientIP")]
    ClientIp,
    None,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AffinityConfig {
    #[serde(rename = "clientIP")]
    pub(super) client_ip: Option<ClientIpConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClientIpConfig {
    pub(super) timeout_seconds: Option<AffinitySeconds>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServicePortObject {
    pub(super) name: Option<String>,
    pub(super) protocol: Option<Protocol>,
    pub(super) port: PortNumber,
    pub(super) node_port: Option<PortOrNone>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceStatus {
    pub(super) load_balancer: Option<LoadBalancerStatus>,
}

#[derive(Debug, Deserialize)]
pub(super) struct LoadBalancerStatus {
    pub(super) ingress: Option<Vec<Ingress>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ingress {
    pub(super) ip: Option<Address>,
    pub(super) ip_mode: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SliceObject {
    pub(super) address_type: AddressType,
    pub(super) endpoints: Option<Vec<EndpointObject>>,
    pub(super) ports: Option<Vec<EndpointPort>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum AddressType {
    #[serde(rename = "IPv4")]
    V4,
    #[serde(rename = "IPv6")]
    V6,
    #[serde(rename = "FQDN")]
    Fqdn,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EndpointObject {
    pub(super) addresses: Vec<String>,
    pub(super) conditions: Option<ConditionsObject>,
    pub(super) node_name: Option<String>,
    pub(super) target_ref: Option<TargetRef>,
}

#[derive(Debug, Deserialize)]
pub(super) struct TargetRef {
    pub(super) uid: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct ConditionsObject {
    pub(super) ready: Option<bool>,
    pub(super) serving: Option<bool>,
    pub(super) terminating: Option<bool>,
}

#[derive(Debug, Deserialize)]
pub(super) struct EndpointPort {
    pub(super) name: Option<String>,
    pub(super) protocol: Option<Protocol>,
    pub(super) port: Option<PortNumber>,
}

/// Defines a number that is in a range.
macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident: $type:ty, $range:expr, $expected:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) struct $name(pub(super) $type);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Reads;
                impl Visitor<'_> for Reads {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }
                    fn visit_u64<E: de::Error>(self, n: u64) -> Result<$name, E> {
                        let wrong = || E::invalid_value(de::Unexpected::Unsigned(n), &self);
                        let fits = <$type>::try_from(n).ok().filter(|n| $range.contains(n));
                        fits.map($name).ok_or_else(wrong)
                    }
                }
                from.deserialize_u64(Reads)
            }
        }
    )*};
}
numbers! {
    /// A port.
    PortNumber: u16, (1..=u16::MAX), "a port, from 1 to 65535";
    /// A port, or 0 for none.
    PortOrNone: u16, (0..=u16::MAX), "a port, from 1 to 65535, or 0 for none";
    /// The time-out of session affinity.
    AffinitySeconds: u32, (1..=86400), "seconds, from 1 to 86400";
}

/// Returns the address that a text is, unless no host of a service can have it.
///
/// # Errors
/// Fails with what is wrong.
pub fn address(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text
        .parse()
        .map_err(|_| format!("`{text}` is no address of IPv4 or IPv6, such as 10.96.0.1"))?;
    let special = match address {
        IpAddr::V4(it) if it.is_link_local() => Some("a link-local"),
        IpAddr::V6(it) if it.is_unicast_link_local() => Some("a link-local"),
        // `::ffff:10.0.0.1` would be a second name of 10.0.0.1.
        IpAddr::V6(it) if it.to_ipv4_mapped().is_some() => Some("an IPv4-mapped"),
        it if it.is_unspecified() => Some("the unspecified"),
        it if it.is_loopback() => Some("a loopback"),
        it if it.is_multicast() => Some("a multicast"),
        IpAddr::V4(it) if it.is_broadcast() => Some("the broadcast"),
        _ => None,
    };
    match special {
        Some(special) => Err(format!(
            "`{text}` is {special} address: a unicast address is wanted"
        )),
        None => Ok(address),
    }
}

struct Text<T>(&'static str, fn(&str) -> Result<T, String>);

impl<T> Visitor<'_> for Text<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.1)(text).map_err(E::custom)
    }
}

/// An address of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address(pub(super) IpAddr);

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let reads = |text: &str| address(text).map(Address);
        from.deserialize_str(Text("an address of IPv4 or IPv6", reads))
    }
}

/// The address of a service in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClusterIp {
    /// Not assigned yet.
    Unset,
    /// The service is headless.
    Headless,
    Is(IpAddr),
}

impl<'de> Deserialize<'de> for ClusterIp {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let reads = |text: &str| match text {
            "" => Ok(ClusterIp::Unset),
            "None" => Ok(ClusterIp::Headless),
            text => address(text).map(ClusterIp::Is),
        };
        from.deserialize_str(Text("an address of IPv4 or IPv6, or None", reads))
    }
}
