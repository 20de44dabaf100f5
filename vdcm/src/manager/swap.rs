// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The replacement of the ADI of a virtual port, or of its group.

use super::events::Events;
use super::open::port;
use super::{check, system, Manager};
use crate::backend::Adi;
use crate::protocol::{VdevError, VdevInfo};

impl Manager {
    /// Replaces the ADI of a virtual port by the ADIs `adis`, several of which are a group with the first as
    /// its leader. They have as many queue pairs and vectors together. The device must have no client,
    /// because a client keeps the doorbells mapped. ADIs that the port has can be among them: a member of a
    /// group is replaced so, and an ADI that was destroyed and made again under the same name.
    ///
    /// # Errors
    /// As [`show`](Self::show), and when a client is connected, the port or an ADI does not exist, or an
    /// ADI is in use or has other resources. If ADIs of the port are among the new ones, it has none after a
    /// failure to open or join them.
    pub fn swap_adi(&self, name: &str, vport: u16, adis: &[String]) -> Result<VdevInfo, VdevError> {
        let (entry, _change) = self.begin_change(name)?;
        let vdev = &entry.vdev;
        let composed = |error| check::compose_error(&error);
        check::replacement(adis)?;
        vdev.check_swap(vport).map_err(composed)?;
        if !self.provider.opens_by_name() {
            // It refuses each, and the port must not be closed for one that it has.
            adis.iter()
                .try_for_each(|adi| self.open_adi(adi).map(drop))?;
        }
        // Those that the port has are free when it is closed, and not before all others are there.
        let own: Vec<_> = adis.iter().map(|adi| vdev.named(vport, adi)).collect();
        let mut opened: Vec<Option<Box<dyn Adi>>> = Vec::with_capacity(adis.len());
        for (adi, own) in adis.iter().zip(&own) {
            opened.push(match own {
                Some(_) => None,
                None => Some(self.open_adi(adi)?),
            });
        }
        if own.iter().any(Option::is_some) {
            let all = own.iter().zip(&opened).map(|(own, opened)| {
                let opened = opened.as_ref().map(|adi| {
                    let properties = adi.properties();
                    (properties.pairs, properties.vectors)
                });
                own.or(opened).unwrap_or_default()
            });
            let sum = all.fold((0_u16, 0_u16), |sum, own| {
                (sum.0.saturating_add(own.0), sum.1.saturating_add(own.1))
            });
            let way = vdev.make_way(vport, &adis.join("+"), sum);
            way.map_err(composed)?;
        }
        let mut members = Vec::with_capacity(adis.len());
        for (adi, opened) in adis.iter().zip(opened) {
            members.push(match opened {
                Some(adi) => adi,
                None => self.open_adi(adi)?,
            });
        }
        let new = port(members, None)?;
        let fds = Events::prepare(new.as_ref()).map_err(system)?;
        vdev.swap(vport, new).map_err(composed)?;
        if let Err(error) = self.events.watch(entry.id, vport, fds) {
            vdev.adi_gone(vport);
            return Err(system(error));
        }
        if let (Some(kept), Some(members)) = (&self.kept, vdev.members(vport)) {
            kept.replace_adis(name, vport, members);
        }
        Ok(entry.info())
    }
}
