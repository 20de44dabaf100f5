// SPDX-License-Identifier: Apache-2.0 OR MIT
//! RX queues of the single queue model: one ring, on which the driver posts buffers and the device
//! overwrites each buffer descriptor with a completion.

use adit_uapi::desc::ids::rxdid;
use adit_uapi::desc::rx_flex_nic::{status0, PKT_LEN_M};
use adit_uapi::desc::{RxFlexDescNic, SingleqRxBufDesc};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{transmute, IntoBytes};

use super::rx::checksum_bits;
use super::{BufferQueue, RxInfo, RxRefusal};
use crate::dataplane::Ring;
use crate::memory::DmaFault;
use crate::pasid::Dma;

const ENTRY: u64 = RxFlexDescNic::LEN as u64;

/// The ring of such a queue.
pub struct SingleRing {
    base: u64,
    buffers: BufferQueue,
}

impl SingleRing {
    /// A ring to which no frame has been delivered.
    #[must_use]
    pub fn new(ring: Ring, buffer_len: u32) -> Self {
        Self {
            base: ring.base,
            // Its descriptors are as long as those of a buffer queue.
            buffers: BufferQueue::new(ring, buffer_len.min(u32::from(PKT_LEN_M)), 0),
        }
    }

    /// The index of the next entry.
    #[must_use]
    pub fn next(&self) -> u16 {
        self.buffers.head()
    }

    /// Continues at another entry, which is below the length of the ring.
    pub fn set_next(&mut self, next: u16) {
        self.buffers.set_position(next, false);
    }

    /// Writes a frame to buffers and reports it. The frame is delivered as a whole or not at all,
    /// unless a memory access fails midway.
    ///
    /// # Errors
    /// Fails when there are too few buffers (with no effect), or memory is not accessible.
    pub fn deliver(
        &mut self,
        mem: &impl Dma,
        tail: u32,
        frame: &[u8],
        info: &RxInfo,
    ) -> Result<(), RxRefusal> {
        let buffer_len = self.buffers.buffer_len() as usize;
        let capacity = usize::from(self.buffers.available(tail)?) * buffer_len;
        if capacity < frame.len().max(1) {
            return Err(RxRefusal::NoBuffer);
        }
        let mut pieces = frame.chunks(buffer_len).peekable();
        while let Some(piece) = pieces.next() {
            let entry = self.buffers.head();
            let buffer: SingleqRxBufDesc = transmute!(self.buffers.take(mem, tail)?);
            mem.write(buffer.pkt_addr.get(), piece)?;
            let end = if pieces.peek().is_none() {
                status0::EOF
            } else {
                0
            };
            self.publish(mem, entry, &report(info, piece.len() as u16, end))?;
        }
        Ok(())
    }

    /// Writes a completion. Its second quadword holds the DD bit and is written last, atomically.
    fn publish(&self, mem: &impl Dma, entry: u16, done: &RxFlexDescNic) -> Result<(), DmaFault> {
        let at = self.base.wrapping_add(u64::from(entry) * ENTRY);
        let bytes = done.as_bytes();
        mem.write(at, &bytes[..8])?;
        mem.write(at.wrapping_add(16), &bytes[16..])?;
        let mut status = [0; 8];
        status.copy_from_slice(&bytes[8..16]);
        mem.publish_u64(at.wrapping_add(8), u64::from_le_bytes(status))
    }
}

fn report(info: &RxInfo, len: u16, end: u16) -> RxFlexDescNic {
    // The bits have the same positions as in the split model's descriptor (status0_qw1).
    let checksums = u16::from(checksum_bits(info.verdict));
    let mut done = RxFlexDescNic {
        rxdid: rxdid::FLEX,
        mir_id_umb_cast: info.cast << 6,
        pkt_len: U16::new(len),
        status_error0: U16::new(status0::DD | end | checksums),
        ..RxFlexDescNic::default()
    };
    done.set_ptype(info.ptype);
    if let Some(hash) = info.hash {
        done.status_error0 |= U16::new(status0::RSS_VALID);
        done.rss_hash = U32::new(hash);
    }
    done
}

#[cfg(test)]
mod tests {
    use adit_uapi::desc::rx_flex_adv::status0_qw1;

    use super::*;

    #[test]
    fn both_models_have_the_same_checksum_bits() {
        for (split, single) in [
            (status0_qw1::L3L4P, status0::L3L4P),
            (status0_qw1::XSUM_IPE, status0::XSUM_IPE),
            (status0_qw1::XSUM_L4E, status0::XSUM_L4E),
        ] {
            assert_eq!(u16::from(split), single);
        }
    }
}
