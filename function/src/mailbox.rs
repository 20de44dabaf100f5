// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The mailbox of the function: a ring of messages to the device (ATQ) and one of buffers for
//! messages to the driver (ARQ), with the registers that control them.
//!
//! Everything in guest memory is untrusted. A ring that cannot be used is stopped, which the driver
//! sees as CRIT without ENABLE in its length register; a single message that cannot be used is
//! answered with an error. A descriptor is read once and validated afterwards, and one doorbell
//! makes the device read no more descriptors than the ring has.

#[cfg(any(test, feature = "testing"))]
mod fuzz;
mod queue;
mod rings;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use adit_uapi::mailbox::{opcode, MAX_BUF_LEN};
use adit_uapi::virtchnl2::{op, status};
use thiserror::Error;
use zerocopy::IntoBytes;

use crate::control::Control;
use crate::dataplane::DataPlane;
use crate::layout::{RegisterLayout, RingRegister};
use crate::logging::warn_throttled;
use crate::memory::DmaFault;
use rings::Rings;

pub use crate::layout::MailboxRing;
#[cfg(any(test, feature = "testing"))]
pub use fuzz::fuzz_mailbox;
pub use queue::QueueFault;

/// The maximum number of messages kept while the driver has posted no buffers. No request is taken
/// while there are any, so there are never more than these events and one reply.
pub const MAX_BACKLOG: usize = 64;

/// The action that a register write requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailboxEvent {
    /// Nothing.
    None,
    /// There may be requests to process (ATQT was written, or the ring was enabled).
    Requests,
    /// There may be buffers to post messages in (ARQT was written, or the ring was enabled).
    Buffers,
}

/// The result of serving the mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Set if a message was posted, so that the mailbox's vector must be signalled.
    pub posted: bool,
    /// Set if the driver requests a reset of the function (RESET_VF), which is not answered. The
    /// requests after it are taken after the reset, if at all.
    pub reset: bool,
}

/// The error of a stopped ring: its CRIT bit is set and its ENABLE bit is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("mailbox {ring:?} stopped: {fault}")]
pub struct MailboxFault {
    /// The ring.
    pub ring: MailboxRing,
    /// The fault.
    pub fault: QueueFault,
}

/// The reason why a message from the driver could not be read. It is answered with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadRequest {
    /// The descriptor's opcode is not that of a message to the control plane.
    #[error("the descriptor's opcode is {0:#06x}, not {expected:#06x}", expected = opcode::SEND_MSG_TO_CP)]
    Opcode(u16),
    /// The message is longer than a mailbox buffer.
    #[error("a message of {0} bytes: at most {MAX_BUF_LEN} fit in a buffer")]
    TooLong(u16),
    /// The descriptor has a length and no buffer.
    #[error("a message of {0} bytes without a buffer (flag BUF)")]
    NoBuffer(u16),
    /// The buffer is not readable.
    #[error(transparent)]
    Buffer(DmaFault),
}

/// A message from the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The virtchnl2 opcode.
    pub v_opcode: u32,
    /// The driver's cookie, to be repeated in the reply.
    pub sw_cookie: u16,
    /// The payload, or the reason why it could not be read.
    pub payload: Result<Vec<u8>, BadRequest>,
}

/// A message to the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The virtchnl2 opcode: the request's, or EVENT.
    pub v_opcode: u32,
    /// The result of the request (virtchnl2 status).
    pub v_retval: u32,
    /// The request's cookie; 0 in an event.
    pub sw_cookie: u16,
    /// The payload, at most [`MAX_BUF_LEN`] bytes.
    pub payload: Vec<u8>,
}

/// Counters of the mailbox since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailboxCounters {
    /// Requests taken, bad ones included.
    pub requests: u64,
    /// Requests with a foreign descriptor opcode.
    pub bad_opcode: u64,
    /// Requests that are too long.
    pub too_long: u64,
    /// Requests with a length and no buffer.
    pub no_buffer: u64,
    /// Requests whose buffer could not be read.
    pub request_dma_faults: u64,
    /// Messages posted.
    pub posted: u64,
    /// Messages posted without their payload, because the driver's buffer is too small.
    pub buffer_too_small: u64,
    /// Messages posted without their payload, because the driver's buffer could not be written.
    pub post_dma_faults: u64,
    /// Times that a ring was stopped for a fault.
    pub ring_faults: u64,
}

/// The mailbox: its rings, and messages that wait for a buffer from the driver.
#[derive(Debug)]
pub struct Mailbox {
    rings: Rings,
    backlog: VecDeque<Reply>,
    /// A request that cannot be answered yet; those after it wait, too.
    waiting: Option<Request>,
}

