// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit adi create`: creates a port with its settings, a name and a CDI specification, or nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use super::args::Create;
use super::orphans;
use super::record::{self, Adi, MacAddress};
use crate::cdi;
use crate::devlink::{Devlink, Handle, Port, PortFunction};
use crate::registry::{Key, Name, Named, Registry};
use crate::sysfs::{self, AdiDevice};

/// `EEXIST`
const EEXIST: i32 = 17;
/// The timeout for a VFIO group to appear.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn create(wanted: &Create) -> Result<Adi> {
    let handle = function(wanted.device.as_deref())?;
    let devlink = Devlink::connect()?;
    let registry = Registry::open();
    let _lock = registry.lock()?;
    let ports = devlink.ports()?;
    // More names than ports: some are orphans.
    if registry.names()?.len() > ports.len() {
        orphans::prune(wanted.cdi.then_some(&*wanted.cdi_dir))?;
    }
    let port = add_port(&devlink, &handle, &ports, wanted.sfnum)?;
    let mut made = Made::default();
    let done = configure(&devlink, &registry, &port, wanted, &mut made);
    if done.is_err() {
        undo(&devlink, &port, wanted, &made);
    }
    done
}

/// The resources that have been created, besides the port.
#[derive(Default)]
struct Made {
    name: Option<Name>,
    cdi: bool,
}

/// Returns the function to create an ADI on.
fn function(device: Option<&str>) -> Result<Handle> {
    if let Some(device) = device {
        return Handle::parse(device)
            .with_context(|| format!("`{device}` is no device: it should read pci/0000:00:05.0"));
    }
    let functions = sysfs::functions();
    match functions.as_slice() {
        [only] => Ok(only.clone()),
        [] => {
            bail!("the adit driver has no function: is the module loaded, and the NIC bound to it?")
        }
        many => {
            let many: Vec<_> = many.iter().map(ToString::to_string).collect();
            bail!("choose one with --device: {}", many.join(", "))
        }
    }
}

fn add_port(
    devlink: &Devlink,
    handle: &Handle,
    ports: &[Port],
    sfnum: Option<u32>,
) -> Result<Port> {
    let failed = |sfnum| format!("cannot make a port with sfnum {sfnum} on {handle}");
    if let Some(sfnum) = sfnum {
        return devlink
            .port_new(handle, sfnum)
            .with_context(|| failed(sfnum));
    }
    let mut taken: Vec<_> = ports
        .iter()
        .filter(|port| port.handle == *handle)
        .map(|port| port.sfnum)
        .collect();
    taken.sort_unstable();
    let mut sfnum = lowest_free(&taken);
    loop {
        match devlink.port_new(handle, sfnum) {
            // Another process was faster.
            Err(error) if error.errno() == Some(EEXIST) => sfnum += 1,
            result => return result.with_context(|| failed(sfnum)),
        }
    }
}

/// Returns the lowest number that is not in a sorted list.
fn lowest_free(taken: &[u32]) -> u32 {
    (0..).zip(taken).take_while(|(n, &t)| *n == t).count() as u32
}

fn configure(
    devlink: &Devlink,
    registry: &Registry,
    port: &Port,
    wanted: &Create,
    made: &mut Made,
) -> Result<Adi> {
    let key: Key = (port.handle.clone(), port.sfnum);
    let name = match &wanted.name {
        Some(name) => name.clone(),
        None => format!("adi{}", port.sfnum)
            .parse()
            .map_err(anyhow::Error::msg)?,
    };
    let folder = match wanted.cdi {
        // The ADI may be destroyed from another working directory.
        true => Some(std::path::absolute(&wanted.cdi_dir).context("the folder for CDI")?),
        false => None,
    };
    // The port is new: any name recorded for it belongs to a previous one, which is gone.
    if let Some(left) = registry.at(&key) {
        orphans::forget(registry, &left)?;
    }
    if let Some(entry) = registry.get(&name) {
        match record::named(devlink, &name)? {
            Some(owner) => bail!(
                "the name {name} is taken, by the ADI with sfnum {} of {}",
                owner.port.sfnum,
                owner.port.handle
            ),
            None if orphans::hidden()?.contains(&entry.key.0) => bail!(
                "the name {name} is taken, by an ADI of {}, which is in another network namespace",
                entry.key.0
            ),
            None => orphans::forget(registry, &name)?,
        }
    }
    registry.take(&name, &key, folder.as_deref())?;
    made.name = Some(name.clone());
    let function = PortFunction {
        hw_addr: wanted.mac.map(|mac| mac.0),
        max_io_eqs: Some(wanted.queues),
        active: Some(true),
    };
    devlink
        .port_set(port, &function)
        .with_context(|| format!("cannot make {name} of {}", port.handle))?;
    let device = wait_for_group(port);
    let port = devlink.port_get(&port.handle, port.index)?;
    let adi = Adi {
        name: Some(name.clone()),
        mac: MacAddress(port.hw_addr),
        port,
        device,
    };
    if folder.is_some() && adi.vfio_group().is_none() {
        bail!("{name} has no VFIO group that a container could be given");
    }
    made.cdi = folder.is_some();
    bind(registry, &name, adi.device.as_ref(), folder.as_deref())?;
    Ok(adi)
}

/// Binds a name to an ADI in the registry, in udev and for container engines.
pub(super) fn bind(
    registry: &Registry,
    name: &Name,
    device: Option<&AdiDevice>,
    folder: Option<&Path>,
) -> Result<()> {
    let Some(device) = device else {
        return Ok(());
    };
    let named = Named {
        instance: device.instance.clone(),
        device: device.name.clone(),
    };
    registry.bind(name, named.clone())?;
    if let Some(group) = device.vfio_group() {
        sysfs::announce(&group);
        if let Some(folder) = folder {
            cdi::write(folder, name, &named, &group)?;
        }
    }
    Ok(())
}

/// Returns the device of an ADI, with its group if that appears before the timeout.
pub(super) fn wait_for_group(port: &Port) -> Option<AdiDevice> {
    let start = Instant::now();
    loop {
        let device = AdiDevice::of_port(&port.handle, port.index);
        let node = device.as_ref().and_then(AdiDevice::vfio_group);
        if node.as_deref().is_some_and(Path::exists) || start.elapsed() > TIMEOUT {
            return device;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn undo(devlink: &Devlink, port: &Port, wanted: &Create, made: &Made) {
    let mut left = Vec::new();
    if let Some(name) = &made.name {
        if made.cdi {
            left.extend(cdi::remove(&wanted.cdi_dir, name).err());
        }
        left.extend(Registry::open().give_up(name).err());
    }
    left.extend(devlink.port_del(port).err().map(Into::into));
    for error in left {
        eprintln!("adit: cannot undo: {error:#}");
    }
}

#[cfg(test)]
mod tests {
    use super::lowest_free;

    #[test]
    fn the_lowest_free_number_is_found() {
        assert_eq!(lowest_free(&[]), 0);
        assert_eq!(lowest_free(&[0, 1, 3]), 2);
        assert_eq!(lowest_free(&[1]), 0);
        assert_eq!(lowest_free(&[0, 1]), 2);
    }
}
