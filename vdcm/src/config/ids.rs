// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Users, groups and modes as a configuration has them.

use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// A user, by name or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UserRef(pub(super) u32);

/// A group, by name or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupRef(pub(super) u32);

/// The mode of a file, as octal text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ModeText(pub(super) u32);

impl<'de> Deserialize<'de> for UserRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let lookup = |name: &str| {
            nix::unistd::User::from_name(name).map(|it| it.map(|user| user.uid.as_raw()))
        };
        let id = IdVisitor {
            kind: "user",
            lookup,
        };
        deserializer.deserialize_any(id).map(Self)
    }
}

impl<'de> Deserialize<'de> for GroupRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let lookup = |name: &str| {
            nix::unistd::Group::from_name(name).map(|it| it.map(|group| group.gid.as_raw()))
        };
        let id = IdVisitor {
            kind: "group",
            lookup,
        };
        deserializer.deserialize_any(id).map(Self)
    }
}

impl<'de> Deserialize<'de> for ModeText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // Without `+`, which from_str_radix accepts.
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        let mode = u32::from_str_radix(&text, 8).ok();
        match mode.filter(|mode| digits && *mode <= 0o777) {
            Some(mode) => Ok(Self(mode)),
            None => Err(D::Error::invalid_value(
                Unexpected::Str(&text),
                &"a mode as octal text, such as \"0660\", at most \"0777\"",
            )),
        }
    }
}

/// Looks a name up, or takes a number.
struct IdVisitor<F> {
    kind: &'static str,
    lookup: F,
}

impl<F: Fn(&str) -> nix::Result<Option<u32>>> Visitor<'_> for IdVisitor<F> {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the name or the number of a {}", self.kind)
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<u32, E> {
        match (self.lookup)(name) {
            Ok(Some(id)) => Ok(id),
            Ok(None) => Err(E::custom(format_args!("no {} `{name}`", self.kind))),
            Err(error) => Err(E::custom(format_args!("{} `{name}`: {error}", self.kind))),
        }
    }

    fn visit_i64<E: Error>(self, id: i64) -> Result<u32, E> {
        // All ones is no id: system calls take it for `unchanged`.
        match u32::try_from(id).ok().filter(|id| *id != u32::MAX) {
            Some(id) => Ok(id),
            None => Err(E::invalid_value(Unexpected::Signed(id), &self)),
        }
    }
}
