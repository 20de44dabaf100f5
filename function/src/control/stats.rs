// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Statistics of a vport (GET_STATS).

use adit_uapi::virtchnl2::VportStats;
use zerocopy::little_endian::{U32, U64};
use zerocopy::IntoBytes;

use super::{wire, Control, Refusal};
use crate::dataplane::DataPlane;
use crate::ids::VportId;

impl Control {
    pub(super) fn get_stats(
        &mut self,
        payload: &[u8],
        dp: &impl DataPlane,
        reply: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let id = VportId(wire::header::<VportStats>(payload)?.0.vport_id.get());
        self.vport(id)?;
        let counted = dp.counters(id);
        let stats = VportStats {
            vport_id: U32::new(id.0),
            rx_bytes: U64::new(counted.rx_bytes),
            rx_unicast: U64::new(counted.rx_unicast),
            rx_multicast: U64::new(counted.rx_multicast),
            rx_broadcast: U64::new(counted.rx_broadcast),
            rx_discards: U64::new(counted.rx_discards),
            rx_errors: U64::new(counted.rx_errors),
            tx_bytes: U64::new(counted.tx_bytes),
            tx_unicast: U64::new(counted.tx_unicast),
            tx_multicast: U64::new(counted.tx_multicast),
            tx_broadcast: U64::new(counted.tx_broadcast),
            tx_discards: U64::new(counted.tx_discards),
            tx_errors: U64::new(counted.tx_errors),
            rx_overflow_drop: U64::new(counted.rx_no_buffer),
            ..VportStats::default()
        };
        reply.extend_from_slice(stats.as_bytes());
        Ok(())
    }
}
