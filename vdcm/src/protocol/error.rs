// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The errors of requests to the daemon.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The kind of an error, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// A value of the request is invalid.
    Invalid,
    /// There is no device or ADI of that name.
    NotFound,
    /// A device of that name or with that socket exists.
    Exists,
    /// The ADI or the device is in use.
    Busy,
    /// A limit of the daemon or of the NIC is reached.
    Limit,
    /// An ADI is gone.
    Gone,
    /// The daemon cannot do this with its back end.
    Unsupported,
    /// The system failed an operation.
    System,
    /// A line is no request, or is too long.
    BadRequest,
    /// The daemon has no such method.
    UnknownMethod,
    /// The client did not ask for the daemon's version of the protocol.
    UnsupportedVersion,
    /// The client's user may not do that.
    PermissionDenied,
    /// The user, or all users, have too many connections to the daemon.
    TooManyConnections,
    /// A code that this version does not know.
    #[serde(other)]
    Unknown,
}

impl ErrorCode {
    /// The name, as it is serialised.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Exists => "exists",
            Self::Busy => "busy",
            Self::Limit => "limit",
            Self::Gone => "gone",
            Self::Unsupported => "unsupported",
            Self::System => "system",
            Self::BadRequest => "bad_request",
            Self::UnknownMethod => "unknown_method",
            Self::UnsupportedVersion => "unsupported_version",
            Self::PermissionDenied => "permission_denied",
            Self::TooManyConnections => "too_many_connections",
            Self::Unknown => "unknown",
        }
    }
}

/// An error, with its text for people. The text contains the causes.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct VdevError {
    /// Its kind.
    pub code: ErrorCode,
    /// The text: the value that was wrong, and the values that would be right.
    pub message: String,
}

impl VdevError {
    /// An error of a kind, with its text.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_protocol() {
        for code in [
            ErrorCode::Invalid,
            ErrorCode::NotFound,
            ErrorCode::Exists,
            ErrorCode::Busy,
            ErrorCode::Limit,
            ErrorCode::Gone,
            ErrorCode::Unsupported,
            ErrorCode::System,
            ErrorCode::BadRequest,
            ErrorCode::UnknownMethod,
            ErrorCode::UnsupportedVersion,
            ErrorCode::PermissionDenied,
            ErrorCode::TooManyConnections,
            ErrorCode::Unknown,
        ] {
            let text = serde_json::to_string(&code).unwrap();
            assert_eq!(text, format!("\"{}\"", code.name()));
            assert_eq!(serde_json::from_str::<ErrorCode>(&text).unwrap(), code);
        }
    }

    #[test]
    fn a_code_of_a_later_version_is_an_error_still() {
        let text = r#"{"code": "on_fire", "message": "the NIC is on fire"}"#;
        let error: VdevError = serde_json::from_str(text).unwrap();
        assert_eq!(error.code, ErrorCode::Unknown);
        assert_eq!(error.to_string(), "the NIC is on fire");
    }
}
