// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What `--wire` asks for.

use std::fmt;
use std::str::FromStr;

use crate::wire::{Port, Tap, TapError};

/// What is at the other end of a port's cable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireSpec {
    /// A TAP device of this network namespace.
    Tap(String),
    /// Nothing: the link is down.
    None,
}

impl FromStr for WireSpec {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s.split_once(':') {
            Some(("tap", name)) if !name.is_empty() => Ok(Self::Tap(name.to_owned())),
            None if s == "none" => Ok(Self::None),
            _ => Err(format!("`{s}` is not a wire: tap:NAME or none")),
        }
    }
}

impl fmt::Display for WireSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tap(name) => write!(f, "tap:{name}"),
            Self::None => f.write_str("none"),
        }
    }
}

impl WireSpec {
    /// Plugs the cable in.
    ///
    /// # Errors
    /// When the host does not let us.
    pub fn open(&self) -> Result<Option<Box<dyn Port>>, TapError> {
        Ok(match self {
            Self::Tap(name) => Some(Box::new(Tap::open(name)?)),
            Self::None => None,
        })
    }
}
