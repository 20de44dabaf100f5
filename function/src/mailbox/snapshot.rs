// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Saves and restores the mailbox: its registers, and the messages that wait.

use adit_uapi::mailbox::MAX_BUF_LEN;

use super::{BadRequest, Mailbox, MailboxRing, Reply, Request, MAX_BACKLOG};
use crate::memory::{DmaFault, FaultCause};
use crate::snapshot::{
    Hex, MailboxSnapshot, MessageSnapshot, RequestContent, RequestSnapshot, RestoreError,
};

impl Mailbox {
    /// Saves the state, without counters.
    #[must_use]
    pub fn save(&self) -> MailboxSnapshot {
        MailboxSnapshot {
            atq: self.rings.save(MailboxRing::Atq),
            arq: self.rings.save(MailboxRing::Arq),
            backlog: self.backlog.iter().map(save_reply).collect(),
            waiting: self.waiting.as_ref().map(save_request),
        }
    }

    /// A mailbox with a saved state and the counters of this one.
    ///
    /// # Errors
    /// When the state is impossible.
    pub fn restored(&self, saved: &MailboxSnapshot) -> Result<Self, RestoreError> {
        let rings = self.rings.restored(&saved.atq, &saved.arq);
        let rings = rings.map_err(|ring| {
            let (name, saved) = match ring {
                MailboxRing::Atq => ("mailbox.atq", &saved.atq),
                MailboxRing::Arq => ("mailbox.arq", &saved.arq),
            };
            RestoreError::invalid(name, format!("{saved:?} has bits that no register has"))
        })?;
        let (count, most) = (saved.backlog.len(), MAX_BACKLOG + 1);
        if count > most {
            let problem = format!("{count} messages: at most {most}");
            return Err(RestoreError::invalid("mailbox.backlog", problem));
        }
        let mut payloads = saved.backlog.iter().map(|message| &message.payload);
        if let Some(long) = payloads.find(|payload| payload.0.len() > MAX_BUF_LEN) {
            return Err(too_long("mailbox.backlog", long));
        }
        let waiting = saved.waiting.as_ref().map(restore_request).transpose()?;
        Ok(Self {
            rings,
            backlog: saved.backlog.iter().map(restore_reply).collect(),
            waiting,
        })
    }
}

fn too_long(at: &str, payload: &Hex<Vec<u8>>) -> RestoreError {
    let len = payload.0.len();
    let problem = format!("a payload of {len} bytes: at most {MAX_BUF_LEN} fit in a buffer");
    RestoreError::invalid(at, problem)
}

fn save_reply(reply: &Reply) -> MessageSnapshot {
    MessageSnapshot {
        opcode: reply.v_opcode,
        status: reply.v_retval,
        cookie: reply.sw_cookie,
        payload: Hex(reply.payload.clone()),
    }
}

fn restore_reply(saved: &MessageSnapshot) -> Reply {
    Reply {
        v_opcode: saved.opcode,
        v_retval: saved.status,
        sw_cookie: saved.cookie,
        payload: saved.payload.0.clone(),
    }
}

fn save_request(request: &Request) -> RequestSnapshot {
    RequestSnapshot {
        opcode: request.v_opcode,
        cookie: request.sw_cookie,
        content: match &request.payload {
            Ok(payload) => RequestContent::Payload(Hex(payload.clone())),
            Err(BadRequest::Opcode(opcode)) => RequestContent::Opcode(*opcode),
            Err(BadRequest::TooLong(len)) => RequestContent::TooLong(*len),
            Err(BadRequest::NoBuffer(len)) => RequestContent::NoBuffer(*len),
            Err(BadRequest::Buffer(fault)) => RequestContent::Buffer {
                iova: fault.iova,
                len: fault.len as u16, // a descriptor's
            },
        },
    }
}

fn restore_request(saved: &RequestSnapshot) -> Result<Request, RestoreError> {
    let payload = match &saved.content {
        RequestContent::Payload(payload) if payload.0.len() > MAX_BUF_LEN => {
            return Err(too_long("mailbox.waiting", payload))
        }
        RequestContent::Payload(payload) => Ok(payload.0.clone()),
        RequestContent::Opcode(opcode) => Err(BadRequest::Opcode(*opcode)),
        RequestContent::TooLong(len) => Err(BadRequest::TooLong(*len)),
        RequestContent::NoBuffer(len) => Err(BadRequest::NoBuffer(*len)),
        // The cause decides about nothing that a driver sees.
        RequestContent::Buffer { iova, len } => Err(BadRequest::Buffer(DmaFault {
            iova: *iova,
            len: usize::from(*len),
            write: false,
            cause: FaultCause::Unmapped,
        })),
    };
    Ok(Request {
        v_opcode: saved.opcode,
        sw_cookie: saved.cookie,
        payload,
    })
}
