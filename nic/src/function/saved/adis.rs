// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Checks that the data plane's state of ADIs and the control plane's are of the same ADIs.

use std::collections::BTreeMap;

use adit_function::interrupts::CauseRingState;
use adit_function::snapshot::{AdiSnapshot, AdisSnapshot};

use super::{FunctionState, TakeOverError};
use crate::datapath::AdiState;
use crate::pasid::vtd;

/// Checks the state of ADIs and the latched interrupts of a function with `count` vectors of its own.
///
/// # Errors
/// With the first value that does not fit.
pub(super) fn check(saved: &FunctionState, count: u32) -> Result<(), TakeOverError> {
    let (control, data_plane) = (&saved.slow_path.control.adis, &saved.data_plane);
    let list = control.iter().flat_map(|adis| &adis.list);
    let vectors: BTreeMap<_, _> = list
        .map(|adi| (u64::from(adi.first_pair), u64::from(adi.vectors)))
        .collect();
    for &vector in &data_plane.pending {
        let exists = match vector.checked_sub(count).map(u64::from) {
            None => true,
            Some(number) => {
                let before = vectors.range(..=number).next_back();
                before.is_some_and(|(first, vectors)| number - first < *vectors)
            }
        };
        if !exists {
            return Err(TakeOverError::Vector { vector, count });
        }
    }
    let adis = match (control.as_deref(), &data_plane.adis) {
        (None, None) => return Ok(()),
        (Some(control), None) if control.list.is_empty() => return Ok(()),
        (Some(control), None) => {
            let problem = format!("it is missing: there are {} ADIs", control.list.len());
            return Err(invalid("", problem));
        }
        (None, Some(_)) => return Err(invalid("", "there are no ADIs".into())),
        (Some(control), Some(adis)) => {
            match adis.tables {
                None if control.list.is_empty() => {}
                None => return Err(invalid(".tables", "ADIs have tables".into())),
                Some(root) if root.table & !vtd::ADDRESS != 0 => {
                    let problem = format!("{:#x} is not the address of a table", root.table);
                    return Err(invalid(".tables", problem));
                }
                Some(_) => {}
            }
            for (&ring, state) in &adis.rings {
                check_ring(ring, state, control)
                    .map_err(|problem| invalid(&format!(".rings.{ring}"), problem))?;
            }
            adis
        }
    };
    let list = control.iter().flat_map(|adis| &adis.list);
    let by_id: BTreeMap<_, _> = list.map(|adi| (adi.id, adi)).collect();
    for (id, state) in &adis.adis {
        let checked = match by_id.get(id) {
            None => Err("there is no such ADI".into()),
            Some(adi) => check_adi(state, adi),
        };
        checked.map_err(|problem| invalid(&format!(".adis.{id}"), problem))?;
    }
    Ok(())
}

fn invalid(at: &str, problem: String) -> TakeOverError {
    let at = at.to_owned();
    TakeOverError::Adis { at, problem }
}

/// Checks a cause ring, which the control plane must have, too.
fn check_ring(ring: u16, state: &CauseRingState, control: &AdisSnapshot) -> Result<(), String> {
    let config = &state.config;
    let vector = config.vector.0;
    if control.rings.get(&ring).copied().map(u32::from) != Some(vector) {
        return Err(format!(
            "the control plane has no ring with vector {vector}"
        ));
    }
    config.check().map_err(|error| error.to_string())?;
    match state.next < config.len {
        true => Ok(()),
        false => Err(format!("entry {} of {}", state.next, config.len)),
    }
}

/// Checks that a fault was one of the ADI's queues.
fn check_adi(state: &AdiState, adi: &AdiSnapshot) -> Result<(), String> {
    let Some((queue, _)) = state.faults.first else {
        return Ok(());
    };
    let mut queues = adi.vport.queues.iter();
    match queues.any(|own| (own.kind, own.index) == (queue.kind, queue.index)) {
        true => Ok(()),
        false => Err(format!("a fault of {queue:?}, which the ADI does not have")),
    }
}
