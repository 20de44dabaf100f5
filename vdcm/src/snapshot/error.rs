// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The reasons why a state is not saved or restored.

use adit_function::snapshot::{RestoreError, SaveError};
use adit_vfio_user::Errno;
use thiserror::Error;

use super::MAX_LEN;
use crate::backend::AdiError;

/// The reason why a state is not saved or restored.
#[derive(Debug, Error)]
pub enum StateError {
    /// It is too long.
    #[error("a state of {0} bytes: the limit is {MAX_LEN}")]
    TooLong(usize),
    /// It is not of the format's form. The text includes the cause, which is therefore no `source`.
    #[error("the state is not of the form of this version: {0}")]
    Form(serde_json::Error),
    /// A field has an impossible value.
    #[error("{at}: {problem}")]
    Invalid {
        /// The path of the field.
        at: String,
        /// The value, and the values that would be right.
        problem: String,
    },
    /// The slow path cannot be saved.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// The slow path cannot be restored. The text includes the cause, as above.
    #[error("function: {0}")]
    Restore(RestoreError),
    /// An ADI failed. (One whose driver is older refuses to be suspended.)
    #[error("ADI {adi}: {error}")]
    Adi {
        /// The ADI.
        adi: String,
        /// Its error.
        error: AdiError,
    },
    /// The device is held in reset.
    #[error("an ADI of the device is gone, and the device is held in reset: replace the ADI")]
    Gone,
    /// The device runs.
    #[error("the device is not suspended")]
    Running,
    /// The client has stopped the device.
    #[error("the device's client has stopped it, by a migration: only the client can resume it")]
    Stopped,
}

impl From<serde_json::Error> for StateError {
    fn from(error: serde_json::Error) -> Self {
        Self::Form(error)
    }
}

impl From<RestoreError> for StateError {
    fn from(error: RestoreError) -> Self {
        Self::Restore(error)
    }
}

impl StateError {
    pub(crate) fn invalid(at: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid {
            at: at.into(),
            problem: problem.into(),
        }
    }

    /// The error for the client.
    pub(crate) fn errno(&self) -> Errno {
        match self {
            Self::TooLong(_) => Errno::FBIG,
            Self::Form(_) | Self::Invalid { .. } | Self::Restore(_) => Errno::INVAL,
            Self::Save(_) => Errno::BUSY,
            Self::Adi { error, .. } => match error {
                AdiError::Refused { .. } | AdiError::Limit { .. } => Errno::OPNOTSUPP,
                AdiError::Gone => Errno::NODEV,
                AdiError::Io { .. } => Errno::IO,
            },
            Self::Gone => Errno::NODEV,
            Self::Running | Self::Stopped => Errno::BUSY,
        }
    }
}
