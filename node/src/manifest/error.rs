// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Mistakes in a file, and notes of objects that are left out.

use std::fmt;

/// The place of an object or a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named.
    pub file: String,
    /// The document in the file, from 1.
    pub document: usize,
    /// Its place in the lists that it is in, from 0, the outermost first.
    pub items: Vec<usize>,
    /// The kind and the name of the object, as far as they are known.
    pub object: String,
    /// The field, such as `spec.ports[0].port`; empty for the object.
    pub path: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, document {}", self.file, self.document)?;
        for n in &self.items {
            write!(f, ", items[{n}]")?;
        }
        for part in [&self.object, &self.path] {
            if !part.is_empty() {
                write!(f, ", {part}")?;
            }
        }
        Ok(())
    }
}

/// A part of a file that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct Mistake {
    /// Its place.
    pub place: Place,
    /// The value, and what would be right.
    pub why: String,
}

/// A part of a file that has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its place.
    pub place: Place,
    /// The reason.
    pub why: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.why)
    }
}
