// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The states of a device in migration and the paths between them. Pure.

use vfio_bindings::bindings::vfio;

/// The states of `enum vfio_device_mig_state` (`linux/vfio.h`), with its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum MigrationState {
    /// The device has failed; a reset leads back to `Running`.
    Error = 0,
    /// The device does nothing: its state does not change, it uses no memory and raises no
    /// interrupt.
    Stop = 1,
    /// The device is in operation.
    Running = 2,
    /// As `Stop`, and its state can be read.
    StopCopy = 3,
    /// As `Stop`, and its state is written.
    Resuming = 4,
    /// As `Running`, without DMA to other devices.
    RunningP2p = 5,
    /// As `Running`, and its state can be read as far as it is known already.
    PreCopy = 6,
    /// As `PreCopy`, without DMA to other devices.
    PreCopyP2p = 7,
}

/// The optional states of a device. `Stop`, `StopCopy` and `Resuming` are not optional.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MigrationSupport {
    /// Set for `PreCopy`.
    pub pre_copy: bool,
    /// Set for `RunningP2p` and, together with `pre_copy`, for `PreCopyP2p`. vfio-user clients have
    /// no use for these.
    pub p2p: bool,
}

impl MigrationSupport {
    /// Returns the flags of `struct vfio_device_feature_migration`.
    pub const fn flags(self) -> u64 {
        let p2p = if self.p2p {
            vfio::VFIO_MIGRATION_P2P
        } else {
            0
        };
        let pre_copy = if self.pre_copy {
            vfio::VFIO_MIGRATION_PRE_COPY
        } else {
            0
        };
        (vfio::VFIO_MIGRATION_STOP_COPY | p2p | pre_copy) as u64
    }

    const fn has(self, state: MigrationState) -> bool {
        match state {
            MigrationState::RunningP2p => self.p2p,
            MigrationState::PreCopy => self.pre_copy,
            MigrationState::PreCopyP2p => self.p2p && self.pre_copy,
            _ => true,
        }
    }
}

impl MigrationState {
    /// All states in the order of their values.
    pub const ALL: [Self; 8] = [
        Self::Error,
        Self::Stop,
        Self::Running,
        Self::StopCopy,
        Self::Resuming,
        Self::RunningP2p,
        Self::PreCopy,
        Self::PreCopyP2p,
    ];

    /// Returns the state with that value, if there is one.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// Returns whether the state of the device can be read: all states of the "saving group" share
    /// one stream.
    pub const fn is_saving(self) -> bool {
        matches!(self, Self::StopCopy | Self::PreCopy | Self::PreCopyP2p)
    }

    /// Returns the first stop on the way to the state `to`, which is not `self`, for a device with
    /// every optional state. `None` if there is no way.
    ///
    /// The way is the shortest one whose interior is not in the saving group, unless all of it is:
    /// a stream is begun and ended by a client only.
    const fn step(self, to: Self) -> Option<Self> {
        Some(match (self, to) {
            (_, Self::Error) | (Self::Error, _) => return None,
            // The stream of a device that is stopped cannot go back to running.
            (Self::StopCopy, Self::PreCopy | Self::PreCopyP2p) => return None,

            (Self::Stop, Self::StopCopy) => Self::StopCopy,
            (Self::Stop, Self::Resuming) => Self::Resuming,
            (Self::Stop, _) => Self::RunningP2p,

            (Self::StopCopy | Self::Resuming, _) => Self::Stop,

            (Self::Running, Self::PreCopy) => Self::PreCopy,
            (Self::Running, _) => Self::RunningP2p,

            (Self::RunningP2p, Self::Running | Self::PreCopy) => Self::Running,
            (Self::RunningP2p, Self::PreCopyP2p) => Self::PreCopyP2p,
            (Self::RunningP2p, _) => Self::Stop,

            (Self::PreCopy, Self::PreCopyP2p | Self::StopCopy) => Self::PreCopyP2p,
            (Self::PreCopy, _) => Self::Running,

            (Self::PreCopyP2p, Self::PreCopy) => Self::PreCopy,
            (Self::PreCopyP2p, Self::StopCopy) => Self::StopCopy,
            (Self::PreCopyP2p, _) => Self::RunningP2p,
        })
    }

