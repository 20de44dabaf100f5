// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The messages of the control protocol, as they are serialised.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::protocol::{ErrorCode, Spec, TraceEntry, VdevError};

/// The version of the protocol. Another one is not compatible; fields and methods that are added do
/// not change it.
pub const VERSION: u32 = 1;
/// The path of the daemon's socket, unless another one is chosen.
pub const DEFAULT_SOCKET: &str = "/run/adit/vdcm/control.sock";
/// The maximum length of a request in bytes, without its newline.
pub const MAX_REQUEST_LEN: usize = 256 * 1024;
/// The maximum number of entries in a reply to `trace`.
pub const MAX_TRACE: usize = 1_000;

/// A request: one line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// A number for the reply.
    #[serde(default)]
    pub id: u64,
    /// The name of the method.
    pub method: String,
    /// The parameters: an object; absent for methods without.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub params: Value,
}

/// A reply: one line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The request's number; `None` if the daemon could not read it.
    pub id: Option<u64>,
    /// The result or the error.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The method's result.
    Result(Value),
    /// The reason for which nothing was changed.
    Error(VdevError),
}

/// A method with its parameters.
#[derive(Clone, Debug, PartialEq)]
pub enum Method {
    /// The first request of a connection.
    Hello(Hello),
    /// Composes a device. The result is its `VdevInfo`.
    Create(Box<Spec>),
    /// Lists the devices: `VdevInfo`s, by name.
    List,
    /// Shows one device: its `VdevInfo`.
    Show(Named),
    /// Destroys a device; a connected client is disconnected. No result.
    Destroy(Named),
    /// Returns a device's counters: its `VdevStats`.
    Stats(Named),
    /// Returns a device's trace: a [`Trace`].
    Trace(TraceParams),
    /// Replaces the ADI, or the group, of a virtual port. The result is the device's `VdevInfo`.
    Swap(Swap),
    /// Suspends a device and saves its state: a `DeviceState`.
    Save(Named),
    /// Composes a device with a saved state. The result is its `VdevInfo`.
    Restore(Box<Restore>),
    /// Ends the suspension of a device. No result.
    Resume(Named),
    /// Lists the names of the ADIs that can be opened.
    Adis,
    /// Shows the daemon: a [`Status`].
    Status,
}

/// The parameters of `hello`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version that the client speaks.
    pub version: u32,
}

/// The result of `hello`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version that the daemon speaks.
    pub version: u32,
    /// The daemon's release.
    pub release: String,
    /// The names of the methods.
    pub methods: Vec<String>,
    /// Set if the client may use the methods that change something.
    pub may_change: bool,
}

/// The parameters of methods for one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// The device's name.
    pub name: String,
}

/// The parameters of `trace`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceParams {
    /// The device's name.
    pub name: String,
    /// Only entries with larger numbers.
    #[serde(default)]
    pub after: u64,
}

/// The result of `trace`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// The entries, the oldest first; at most [`MAX_TRACE`].
    pub entries: Vec<TraceEntry>,
    /// Set if there are more after these.
    pub more: bool,
}

/// The parameters of `swap`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swap {
    /// The device's name.
    pub name: String,
    /// The number of the virtual port whose ADI is replaced, from 0.
    pub vport: u16,
    /// The name of the ADI that takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adi: Option<String>,
    /// The names of the ADIs of a group that takes its place, its leader first, instead of one ADI.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adis: Vec<String>,
}

impl Swap {
    /// The parameters for these ADIs. One is named as daemons without groups know it.
    #[must_use]
    pub fn new(name: &str, vport: u16, adis: &[String]) -> Self {
        let (adi, adis) = match adis {
            [adi] => (Some(adi.clone()), Vec::new()),
            all => (None, all.to_vec()),
        };
        let name = name.to_owned();
        Self {
            name,
            vport,
            adi,
            adis,
        }
    }

    /// The names of the ADIs that take the place.
    ///
    /// # Errors
    /// Fails when there are none, or both one and a group.
    pub fn names(&self) -> Result<&[String], VdevError> {
        match (&self.adi, &self.adis[..]) {
            (Some(adi), []) => Ok(std::slice::from_ref(adi)),
            (None, adis @ [_, ..]) => Ok(adis),
            _ => Err(VdevError::new(
                ErrorCode::Invalid,
                "parameters of swap: it takes either `adi`, or `adis`, the ADIs of a group",
            )),
        }
    }
}

/// The parameters of `restore`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    /// The device to be composed. The layout, the ids, and what is absent are those of the state.
    #[serde(default)]
    pub spec: Spec,
    /// The saved state; absent if it is in a file that is passed with the request.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub state: Value,
}

