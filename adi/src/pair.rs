// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A queue pair: what one thread sends, receives and sleeps with.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use adit_uapi::virtchnl2::op;

use crate::adi::Inner;
use crate::interrupt::Vector;
use crate::{messages, Error, Pool, RxQueue, TxQueue, Wakeup};

/// A TX queue and an RX queue, with the buffers that they use. Pairs are independent of each
/// other: give each thread one.
///
/// Dropping it stops its queues.
pub struct QueuePair {
    /// Sends.
    pub tx: TxQueue,
    /// Receives.
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

    /// Which of the ADI's pairs it is.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Where empty buffers come from.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Sleeps until there is something to receive, or frames were found sent, at most for
    /// `timeout`. Returns at once if there is something already.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Wakeup, Error> {
        // What came before the vector was armed is not signalled.
        if self.pending()? || !self.arm()? {
            return Ok(Wakeup::Ready);
        }
        self.vector
            .wait(&self.inner.request, &self.inner.fault, timeout)
    }

    /// Lets the vector signal once: to be called before an event loop sleeps. False when there is
    /// something to do already, which may not be signalled.
    ///
    /// # Errors
    /// [`Error::Ring`] when the device has broken its rings.
    pub fn arm(&mut self) -> Result<bool, Error> {
        self.vector.arm();
        Ok(!self.pending()?)
    }

    /// Whether there is something to receive, or frames were found sent just now. These are not
    /// left to be found again: who only receives would never sleep.
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

/// The eventfd that is readable when the pair's vector has signalled, for event loops: what
/// [`wait`](QueuePair::wait) waits for after it has armed the vector.
impl AsFd for QueuePair {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.vector.event().as_fd()
    }
}

impl Drop for QueuePair {
    fn drop(&mut self) {
        let stopped = messages::switch_queues(&*self.inner.device, op::DISABLE_QUEUES, self.index);
        if let Err(error) = stopped {
            // The device may go on with what it has: nobody else may ever have it.
            tracing::debug!(pair = self.index, %error, "queues could not be stopped");
            self.tx.leak();
            self.rx.leak();
        }
    }
}
