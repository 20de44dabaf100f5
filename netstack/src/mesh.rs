// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The exchange of neighbours between the stacks of an ADI.
//!
//! ARP and neighbour discovery arrive at one queue, since they have no flow that could be hashed, but
//! each stack has a neighbour cache of its own. A stack that receives such a frame passes a copy to the
//! others and wakes them. This is not on the path of a connection's frames.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use crate::{Error, Port};

/// The maximum length of a frame that is passed on; others of these protocols are longer only with
/// options that the stack ignores.
const MAX_LEN: usize = 128;

/// A frame that was passed on.
#[derive(Clone, Copy)]
pub(crate) struct Passed {
    bytes: [u8; MAX_LEN],
    len: usize,
}

impl Passed {
    pub(crate) fn frame(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

struct Inbox {
    frames: ArrayQueue<Passed>,
    waker: Option<OwnedFd>,
}

/// One stack's part of the exchange.
pub struct Mesh {
    inboxes: Arc<[Inbox]>,
    own: usize,
}

impl Mesh {
    /// Frames that wait for one stack. More are dropped: hosts repeat their requests.
    pub(crate) const WAITING: usize = 64;

    /// Connects the stacks of these ports, each of which gets the part of its place.
    ///
    /// # Errors
    /// Fails when no descriptors are left.
    pub fn connect<P: Port>(ports: &[P]) -> Result<Vec<Self>, Error> {
        let inboxes = ports.iter().map(|port| {
            Ok(Inbox {
                frames: ArrayQueue::new(Self::WAITING),
                waker: port.waker()?,
            })
        });
        let inboxes: Arc<[Inbox]> = inboxes.collect::<Result<_, Error>>()?;
        let part = |own| Self {
            inboxes: Arc::clone(&inboxes),
            own,
        };
        Ok((0..ports.len()).map(part).collect())
    }

    /// Passes a frame to the other stacks.
    pub(crate) fn pass_on(&self, frame: &[u8]) {
        let others = self.inboxes.iter().enumerate();
        for (_, inbox) in others.filter(|(index, _)| *index != self.own) {
            let mut passed = Passed {
                bytes: [0; MAX_LEN],
                len: frame.len(),
            };
            let Some(bytes) = passed.bytes.get_mut(..frame.len()) else {
                return;
            };
            bytes.copy_from_slice(frame);
            if inbox.frames.push(passed).is_ok() {
                if let Some(waker) = &inbox.waker {
                    // It can only fail when it is at its maximum, and then it is readable.
                    let _ = rustix::io::write(waker, &1_u64.to_ne_bytes());
                }
            }
        }
    }

    /// Takes a frame that another stack has passed on.
    pub(crate) fn take(&self) -> Option<Passed> {
        self.inboxes[self.own].frames.pop()
    }
}