/// The state of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The daemon's release.
    pub release: String,
    /// Its process.
    pub pid: u32,
    /// The number of devices.
    pub devices: u64,
    /// Connections to the control socket at present.
    pub connections: u64,
    /// Connections since the start.
    pub accepted: u64,
    /// Requests since the start.
    pub requests: u64,
    /// Requests that failed, by the code of the error; connections that were ended, by the reason.
    pub refused: BTreeMap<String, u64>,
}

impl Method {
    /// The names of all methods.
    pub const NAMES: [&'static str; 13] = [
        "hello", "create", "list", "show", "destroy", "stats", "trace", "swap", "save", "restore",
        "resume", "adis", "status",
    ];

    /// The name of the method.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Create(_) => "create",
            Self::List => "list",
            Self::Show(_) => "show",
            Self::Destroy(_) => "destroy",
            Self::Stats(_) => "stats",
            Self::Trace(_) => "trace",
            Self::Swap(_) => "swap",
            Self::Save(_) => "save",
            Self::Restore(_) => "restore",
            Self::Resume(_) => "resume",
            Self::Adis => "adis",
            Self::Status => "status",
        }
    }

    /// Returns whether it takes more than the permission to look: it changes something, or shows
    /// what a guest does.
    #[must_use]
    pub const fn is_privileged(&self) -> bool {
        match self {
            Self::Create(_)
            | Self::Destroy(_)
            | Self::Swap(_)
            | Self::Trace(_)
            | Self::Save(_)
            | Self::Restore(_)
            | Self::Resume(_) => true,
            Self::Hello(_)
            | Self::List
            | Self::Show(_)
            | Self::Stats(_)
            | Self::Adis
            | Self::Status => false,
        }
    }

    /// Parses the method of a request.
    ///
    /// # Errors
    /// Fails when there is no such method, or its parameters are not what it takes.
    pub fn parse(request: Request) -> Result<Self, VdevError> {
        let Request { method, params, .. } = request;
        let parsed = match method.as_str() {
            "hello" => serde_json::from_value(params).map(Self::Hello),
            "create" => serde_json::from_value(params).map(Self::Create),
            "show" => serde_json::from_value(params).map(Self::Show),
            "destroy" => serde_json::from_value(params).map(Self::Destroy),
            "stats" => serde_json::from_value(params).map(Self::Stats),
            "trace" => serde_json::from_value(params).map(Self::Trace),
            "swap" => serde_json::from_value(params).map(Self::Swap),
            "save" => serde_json::from_value(params).map(Self::Save),
            "restore" => serde_json::from_value(params).map(Self::Restore),
            "resume" => serde_json::from_value(params).map(Self::Resume),
            "list" => without_params(&params).map(|()| Self::List),
            "adis" => without_params(&params).map(|()| Self::Adis),
            "status" => without_params(&params).map(|()| Self::Status),
            other => {
                return Err(VdevError::new(
                    ErrorCode::UnknownMethod,
                    format!(
                        "no method {}: there are {}",
                        shortened(other),
                        Self::NAMES.join(", ")
                    ),
                ))
            }
        };
        parsed.map_err(|error| {
            VdevError::new(
                ErrorCode::Invalid,
                format!("parameters of {method}: {error}"),
            )
        })
    }

    /// The request of this method.
    ///
    /// # Errors
    /// Fails when a path in it is not UTF-8.
    pub fn request(&self, id: u64) -> serde_json::Result<Request> {
        let params = match self {
            Self::Hello(params) => serde_json::to_value(params),
            Self::Create(spec) => serde_json::to_value(spec),
            Self::Show(params)
            | Self::Destroy(params)
            | Self::Stats(params)
            | Self::Save(params)
            | Self::Resume(params) => serde_json::to_value(params),
            Self::Restore(params) => serde_json::to_value(params),
            Self::Trace(params) => serde_json::to_value(params),
            Self::Swap(params) => serde_json::to_value(params),
            Self::List | Self::Adis | Self::Status => Ok(Value::Null),
        };
        Ok(Request {
            id,
            method: self.name().to_owned(),
            params: params?,
        })
    }
}

/// Accepts absent parameters and an empty object.
fn without_params(params: &Value) -> serde_json::Result<()> {
    match params {
        Value::Null => Ok(()),
        Value::Object(fields) if fields.is_empty() => Ok(()),
        _ => Err(serde::de::Error::custom("it takes none")),
    }
}

/// Quotes a client's word for an error message: not the whole of a long one.
fn shortened(word: &str) -> String {
    const MAX_CHARS: usize = 32;
    match word.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{:?}…", &word[..end]),
        None => format!("{word:?}"),
    }
}

