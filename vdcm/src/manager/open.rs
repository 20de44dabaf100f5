// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ADIs of a new device: those that its description names, or new ones.

use std::os::fd::OwnedFd;

use super::kept::{Ports, PreviousPages};
use super::{check, system, Manager};
use crate::backend::{Adi, AdiSpec, GoneAdi, KeptAdi};
use crate::group::{self, Group};
use crate::protocol::{ErrorCode, Spec, VdevError};

/// The number of RX queues of a device whose ADI is created, unless its spec has another.
const DEFAULT_QUEUES: u16 = 4;

/// The ADIs of a device, and its doorbell pages in the previous process.
type Opened = (Vec<Box<dyn Adi>>, PreviousPages);

impl Manager {
    /// Opens the ADIs of the spec of a device, or creates those of one port.
    pub(super) fn open(&self, spec: &Spec, name: &str) -> Result<Opened, VdevError> {
        match (spec.adis.is_empty(), check::members(spec)) {
            (true, members) => self.create_port(spec, name, members),
            (false, members) => {
                let ports = (0..).zip(spec.adis.chunks(members.into()));
                let adis = ports.map(|(at, names)| self.open_port(spec, at, names));
                Ok((adis.collect::<Result<_, _>>()?, PreviousPages::None))
            }
        }
    }

    /// Continues with the ADIs of a device that the previous process has left open. If one is gone, none is of
    /// use: the device has their names and properties, and says that it is gone.
    pub(super) fn inherit(&self, ports: &Ports) -> Result<Opened, VdevError> {
        let runs = self.kept.as_ref().is_some_and(|kept| kept.takes_over());
        let adis = ports.iter().map(|port| self.inherit_port(port, runs));
        let adis = match adis.collect::<Result<Vec<_>, VdevError>>() {
            Ok(adis) => adis,
            Err(error) => {
                tracing::warn!("a device of the previous process has no ADIs: {error}");
                // By their openings: another device may have opened ADIs of these names since.
                let adis = ports.iter().flatten();
                match &self.kept {
                    // They are the previous process's still.
                    Some(kept) if runs => kept.abandon(adis.cloned()),
                    _ => adis.for_each(|adi| self.provider.close(adi)),
                }
                let gone = ports.iter().map(|port| gone_port(port));
                gone.collect::<Result<_, _>>()?
            }
        };
        Ok((adis, PreviousPages::OfAdis { runs }))
    }

    fn inherit_port(&self, port: &[KeptAdi], runs: bool) -> Result<Box<dyn Adi>, VdevError> {
        let mut members = Vec::with_capacity(port.len());
        for kept in port {
            let adi = self.provider.inherit(kept, runs);
            let what = || format!("ADI {}", kept.name);
            members.push(adi.map_err(|e| check::adi_error(&what(), &e))?);
        }
        match members.pop() {
            Some(adi) if members.is_empty() => Ok(adi),
            last => {
                members.extend(last);
                let group = Group::rejoin(members);
                let group = group.map_err(|error| check::adi_error("a group of ADIs", &error))?;
                Ok(Box::new(group))
            }
        }
    }

    /// Opens the ADIs of a virtual port.
    fn open_port(&self, spec: &Spec, at: u32, names: &[String]) -> Result<Box<dyn Adi>, VdevError> {
        let mut members = Vec::with_capacity(names.len());
        for name in names {
            let adi = self.open_adi(name)?;
            if members.is_empty() {
                check::adi(spec, at, adi.as_ref())?;
            }
            members.push(adi);
        }
        port(members, None)
    }

    /// Opens an ADI that exists.
    pub(super) fn open_adi(&self, name: &str) -> Result<Box<dyn Adi>, VdevError> {
        let adi = self.provider.open(name);
        adi.map_err(|error| check::adi_error(&format!("ADI {name}"), &error))
    }

    /// Creates the ADIs of a device of one virtual port, over the doorbell pages that it had in a process
    /// that has ended.
    fn create_port(&self, spec: &Spec, name: &str, members: u16) -> Result<Opened, VdevError> {
        let pages = match &self.kept {
            Some(kept) => kept.pages(name)?,
            None => PreviousPages::None,
        };
        let (inherited, pages) = match pages {
            PreviousPages::Inherited(file) => (file, PreviousPages::Inherited(None)),
            other => (None, other),
        };
        let adi = match members {
            1 => self.create_adi(spec, inherited)?,
            _ => self.create_group(spec, members, inherited)?,
        };
        Ok((vec![adi], pages))
    }

    /// Creates the ADI of a device.
    fn create_adi(
        &self,
        spec: &Spec,
        inherited: Option<OwnedFd>,
    ) -> Result<Box<dyn Adi>, VdevError> {
        // As many queues again for what `idpf` sends from XDP programs, without RX queues.
        let wanted = wanted(spec, queues_to_create(spec).saturating_mul(2));
        let adi = match inherited {
            Some(file) => self.provider.recreate(&wanted, file),
            None => self.provider.create(&wanted),
        };
        adi.map_err(|error| check::adi_error("creating an ADI", &error))
    }

    /// Creates the ADIs of a device with a group of them. The leader has the device's address.
    fn create_group(
        &self,
        spec: &Spec,
        members: u16,
        inherited: Option<OwnedFd>,
    ) -> Result<Box<dyn Adi>, VdevError> {
        let pairs = queues_to_create(spec).div_ceil(members);
        let leader = wanted(spec, pairs);
        let other = AdiSpec {
            mac: None,
            ..leader
        };
        let specs = std::iter::once(leader).chain(std::iter::repeat(other));
        let adis = specs.take(members.into()).map(|spec| {
            let adi = self.provider.create(&spec);
            adi.map_err(|error| check::adi_error("creating an ADI of a group", &error))
        });
        port(adis.collect::<Result<_, _>>()?, inherited)
    }
}

/// The ADIs of a virtual port, of which one is gone.
fn gone_port(port: &[KeptAdi]) -> Result<Box<dyn Adi>, VdevError> {
    let members = port.iter().map(|adi| (adi.name.as_str(), &adi.properties));
    let (name, properties) = group::joined(members)
        .ok_or_else(|| VdevError::new(ErrorCode::Invalid, "a virtual port without ADIs is kept"))?;
    let gone = GoneAdi::new(&name, properties).map_err(system)?;
    Ok(Box::new(gone))
}

/// The ADI of a device that is created.
fn wanted(spec: &Spec, pairs: u16) -> AdiSpec {
    AdiSpec {
        pairs,
        mac: spec.mac.map(|mac| mac.0),
        vlan: spec.vlan.unwrap_or(0),
        port: spec.port,
    }
}

/// The ADIs of a virtual port as one, over inherited doorbell pages if it is a group of a process that has
/// ended.
pub(super) fn port(
    mut members: Vec<Box<dyn Adi>>,
    inherited: Option<OwnedFd>,
) -> Result<Box<dyn Adi>, VdevError> {
    match (members.pop(), members.is_empty()) {
        (Some(adi), true) => Ok(adi),
        (last, _) => {
            members.extend(last);
            let names: Vec<_> = members.iter().map(|adi| adi.name().to_owned()).collect();
            let what = format!("ADIs {}", names.join(", "));
            let group = Group::join(members, inherited);
            let group = group.map_err(|error| check::adi_error(&what, &error))?;
            Ok(Box::new(group))
        }
    }
}

/// The number of RX queues of a device whose ADI is created.
pub(super) fn queues_to_create(spec: &Spec) -> u16 {
    spec.queues.unwrap_or(DEFAULT_QUEUES)
}
