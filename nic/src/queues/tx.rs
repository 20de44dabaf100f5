// SPDX-License-Identifier: Apache-2.0 OR MIT
//! TX queues: gather frames from descriptors.

use adit_uapi::desc::ids::dtype;
use adit_uapi::desc::tx_base;
use adit_uapi::desc::tx_compl::comp_type;
use adit_uapi::desc::tx_flex::{cmd, ctx_cmd, sched_cmd};
use adit_uapi::desc::{BaseTxCtxDesc, BaseTxDesc};
use adit_uapi::desc::{FlexTxDesc, FlexTxSchedDesc, FlexTxTsoCtxDesc, TxDesc};
use zerocopy::{transmute, FromZeros, IntoBytes};

use super::{advance, owned, QueueFault};
use crate::dataplane::{Ring, SchedMode};
use crate::frame::Frame;
use crate::pasid::Dma;

const ENTRY: u64 = TxDesc::LEN as u64;
/// The number of descriptors fetched in one read.
const PREFETCH: usize = 64;
/// The maximum number of descriptors of one packet. Linux uses at most `max_sg_bufs_per_tx_pkt`
/// buffers of up to 16 KiB, plus context descriptors; a longer chain is a loop or an attack.
pub(super) const MAX_PACKET_DESCRIPTORS: usize = 256;

/// The offloads requested by a packet's descriptors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxOffload {
    /// Set if the device must complete the transport checksum (CS_EN).
    pub checksum: bool,
    /// The segmentation request, if the frame is to be segmented.
    pub segmentation: Option<Segmentation>,
    /// The VLAN tag (TCI) to insert.
    pub vlan_tci: Option<u16>,
}

/// A context descriptor's segmentation request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// The payload length of each segment in bytes.
    pub mss: u16,
    /// The total payload length in bytes.
    pub payload_len: u32,
    /// The length of all headers in bytes.
    pub header_len: u8,
}

/// A completion requested by a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The type of the completion (`tx_compl::comp_type`).
    pub comp_type: u16,
    /// The tag or the head.
    pub value: u16,
}

/// The result of [`TxQueue::peek`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxOutcome {
    /// The ring holds no complete packet.
    Idle,
    /// The frame is in the buffer. It is not consumed until [`TxQueue::consume`].
    Frame(TxOffload),
    /// The packet is empty or longer than any wire supports: it must be consumed and dropped.
    BadLength,
}

/// A ring of TX descriptors.
pub struct TxQueue {
    ring: Ring,
    sched: SchedMode,
    /// The completion queue that it reports to; `None` in the single queue model.
    pub completion_queue: Option<u32>,
    /// The queue ID in completions.
    pub relative_id: u16,
    head: u16,
    fetched: [TxDesc; PREFETCH],
    /// The ring index of `fetched[0]`.
    fetched_first: u16,
    fetched_len: u16,
    /// The head after the packet found by the last [`peek`](Self::peek).
    next_head: u16,
    completions: [Option<Completion>; 2],
    /// The entry for which the packet requests a write-back; only in the single queue model.
    write_back: Option<u16>,
}

impl TxQueue {
    /// A queue from which no frame has been sent.
    #[must_use]
    pub fn new(ring: Ring, sched: SchedMode, completion_queue: u32, relative_id: u16) -> Self {
        Self {
            ring,
            sched,
            completion_queue: Some(completion_queue),
            relative_id,
            head: 0,
            fetched: [TxDesc::new_zeroed(); PREFETCH],
            fetched_first: 0,
            fetched_len: 0,
            next_head: 0,
            completions: [None; 2],
            write_back: None,
        }
    }

    /// A queue of the single queue model from which no frame has been sent.
    #[must_use]
    pub fn new_single(ring: Ring) -> Self {
        Self {
            completion_queue: None,
            ..Self::new(ring, SchedMode::Queue, 0, 0)
        }
    }

    /// Returns whether the ring holds descriptors to process.
    ///
    /// # Errors
    /// Fails when the tail is beyond the ring.
    pub fn has_work(&self, tail: u32) -> Result<bool, QueueFault> {
        Ok(owned(self.head, tail, self.ring.len)? != 0)
    }

    fn descriptor(&mut self, mem: &impl Dma, entry: u16, left: u16) -> Result<TxDesc, QueueFault> {
        let index = entry.wrapping_sub(self.fetched_first);
        if index < self.fetched_len {
            return Ok(self.fetched[usize::from(index)]);
        }
        let n = left.min(self.ring.len - entry).min(PREFETCH as u16);
        let at = self.ring.base.wrapping_add(u64::from(entry) * ENTRY);
        mem.read(at, self.fetched[..usize::from(n)].as_mut_bytes())?;
        (self.fetched_first, self.fetched_len) = (entry, n);
        Ok(self.fetched[0])
    }

