// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Errors of updates and requests, and how they are reported to clients.

use adit_pipeline::p4::objects::{ObjectError, ValueSetError};
use adit_pipeline::p4::replication::ReplicationError;
use adit_pipeline::p4::tables::TableError;
use prost::Message;
use tonic::{Code, Status};

use crate::bytes::ByteError;
use crate::proto::{v1, Status as RpcStatus};

/// The maximum size of a batch's errors: clients accept 8 KiB of metadata by default, and it is
/// encoded in base64.
const MAX_DETAILS: usize = 4608;
/// The maximum length of a message.
const MAX_MESSAGE: usize = 1 << 10;

/// An error with its gRPC status code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: Code,
    pub(crate) message: String,
}

pub(crate) type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Fault {
        Fault {
            code,
            message: message.into(),
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Fault {
        Fault::new(Code::InvalidArgument, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Fault {
        Fault::new(Code::NotFound, message)
    }

    /// Creates the fault of a value of a field, parameter or other part of a message.
    pub(crate) fn of(name: &str, error: ByteError) -> Fault {
        Fault::from(error).within(&format!("`{name}`"))
    }

    /// Returns the same fault with its place.
    pub(crate) fn within(self, place: &str) -> Fault {
        Fault::new(self.code, format!("{place}: {}", self.message))
    }

    pub(crate) fn unimplemented(message: impl Into<String>) -> Fault {
        Fault::new(Code::Unimplemented, message)
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Status {
        Status::new(fault.code, truncated(&fault.message))
    }
}

impl From<TableError> for Fault {
    fn from(error: TableError) -> Fault {
        if let TableError::Profile(error) = error {
            return error.into();
        }
        let code = match &error {
            TableError::Exists(_) => Code::AlreadyExists,
            TableError::Unknown(_) => Code::NotFound,
            TableError::Full { .. } | TableError::Opaque { .. } => Code::ResourceExhausted,
            TableError::Busy(_) => Code::Unavailable,
            TableError::Width { .. } => Code::OutOfRange,
            TableError::Constant { .. } => Code::PermissionDenied,
            TableError::Unsupported { .. } => Code::Unimplemented,
            _ => Code::InvalidArgument,
        };
        Fault::new(code, error.to_string())
    }
}

impl From<ReplicationError> for Fault {
    fn from(error: ReplicationError) -> Fault {
        let code = match &error {
            ReplicationError::Exists { .. } => Code::AlreadyExists,
            ReplicationError::Unknown { .. } => Code::NotFound,
            ReplicationError::Full => Code::ResourceExhausted,
            _ => Code::InvalidArgument,
        };
        Fault::new(code, error.to_string())
    }
}

impl From<ObjectError> for Fault {
    fn from(error: ObjectError) -> Fault {
        // P4Runtime 1.4, sections "CounterEntry", "MeterEntry" and "RegisterEntry".
        let code = match &error {
            ObjectError::Index { .. } | ObjectError::Width(_) => Code::OutOfRange,
            ObjectError::Rates { .. } => Code::InvalidArgument,
        };
        Fault::new(code, error.to_string())
    }
}

impl From<ValueSetError> for Fault {
    fn from(error: ValueSetError) -> Fault {
        let code = match &error {
            ValueSetError::Full { .. } => Code::ResourceExhausted,
            ValueSetError::Fields { .. } => Code::InvalidArgument,
        };
        Fault::new(code, error.to_string())
    }
}

impl From<ByteError> for Fault {
    fn from(error: ByteError) -> Fault {
        // P4Runtime 1.4, section "Bytestrings".
        Fault::new(Code::OutOfRange, error.to_string())
    }
}

/// Truncates a message to what fits into headers: bytes that are not printable take three bytes
/// there.
fn truncated(message: &str) -> String {
    let mut room = MAX_MESSAGE;
    let fits = |c: &char| {
        let size = match c {
            ' '..='~' if *c != '%' => 1,
            c => 3 * c.len_utf8(),
        };
        let fits = size <= room;
        room = room.saturating_sub(size);
        fits
    };
    message.chars().take_while(fits).collect()
}

/// Formats the indices of failed updates, consecutive ones as a range.
fn failed_indices(results: &[Result<()>]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (n, _) in results.iter().enumerate().filter(|(_, r)| r.is_err()) {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == n => *last = n,
            _ => runs.push((n, n)),
        }
    }
    let runs = runs.iter().map(|run| match run {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    });
    runs.collect::<Vec<_>>().join(",")
}

fn detail(code: Code, message: String) -> prost_types::Any {
    let error = v1::Error {
        canonical_code: code as i32,
        message,
        ..Default::default()
    };
    prost_types::Any {
        type_url: "type.googleapis.com/p4.v1.Error".to_owned(),
        value: error.encode_to_vec(),
    }
}

/// Returns a batch's status as the standard requires: one error for each update, in order. Errors
/// have their messages as long as these fit into headers. If the errors do not fit even without
/// messages, none are included, since an error is identified by its position; the message has the
/// indices then.
pub(crate) fn batch_status(results: &[Result<()>]) -> std::result::Result<(), Status> {
    let failed = results.iter().filter(|r| r.is_err()).count();
    let Some(Err(first)) = results.iter().find(|r| r.is_err()) else {
        return Ok(());
    };
    let summary = format!("{failed} of {} updates failed", results.len());
    let code = |result: &Result<()>| result.as_ref().map_or_else(|f| f.code, |()| Code::Ok);
    let mut status = RpcStatus {
        code: Code::Unknown as i32,
        message: summary.clone(),
        details: results
            .iter()
            .map(|r| detail(code(r), String::new()))
            .collect(),
    };
    let Some(mut room) = MAX_DETAILS.checked_sub(status.encoded_len()) else {
        let indices = failed_indices(results);
        let message = format!("{summary}, the first: {}; failed: {indices}", first.message);
        return Err(Status::unknown(truncated(&message)));
    };
    for (place, result) in status.details.iter_mut().zip(results) {
        let Err(fault) = result else { continue };
        let with_text = detail(fault.code, truncated(&fault.message));
        // The length prefixes before it grow, too.
        let more = with_text.encoded_len() - place.encoded_len() + 8;
        let Some(rest) = room.checked_sub(more) else {
            break;
        };
        room = rest;
        *place = with_text;
    }
    let message = format!("{summary}, the first: {}", first.message);
    let details = status.encode_to_vec();
    Err(Status::with_details(
        Code::Unknown,
        truncated(&message),
        details.into(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(count: usize, text: &str, fails: impl Fn(usize) -> bool) -> Vec<Result<()>> {
        let one = |n| match fails(n) {
            true => Err(Fault::invalid(text)),
            false => Ok(()),
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn errors_of_any_batch_fit_into_headers() {
        for count in [1, 2, 99, 110, 150, 1000, 100_000] {
            for text in ["no", "ä\n%", &"long ".repeat(1000)] {
                for every in [1, 2, 7] {
                    let results = results(count, text, |n| n % every == 0);
                    let status = batch_status(&results).unwrap_err();
                    let mut headers = http::HeaderMap::new();
                    status.add_header(&mut headers).expect("it is a header");
                    let size: usize = headers
                        .iter()
                        .map(|(k, v)| k.as_str().len() + v.len())
                        .sum();
                    assert!(size < 8 << 10, "{count} {every}: {size} bytes");
                    let details = RpcStatus::decode(status.details()).unwrap().details;
                    assert!([0, count].contains(&details.len()));
                    assert_eq!(details.len(), if count < 115 { count } else { 0 });
                    for (n, detail) in details.iter().enumerate() {
                        let error = v1::Error::decode(&*detail.value).unwrap();
                        assert_eq!(error.canonical_code != 0, n % every == 0);
                    }
                }
            }
        }
    }

    #[test]
    fn without_details_the_message_has_the_indices() {
        let is_bad = |n| n < 3 || n == 10 || (20..22).contains(&n);
        let status = batch_status(&results(500, "no room", is_bad)).unwrap_err();
        assert_eq!(
            status.message(),
            "6 of 500 updates failed, the first: no room; failed: 0-2,10,20-21"
        );
    }
}
