// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Receive-side scaling: key, look-up table, and the types of packets that are hashed.

use adit_uapi::virtchnl2::rss::DEFAULT_HASH_EXPANDED;
use adit_uapi::virtchnl2::{RssHash, RssKey, RssLut};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::IntoBytes;

use super::{wire, Control, Refusal};
use crate::dataplane::{DataPlane, QueueKind};
use crate::ids::VportId;
use crate::vport::{RSS_KEY_LEN, RSS_LUT_LEN};

impl Control {
    pub(super) fn get_rss_key(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
        reply: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let (request, _) = wire::header::<RssKey>(payload)?;
        self.vport(VportId(request.vport_id.get()))?;
        let key_len = U16::new(RSS_KEY_LEN as u16);
        let answer = RssKey {
            vport_id: request.vport_id,
            key_len,
            ..RssKey::default()
        };
        reply.extend_from_slice(answer.as_bytes());
        reply.extend_from_slice(dp.vport(VportId(request.vport_id.get())).rss_key());
        Ok(())
    }

    pub(super) fn set_rss_key(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
    ) -> Result<(), Refusal> {
        let (request, rest) = wire::header::<RssKey>(payload)?;
        let id = VportId(request.vport_id.get());
        self.vport(id)?;
        if self.profile.capabilities().rss == 0 {
            return without_rss(request.key_len.get());
        }
        if usize::from(request.key_len.get()) != RSS_KEY_LEN {
            return Err(Refusal::OutOfRange);
        }
        let key = *rest.first_chunk().ok_or(Refusal::Truncated)?;
        dp.set_rss_key(id, key);
        Ok(())
    }

    /// Handles GET_RSS_LUT: returns the requested number of entries, from the requested start.
    /// Linux requests none and means all.
    pub(super) fn get_rss_lut(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
        reply: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let (request, _) = wire::header::<RssLut>(payload)?;
        let id = VportId(request.vport_id.get());
        self.vport(id)?;
        let start = usize::from(request.lut_entries_start.get());
        let left = RSS_LUT_LEN.checked_sub(start).ok_or(Refusal::OutOfRange)?;
        let count = match usize::from(request.lut_entries.get()) {
            0 => left,
            n if n <= left => n,
            _ => return Err(Refusal::OutOfRange),
        };
        let answer = RssLut {
            lut_entries: U16::new(count as u16),
            ..*request
        };
        reply.extend_from_slice(answer.as_bytes());
        for &entry in &dp.vport(id).rss_lut[start..start + count] {
            reply.extend_from_slice(&u32::from(entry).to_le_bytes());
        }
        Ok(())
    }

    pub(super) fn set_rss_lut(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
    ) -> Result<(), Refusal> {
        let (request, rest) = wire::header::<RssLut>(payload)?;
        let id = VportId(request.vport_id.get());
        if self.profile.capabilities().rss == 0 {
            self.vport(id)?;
            return without_rss(request.lut_entries.get());
        }
        let entries = wire::elements::<U32>(rest, request.lut_entries.get())?;
        let own = self.vport(id)?.queues.allocated(QueueKind::Rx).len();
        let queues = own + self.rx_queues_of_members(id);
        let start = usize::from(request.lut_entries_start.get());
        if start + entries.len() > RSS_LUT_LEN {
            return Err(Refusal::OutOfRange);
        }
        // Zeros mean "no spreading" (Linux, with receive hashing off) and are always valid.
        let valid = |entry: &U32| (entry.get() as usize) < queues.max(1);
        if !entries.iter().all(valid) {
            return Err(Refusal::OutOfRange);
        }
        let entries: Vec<_> = entries.iter().map(|entry| entry.get() as u16).collect();
        dp.set_rss_lut(id, start, &entries);
        Ok(())
    }

    pub(super) fn get_rss_hash(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
        reply: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let (request, _) = wire::header::<RssHash>(payload)?;
        let id = VportId(request.vport_id.get());
        self.vport(id)?;
        let ptype_groups = U64::new(dp.vport(id).rss_hash());
        let answer = RssHash {
            ptype_groups,
            vport_id: request.vport_id,
            ..RssHash::default()
        };
        reply.extend_from_slice(answer.as_bytes());
        Ok(())
    }

    pub(super) fn set_rss_hash(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
    ) -> Result<(), Refusal> {
        let (request, _) = wire::header::<RssHash>(payload)?;
        let (id, groups) = (VportId(request.vport_id.get()), request.ptype_groups.get());
        self.vport(id)?;
        if groups & !DEFAULT_HASH_EXPANDED != 0 {
            return Err(Refusal::OutOfRange);
        }
        dp.set_rss_hash(id, groups);
        Ok(())
    }
}

/// The result of setting a key or a table of `len` bytes or entries in a function without RSS, whose
/// vports have a size of 0 for both.
fn without_rss(len: u16) -> Result<(), Refusal> {
    match len {
        0 => Ok(()),
        _ => Err(Refusal::NotOffered),
    }
}
