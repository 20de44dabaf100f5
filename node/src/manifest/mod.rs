// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files of Kubernetes objects, as kubectl prints them: documents of YAML (of which JSON is a part),
//! each with a Service, an EndpointSlice or a List of objects.

mod error;
mod object;
mod service;
mod slice;
#[cfg(test)]
mod tests;
mod value;

use std::cell::Cell;
use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use yaml_serde::Value;

use crate::model::{is_name, Name, Services};
pub use error::{Mistake, Note, Place};
pub use object::address;
use object::{Head, Metadata};

/// The label of a service that another proxy than the node's serves.
const OTHER_PROXY: &str = "service.kubernetes.io/service-proxy-name";
/// The nesting of lists.
const MAX_DEPTH: usize = 4;

/// The services of files, and what was found out about them.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    services: Services,
    /// Objects and fields that have no effect.
    pub notes: Vec<Note>,
    /// The mistake.
    pub mistakes: Vec<Mistake>,
    /// Endpoint slices' services, with the places of the slices.
    slices: Vec<(Name, Place)>,
    /// The number of endpoints of all slices, once for each of their ports.
    endpoints: usize,
    /// Services that were left out.
    skipped: BTreeSet<Name>,
}

/// An object with its position.
struct Reader<'m> {
    manifest: &'m mut Manifest,
    place: Place,
    namespace: &'m str,
}

impl Manifest {
    /// Reads the text of a file. Objects without a namespace are in `namespace`.
    pub fn read(&mut self, file: &str, text: &str, namespace: &str) {
        // Without aliases a value has fewer than two bytes for each one of its text.
        let left = Cell::new(2 * text.len() + 1024);
        for (n, document) in yaml_serde::Deserializer::from_str(text).enumerate() {
            let place = Place {
                file: file.to_owned(),
                document: n + 1,
                ..Place::default()
            };
            let mut reader = Reader {
                manifest: self,
                place,
                namespace,
            };
            match value::read(document, &left) {
                Ok(Value::Null) => {}
                Ok(object) => reader.object(object, 0),
                Err(error) => {
                    reader.mistake("", format!("no YAML: {error}"));
                    // The rest of the file cannot be split into documents.
                    break;
                }
            }
        }
    }

    /// The services that were left out, such as headless ones: a data path has nothing of them.
    pub fn skipped(&self) -> &BTreeSet<Name> {
        &self.skipped
    }

    /// Returns the services, or all mistakes. Endpoint slices without their service have no effect.
    ///
    /// # Errors
    /// Fails when something is wrong in any file.
    pub fn finish(mut self) -> Result<(Services, Vec<Note>), Vec<Mistake>> {
        if !self.mistakes.is_empty() {
            return Err(self.mistakes);
        }
        for (name, place) in self.slices {
            let is_known = self.services.services.contains_key(&name);
            if !is_known && !self.skipped.contains(&name) {
                let why = format!("skipped: the service {name} is in none of the files");
                self.notes.push(Note { place, why });
            }
        }
        let services = &self.services.services;
        let is_known = |name: &Name| services.contains_key(name);
        self.services
            .endpoints
            .retain(|of, _| is_known(&of.service));
        Ok((self.services, self.notes))
    }
}

