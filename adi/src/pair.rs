// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A queue pair, for one thread to send, receive and sleep with.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use adit_uapi::virtchnl2::op;

use crate::adi::Inner;
use crate::interrupt::Vector;
use crate::{messages, Error, Pool, RxQueue, TxQueue, Wakeup};

/// A TX queue and an RX queue, with their buffers. Pairs are independent of each other: each thread
/// should have its own.
///
/// Dropping it stops its queues.
pub struct QueuePair {
    /// The TX queue.
    pub tx: TxQueue,
    /// The RX queue.
    pub rx: RxQueue,
    pool: Pool,
    vector: Vector,
    index: u16,
    inner: Arc<Inner>,
}

impl QueuePair {
    pub(crate) fn new(
        inner: Arc<Inner>,
        index: u16,
        tx: TxQueue,
        rx: RxQueue,
        pool: Pool,
        vector: Vector,
    ) -> Self {
        Self {
            tx,
            rx,
            pool,
            vector,
            index,
            inner,
        }
    }

    /// Returns the pair's index in the ADI.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Returns the pool of empty buffers.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Sleeps until a frame can be received or a transmission has completed, at most for `timeout`.
    /// Returns at once if there is work already.
    ///
    /// # Errors
    /// Fails when the system returns an error.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Wakeup, Error> {
        // Completions from before the vector was armed are not signalled.
        if self.pending()? || !self.arm()? {
            return Ok(Wakeup::Ready);
        }
        self.vector.wait(&self.inner.fault, timeout)
    }

    /// Arms the vector to signal once: an event loop must call this before it sleeps. Returns
    /// `false` if there is work already, which may not be signalled.
    ///
    /// # Errors
    /// Fails with [`Error::Ring`] when the device has violated the rules of its rings.
    pub fn arm(&mut self) -> Result<bool, Error> {
        self.vector.arm();
        Ok(!self.pending()?)
    }

    /// Returns whether a frame can be received, or transmissions have just completed. The latter
    /// are reclaimed at once: otherwise a caller that only receives would never sleep.
    fn pending(&mut self) -> Result<bool, Error> {
        Ok(self.tx.reclaim()? > 0 || self.rx.pending())
    }

    /// Configures and starts the queues.
    pub(crate) fn start(&mut self, max_mtu: u16) -> Result<(), Error> {
        let device = &*self.inner.device;
        let buffer_len = self.pool.capacity() as u32; // bounded by `Config`
        messages::configure(device, self.index, &self.tx, &self.rx, buffer_len, max_mtu)?;
        messages::map_vector(device, self.index, self.index)?;
        messages::switch_queues(device, op::ENABLE_QUEUES, self.index)?;
        self.rx.refill();
        Ok(())
    }
}

/// The eventfd that is readable when the pair's vector has signalled, for event loops:
/// [`wait`](QueuePair::wait) waits for its signals after it has armed the vector, and does not read it.
impl AsFd for QueuePair {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.vector.event().as_fd()
    }
}

impl Drop for QueuePair {
    fn drop(&mut self) {
        let stopped = messages::switch_queues(&*self.inner.device, op::DISABLE_QUEUES, self.index);
        if let Err(error) = stopped {
            // The device may continue to access its buffers: they must never be used again.
            tracing::debug!(pair = self.index, %error, "queues could not be stopped");
            self.tx.leak();
            self.rx.leak();
        }
    }
}
