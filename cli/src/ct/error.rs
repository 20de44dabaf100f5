// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Failures, with the texts and exit codes of conntrack(8).

use std::io::Write;

use adit_conntrack_rpc::client::CallError;
use adit_p4runtime::client::Code;

/// The name and version that begin each message on the standard error output.
pub(super) const PROGRAM: &str = concat!("conntrack v", env!("CARGO_PKG_VERSION"));

/// A failure.
#[derive(Debug)]
pub(super) enum Failure {
    /// The command line cannot be used: exit code 2, with a hint at the help.
    Usage(String),
    /// An operation failed: exit code 1.
    Operation(String),
    /// The server cannot be reached, or the output cannot be written.
    Other(anyhow::Error),
}

/// A result of this command.
pub(super) type Result<T> = std::result::Result<T, Failure>;

/// A failure of the command line.
pub(super) fn usage<T>(text: impl Into<String>) -> Result<T> {
    Err(Failure::Usage(text.into()))
}

/// A failure with the text of an error number.
pub(super) fn operation<T>(text: &str) -> Result<T> {
    Err(Failure::Operation(format!("Operation failed: {text}")))
}

/// The text for parameters that do not describe a connection.
pub(super) const INVALID: &str = "invalid parameters";

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        // The texts that conntrack(8) has for the error numbers of ctnetlink.
        let text = match (error.code, error.call) {
            (Code::AlreadyExists, _) => "File exists",
            (Code::NotFound, "CreateExpectation") => "master conntrack not found",
            (Code::NotFound, "GetExpectation" | "DeleteExpectation") => "No such file or directory",
            (Code::NotFound, _) => "such conntrack doesn't exist",
            (Code::InvalidArgument, _) => INVALID,
            (Code::FailedPrecondition, _) => "Device or resource busy",
            (Code::PermissionDenied | Code::Unauthenticated, _) => {
                "sorry, you must be root or get CAP_NET_ADMIN capability to do this"
            }
            (Code::ResourceExhausted, "CreateConnection") => "not enough memory",
            _ => return Failure::Other(error.into()),
        };
        Failure::Operation(format!("Operation failed: {text}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::Other(error.into())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure::Other(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Failure::Other(error.into())
    }
}

/// Prints a message on the standard error output, behind the program's name.
pub(super) fn say(text: &str) {
    note(&format!("{PROGRAM} (conntrack-tools): {text}"));
}

/// Prints a line on the standard error output. If nobody can read it, the command goes on as conntrack(8) does:
/// what it does and its exit code do not depend on messages.
pub(super) fn note(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

impl Failure {
    /// Prints it, and returns the exit code.
    pub(super) fn report(&self) -> u8 {
        match self {
            Failure::Usage(text) => {
                say(text);
                note("Try `conntrack -h' or 'conntrack --help' for more information.");
                2
            }
            Failure::Operation(text) => {
                say(text);
                1
            }
            Failure::Other(error) if crate::output::reader_is_gone(error) => 0,
            Failure::Other(error) => {
                say(&format!("{error:#}"));
                1
            }
        }
    }
}
