// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What goes wrong with an update or a request, and how a client is told.

use adit_pipeline::p4::externs::ObjectError;
use adit_pipeline::p4::replication::ReplicationError;
use adit_pipeline::p4::tables::TableError;
use prost::Message;
use tonic::{Code, Status};

use crate::bytes::ByteError;
use crate::proto::{v1, Status as RpcStatus};

/// How large errors of a batch may become: clients take 8 KiB of metadata by default, and it
/// travels in base64.
const MAX_DETAILS: usize = 5 << 10;
/// The longest message.
const MAX_MESSAGE: usize = 1 << 10;

/// An error with its code.
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

    pub(crate) fn unimplemented(message: impl Into<String>) -> Fault {
        Fault::new(Code::Unimplemented, message)
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Status {
        Status::new(fault.code, cut(&fault.message))
    }
}

impl From<TableError> for Fault {
    fn from(error: TableError) -> Fault {
        let code = match &error {
            TableError::Exists(_) => Code::AlreadyExists,
            TableError::Unknown(_) => Code::NotFound,
            TableError::Full { .. } => Code::ResourceExhausted,
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
        Fault::invalid(error.to_string())
    }
}

impl From<ByteError> for Fault {
    fn from(error: ByteError) -> Fault {
        Fault::invalid(error.to_string())
    }
}

/// A message that headers have room for.
fn cut(message: &str) -> String {
    let mut end = message.len().min(MAX_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message[..end].to_owned()
}

/// What a batch came to, as the standard wants it: one error for each update, in order.
pub(crate) fn batch_status(results: &[Result<()>]) -> std::result::Result<(), Status> {
    let failed = results.iter().filter(|r| r.is_err()).count();
    if failed == 0 {
        return Ok(());
    }
    let encode = |with_text: bool| {
        let details = results.iter().map(|result| {
            let error = match result {
                Ok(()) => v1::Error::default(),
                Err(fault) => v1::Error {
                    canonical_code: fault.code as i32,
                    message: if with_text {
                        cut(&fault.message)
                    } else {
                        String::new()
                    },
                    ..Default::default()
                },
            };
            prost_types::Any {
                type_url: "type.googleapis.com/p4.v1.Error".to_owned(),
                value: error.encode_to_vec(),
            }
        });
        RpcStatus {
            code: Code::Unknown as i32,
            message: format!("{failed} of {} updates failed", results.len()),
            details: details.collect(),
        }
        .encode_to_vec()
    };
    let mut details = encode(true);
    if details.len() > MAX_DETAILS {
        details = encode(false);
    }
    let first = results.iter().find_map(|r| r.as_ref().err());
    let message = format!(
        "{failed} of {} updates failed, the first: {}",
        results.len(),
        first.map_or("", |f| &f.message)
    );
    Err(Status::with_details(
        Code::Unknown,
        cut(&message),
        details.into(),
    ))
}
