// SPDX-License-Identifier: Apache-2.0 OR MIT
//! VLAN tags.
//!
//! The PF's virtual port carries VLAN tags, as the wire does. An ADI is on one VLAN, or on none, and
//! never sees tags: its frames are tagged before they reach the switch, and untagged when they are
//! delivered.

use adit_pipeline::offload::{Checksum, FrameMeta};

use crate::queues::TxOffload;

/// The length of the Ethernet addresses, which a VLAN tag follows, in bytes.
pub(super) const ADDRESSES: usize = 12;
/// The length of a VLAN tag in bytes.
pub(super) const TAG: usize = 4;
const TPID_8021Q: [u8; 2] = [0x81, 0x00];
const TPID_8021AD: [u8; 2] = [0x88, 0xA8];
/// The mask of the VLAN id in a tag.
const VID: u16 = 0xFFF;

/// Returns whether an EtherType is that of a VLAN tag.
pub(super) fn is_tag(ether_type: [u8; 2]) -> bool {
    matches!(ether_type, TPID_8021Q | TPID_8021AD)
}

/// The VLAN id of a frame's outer tag; 0 without one.
pub(super) fn id_of(frame: &[u8]) -> u16 {
    match frame.get(ADDRESSES..ADDRESSES + TAG) {
        Some(&[a, b, high, low]) if [a, b] == TPID_8021Q => u16::from_be_bytes([high, low]) & VID,
        _ => 0,
    }
}

/// Removes the outer tag from a frame, and returns the frame without its first, now unused bytes.
pub(super) fn untag<'a>(frame: &'a mut [u8], meta: &mut FrameMeta) -> &'a mut [u8] {
    frame.copy_within(..ADDRESSES, TAG);
    if let Checksum::Partial { start, .. } = &mut meta.checksum {
        *start = start.saturating_sub(TAG as u16);
    }
    if let Some(gso) = &mut meta.gso {
        gso.header_len = gso.header_len.saturating_sub(TAG as u16);
    }
    &mut frame[TAG..]
}

/// The request with a VLAN tag to be inserted before all other headers.
pub(super) fn tagged(offload: TxOffload, vlan: u16) -> TxOffload {
    let mut offload = offload;
    offload.vlan_tci = Some(vlan);
    if let Some(segmentation) = &mut offload.segmentation {
        segmentation.header_len = segmentation.header_len.saturating_add(TAG as u8);
    }
    offload
}
