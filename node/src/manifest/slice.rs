// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Endpoint slices.

use yaml_serde::Value;

use super::object::{address, AddressType, EndpointObject, Metadata, SliceObject};
use super::Reader;
use crate::model::{is_name, Conditions, Endpoint, Family, Name, PortName};

/// The most endpoints of a port.
const MAX_OF_PORT: usize = 1 << 16;
/// The most endpoints of all files, counted for each of their ports: those that the program has space for.
const MAX_ENDPOINTS: usize = 1 << 20;
/// The longest UID.
const MAX_UID: usize = 64;
/// The label with the name of a slice's service.
const SERVICE: &str = "kubernetes.io/service-name";

/// The UID of the pod that an endpoint is: what is none identifies nothing.
fn uid(given: &EndpointObject) -> Option<String> {
    let uid = given.target_ref.as_ref()?.uid.as_ref()?;
    let is_part = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
    (uid.len() <= MAX_UID && uid.bytes().all(is_part)).then(|| uid.clone())
}

impl Reader<'_> {
    /// Reads a slice.
    pub(super) fn slice(&mut self, object: &Value, metadata: &Metadata, name: &Name) {
        let Some(slice): Option<SliceObject> = self.part(object) else {
            return;
        };
        let labels = metadata.labels.as_ref();
        let service = labels.and_then(|all| all.get(SERVICE)?.as_deref());
        let Some(service) = service.filter(|it| !it.is_empty()) else {
            return self.note("", format!("skipped: it has no label {SERVICE}"));
        };
        let path = format!("metadata.labels[{SERVICE}]");
        if !is_name(service) {
            return self.mistake(&path, format!("`{service}` is no name of a service"));
        }
        let family = match slice.address_type {
            AddressType::V4 => Family::V4,
            AddressType::V6 => Family::V6,
            AddressType::Fqdn => {
                return self.note("addressType", "skipped: names are not resolved");
            }
        };
        let service = Name::new(name.namespace.clone(), service);
        let place = self.at(&path);
        self.manifest.slices.push((service.clone(), place));
        let mut endpoints = Vec::new();
        for (n, given) in slice.endpoints.iter().flatten().enumerate() {
            endpoints.extend(self.endpoint(given, family, n));
        }
        for (n, port) in slice.ports.iter().flatten().enumerate() {
            let Some(number) = port.port else {
                let path = format!("ports[{n}].port");
                self.note(
                    &path,
                    "skipped: a slice for all ports has no number to translate to",
                );
                continue;
            };
            let of = PortName {
                service: service.clone(),
                port: port.name.clone().unwrap_or_default(),
                protocol: port.protocol.unwrap_or_default(),
            };
            // An endpoint is looked for among those of the port that are there.
            let known = self.manifest.services.endpoints.get(&of);
            let of_port = known.map_or(0, Vec::len) + endpoints.len();
            self.manifest.endpoints += endpoints.len();
            for (count, most, what) in [
                (of_port, MAX_OF_PORT, "of this port"),
                (self.manifest.endpoints, MAX_ENDPOINTS, "of all ports"),
            ] {
                if count > most {
                    let why = format!("{count} endpoints {what}: at most {most} are possible");
                    return self.mistake(&format!("ports[{n}]"), why);
                }
            }
            for endpoint in &endpoints {
                let endpoint = Endpoint {
                    port: number.0,
                    ..endpoint.clone()
                };
                self.manifest.services.add_endpoint(of.clone(), endpoint);
            }
        }
    }

    /// Reads an endpoint, without its port. Of its addresses the first is used, as by kube-proxy.
    fn endpoint(&mut self, given: &EndpointObject, family: Family, n: usize) -> Option<Endpoint> {
        let path = format!("endpoints[{n}].addresses[0]");
        let Some(text) = given.addresses.first() else {
            self.mistake(&path, "missing: an endpoint has an address");
            return None;
        };
        let address = match address(text) {
            Ok(address) if Family::of(address) == family => address,
            Ok(address) => {
                let (is, wanted) = match Family::of(address) {
                    Family::V4 => ("IPv4", "IPv6"),
                    Family::V6 => ("IPv6", "IPv4"),
                };
                self.mistake(
                    &path,
                    format!("`{address}` is of {is}, but addressType is {wanted}"),
                );
                return None;
            }
            Err(why) => {
                self.mistake(&path, why);
                return None;
            }
        };
        let conditions = given.conditions.as_ref();
        let is = |condition: Option<bool>, absent| condition.unwrap_or(absent);
        Some(Endpoint {
            address,
            port: 0,
            node: given.node_name.clone().filter(|it| !it.is_empty()),
            uid: uid(given).unwrap_or_default(),
            conditions: conditions.map_or_else(Conditions::default, |it| Conditions {
                ready: is(it.ready, true),
                serving: is(it.serving, true),
                terminating: is(it.terminating, false),
            }),
        })
    }
}
