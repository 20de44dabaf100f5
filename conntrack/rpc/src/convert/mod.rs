// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Messages to the tracker's types, checked, and back.

mod connection;
mod event;
mod expectation;
mod filter;
mod ports;
mod tuple;

use thiserror::Error;

pub(crate) use connection::{connection_message, new_connection, update};
pub(crate) use event::event_values;
pub(crate) use expectation::{expectation_message, new_expectation};
pub(crate) use filter::filter_and_id;
pub(crate) use ports::{reserved_message, reserved_ports};
pub(crate) use tuple::{tuple, zone};

/// A message that cannot be used: the field, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {problem}")]
pub struct Malformed {
    field: &'static str,
    problem: String,
}

impl Malformed {
    pub(crate) fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Malformed {
            field,
            problem: problem.into(),
        }
    }
}

impl From<Malformed> for tonic::Status {
    fn from(malformed: Malformed) -> Self {
        tonic::Status::invalid_argument(malformed.to_string())
    }
}

pub(crate) type Result<T> = std::result::Result<T, Malformed>;

/// The value of a field that is required.
fn required<T>(field: &'static str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| Malformed::new(field, "absent, but required"))
}

/// A number that must fit into a smaller type.
fn narrow<T: TryFrom<u32>>(field: &'static str, value: u32) -> Result<T> {
    value.try_into().map_err(|_| {
        let bits = 8 * size_of::<T>();
        Malformed::new(field, format!("{value} has more than {bits} bits"))
    })
}

/// A label of 16 bytes, the lowest first; none is 0.
fn label(field: &'static str, octets: &[u8]) -> Result<u128> {
    if octets.is_empty() {
        return Ok(0);
    }
    let octets = octets.try_into().map_err(|_| {
        let len = octets.len();
        Malformed::new(field, format!("{len} bytes; a label has 16"))
    })?;
    Ok(u128::from_le_bytes(octets))
}

/// The two values of a field that has one for each direction or peer.
fn pair<T: Copy>(field: &'static str, values: &[T]) -> Result<Option<[T; 2]>> {
    match values {
        [] => Ok(None),
        &[original, reply] => Ok(Some([original, reply])),
        _ => {
            let len = values.len();
            Err(Malformed::new(field, format!("{len} values; two, or none")))
        }
    }
}

#[cfg(test)]
mod tests;
