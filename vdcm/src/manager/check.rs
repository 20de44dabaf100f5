// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Checks of the description of a device, and errors for the operator.

use std::io::ErrorKind;

use crate::backend::{Adi, AdiError};
use crate::protocol::{ErrorCode, Limits, Spec, VdevError, MAX_ADIS, MAX_GROUP, MAX_NAME_LEN};
use crate::snapshot::StateError;
use crate::vdev::ComposeError;

/// The last VLAN id.
const MAX_VLAN: u16 = adit_uapi::virtchnl2::adi::VLAN_MAX;

fn invalid(message: String) -> VdevError {
    VdevError::new(ErrorCode::Invalid, message)
}

/// Checks what can be checked without ADIs.
pub(super) fn spec(spec: &Spec) -> Result<(), VdevError> {
    if let Some(name) = &spec.name {
        device_name(name)?;
    }
    let (count, members) = (spec.adis.len(), usize::from(members(spec)));
    if members == 0 || members > usize::from(MAX_GROUP) {
        return Err(invalid(format!(
            "a group of {members} ADIs: there can be 1 to {MAX_GROUP}"
        )));
    }
    if count % members != 0 {
        return Err(invalid(format!(
            "{count} ADIs are no groups of {members}: give {members} for each virtual port"
        )));
    }
    let ports = count / members;
    if ports > MAX_ADIS {
        return Err(invalid(format!(
            "{ports} virtual ports: a device has 1 to {MAX_ADIS}, each with an ADI or a group"
        )));
    }
    once(&spec.adis)?;
    if let Some(vlan) = spec.vlan.filter(|&vlan| vlan > MAX_VLAN) {
        return Err(invalid(format!("VLAN {vlan}: it is 0 to {MAX_VLAN}")));
    }
    match &spec.limits {
        Some(own) => limits(own),
        None => Ok(()),
    }
}

/// Checks the ADIs that take the place of that of a virtual port.
pub(super) fn replacement(adis: &[String]) -> Result<(), VdevError> {
    let count = adis.len();
    if count == 0 || count > usize::from(MAX_GROUP) {
        return Err(invalid(format!(
            "{count} ADIs for a virtual port: it has 1, or a group of up to {MAX_GROUP}"
        )));
    }
    once(adis)
}

/// Checks that each ADI is given once.
fn once(adis: &[String]) -> Result<(), VdevError> {
    match (1..adis.len()).find(|&n| adis[..n].contains(&adis[n])) {
        Some(twice) => Err(invalid(format!("ADI {} is given twice", adis[twice]))),
        None => Ok(()),
    }
}

/// The number of ADIs of each virtual port.
pub(super) fn members(spec: &Spec) -> u16 {
    spec.group.unwrap_or(1)
}

/// Checks limits.
pub(super) fn limits(limits: &Limits) -> Result<(), VdevError> {
    let zero = [
        ("messages_per_second", limits.messages_per_second == 0),
        ("message_burst", limits.message_burst == 0),
        ("registered_bytes", limits.registered_bytes == 0),
        ("windows", limits.windows == 0),
    ];
    match zero.iter().find(|(_, zero)| *zero) {
        Some((name, _)) => Err(invalid(format!("the limit {name} is 0: at least 1"))),
        None => Ok(()),
    }
}

/// Checks a device's name, which is also a part of a path.
pub(super) fn device_name(name: &str) -> Result<(), VdevError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let first = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    if first && name.len() <= MAX_NAME_LEN && name.bytes().all(good) {
        return Ok(());
    }
    let shown: String = name.chars().take(MAX_NAME_LEN).collect();
    Err(invalid(format!(
        "`{}` is not a name: up to {MAX_NAME_LEN} letters, digits, `.`, `_` and `-`, the first a \
         letter or digit",
        shown.escape_default()
    )))
}

