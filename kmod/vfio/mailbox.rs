// SPDX-License-Identifier: GPL-2.0

//! The software mailbox: one request at a time, and its reply.

use adit_bindings as bindings;
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
        adi,
        op, //
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
    device::VfioDevice,
    messages::{
        self,
        Ids, //
    },
    state::{
        Owner,
        State, //
    },
};

/// Executes a request and stores the reply. Fails with the error of the reply's status, too.
pub(super) fn handle(device: &VfioDevice, state: &State, message: &mut [u8]) -> Result {
    let (head, payload) = MailboxRequest::mut_from_prefix(message).map_err(|_| EINVAL)?;
    if head.payload_len.get() as usize != payload.len() || head.reserved.get() != 0 {
        return Err(EINVAL);
    }
    let opcode = head.opcode.get();
    let mut header = MailboxReply {
        opcode: head.opcode,
        cookie: head.cookie,
        ..MailboxReply::default()
    };
    let mut owner = match opcode {
        adit_op::REGISTER_MEMORY => lock_for_registration(state)?,
        _ => state.owner.lock(),
    };
    let mut buffer = KVec::with_capacity(MailboxReply::LEN + MAX_PAYLOAD_LEN, GFP_KERNEL)?;
    let result = match opcode {
        adit_op::REGISTER_MEMORY => {
            register_memory(device, state, &mut owner, payload).map(|()| KVVec::new())
        }
        adit_op::UNREGISTER_MEMORY => {
            unregister_memory(device, state, &mut owner, payload).map(|()| KVVec::new())
        }
        _ => forward(state, &mut owner, opcode, payload),
    };
    let (status, reply) = match &result {
        Ok(reply) => (0, &reply[..]),
        // CAST: an errno is small and negative.
        Err(error) => (error.to_errno().unsigned_abs(), &[][..]),
    };
    // CAST: bounded by the device's mailbox.
    header.payload_len.set(reply.len() as u32);
    header.status.set(status);
    buffer.extend_from_slice(header.as_bytes(), GFP_KERNEL)?;
    buffer.extend_from_slice(reply, GFP_KERNEL)?;
    owner.reply = buffer;
    result.map(|_| ())
}

/// Polling interval, in milliseconds, for the start of a removal.
const REMOVAL_POLL_MS: u64 = 1;

/// Locks the owner once memory may be registered: not before a removal that waits for the lock.
/// Fails with `EINTR` if a signal arrives first.
fn lock_for_registration(state: &State) -> Result<Guard<'_, Owner, MutexBackend>> {
    loop {
        let owner = state.owner.lock();
        let mut remaining = owner.backoff.remaining(state.age());
        if state.unmap_requests.is_pending() {
            remaining = remaining.max(REMOVAL_POLL_MS);
        }
        if remaining == 0 {
            return Ok(owner);
        }
        // Not under the lock, which unmapping takes, too.
        drop(owner);
        // SAFETY: We may sleep here.
        // CAST: some seconds.
        if unsafe { bindings::msleep_interruptible(remaining as c_uint) } != 0 {
            return Err(EINTR);
        }
    }
}

/// Forwards a request to the device.
fn forward(state: &State, owner: &mut Owner, opcode: u32, payload: &mut [u8]) -> Result<KVVec<u8>> {
    state.check_alive()?;
    let ids = &Ids {
        vport_rx_queues: state.vport_rx_queues(),
        ..state.ids
    };
    messages::request(opcode, payload, ids)
        .map_err(|refusal| Error::from_errno(-refusal.errno()))?;
    // Also when there is no reply: queues that may be running have to be stopped, and a log ended.
    owner.queues_enabled |= opcode == op::ENABLE_QUEUES;
    owner.is_logged |= opcode == adi::op::START_ADI_LOG;
    let still = || state.is_alive();
    let mut reply = state.adi.request_if(still, opcode, payload)?;
    if opcode == adi::op::RESET_ADI {
        owner.was_reset(state);
    }
    let len = messages::reply(opcode, &mut reply, ids);
    reply.truncate(len);
    Ok(reply)
}

/// Decodes the payload of a request about memory, of a device that is alive.
fn memory_range(state: &State, payload: &[u8]) -> Result<RegisterMemory> {
    state.check_alive()?;
    let range = RegisterMemory::read_from_bytes(payload).map_err(|_| EINVAL)?;
    match range.reserved.get() {
        0 => Ok(range),
        _ => Err(EINVAL),
    }
}

/// Handles REGISTER_MEMORY.
fn register_memory(
    device: &VfioDevice,
    state: &State,
    owner: &mut Owner,
    payload: &[u8],
) -> Result {
    let range = memory_range(state, payload)?;
    let flags = range.flags.get();
    if flags == 0 || flags & !(memory_flags::READ | memory_flags::WRITE) != 0 {
        return Err(EINVAL);
    }
    let context = state.pin_context(device);
    owner
        .memory
        .add(&context, range.iova.get(), range.len.get(), flags)
}

/// Handles UNREGISTER_MEMORY.
fn unregister_memory(
    device: &VfioDevice,
    state: &State,
    owner: &mut Owner,
    payload: &[u8],
) -> Result {
    let range = memory_range(state, payload)?;
    let keep_queues = match range.flags.get() {
        0 => false,
        memory_flags::KEEP_QUEUES => true,
        _ => return Err(EINVAL),
    };
    let index = owner
        .memory
        .find(range.iova.get(), range.len.get())
        .ok_or(ENOENT)?;
    if !keep_queues {
        owner.disable_queues(state);
    }
    owner.remove(state, device, index);
    Ok(())
}
