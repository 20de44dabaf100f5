// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The filters of a vport: addresses, promiscuous modes, loopback.

use adit_uapi::virtchnl2::{mac_addr_type, promisc, Loopback, MacAddr, MacAddrList, PromiscInfo};

use super::{wire, Control, Refusal};
use crate::dataplane::{AddressTaken, DataPlane};
use crate::ids::VportId;

/// The maximum number of addresses of a vport.
pub(super) const MAX_ADDRESSES: usize = 1024;
/// The maximum number of addresses of an ADI, of which there can be thousands.
pub(super) const MAX_ADI_ADDRESSES: usize = 64;

impl Control {
    /// Handles ADD_MAC_ADDR and DEL_MAC_ADDR. Adding an address that is present and removing one
    /// that is absent succeed: the state is then as requested.
    pub(super) fn change_mac_addrs(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
        add: bool,
    ) -> Result<(), Refusal> {
        let (header, rest) = wire::header::<MacAddrList>(payload)?;
        let list = wire::elements::<MacAddr>(rest, header.num_mac_addr.get())?;
        let id = VportId(header.vport_id.get());
        let most = match self.vport(id)?.adi {
            Some(_) => MAX_ADI_ADDRESSES,
            None => MAX_ADDRESSES,
        };
        if !list.iter().all(is_sensible) {
            return Err(Refusal::BadField);
        }
        if !add {
            list.iter().for_each(|mac| dp.remove_address(id, mac.addr));
            return Ok(());
        }
        let most = most.max(dp.vport(id).addresses.len());
        let mut fresh = Vec::with_capacity(list.len());
        let mut result = Ok(());
        for mac in list {
            match dp.add_address(id, mac.addr) {
                Ok(true) => fresh.push(mac.addr),
                Ok(false) => {}
                Err(AddressTaken) => result = Err(Refusal::Taken),
            }
        }
        if dp.vport(id).addresses.len() > most {
            result = Err(Refusal::NoRoom);
        }
        if result.is_err() {
            fresh.iter().for_each(|&mac| dp.remove_address(id, mac));
        }
        result
    }

    pub(super) fn config_promiscuous_mode(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
    ) -> Result<(), Refusal> {
        let (info, _) = wire::header::<PromiscInfo>(payload)?;
        let (id, flags) = (VportId(info.vport_id.get()), info.flags.get());
        let is_adi = self.vport(id)?.adi.is_some();
        if flags & !(promisc::UNICAST | promisc::MULTICAST) != 0 {
            return Err(Refusal::BadField);
        }
        // An ADI must not see frames for others.
        if is_adi && flags & promisc::UNICAST != 0 {
            return Err(Refusal::NotYours);
        }
        let (unicast, multicast) = (flags & promisc::UNICAST, flags & promisc::MULTICAST);
        dp.set_promiscuous(id, unicast != 0, multicast != 0);
        Ok(())
    }

    pub(super) fn loopback(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
    ) -> Result<(), Refusal> {
        let (message, _) = wire::header::<Loopback>(payload)?;
        let id = VportId(message.vport_id.get());
        self.own_vport(id)?;
        let enable = match message.enable {
            0 => false,
            1 => true,
            _ => return Err(Refusal::BadField),
        };
        dp.set_loopback(id, enable);
        Ok(())
    }
}

fn is_sensible(mac: &MacAddr) -> bool {
    mac.addr != [0; 6] && matches!(mac.type_, mac_addr_type::PRIMARY | mac_addr_type::EXTRA)
}