    /// Returns the state that follows on the way to `to`: one arc, which the device executes. Equal
    /// to `to` when the way ends there, and to `self` if that is the target. `None` if there is no
    /// such way, or if the device does not support one of the two states.
    ///
    /// The kernel's drivers have the same from `vfio_mig_get_next_state`: optional states that the
    /// device lacks are passed over.
    pub fn next(self, to: Self, support: MigrationSupport) -> Option<Self> {
        if !support.has(self) || !support.has(to) || self == Self::Error || to == Self::Error {
            return None;
        }
        let mut at = self;
        while at != to {
            at = at.step(to)?;
            if support.has(at) {
                break;
            }
        }
        Some(at)
    }
}

const _: () = assert!(
    MigrationState::ALL.len() == vfio::vfio_device_mig_state_VFIO_DEVICE_STATE_NR as usize
        && MigrationState::Resuming as u32
            == vfio::vfio_device_mig_state_VFIO_DEVICE_STATE_RESUMING
        && MigrationState::PreCopyP2p as u32
            == vfio::vfio_device_mig_state_VFIO_DEVICE_STATE_PRE_COPY_P2P
);

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use MigrationState::*;

    use super::*;

    const fn support(pre_copy: bool, p2p: bool) -> MigrationSupport {
        MigrationSupport { pre_copy, p2p }
    }

    const ALL: MigrationSupport = support(true, true);
    const ALL_SUPPORT: [MigrationSupport; 4] = [
        support(false, false),
        support(true, false),
        support(false, true),
        ALL,
    ];

    /// The direct arcs of a device with every state, as linux/vfio.h lists them.
    const ARCS: [(MigrationState, MigrationState); 15] = [
        (RunningP2p, Stop),
        (StopCopy, Stop),
        (Resuming, Stop),
        (PreCopy, Running),
        (RunningP2p, Running),
        (PreCopyP2p, RunningP2p),
        (Running, RunningP2p),
        (Stop, RunningP2p),
        (Running, PreCopy),
        (RunningP2p, PreCopyP2p),
        (Stop, StopCopy),
        (PreCopy, PreCopyP2p),
        (PreCopyP2p, PreCopy),
        (PreCopyP2p, StopCopy),
        (Stop, Resuming),
    ];

    fn way(
        from: MigrationState,
        to: MigrationState,
        support: MigrationSupport,
    ) -> Option<Vec<MigrationState>> {
        let mut stops = vec![from];
        loop {
            let at = stops[stops.len() - 1];
            let next = at.next(to, support)?;
            if at == to {
                assert_eq!(next, at, "no arc leads from a state to itself");
                return Some(stops);
            }
            stops.push(next);
            assert!(stops.len() <= 8, "{from:?} to {to:?} goes round: {stops:?}");
        }
    }

    /// The number of arcs of the shortest permitted path, by breadth-first search.
    fn shortest(from: MigrationState, to: MigrationState) -> Option<usize> {
        let within = from.is_saving() && to.is_saving();
        let mut seen = BTreeMap::from([(from, 0)]);
        let mut queue = VecDeque::from([from]);
        while let Some(at) = queue.pop_front() {
            for (_, next) in ARCS.into_iter().filter(|&(a, _)| a == at) {
                let permitted = next == to
                    || if within {
                        next.is_saving()
                    } else {
                        !next.is_saving()
                    };
                if permitted && !seen.contains_key(&next) {
                    seen.insert(next, seen[&at] + 1);
                    queue.push_back(next);
                }
            }
        }
        seen.get(&to).copied()
    }

    #[test]
    fn every_way_is_the_shortest_of_direct_arcs() {
        for from in MigrationState::ALL {
            for to in MigrationState::ALL {
                let stops = way(from, to, ALL);
                let expected = match (from, to) {
                    (Error, _) | (_, Error) => None,
                    _ => shortest(from, to),
                };
                assert_eq!(
                    stops.as_ref().map(|s| s.len() - 1),
                    expected,
                    "{from:?} to {to:?}"
                );
                for arc in stops.iter().flat_map(|s| s.windows(2)) {
                    assert!(
                        ARCS.contains(&(arc[0], arc[1])),
                        "{from:?} to {to:?}: {arc:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn states_that_a_device_lacks_are_passed_over() {
        for support in ALL_SUPPORT {
            for from in MigrationState::ALL {
                for to in MigrationState::ALL {
                    let full = way(from, to, ALL).filter(|_| support.has(from) && support.has(to));
                    let kept = full.map(|stops| {
                        let kept = stops.into_iter().filter(|&s| support.has(s));
                        kept.collect::<Vec<_>>()
                    });
                    assert_eq!(
                        way(from, to, support),
                        kept,
                        "{from:?} to {to:?}, {support:?}"
                    );
                }
            }
        }
    }

    /// The combinations that the kernel documents at `vfio_mig_get_next_state`, for the three kinds
    /// of device that exist.
    #[test]
    fn the_kernels_combinations() {
        let [stop_copy, pre_copy, p2p, _] = ALL_SUPPORT;
        let cases: &[(MigrationSupport, &[MigrationState])] = &[
            (stop_copy, &[Running, Stop, StopCopy]),
            (stop_copy, &[Running, Stop, Resuming]),
            (stop_copy, &[StopCopy, Stop, Running]),
            (stop_copy, &[StopCopy, Stop, Resuming]),
            (stop_copy, &[Resuming, Stop, Running]),
            (stop_copy, &[Resuming, Stop, StopCopy]),
            (pre_copy, &[Stop, Running, PreCopy]),
            (pre_copy, &[Running, PreCopy]),
            (pre_copy, &[PreCopy, StopCopy]),
            (pre_copy, &[PreCopy, Running, Stop]),
            (pre_copy, &[PreCopy, Running, Stop, Resuming]),
            (pre_copy, &[Resuming, Stop, Running, PreCopy]),
            (pre_copy, &[Running, Stop, StopCopy]),
            (p2p, &[Running, RunningP2p, Stop, StopCopy]),
            (p2p, &[StopCopy, Stop, RunningP2p, Running]),
            (p2p, &[Resuming, Stop, RunningP2p]),
            (ALL, &[PreCopy, Running, RunningP2p, Stop, Resuming]),
            (ALL, &[PreCopy, Running, RunningP2p]),
            (ALL, &[PreCopy, Running, RunningP2p, Stop]),
            (ALL, &[PreCopy, PreCopyP2p, StopCopy]),
            (ALL, &[PreCopyP2p, RunningP2p, Running]),
            (ALL, &[PreCopyP2p, RunningP2p, Stop, Resuming]),
            (ALL, &[Resuming, Stop, RunningP2p, PreCopyP2p]),
            (ALL, &[Resuming, Stop, RunningP2p, Running, PreCopy]),
            (ALL, &[Running, RunningP2p, PreCopyP2p]),
            (ALL, &[RunningP2p, Running, PreCopy]),
            (ALL, &[Stop, RunningP2p, PreCopyP2p]),
        ];
        for (support, stops) in cases {
            let (from, to) = (stops[0], stops[stops.len() - 1]);
            assert_eq!(
                way(from, to, *support).as_deref(),
                Some(*stops),
                "{support:?}"
            );
        }
        for support in ALL_SUPPORT {
            assert_eq!(StopCopy.next(PreCopy, support), None);
            assert_eq!(StopCopy.next(PreCopyP2p, support), None);
        }
        assert_eq!(Running.next(PreCopy, stop_copy), None);
        assert_eq!(Running.next(RunningP2p, pre_copy), None);
    }

    #[test]
    fn numbers_and_states_agree() {
        for number in 0..=64 {
            let state = MigrationState::from_number(number);
            assert_eq!(state.is_some(), number < 8);
            assert!(state.is_none_or(|s| s as u32 == number));
        }
        assert_eq!(MigrationState::from_number(u32::MAX), None);
        assert_eq!(ALL_SUPPORT.map(MigrationSupport::flags), [1, 5, 3, 7]);
    }
}
