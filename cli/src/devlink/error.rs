// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Errors of devlink requests.

use std::io;

use thiserror::Error;

/// The error of a devlink request.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// The kernel rejected the request, with a reason if it returned one.
    #[error("{}", refusal(.errno, .reason))]
    Refused {
        /// The errno.
        errno: io::Error,
        /// The extended acknowledgement.
        reason: Option<String>,
    },
    /// Devlink is not available.
    #[error("devlink is not available: {0}")]
    Netlink(String),
    /// The kernel's reply lacks an attribute that the family guarantees.
    #[error("devlink's reply has no {0}")]
    Answer(&'static str),
}

impl Error {
    /// Returns the kernel's errno.
    pub(crate) fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { errno, .. } => errno.raw_os_error(),
            _ => None,
        }
    }
}

fn refusal(errno: &io::Error, reason: &Option<String>) -> String {
    match reason {
        Some(reason) => format!("{reason} ({errno})"),
        None => errno.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_tells_the_kernels_reason() {
        let busy = |reason: Option<&str>| Error::Refused {
            errno: io::Error::from_raw_os_error(16),
            reason: reason.map(Into::into),
        };
        assert_eq!(busy(None).errno(), Some(16));
        let text = busy(Some("the ADI is in use")).to_string();
        assert!(text.starts_with("the ADI is in use (Device"), "{text}");
    }
}
