// SPDX-License-Identifier: GPL-2.0

//! Unmapping of memory from the owner's address space while it is registered: a worker removes it
//! from the ADI, and the caller waits for that; with a timeout if the memory is that of a container.
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
//! and releases `iommu->lock`, for which the worker is queued.
//!
//! `iommufd` holds no lock of that kind. It calls a hundred times to unmap memory, but once when a
//! device is detached or its address space replaced: pages that are still pinned afterwards can no
//! longer be unpinned. So the call waits until they are.

use adit_bindings as bindings;
use kernel::{
    impl_has_work, new_mutex, new_work,
    prelude::*,
    sync::{
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

use super::{
    device::VfioDevice,
    state::State,
    unmap_requests::{
        Request,
        UnmapRequests, //
    },
};

/// Timeout for a worker without progress. Ten times that is longer than the device may take to
/// confirm that queues are stopped.
const STALL_TIMEOUT: Delta = Delta::from_secs(3);
/// Polling interval for completion: the first, and, after doubling, the longest.
const POLL_MIN: Delta = Delta::from_micros(20);
const POLL_MAX: Delta = Delta::from_millis(2);

/// The worker that executes the requests of a device.
#[pin_data]
pub(super) struct UnmapWorker {
    state: Arc<State>,
    /// Locked by the thread that waits for the worker.
    #[pin]
    turn: Mutex<()>,
    #[pin]
    work: Work<Self>,
}

impl_has_work! {
    impl HasWork<Self> for UnmapWorker { self.work }
}

impl UnmapWorker {
    /// Creates the worker for the memory of `state`.
    pub(super) fn new(state: Arc<State>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                state,
                turn <- new_mutex!(()),
                work <- new_work!("adit_unmapping"),
            }),
            GFP_KERNEL,
        )
    }

    fn requests(&self) -> &UnmapRequests {
        &self.state.unmap_requests
    }

    /// Waits until the worker has ended, after the device was closed: it does not start again
    /// before the device is opened.
    pub(super) fn flush(&self) {
        // SAFETY: The work item is initialized, and lives as long as `self`. The caller holds no
        // lock that it takes: not the owner's, and the VFIO core's locks are not among them.
        unsafe { bindings::flush_work(Work::raw_get(&self.work)) };
    }

    /// Removes all registrations that overlap a range of `device`'s memory. Returns once that is
    /// done, or, if the memory is a container's, the worker has made no progress for a while.
    pub(super) fn remove(this: &Arc<Self>, device: &VfioDevice, iova: u64, len: u64) {
        let _turn = this.turn.lock();
        let timeout = (!device.has_iommufd()).then_some(STALL_TIMEOUT);
        let device = device.into();
        let Some(number) = this.requests().submit(Request { device, iova, len }) else {
            return;
        };
        // It is fine if the work is queued already.
        let _ = workqueue::system_long().enqueue(this.clone());
        this.wait(number, timeout);
    }

    /// Waits until request `number` is done; with `timeout`, only as long as there is progress.
    fn wait(&self, number: u64, timeout: Option<Delta>) {
        let requests = self.requests();
        let mut steps = requests.steps();
        let mut since = Instant::<Monotonic>::now();
        let mut interval = POLL_MIN;
        while timeout.is_none_or(|timeout| since.elapsed() <= timeout) {
            if requests.is_done(number) {
                return;
            }
            fsleep(interval);
            interval =
                Delta::from_micros((interval.as_micros_ceil() * 2).min(POLL_MAX.as_micros_ceil()));
            let now = requests.steps();
            if now != steps {
                steps = now;
                since = Instant::now();
            }
        }
    }
}

impl WorkItem for UnmapWorker {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        while this.requests().is_pending() {
            // The request stays pending until the lock is taken, so that a thread that holds the
            // lock to register that very memory sees it.
            let mut owner = this.state.owner.lock();
            let Some((request, number)) = this.requests().take() else {
                return;
            };
            owner.remove_overlapping(&this.state, &request.device, request.iova, request.len);
            drop(owner);
            this.requests().complete(number);
        }
    }
}
