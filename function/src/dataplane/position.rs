// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The position of a queue in its ring.

use adit_uapi::virtchnl2::adi::{queue_state_flags, AdiQueueState};
use serde::{Deserialize, Serialize};
use zerocopy::little_endian::U16;

use super::QueueKind;

/// The state of an enabled queue that its driver has not set: the place where it continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueuePosition {
    /// The index of the next entry that the device reads or writes.
    pub next: u16,
    /// The generation bit of the next entry that it writes; false for queues whose entries have none.
    pub generation: bool,
    /// Set if a fault has stopped the queue.
    pub stopped: bool,
}

/// The position of an enabled queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueState {
    /// Its kind.
    pub kind: QueueKind,
    /// Its number among those of its kind.
    pub index: u32,
    /// Its position.
    pub position: QueuePosition,
}

/// The reason why positions are not those of the enabled queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PositionError {
    /// The path of the value in the list.
    pub at: String,
    /// The value, and what would be right.
    pub problem: String,
}

/// Checks that a list has the positions of exactly these queues, which are sorted and given with the
/// lengths of their rings, and that each is within its ring.
///
/// # Errors
/// With the first value that is not.
pub fn check_positions(
    states: &[QueueState],
    enabled: &[(QueueKind, u32, u16)],
) -> Result<(), PositionError> {
    let wrong = |at: String, problem: String| Err(PositionError { at, problem });
    if states.len() != enabled.len() {
        let (given, expected) = (states.len(), enabled.len());
        let problem = format!("{given} positions: {expected} queues are enabled in `function`");
        return wrong(String::new(), problem);
    }
    for (n, (state, &(kind, index, len))) in states.iter().zip(enabled).enumerate() {
        if (state.kind, state.index) != (kind, index) {
            let problem = format!(
                "{:?} {}: the next queue that is enabled is {kind:?} {index}",
                state.kind, state.index
            );
            return wrong(format!("[{n}]"), problem);
        }
        if state.position.next >= len {
            let next = state.position.next;
            let problem = format!("{next}: the ring has {len} entries");
            return wrong(format!("[{n}].position.next"), problem);
        }
    }
    Ok(())
}

impl QueuePosition {
    /// The position in a message; `None` for a queue that is not enabled. Neither its range nor flags
    /// without a meaning are checked.
    #[must_use]
    pub fn of(state: &AdiQueueState) -> Option<Self> {
        let has = |flag| state.flags.get() & flag != 0;
        has(queue_state_flags::ENABLED).then(|| Self {
            next: state.next.get(),
            generation: has(queue_state_flags::GENERATION),
            stopped: has(queue_state_flags::STOPPED),
        })
    }
}

/// The state of an enabled queue in a message.
impl From<QueuePosition> for AdiQueueState {
    fn from(position: QueuePosition) -> Self {
        let flag = |set: bool, flag| if set { flag } else { 0 };
        let flags = queue_state_flags::ENABLED
            | flag(position.generation, queue_state_flags::GENERATION)
            | flag(position.stopped, queue_state_flags::STOPPED);
        Self {
            next: U16::new(position.next),
            flags: U16::new(flags),
            ..Self::default()
        }
    }
}
