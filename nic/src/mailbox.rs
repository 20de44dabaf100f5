// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The mailbox of the function: a ring of messages to the device (ATQ) and one of buffers for
//! messages to the driver (ARQ), with the registers that control them (PF layout, PF_FW_*).
//!
//! Everything in guest memory is hostile. A ring that cannot be used is stopped, which the driver
//! sees as CRIT without ENABLE in its length register; a single message that cannot be used is
//! answered with an error. A descriptor is read once and checked afterwards, and one doorbell
//! makes the device look at no more descriptors than the ring has.

#[cfg(any(test, feature = "fuzzing"))]
mod fuzz;
mod queue;
mod rings;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use adit_uapi::mailbox::{opcode, MAX_BUF_LEN};
use adit_uapi::regs::pf;
use adit_uapi::virtchnl2::{op, status};
use thiserror::Error;
use zerocopy::IntoBytes;

use crate::control::Control;
use crate::dataplane::DataPlane;
use crate::logging::warn_throttled;
use crate::memory::DmaFault;
use rings::Rings;

#[cfg(any(test, feature = "fuzzing"))]
pub use fuzz::fuzz_mailbox;
pub use queue::QueueFault;

/// Messages kept while the driver has posted no buffers. No request is taken while there are any,
/// so that there are never more than these events and one reply.
pub const MAX_BACKLOG: usize = 64;

/// The two rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MailboxRing {
    /// Messages to the device.
    Atq,
    /// Messages to the driver.
    Arq,
}

/// What a register write asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailboxEvent {
    /// Nothing.
    None,
    /// There may be requests to take (ATQT was written, or the ring was enabled).
    Requests,
    /// There may be buffers to post messages in (ARQT was written, or the ring was enabled).
    Buffers,
}

/// A ring was stopped: its CRIT bit is set and its ENABLE bit is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("mailbox {ring:?} stopped: {fault}")]
pub struct MailboxFault {
    /// Which one.
    pub ring: MailboxRing,
    /// Why.
    pub fault: QueueFault,
}

/// Why a message from the driver could not be read. It is answered with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadRequest {
    /// The descriptor asks for something else than a message to the control plane.
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
    /// The driver's, to be repeated in the reply.
    pub sw_cookie: u16,
    /// What it says, or why that cannot be known.
    pub payload: Result<Vec<u8>, BadRequest>,
}

/// A message to the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The virtchnl2 opcode: the request's, or EVENT.
    pub v_opcode: u32,
    /// How the request ended (virtchnl2 status).
    pub v_retval: u32,
    /// The request's cookie; 0 in an event.
    pub sw_cookie: u16,
    /// What it says, at most [`MAX_BUF_LEN`] bytes.
    pub payload: Vec<u8>,
}

/// What the mailbox has counted since the process started.
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

/// The mailbox: its rings, and messages that wait for a buffer of the driver's.
#[derive(Debug, Default)]
pub struct Mailbox {
    rings: Rings,
    backlog: VecDeque<Reply>,
    /// A request that cannot be answered yet; those behind it wait, too.
    waiting: Option<Request>,
}

impl Mailbox {
    /// A mailbox after power-on.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The register at `offset` bytes of BAR0; 0 where there is none.
    #[must_use]
    pub fn read(&self, offset: u32) -> u32 {
        self.rings.read(offset)
    }

    /// Writes the register at `offset` bytes of BAR0; says whether [`serve`](Self::serve) is to
    /// be called.
    pub fn write(&mut self, offset: u32, value: u32) -> MailboxEvent {
        if offset == pf::FW_ARQLEN {
            // A new ring means a new driver, for which old replies are not meant.
            self.backlog.clear();
            self.waiting = None;
        }
        self.rings.write(offset, value)
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> &MailboxCounters {
        self.rings.counters()
    }

    /// All registers back to zero, and nothing waits: Linux takes ARQLEN.len = 0 for "the
    /// function was reset", and never writes ATQT before its first message. What was counted
    /// stays.
    pub fn reset(&mut self) {
        self.rings.reset();
        self.backlog.clear();
        self.waiting = None;
    }

    /// Posts what waits, then answers requests, each after the events that it caused, until there
    /// are no more or the driver's buffers are used up. True when the mailbox's vector is to be
    /// signalled, because something was posted.
    ///
    /// To be called when a register write says so ([`MailboxEvent`]), when the control plane has
    /// an event, and when what a request waits for ([`Control::must_wait`]) is there.
    pub fn serve(&mut self, control: &mut Control, dp: &mut impl DataPlane) -> bool {
        let before = self.rings.counters().posted;
        // The driver moves its tails by trapped writes only, which come one after the other: this
        // ends within a ring's length.
        if let Err(fault) = self.run(control, dp) {
            warn_throttled!(%fault, "a mailbox ring is stopped");
        }
        self.rings.counters().posted != before
    }

    fn run(&mut self, control: &mut Control, dp: &mut impl DataPlane) -> Result<(), MailboxFault> {
        loop {
            self.queue_events(control, dp);
            while let Some(next) = self.backlog.front() {
                if !self.rings.post(dp.memory(), next)? {
                    return Ok(());
                }
                self.backlog.pop_front();
            }
            let request = match self.waiting.take() {
                Some(request) => request,
                None => match self.rings.take_request(dp.memory())? {
                    Some(request) => request,
                    None => return Ok(()),
                },
            };
            if control.must_wait(request.v_opcode, dp) {
                self.waiting = Some(request);
                return Ok(());
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
        payload: asked,
    } = request;
    let mut payload = Vec::new();
    let v_retval = match asked {
        Ok(asked) => control.handle(v_opcode, &asked, dp, &mut payload),
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