impl Mailbox {
    /// A mailbox after power-on.
    #[must_use]
    pub fn new(layout: RegisterLayout) -> Self {
        Self {
            rings: Rings::new(layout),
            backlog: VecDeque::new(),
            waiting: None,
        }
    }

    /// The register at `offset` bytes of BAR0; 0 if there is none.
    #[must_use]
    pub fn read(&self, offset: u32) -> u32 {
        self.rings.read(offset)
    }

    /// Writes the register at `offset` bytes of BAR0; returns whether [`serve`](Self::serve) must
    /// be called.
    pub fn write(&mut self, offset: u32, value: u32) -> MailboxEvent {
        let arqlen = (MailboxRing::Arq, RingRegister::Len);
        if self.rings.layout().mailbox_register(offset) == Some(arqlen) {
            // A new ring means a new driver, which must not receive old replies.
            self.backlog.clear();
            self.waiting = None;
        }
        self.rings.write(offset, value)
    }

    /// The counters since the process started.
    #[must_use]
    pub fn counters(&self) -> &MailboxCounters {
        self.rings.counters()
    }

    /// Resets all registers to zero, and drops messages that wait: Linux takes ARQLEN.len = 0 to
    /// mean that the function was reset, and never writes ATQT before its first message. Counters
    /// are kept.
    pub fn reset(&mut self) {
        self.rings.reset();
        self.backlog.clear();
        self.waiting = None;
    }

    /// Posts messages that wait, then answers requests, each after the events that it caused, until
    /// there are no more, the driver's buffers are used up, or the driver requests a reset.
    ///
    /// Must be called when a register write requires it ([`MailboxEvent`]), when the control plane
    /// has an event, and when the condition that a request waits for ([`Control::must_wait`]) is
    /// met.
    pub fn serve(&mut self, control: &mut Control, dp: &mut impl DataPlane) -> Served {
        let before = self.rings.counters().posted;
        // The driver advances its tails only by trapped writes, which are serialized: this ends
        // within a ring's length.
        let reset = self.run(control, dp).unwrap_or_else(|fault| {
            warn_throttled!(%fault, "a mailbox ring is stopped");
            false
        });
        Served {
            posted: self.rings.counters().posted != before,
            reset,
        }
    }

    /// Returns whether the driver requests a reset.
    fn run(
        &mut self,
        control: &mut Control,
        dp: &mut impl DataPlane,
    ) -> Result<bool, MailboxFault> {
        loop {
            self.queue_events(control, dp);
            while let Some(next) = self.backlog.front() {
                if !self.rings.post(dp.memory(), next)? {
                    return Ok(false);
                }
                self.backlog.pop_front();
            }
            let request = match self.waiting.take() {
                Some(request) => request,
                None => match self.rings.take_request(dp.memory())? {
                    Some(request) => request,
                    None => return Ok(false),
                },
            };
            if control.must_wait(request.v_opcode, dp) {
                self.waiting = Some(request);
                return Ok(false);
            }
            if request.payload.is_ok() && control.is_reset(request.v_opcode) {
                return Ok(true);
            }
            let reply = answer(request, control, dp);
            self.queue_events(control, dp);
            self.backlog.push_back(reply);
        }
    }

    fn queue_events(&mut self, control: &mut Control, dp: &impl DataPlane) {
        while self.backlog.len() < MAX_BACKLOG {
            let Some(event) = control.take_event(dp) else {
                return;
            };
            self.backlog.push_back(Reply {
                v_opcode: op::EVENT,
                v_retval: status::SUCCESS,
                sw_cookie: 0,
                payload: event.as_bytes().to_vec(),
            });
        }
    }
}

fn answer(request: Request, control: &mut Control, dp: &mut impl DataPlane) -> Reply {
    let Request {
        v_opcode,
        sw_cookie,
        payload: body,
    } = request;
    let mut payload = Vec::new();
    let v_retval = match body {
        Ok(body) => control.handle(v_opcode, &body, dp, &mut payload),
        Err(bad) => {
            tracing::debug!(v_opcode, %bad, "a mailbox request is refused");
            match bad {
                BadRequest::Opcode(_) => status::ERR_ESRCH,
                BadRequest::Buffer(_) => status::ERR_EIO,
                BadRequest::TooLong(_) | BadRequest::NoBuffer(_) => status::ERR_EINVAL,
            }
        }
    };
    Reply {
        v_opcode,
        v_retval,
        sw_cookie,
        payload,
    }
}