    /// Gathers the next packet into `frame`, replacing its content.
    ///
    /// # Errors
    /// Fails when the ring is malformed or memory is not accessible: the queue must be stopped.
    pub fn peek(
        &mut self,
        mem: &impl Dma,
        tail: u32,
        frame: &mut Frame,
    ) -> Result<TxOutcome, QueueFault> {
        let ready = owned(self.head, tail, self.ring.len)?;
        frame.clear();
        let mut offload = TxOffload::default();
        let mut too_long = false;
        let mut entry = self.head;
        for n in 0..ready {
            if usize::from(n) >= MAX_PACKET_DESCRIPTORS {
                return Err(QueueFault::EndlessPacket {
                    max: MAX_PACKET_DESCRIPTORS,
                });
            }
            let desc = self.descriptor(mem, entry, ready - n)?;
            let at = entry;
            entry = advance(entry, 1, self.ring.len);
            let (addr, len, last) = match (desc.dtype(), self.sched) {
                (dtype::FLEX_TSO_CTX, _) => {
                    let d: FlexTxTsoCtxDesc = transmute!(desc);
                    if d.cmd() & ctx_cmd::TSO != 0 {
                        offload.segmentation = Some(Segmentation {
                            mss: d.mss(),
                            payload_len: d.tlen(),
                            header_len: d.hdr_len,
                        });
                    }
                    continue;
                }
                (dtype::CTX, _) => {
                    let d: BaseTxCtxDesc = transmute!(desc);
                    // Timestamping is not offered, nor are the other requests of this descriptor.
                    if self.is_single() && d.cmd() & tx_base::ctx_cmd::TSO != 0 {
                        offload.segmentation = Some(Segmentation {
                            mss: d.mss(),
                            payload_len: d.tso_len(),
                            header_len: 0,
                        });
                    }
                    continue;
                }
                (dtype::DATA, _) if self.is_single() => {
                    let d: BaseTxDesc = transmute!(desc);
                    let last = d.cmd() & tx_base::cmd::EOP != 0;
                    offload.checksum |= requests_checksum(d.cmd());
                    if d.cmd() & tx_base::cmd::IL2TAG1 != 0 {
                        offload.vlan_tci = Some(d.l2tag1());
                    }
                    if let Some(request) = &mut offload.segmentation {
                        // The base context descriptor leaves the header length to the data
                        // descriptor.
                        let headers = d.mac_len() + d.ip_len() + d.l4_len();
                        if request.header_len == 0 {
                            request.header_len = u8::try_from(headers).unwrap_or(u8::MAX);
                        }
                    }
                    if last {
                        self.write_back = (d.cmd() & tx_base::cmd::RS != 0).then_some(at);
                    }
                    (d.buf_addr.get(), d.buf_size(), last)
                }
                (dtype::FLEX_FLOW_SCHE, SchedMode::Flow) => {
                    let d: FlexTxSchedDesc = transmute!(desc);
                    let last = d.cmd() & sched_cmd::EOP != 0;
                    offload.checksum |= d.cmd() & sched_cmd::CS_EN != 0;
                    if last {
                        let done = |comp_type, value| Some(Completion { comp_type, value });
                        let head = (d.cmd() & sched_cmd::RE != 0).then_some(entry);
                        self.completions = [
                            head.and_then(|h| done(comp_type::RE, h)),
                            done(comp_type::RS, d.compl_tag.get()),
                        ];
                    }
                    (d.buf_addr.get(), d.buf_size(), last)
                }
                (dtype::FLEX_L2TAG1_L2TAG2, SchedMode::Queue) => {
                    let d: FlexTxDesc = transmute!(desc);
                    let last = d.cmd() & cmd::EOP != 0;
                    offload.checksum |= d.cmd() & cmd::CS_EN != 0;
                    if d.cmd() & cmd::IL2TAG1 != 0 {
                        offload.vlan_tci = Some(d.l2tag1.get());
                    }
                    if last {
                        let report = d.cmd() & (cmd::RS | cmd::RE) != 0;
                        let rs = Completion {
                            comp_type: comp_type::RS,
                            value: entry,
                        };
                        self.completions = [report.then_some(rs), None];
                    }
                    (d.buf_addr.get(), d.buf_size.get(), last)
                }
                (dtype, _) => return Err(QueueFault::DescriptorType { dtype, entry: at }),
            };
            match frame.append(usize::from(len)) {
                None => too_long = true,
                Some(_) if too_long => {}
                Some(space) => mem.read(addr, space)?,
            }
            if last {
                self.next_head = entry;
                let bad = too_long || frame.is_empty();
                return Ok(if bad {
                    TxOutcome::BadLength
                } else {
                    TxOutcome::Frame(offload)
                });
            }
        }
        Ok(TxOutcome::Idle)
    }

    /// Returns whether it is a queue of the single queue model.
    fn is_single(&self) -> bool {
        self.completion_queue.is_none()
    }

    /// In the single queue model, performs the write-back requested by the packet that was
    /// [consumed](Self::consume). Returns whether it requested one.
    ///
    /// # Errors
    /// Fails when the ring cannot be written.
    pub fn write_back(&mut self, mem: &impl Dma) -> Result<bool, QueueFault> {
        let Some(entry) = self.write_back.take() else {
            return Ok(false);
        };
        let at = self.ring.base.wrapping_add(u64::from(entry) * ENTRY);
        mem.publish_u64(at.wrapping_add(8), u64::from(dtype::DESC_DONE))?;
        Ok(true)
    }

    /// Consumes the packet found by the last [`peek`](Self::peek), and returns the completions that
    /// it requests.
    pub fn consume(&mut self) -> [Option<Completion>; 2] {
        self.head = self.next_head;
        std::mem::take(&mut self.completions)
    }

    /// The index of the next entry. Entries have no generation bit.
    #[must_use]
    pub fn position(&self) -> (u16, bool) {
        (self.head, false)
    }

    /// Continues at another entry, which is below the length of the ring.
    pub fn set_position(&mut self, next: u16, _generation: bool) {
        (self.head, self.fetched_len) = (next, 0);
    }
}

/// Returns whether a base descriptor's command requests the transport checksum: by its transport
/// type, or by DPDK's encoding, which is the flex descriptor's CS_EN and means "IPv6" here.
fn requests_checksum(cmd: u16) -> bool {
    cmd & tx_base::cmd::L4T_EOFT_M != 0 || cmd & tx_base::cmd::IIPT_M == tx_base::cmd::IIPT_IPV6
}
