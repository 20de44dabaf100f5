// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A device that is frozen: its threads do nothing, until it goes on or another process has taken its
//! state over.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Condvar, Mutex};

/// Freezes the threads of a device.
#[derive(Default)]
pub(crate) struct Freezer {
    /// A copy of the state, which is read for each turn of the engine.
    frozen: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    frozen: bool,
    ended: bool,
    /// The number of steps that are under way.
    steps: u32,
}

impl Freezer {
    /// Freezes: when this returns, no step is under way.
    pub(crate) fn freeze(&self) {
        let mut state = self.state.lock();
        state.frozen = true;
        self.frozen.store(true, Ordering::Release);
        while state.steps > 0 {
            self.changed.wait(&mut state);
        }
    }

    /// Lets everything go on.
    pub(crate) fn thaw(&self) {
        self.state.lock().frozen = false;
        self.frozen.store(false, Ordering::Release);
        self.changed.notify_all();
    }

    /// Lets those who [`wait`](Self::wait) end.
    pub(crate) fn end(&self) {
        self.state.lock().ended = true;
        self.changed.notify_all();
    }

    /// Returns whether it is frozen.
    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Acquire)
    }

    /// Waits until it is not frozen, or has ended.
    pub(crate) fn wait(&self) {
        let mut state = self.state.lock();
        while state.frozen && !state.ended {
            self.changed.wait(&mut state);
        }
    }

    /// Makes a step, unless it is frozen. It does not freeze meanwhile.
    pub(crate) fn step<T>(&self, step: impl FnOnce() -> T) -> Option<T> {
        let mut state = self.state.lock();
        if state.frozen {
            return None;
        }
        state.steps += 1;
        drop(state);
        Some(self.begun(step))
    }

    /// Makes a step as soon as it is not frozen; `None` if it ends while it is. It does not freeze between
    /// the wait and the step.
    pub(crate) fn step_once_thawed<T>(&self, step: impl FnOnce() -> T) -> Option<T> {
        let mut state = self.state.lock();
        while state.frozen {
            if state.ended {
                return None;
            }
            self.changed.wait(&mut state);
        }
        state.steps += 1;
        drop(state);
        Some(self.begun(step))
    }

    /// Returns whether a step is under way.
    #[cfg(test)]
    pub(crate) fn is_stepping(&self) -> bool {
        self.state.lock().steps > 0
    }

    /// Makes a step that has been counted.
    fn begun<T>(&self, step: impl FnOnce() -> T) -> T {
        let _done = Step(self);
        step()
    }
}

/// A step, which has ended when this is dropped.
struct Step<'a>(&'a Freezer);

impl Drop for Step<'_> {
    fn drop(&mut self) {
        self.0.state.lock().steps -= 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn freezing_waits_for_steps_and_keeps_others_from_beginning() {
        let freezer = Arc::new(Freezer::default());
        let (begun, begins) = channel();
        let (end, ends) = channel::<()>();
        let stepper = std::thread::spawn({
            let freezer = freezer.clone();
            move || {
                freezer.step(|| {
                    begun.send(()).unwrap();
                    ends.recv().unwrap();
                })
            }
        });
        begins.recv().unwrap();
        let freezing = std::thread::spawn({
            let freezer = freezer.clone();
            move || freezer.freeze()
        });
        while !freezer.is_frozen() {
            std::thread::yield_now();
        }
        assert!(!freezing.is_finished());
        assert_eq!(freezer.step(|| 1), None);
        end.send(()).unwrap();
        freezing.join().unwrap();
        assert_eq!(stepper.join().unwrap(), Some(()));
        let waiting = std::thread::spawn({
            let freezer = freezer.clone();
            move || freezer.wait()
        });
        freezer.thaw();
        waiting.join().unwrap();
        assert_eq!(freezer.step(|| 1), Some(1));
        freezer.freeze();
        freezer.end();
        freezer.wait();
        assert_eq!(freezer.step_once_thawed(|| 1), None);
    }

    #[test]
    fn a_step_is_made_however_short_the_time_between_two_freezes_is() {
        for _ in 0..100 {
            let freezer = Arc::new(Freezer::default());
            freezer.freeze();
            // Set from the end of each freeze until the next thaw.
            let frozen = Arc::new(AtomicBool::new(true));
            let waiting = std::thread::spawn({
                let (freezer, frozen) = (freezer.clone(), frozen.clone());
                move || freezer.step_once_thawed(|| assert!(!frozen.load(Ordering::SeqCst)))
            });
            while !waiting.is_finished() {
                frozen.store(false, Ordering::SeqCst);
                freezer.thaw();
                freezer.freeze();
                frozen.store(true, Ordering::SeqCst);
            }
            assert_eq!(waiting.join().unwrap(), Some(()));
        }
    }
}
