// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The settings that all threads share. A packet takes no reference to them: each thread keeps the
//! settings that it has seen last, and looks only for their number.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::settings::Settings;

/// Settings, with a number that no others of the process have.
struct Version {
    number: u64,
    settings: Settings,
}

impl Version {
    fn new(settings: Settings) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Arc::new(Version {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            settings,
        })
    }
}

pub(super) struct SharedSettings {
    current: Mutex<Arc<Version>>,
    /// The number of the current version, which is stored under its lock.
    number: AtomicU64,
}

thread_local! {
    /// The version that the thread has seen last. It stays after its tracker's end until the thread
    /// sees another one.
    static SEEN: Cell<Option<Arc<Version>>> = const { Cell::new(None) };
}

impl SharedSettings {
    pub(super) fn new(settings: Settings) -> Self {
        let version = Version::new(settings);
        SharedSettings {
            number: AtomicU64::new(version.number),
            current: Mutex::new(version),
        }
    }

    /// A copy.
    pub(super) fn get(&self) -> Settings {
        self.current.lock().settings.clone()
    }

    pub(super) fn set(&self, settings: Settings) {
        let version = Version::new(settings);
        let mut current = self.current.lock();
        self.number.store(version.number, Ordering::Release);
        *current = version;
    }

    /// Runs `read` on the settings.
    #[inline]
    pub(super) fn with<T>(&self, read: impl FnOnce(&Settings) -> T) -> T {
        let number = self.number.load(Ordering::Acquire);
        // While `read` runs, the thread has seen none: a call within it takes the slower way.
        let seen = SEEN.try_with(Cell::take).ok().flatten();
        let version = match seen {
            Some(seen) if seen.number == number => seen,
            _ => self.current.lock().clone(),
        };
        let result = read(&version.settings);
        // A thread that ends keeps none.
        let _ = SEEN.try_with(|seen| seen.set(Some(version)));
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retransmissions(shared: &SharedSettings) -> u8 {
        shared.with(|settings| settings.tcp_max_retrans)
    }

    fn settings(tcp_max_retrans: u8) -> Settings {
        Settings {
            tcp_max_retrans,
            ..Settings::default()
        }
    }

    #[test]
    fn the_settings_of_each_tracker_are_seen_at_once() {
        let (a, b) = (
            SharedSettings::new(settings(1)),
            SharedSettings::new(settings(2)),
        );
        for _ in 0..2 {
            assert_eq!((retransmissions(&a), retransmissions(&b)), (1, 2));
        }
        assert_eq!(retransmissions(&a), 1);
        a.set(settings(3));
        assert_eq!((retransmissions(&a), retransmissions(&b)), (3, 2));
        // A call within another one, which changes the settings that the outer one has.
        a.with(|outer| {
            a.set(settings(4));
            assert_eq!((outer.tcp_max_retrans, retransmissions(&a)), (3, 4));
            assert_eq!(retransmissions(&b), 2);
        });
        assert_eq!((retransmissions(&a), a.get().tcp_max_retrans), (4, 4));
    }

    /// Of two that are set at a time, the one that stays is the one that packets see.
    #[test]
    fn settings_that_two_threads_set_are_seen() {
        let shared = SharedSettings::new(settings(0));
        for _ in 0..1000 {
            std::thread::scope(|scope| {
                scope.spawn(|| shared.set(settings(1)));
                scope.spawn(|| shared.set(settings(2)));
            });
            assert_eq!(retransmissions(&shared), shared.get().tcp_max_retrans);
        }
    }
}
