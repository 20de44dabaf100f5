// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The capabilities of the function (GET_CAPS).

use adit_uapi::virtchnl2::cap::other;
use adit_uapi::virtchnl2::{device_type, GetCapabilities, SriovVfsInfo};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::IntoBytes;

use super::{wire, Control, Refusal};
use crate::dataplane::QueueKind;

/// The maximum size of the headers of a packet with offloads, in bytes.
const MAX_TX_HDR_SIZE: u16 = 256;
/// The maximum number of buffers of a packet, or of a segment of one: more than Linux ever uses (17
/// fragments, the linear part, a context descriptor), so that it need not linearise.
const MAX_SG_BUFS_PER_TX_PKT: u8 = 32;
/// The minimum length in bytes of a packet that the driver need not pad: Linux takes 0 as 17.
const MIN_SSO_PACKET_LEN: u8 = 17;
/// The maximum number of buffers that hold the headers of a packet with segmentation.
const MAX_HDR_BUF_PER_LSO: u8 = 3;

impl Control {
    pub(super) fn get_caps(&self, payload: &[u8], reply: &mut Vec<u8>) -> Result<(), Refusal> {
        let (request, _) = wire::header::<GetCapabilities>(payload)?;
        let total = |kind| U16::new(self.profile.total_queues(kind));
        let offered = self.profile.capabilities();
        let granted = GetCapabilities {
            csum_caps: request.csum_caps & U32::new(offered.csum),
            seg_caps: request.seg_caps & U32::new(offered.seg),
            hsplit_caps: request.hsplit_caps & U32::new(offered.hsplit),
            rsc_caps: request.rsc_caps & U32::new(offered.rsc),
            rss_caps: request.rss_caps & U64::new(offered.rss),
            // FLOW_STEER is granted without a request: Linux never requests it, and accepts no rules
            // without it.
            other_caps: (request.other_caps | U64::new(other::FLOW_STEER))
                & U64::new(offered.other),
            mailbox_dyn_ctl: U32::new(self.profile.layout().dyn_ctl(0).unwrap_or_default()),
            mailbox_vector_id: U16::new(0),
            num_allocated_vectors: U16::new(self.profile.vectors()),
            max_rx_q: total(QueueKind::Rx),
            max_tx_q: total(QueueKind::Tx),
            max_rx_bufq: total(QueueKind::RxBuffer),
            max_tx_complq: total(QueueKind::TxCompletion),
            max_vports: U16::new(self.profile.vports()),
            default_num_vports: U16::new(self.profile.vports()),
            max_tx_hdr_size: U16::new(MAX_TX_HDR_SIZE),
            max_sg_bufs_per_tx_pkt: MAX_SG_BUFS_PER_TX_PKT,
            device_type: U32::new(device_type::MEV_DEVICE),
            min_sso_packet_len: MIN_SSO_PACKET_LEN,
            max_hdr_buf_per_lso: MAX_HDR_BUF_PER_LSO,
            ..GetCapabilities::default()
        };
        reply.extend_from_slice(granted.as_bytes());
        Ok(())
    }
}

/// Handles SET_SRIOV_VFS: there are no VFs, so 0 is the only valid number.
pub(super) fn set_sriov_vfs(payload: &[u8]) -> Result<(), Refusal> {
    match wire::header::<SriovVfsInfo>(payload)?.0.num_vfs.get() {
        0 => Ok(()),
        _ => Err(Refusal::OutOfRange),
    }
}
