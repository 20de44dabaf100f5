// SPDX-License-Identifier: GPL-2.0

//! Unmapping of memory from the owner's address space while it is registered: a worker removes it
//! from the ADI, and the caller waits for that, with a timeout.
//!
//! `vfio_iommu_type1` calls with the lock of its list of devices held (`device_list_lock`).
//! Unpinning takes the lock of its mappings (`iommu->lock`), and threads that unmap memory or open
//! a device take the former with the latter held. Two threads that unmap at the same time would
//! thus deadlock, each with a lock that the other needs; and so would one that unmaps, one that
//! registers memory and holds our lock of the owner meanwhile, and a third. No thread of their
//! process could be killed then, and the driver never be unbound.
//!
//! Releasing `device_list_lock` breaks the deadlock, which requires a return from the call. So the
//! call waits as long as the worker makes progress. When there has been none for a while, the call
//! returns with the memory still pinned; `vfio_iommu_type1` detects that and calls again, ten times
//! before it treats it as a bug. In between, the thread that waits for `device_list_lock` continues
//! and releases `iommu->lock`, for which the worker is queued. `iommufd` holds no lock of that kind
//! and calls a hundred times.

use adit_bindings as bindings;
use kernel::{
    impl_has_work, new_mutex, new_work,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
    workqueue::{
        self,
        Work,
        WorkItem, //
    },
};

use super::device::VfioRef;

/// Timeout for a worker without progress. Ten times that is longer than the device may take to
/// confirm that queues are stopped.
const PATIENCE: Delta = Delta::from_secs(3);
/// Polling interval for completion: the first, and, after doubling, the longest.
const FIRST_NAP: Delta = Delta::from_micros(20);
const LONGEST_NAP: Delta = Delta::from_millis(2);

/// The worker of a device and its job.
#[pin_data]
pub(super) struct Unmapping {
    /// Held by the thread that waits for the worker.
    #[pin]
    turn: Mutex<()>,
    #[pin]
    job: Mutex<Job>,
    /// Changes when memory is pinned or unpinned, and when the worker has completed a step.
    steps: Atomic<u32>,
    #[pin]
    work: Work<Self>,
}

/// The pending work.
struct Job {
    /// `true` while the device is open: only then can memory be registered.
    open: bool,
    wanted: Option<Range>,
    /// The number of the last request, and of the last one completed.
    asked: u64,
    done: u64,
}

/// A range to be removed.
struct Range {
    device: VfioRef,
    iova: u64,
    len: u64,
}

impl_has_work! {
    impl HasWork<Self> for Unmapping { self.work }
}

impl Unmapping {
    pub(super) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                turn <- new_mutex!(()),
                job <- new_mutex!(Job {
                    open: false,
                    wanted: None,
                    asked: 0,
                    done: 0,
                }),
                steps: Atomic::new(0),
                work <- new_work!("adit_unmapping"),
            }),
            GFP_KERNEL,
        )
    }

    /// Notes that the device is open.
    pub(super) fn open(&self) {
        self.job.lock().open = true;
    }

    /// Notes that the device is closed and nothing is registered: the worker has ended when this
    /// returns, and does not start again before the device is opened.
    pub(super) fn close(&self) {
        {
            let mut job = self.job.lock();
            job.open = false;
            job.wanted = None;
        }
        // SAFETY: The work item is initialized, and lives as long as `self`. The caller holds no
        // lock that it takes: not the owner's, and the VFIO core's locks are not among them.
        unsafe { bindings::flush_work(Work::raw_get(&self.work)) };
    }

    /// Records progress.
    pub(super) fn step(&self) {
        self.steps
            .store(self.steps.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Returns whether part of a range is to be removed.
    pub(super) fn wants(&self, iova: u64, len: u64) -> bool {
        let job = self.job.lock();
        let overlaps = |it: &Range| {
            it.iova < iova.saturating_add(len) && iova < it.iova.saturating_add(it.len)
        };
        job.wanted.as_ref().is_some_and(overlaps)
    }

    /// Removes all registrations that overlap a range of `device`'s memory. Returns once that is
    /// done, or the worker has made no progress for a while.
    pub(super) fn run(this: &Arc<Self>, device: VfioRef, iova: u64, len: u64) {
        let _turn = this.turn.lock();
        let number = {
            let mut job = this.job.lock();
            if !job.open {
                return;
            }
            job.asked += 1;
            job.wanted = Some(Range { device, iova, len });
            job.asked
        };
        // It is fine if the work is queued already.
        let _ = workqueue::system_long().enqueue(this.clone());
        this.wait(number);
    }

    fn wait(&self, number: u64) {
        let mut steps = self.steps.load(Relaxed);
        let mut since = Instant::<Monotonic>::now();
        let mut nap = FIRST_NAP;
        while since.elapsed() <= PATIENCE {
            {
                let job = self.job.lock();
                if job.done >= number || !job.open {
                    return;
                }
            }
            fsleep(nap);
            nap = Delta::from_micros((nap.as_micros_ceil() * 2).min(LONGEST_NAP.as_micros_ceil()));
            let now = self.steps.load(Relaxed);
            if now != steps {
                steps = now;
                since = Instant::now();
            }
        }
    }

    /// Returns the device of the pending request.
    fn device(&self) -> Option<VfioRef> {
        self.job.lock().wanted.as_ref().map(|it| it.device.clone())
    }

    /// Takes the pending request and its number.
    fn take(&self) -> Option<(Range, u64)> {
        let mut job = self.job.lock();
        let number = job.asked;
        job.wanted.take().map(|range| (range, number))
    }
}

impl WorkItem for Unmapping {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        while let Some(device) = this.device() {
            // The request stays pending until the lock is taken, so that a thread that holds the
            // lock to register that very memory sees it.
            let mut owner = device.state().owner.lock();
            let Some((range, number)) = this.take() else {
                return;
            };
            owner.remove_overlapping(&device, range.iova, range.len);
            drop(owner);
            this.job.lock().done = number;
        }
    }
}