impl Reader<'_> {
    fn mistake(&mut self, path: &str, why: impl Into<String>) {
        self.manifest.mistakes.push(Mistake {
            place: self.at(path),
            why: why.into(),
        });
    }

    fn note(&mut self, path: &str, why: impl Into<String>) {
        self.manifest.notes.push(Note {
            place: self.at(path),
            why: why.into(),
        });
    }

    fn at(&self, path: &str) -> Place {
        let mut place = self.place.clone();
        if !path.is_empty() {
            place.path = path.to_owned();
        }
        place
    }

    /// Reads a part of an object, with the path of what is wrong in it.
    fn part<T: DeserializeOwned>(&mut self, object: &Value) -> Option<T> {
        match serde_path_to_error::deserialize(object) {
            Ok(part) => Some(part),
            Err(error) => {
                let path = match error.path().to_string() {
                    path if path == "." => String::new(),
                    path => path,
                };
                // The path is the place already.
                let why = error.into_inner().to_string();
                let why = why.strip_prefix(&format!("{path}: ")).unwrap_or(&why);
                self.mistake(&path, why);
                None
            }
        }
    }

    fn object(&mut self, object: Value, depth: usize) {
        let Some(head) = self.part::<Head>(&object) else {
            return;
        };
        let version = head.api_version.unwrap_or_default();
        let kind = head.kind.unwrap_or_default();
        let metadata = head.metadata.unwrap_or_default();
        let name = metadata.name.as_deref().unwrap_or_default();
        self.place.object = format!("{kind} {name}").trim().to_owned();
        match (&*kind, &*version) {
            ("", _) => self.mistake("kind", "missing: Service, EndpointSlice or List is wanted"),
            ("Service", "v1") => {
                let Some(name) = self.name(&metadata) else {
                    return;
                };
                let labels = metadata.labels.as_ref();
                if labels.is_some_and(|all| all.contains_key(OTHER_PROXY)) {
                    self.note("", format!("skipped: it has the label {OTHER_PROXY}"));
                    self.manifest.skipped.insert(name);
                } else {
                    self.service(&object, name);
                }
            }
            ("EndpointSlice", "discovery.k8s.io/v1") => {
                if let Some(name) = self.name(&metadata) {
                    self.slice(&object, &metadata, &name);
                }
            }
            ("List" | "ServiceList" | "EndpointSliceList", _) => self.list(object, &kind, depth),
            ("Service", _) => self.version(&version, "v1"),
            ("EndpointSlice", _) => self.version(&version, "discovery.k8s.io/v1"),
            _ => self.note("", "skipped: neither a Service nor an EndpointSlice"),
        }
    }

    fn version(&mut self, given: &str, wanted: &str) {
        let why = match given {
            "" => format!("missing: {wanted} is wanted"),
            given => format!("`{given}` is not known: {wanted} is wanted"),
        };
        self.mistake("apiVersion", why);
    }

    /// Returns the name of an object, if it is one.
    fn name(&mut self, metadata: &Metadata) -> Option<Name> {
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let namespace = match namespace {
            "" => self.namespace,
            given => given,
        };
        let name = metadata.name.as_deref().unwrap_or_default();
        for (path, text) in [("metadata.name", name), ("metadata.namespace", namespace)] {
            if !is_name(text) {
                let why = match text {
                    "" => "missing".to_owned(),
                    text => format!("`{text}` is no name: letters a-z, digits, `-` and `.`"),
                };
                self.mistake(path, why);
                return None;
            }
        }
        Some(Name::new(namespace, name))
    }

    /// Reads the objects of a list. A list of one kind may leave the kind of its items out.
    fn list(&mut self, mut object: Value, kind: &str, depth: usize) {
        let items = match object.get_mut("items") {
            Some(Value::Sequence(items)) => std::mem::take(items),
            None | Some(Value::Null) => return,
            Some(_) => return self.mistake("items", "a sequence of objects is wanted"),
        };
        if depth >= MAX_DEPTH {
            return self.mistake(
                "items",
                format!("lists are nested more than {MAX_DEPTH} deep"),
            );
        }
        let implied = match kind {
            "ServiceList" => Some(("Service", "v1")),
            "EndpointSliceList" => Some(("EndpointSlice", "discovery.k8s.io/v1")),
            _ => None,
        };
        let before = self.place.clone();
        for (n, mut item) in items.into_iter().enumerate() {
            if let (Value::Mapping(fields), Some((kind, version))) = (&mut item, implied) {
                for (field, value) in [("kind", kind), ("apiVersion", version)] {
                    let field = Value::from(field);
                    fields.entry(field).or_insert_with(|| Value::from(value));
                }
            }
            self.place.object = String::new();
            self.place.items.push(n);
            self.object(item, depth + 1);
            self.place = before.clone();
        }
    }
}