impl Reply {
    /// The reply with the result of a request, or with its error.
    #[must_use]
    pub fn new(id: Option<u64>, outcome: Result<Value, VdevError>) -> Self {
        let outcome = match outcome {
            Ok(value) => Outcome::Result(value),
            Err(error) => Outcome::Error(error),
        };
        Self { id, outcome }
    }

    /// The line, with its newline.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        // All maps have keys of text, so that this does not fail.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(text: &str) -> Result<Method, VdevError> {
        Method::parse(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn methods_are_parsed_from_what_they_write() {
        let named = || Named { name: "a".into() };
        let swap = Swap::new("a", 1, &["c".into()]);
        let trace = TraceParams {
            name: "a".into(),
            after: 7,
        };
        let methods = [
            Method::Hello(Hello { version: VERSION }),
            Method::Create(Box::default()),
            Method::List,
            Method::Show(named()),
            Method::Destroy(named()),
            Method::Stats(named()),
            Method::Trace(trace),
            Method::Swap(swap),
            Method::Save(named()),
            Method::Restore(Box::new(Restore {
                spec: Spec::default(),
                state: json!({ "version": 1 }),
            })),
            Method::Resume(named()),
            Method::Adis,
            Method::Status,
        ];
        assert_eq!(methods.each_ref().map(Method::name), Method::NAMES);
        for method in methods {
            let text = serde_json::to_string(&method.request(3).unwrap()).unwrap();
            assert_eq!(parse(&text), Ok(method), "{text}");
        }
    }

    #[test]
    fn what_a_method_does_not_take_is_named() {
        for (text, code, part) in [
            (
                r#"{"method": "stop"}"#,
                ErrorCode::UnknownMethod,
                r#""stop""#,
            ),
            (r#"{"method": "show"}"#, ErrorCode::Invalid, "show"),
            (
                r#"{"method": "list", "params": {"all": true}}"#,
                ErrorCode::Invalid,
                "none",
            ),
            (
                r#"{"method": "show", "params": {"name": "a", "x": 1}}"#,
                ErrorCode::Invalid,
                "`x`",
            ),
            (
                r#"{"method": "create", "params": {"adi": 1}}"#,
                ErrorCode::Invalid,
                "`adi`",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.code, code, "{text}");
            assert!(error.message.contains(part), "{}", error.message);
        }
        let long = json!({ "method": "é".repeat(1_000) }).to_string();
        assert!(parse(&long).unwrap_err().message.len() < 300);
    }

    #[test]
    fn an_adi_or_a_group_takes_the_place_of_another() {
        let names = |params: Value| {
            let text = json!({ "method": "swap", "params": params }).to_string();
            let Method::Swap(swap) = parse(&text).unwrap() else {
                panic!("{text}")
            };
            swap.names().map(<[_]>::to_vec).map_err(|error| error.code)
        };
        let with = |params: Value| {
            let mut all = json!({ "name": "a", "vport": 0 });
            all.as_object_mut()
                .unwrap()
                .extend(params.as_object().unwrap().clone());
            names(all)
        };
        let list = |names: &[&str]| Ok(names.iter().map(|&name| name.to_owned()).collect());
        assert_eq!(with(json!({ "adi": "b" })), list(&["b"]));
        assert_eq!(with(json!({ "adis": ["b", "c"] })), list(&["b", "c"]));
        for wrong in [json!({}), json!({ "adi": "b", "adis": ["c"] })] {
            assert_eq!(with(wrong), Err(ErrorCode::Invalid));
        }
        let both = ["b".to_owned(), "c".to_owned()];
        for adis in [&both[..], &both[..1]] {
            assert_eq!(Swap::new("a", 0, adis).names().unwrap(), adis);
        }
        let one = serde_json::to_value(Swap::new("a", 0, &both[..1])).unwrap();
        assert_eq!(one, json!({ "name": "a", "vport": 0, "adi": "b" }));
    }

    #[test]
    fn a_reply_has_a_result_or_an_error() {
        let reply = Reply::new(Some(1), Ok(Value::Null));
        assert_eq!(reply.line(), b"{\"id\":1,\"result\":null}\n");
        let error = VdevError::new(ErrorCode::NotFound, "no device `a`");
        let reply = Reply::new(None, Err(error));
        let text = r#"{"id":null,"error":{"code":"not_found","message":"no device `a`"}}"#;
        assert_eq!(reply.line(), format!("{text}\n").as_bytes());
        assert_eq!(serde_json::from_str::<Reply>(text).unwrap(), reply);
    }
}
