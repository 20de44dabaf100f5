// SPDX-License-Identifier: GPL-2.0

//! The software mailbox: one request at a time, and its reply.

use adit_uapi::{
    vfio::{
        memory_flags,
        op as adit_op,
        MailboxReply,
        MailboxRequest,
        RegisterMemory,
        MAX_PAYLOAD_LEN, //
    },
    virtchnl2::{
        op,
        Vport, //
    },
};
use kernel::{
    prelude::*,
    sync::lock::{
        mutex::MutexBackend,
        Guard, //
    }, //
};
use zerocopy::{
    FromBytes,
    IntoBytes, //
};

use super::{
    device::{
        Owner,
        State, //
    },
    messages::{
        self,
        DISABLE_ALL_LEN, //
    },
};
use adit_bindings as bindings;

/// State of an ADI that its owner's messages have changed.
pub(super) struct Mailbox {
    /// The last reply with its header; empty when there is none.
    reply: KVec<u8>,
    /// `true` while queues may be running.
    running: bool,
}

impl Mailbox {
    pub(super) const fn new() -> Self {
        Self {
            reply: KVec::new(),
            running: false,
        }
    }

    /// Returns the last reply.
    pub(super) fn reply(&self) -> &[u8] {
        &self.reply
    }

    pub(super) fn forget_reply(&mut self) {
        self.reply = KVec::new();
    }

    /// Stops all queues of the ADI: none of their DMA is in progress when this returns, so the
    /// memory they accessed may be unmapped and unpinned. (Unmapping alone is not enough: a device
    /// may still use a translation that it requested, as this one does for the length of a burst.)
    ///
    /// An ADI that is dead may be running until it is destroyed, and gets the message, too. If the
    /// device does not reply, it was reset or is gone, and so is its DMA.
    pub(super) fn stop_queues(&mut self, state: &State) {
        if !self.running {
            return;
        }
        let mut payload = [0; DISABLE_ALL_LEN];
        messages::disable_all(&mut payload, &state.ids);
        let _ = state.adi.quiesce(op::DISABLE_QUEUES, &payload);
        self.running = false;
    }

    /// Stops all traffic when the owner closes the device. Its other changes, including counters
    /// and faults, stay until the next owner opens it.
    pub(super) fn stop(&mut self, state: &State) {
        let mut vport = Vport::default();
        vport.vport_id.set(state.ids.layout.vport_id.0);
        // If the device refuses, there was nothing to stop.
        let _ = state.adi.quiesce(op::DISABLE_VPORT, vport.as_bytes());
        self.stop_queues(state);
    }

    /// Undoes all changes made by this owner or earlier ones.
    pub(super) fn reset(&mut self, state: &State) -> Result {
        state.adi.reset()?;
        self.running = false;
        Ok(())
    }
}

/// Executes a request and stores the reply. Fails with the error of the reply's status, too.
pub(super) fn handle(
    vdev: *mut bindings::vfio_device,
    state: &State,
    message: &mut [u8],
) -> Result {
    let (head, payload) = MailboxRequest::mut_from_prefix(message).map_err(|_| EINVAL)?;
    if head.payload_len.get() as usize != payload.len() || head.reserved.get() != 0 {
        return Err(EINVAL);
    }
    let opcode = head.opcode.get();
    let mut reply = MailboxReply {
        opcode: head.opcode,
        cookie: head.cookie,
        ..MailboxReply::default()
    };
    let mut owner = match opcode {
        adit_op::REGISTER_MEMORY => lock_to_register(state)?,
        _ => state.owner.lock(),
    };
    let mut buffer = KVec::with_capacity(MailboxReply::LEN + MAX_PAYLOAD_LEN, GFP_KERNEL)?;
    let result = match opcode {
        adit_op::REGISTER_MEMORY | adit_op::UNREGISTER_MEMORY => {
            change_memory(vdev, state, &mut owner, opcode, payload).map(|()| KVVec::new())
        }
        _ => pass(state, &mut owner, opcode, payload),
    };
    let (status, answer) = match &result {
        Ok(answer) => (0, &answer[..]),
        // CAST: an errno is small and negative.
        Err(error) => (error.to_errno().unsigned_abs(), &[][..]),
    };
    // CAST: bounded by the device's mailbox.
    reply.payload_len.set(answer.len() as u32);
    reply.status.set(status);
    buffer.extend_from_slice(reply.as_bytes(), GFP_KERNEL)?;
    buffer.extend_from_slice(answer, GFP_KERNEL)?;
    owner.mailbox.reply = buffer;
    result.map(|_| ())
}

/// Takes the owner's lock once memory may be registered. Fails with `EINTR` if a signal arrives
/// first.
fn lock_to_register(state: &State) -> Result<Guard<'_, Owner, MutexBackend>> {
    loop {
        let owner = state.owner.lock();
        let left = owner.retreat.left(state.now());
        if left == 0 {
            return Ok(owner);
        }
        // Not under the lock, which unmapping takes, too.
        drop(owner);
        // SAFETY: We may sleep here.
        // CAST: some seconds.
        if unsafe { bindings::msleep_interruptible(left as c_uint) } != 0 {
            return Err(EINTR);
        }
    }
}

/// Passes a request on to the device.
fn pass(state: &State, owner: &mut Owner, opcode: u32, payload: &mut [u8]) -> Result<KVVec<u8>> {
    state.check_alive()?;
    let ids = &state.ids;
    messages::request(opcode, payload, ids)
        .map_err(|refusal| Error::from_errno(-refusal.errno()))?;
    // Also when there is no reply: queues that may be running have to be stopped.
    owner.mailbox.running |= opcode == op::ENABLE_QUEUES;
    let still = || state.is_alive();
    let mut answer = state.adi.request_if(still, opcode, payload)?;
    let len = messages::reply(opcode, &mut answer, ids);
    answer.truncate(len);
    Ok(answer)
}

/// Handles REGISTER_MEMORY and UNREGISTER_MEMORY.
fn change_memory(
    vdev: *mut bindings::vfio_device,
    state: &State,
    owner: &mut Owner,
    opcode: u32,
    payload: &[u8],
) -> Result {
    state.check_alive()?;
    let range = RegisterMemory::read_from_bytes(payload).map_err(|_| EINVAL)?;
    let (iova, len, flags) = (range.iova.get(), range.len.get(), range.flags.get());
    if range.reserved.get() != 0 {
        return Err(EINVAL);
    }
    let Owner {
        memory, mailbox, ..
    } = owner;
    if opcode == adit_op::UNREGISTER_MEMORY {
        if flags != 0 {
            return Err(EINVAL);
        }
        let place = memory.find(iova, len).ok_or(ENOENT)?;
        mailbox.stop_queues(state);
        memory.remove(&state.reach(vdev), place);
        return Ok(());
    }
    if flags == 0 || flags & !(memory_flags::READ | memory_flags::WRITE) != 0 {
        return Err(EINVAL);
    }
    memory.add(&state.reach(vdev), iova, len, flags)
}
