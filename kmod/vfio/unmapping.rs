// SPDX-License-Identifier: GPL-2.0

//! Memory leaves the owner's address space while it is registered: a worker takes it away from the
//! ADI, and who has called waits for that, but not for ever.
//!
//! `vfio_iommu_type1` calls with the lock of its list of devices held (`device_list_lock`). Unpinning
//! takes the lock of its mappings (`iommu->lock`), and whoever unmaps memory or opens a device takes
//! the former with the latter held. Two threads that unmap at the same time would thus wait for
//! each other for good, each with a lock that the other needs; and so would one that unmaps, one
//! that registers memory and holds our lock of the owner meanwhile, and a third. Nothing in their
//! process could be killed then, and the driver never be unbound.
//!
//! What breaks the ring is to give up `device_list_lock`, which takes a return from the call. So
//! the call waits as long as the worker gets on. When that has stood still for a while, the call
//! returns with the memory still pinned; `vfio_iommu_type1` finds it so and calls again, ten times
//! before it takes that for a bug. In the time between, who waits for `device_list_lock` goes on
//! and lets go of `iommu->lock`, for which the worker stands in line. `iommufd` holds no lock of
//! that kind and calls a hundred times.

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

/// How long the worker may stand still. Ten times that is longer than the device may take to
/// answer that queues are stopped.
const PATIENCE: Delta = Delta::from_secs(3);
/// The first look whether it is done comes after this, the next ones later and later.
const FIRST_NAP: Delta = Delta::from_micros(20);
const LONGEST_NAP: Delta = Delta::from_millis(2);

/// The worker of a device and what it is to do.
#[pin_data]
pub(super) struct Unmapping {
    /// Held by who waits for the worker.
    #[pin]
    turn: Mutex<()>,
    #[pin]
    job: Mutex<Job>,
    /// Changes when memory is pinned or unpinned, and when the worker has come a step further.
    steps: Atomic<u32>,
    #[pin]
    work: Work<Self>,
}

/// What there is to do.
struct Job {
    /// Whether the device is open: only then something can be registered.
    open: bool,
    wanted: Option<Range>,
    /// The number of the last wish, and of the last one that was fulfilled.
    asked: u64,
    done: u64,
}

/// What is to be taken away.
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

    /// The device is open.
    pub(super) fn open(&self) {
        self.job.lock().open = true;
    }

    /// The device is closed and nothing is registered: the worker has ended when this returns, and
    /// does not begin again before the device is opened.
    pub(super) fn close(&self) {
        {
            let mut job = self.job.lock();
            job.open = false;
            job.wanted = None;
        }
        // SAFETY: The work item is initialized, and here as long as `self`. Nobody holds a lock
        // that it takes: not the owner's, and the VFIO core's are not of those.
        unsafe { bindings::flush_work(Work::raw_get(&self.work)) };
    }

    /// A step has been made.
    pub(super) fn step(&self) {
        self.steps
            .store(self.steps.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Whether some of a range is to be taken away.
    pub(super) fn wants(&self, iova: u64, len: u64) -> bool {
        let job = self.job.lock();
        let overlaps = |it: &Range| {
            it.iova < iova.saturating_add(len) && iova < it.iova.saturating_add(it.len)
        };
        job.wanted.as_ref().is_some_and(overlaps)
    }

    /// Whatever is registered of a range of `device`'s memory is taken away, or the worker has not
    /// got on for a while.
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
        // Enqueued already is as good.
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

    /// The device that somebody waits for.
    fn device(&self) -> Option<VfioRef> {
        self.job.lock().wanted.as_ref().map(|it| it.device.clone())
    }

    /// Takes the wish and its number.
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
            // The wish stands until the lock is there, so that who holds it to register that very
            // memory sees it.
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