/// Checks that an existing ADI is the one that the operator describes.
pub(super) fn adi(spec: &Spec, at: u32, adi: &dyn Adi) -> Result<(), VdevError> {
    let (name, own) = (adi.name(), adi.properties());
    let mac = adit_function::mac::MacAddr(own.mac);
    if let Some(wanted) = spec.mac.map(|first| first.nth(at)).filter(|&m| m != mac) {
        return Err(invalid(format!(
            "ADI {name} has MAC address {mac}, not {wanted}: set it where the ADI is managed"
        )));
    }
    if let Some(wanted) = spec.vlan.filter(|&vlan| vlan != own.vlan) {
        let vlan = own.vlan;
        return Err(invalid(format!(
            "ADI {name} is on VLAN {vlan}, not {wanted}: set it where the ADI is managed"
        )));
    }
    Ok(())
}

/// The operator's view of an error of the back end.
pub(super) fn adi_error(what: &str, error: &AdiError) -> VdevError {
    let code = match error {
        AdiError::Refused { .. } => ErrorCode::System,
        AdiError::Limit { .. } => ErrorCode::Limit,
        AdiError::Gone => ErrorCode::Gone,
        AdiError::Io { source, .. } => match source.kind() {
            ErrorKind::NotFound => ErrorCode::NotFound,
            ErrorKind::ResourceBusy => ErrorCode::Busy,
            ErrorKind::Unsupported => ErrorCode::Unsupported,
            ErrorKind::InvalidInput => ErrorCode::Invalid,
            _ => ErrorCode::System,
        },
    };
    let cause = match error {
        AdiError::Io { source, .. } => format!(": {source}"),
        _ => String::new(),
    };
    VdevError::new(code, format!("{what}: {error}{cause}"))
}

/// The operator's view of an error of composing.
pub(super) fn compose_error(error: &ComposeError) -> VdevError {
    let code = match error {
        ComposeError::Count { .. }
        | ComposeError::Unlike { .. }
        | ComposeError::Queues { .. }
        | ComposeError::Profile(_)
        | ComposeError::Config(_)
        | ComposeError::NoSuchPort(_) => ErrorCode::Invalid,
        ComposeError::Connected => ErrorCode::Busy,
        ComposeError::Adi { .. } | ComposeError::Pages { .. } | ComposeError::Map(_) => {
            ErrorCode::System
        }
        ComposeError::Dma(_) => ErrorCode::Limit,
    };
    VdevError::new(code, error.to_string())
}

/// The operator's view of an error of saving or restoring.
pub(super) fn state_error(error: &StateError) -> VdevError {
    let code = match error {
        StateError::TooLong(_) => ErrorCode::Limit,
        StateError::Form(_) | StateError::Invalid { .. } | StateError::Restore(_) => {
            ErrorCode::Invalid
        }
        StateError::Save(_) | StateError::Running | StateError::Stopped => ErrorCode::Busy,
        StateError::Gone => ErrorCode::Gone,
        StateError::Adi { adi, error } => return adi_error(&format!("ADI {adi}"), error),
    };
    VdevError::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parts_of_paths_and_nothing_else() {
        for good in ["a", "vdev0", "7.b_c-d"] {
            assert!(device_name(good).is_ok(), "{good}");
        }
        let long = "a".repeat(MAX_NAME_LEN + 1);
        for bad in ["", ".", "..", "-x", "a/b", "a b", "a\0", "ä", &long] {
            assert!(device_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_spec_with_impossible_values_is_refused() {
        let twice = Spec {
            adis: vec!["a".into(), "b".into(), "a".into()],
            ..Spec::default()
        };
        let vlan = Spec {
            vlan: Some(4095),
            ..Spec::default()
        };
        let limits = Spec {
            limits: Some(Limits {
                windows: 0,
                ..Limits::default()
            }),
            ..Spec::default()
        };
        let grouped = |adis: &[&str], group| Spec {
            adis: adis.iter().map(|&name| name.into()).collect(),
            group: Some(group),
            ..Spec::default()
        };
        let none = grouped(&[], 0);
        let many = grouped(&[], MAX_GROUP + 1);
        let odd = grouped(&["a", "b", "c"], 2);
        let repeated = grouped(&["a", "a"], 2);
        for bad in [twice, vlan, limits, none, many, odd, repeated] {
            let refused = spec(&bad).map_err(|e| e.code);
            assert_eq!(refused, Err(ErrorCode::Invalid), "{bad:?}");
        }
        assert!(spec(&grouped(&["a", "b", "c", "d"], 2)).is_ok());
        assert!(spec(&Spec::default()).is_ok());
    }
}
