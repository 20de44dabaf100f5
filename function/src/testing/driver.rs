// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A driver that exchanges messages with a control plane.

use adit_uapi::virtchnl2::{
    op, queue_model, CreateVport, DelEnaDisQueues, Event, QueueChunk, QueueRegChunk,
};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::control::{Control, Profile};
use crate::dataplane::DataPlane;

/// The profile of a function with `vports` vports of `queues` RX queues each. The address of vport
/// N is 02:00:00:00:N:01.
///
/// # Panics
/// When a number is too large.
#[must_use]
pub fn profile(vports: u8, queues: u16) -> Profile {
    let macs = (0..vports).map(|n| [2, 0, 0, 0, n, 1]).collect();
    Profile::new(macs, queues).expect("a valid profile")
}

/// A driver that uses only a control plane.
pub struct Driver<D> {
    /// The control plane.
    pub control: Control,
    /// The data plane.
    pub dp: D,
    /// The payload of the last reply.
    pub reply: Vec<u8>,
}

impl<D: DataPlane> Driver<D> {
    /// A driver of the control plane of a function with `profile`, which controls `dp`.
    #[must_use]
    pub fn with(profile: Profile, dp: D) -> Self {
        Self {
            control: Control::new(profile),
            dp,
            reply: Vec::new(),
        }
    }

    /// Sends a request and returns its status.
    pub fn send(&mut self, opcode: u32, payload: &[u8]) -> u32 {
        self.control
            .handle(opcode, payload, &mut self.dp, &mut self.reply)
    }

    /// Sends a request that must succeed.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn ok(&mut self, opcode: u32, payload: &[u8]) -> &[u8] {
        let status = self.send(opcode, payload);
        assert_eq!(status, 0, "{:?}", op::name(opcode));
        &self.reply
    }

    /// The struct at the start of the last reply, and the bytes that follow it.
    ///
    /// # Panics
    /// When the reply is shorter.
    #[must_use]
    pub fn answer<T: FromBytes>(&self) -> (T, &[u8]) {
        T::read_from_prefix(&self.reply).expect("a reply as long as its struct")
    }

    /// The `count` queue chunks of the last reply, after `skip` bytes.
    ///
    /// # Panics
    /// When the reply has another length.
    #[must_use]
    pub fn chunks(&self, skip: usize, count: U16) -> Vec<QueueRegChunk> {
        let bytes = &self.reply[skip..];
        assert_eq!(bytes.len(), usize::from(count.get()) * QueueRegChunk::LEN);
        bytes
            .chunks(QueueRegChunk::LEN)
            .map(|c| QueueRegChunk::read_from_bytes(c).unwrap())
            .collect()
    }

    /// Takes the events for the driver.
    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.control.take_event(&self.dp)).collect()
    }

    /// Creates a vport with `n` queues of each kind (`2 * n` buffer queues), as Linux does.
    pub fn create(&mut self, index: u16, n: u16) -> CreateVport {
        let request = CreateVport {
            txq_model: U16::new(queue_model::SPLIT),
            rxq_model: U16::new(queue_model::SPLIT),
            num_tx_q: U16::new(n),
            num_tx_complq: U16::new(n),
            num_rx_q: U16::new(n),
            num_rx_bufq: U16::new(2 * n),
            vport_index: U16::new(index),
            ..CreateVport::default()
        };
        self.ok(op::CREATE_VPORT, request.as_bytes());
        self.answer::<CreateVport>().0
    }
}

/// A message with elements after its header.
#[must_use]
pub fn message<H, E>(header: &H, elements: &[E]) -> Vec<u8>
where
    H: IntoBytes + Immutable,
    E: IntoBytes + Immutable,
{
    [header.as_bytes(), elements.as_bytes()].concat()
}

/// A message that lists queues, one chunk each, as Linux sends it.
#[must_use]
pub fn named(vport: u32, queues: &[(u32, u32)]) -> Vec<u8> {
    let chunks: Vec<_> = queues
        .iter()
        .map(|&(type_, id)| QueueChunk {
            type_: U32::new(type_),
            start_queue_id: U32::new(id),
            num_queues: U32::new(1),
            ..QueueChunk::default()
        })
        .collect();
    let mut header = DelEnaDisQueues {
        vport_id: U32::new(vport),
        ..DelEnaDisQueues::default()
    };
    header.chunks.num_chunks = U16::new(chunks.len() as u16);
    message(&header, &chunks)
}
