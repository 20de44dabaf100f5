// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit adi create`: a port, its settings, a name and a CDI specification, or none of it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use super::record::{Adi, Adis, MacAddress};
use crate::args::Create;
use crate::cdi;
use crate::devlink::{Devlink, Handle, Port, PortFunction};
use crate::registry::{Key, Name, Registry};
use crate::sysfs::{self, AuxDevice};

/// `EEXIST`
const EEXIST: i32 = 17;
/// How long a VFIO group may take to appear.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn create(wanted: &Create) -> Result<Adi> {
    let handle = function(wanted.device.as_deref())?;
    let devlink = Devlink::connect()?;
    let port = add_port(&devlink, &handle, wanted.sfnum)?;
    let mut made = Made::default();
    let done = configure(&devlink, &port, wanted, &mut made);
    if done.is_err() {
        undo(&devlink, &port, wanted, &made);
    }
    done
}

/// What has come into being, besides the port.
#[derive(Default)]
struct Made {
    name: Option<Name>,
    cdi: bool,
}

/// The function that is meant.
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
            bail!("say which device with --device: {}", many.join(", "))
        }
    }
}

fn add_port(devlink: &Devlink, handle: &Handle, sfnum: Option<u32>) -> Result<Port> {
    let failed = |sfnum| format!("cannot make a port with sfnum {sfnum} on {handle}");
    if let Some(sfnum) = sfnum {
        return devlink
            .port_new(handle, sfnum)
            .with_context(|| failed(sfnum));
    }
    let mut taken: Vec<_> = devlink
        .ports()?
        .into_iter()
        .filter(|port| port.handle == *handle)
        .map(|port| port.sfnum)
        .collect();
    taken.sort_unstable();
    let mut sfnum = lowest_free(&taken);
    loop {
        match devlink.port_new(handle, sfnum) {
            // Somebody else was faster.
            Err(error) if error.errno() == Some(EEXIST) => sfnum += 1,
            result => return result.with_context(|| failed(sfnum)),
        }
    }
}

/// The lowest number that is not in a sorted list.
fn lowest_free(taken: &[u32]) -> u32 {
    (0..).zip(taken).take_while(|(n, &t)| *n == t).count() as u32
}

fn configure(devlink: &Devlink, port: &Port, wanted: &Create, made: &mut Made) -> Result<Adi> {
    let key: Key = (port.handle.clone(), port.sfnum);
    let name = match &wanted.name {
        Some(name) => name.clone(),
        None => format!("adi{}", port.sfnum)
            .parse()
            .map_err(anyhow::Error::msg)?,
    };
    let folder = match wanted.cdi {
        // Whoever destroys the ADI may be elsewhere.
        true => Some(std::path::absolute(&wanted.cdi_dir).context("the folder for CDI")?),
        false => None,
    };
    Registry::open().take(&name, &key, folder.as_deref(), |owner| {
        Ok(Adis::load()?.at(owner).is_some())
    })?;
    made.name = Some(name.clone());
    let function = PortFunction {
        hw_addr: wanted.mac.map(|mac| mac.0),
        max_io_eqs: Some(wanted.queues),
        active: Some(true),
    };
    devlink
        .port_set(port, &function)
        .with_context(|| format!("cannot make {name} of {}", port.handle))?;
    let device = wait_for_group(&key);
    let port = devlink.port_get(port)?;
    let adi = Adi {
        name: Some(name.clone()),
        mac: MacAddress(port.hw_addr),
        port,
        device,
    };
    if let Some(folder) = &folder {
        let (Some(device), Some(group)) = (&adi.device, adi.vfio_group()) else {
            bail!("{name} has no VFIO group that a container could be given");
        };
        cdi::write(folder, &name, &device.name, &group)?;
        made.cdi = true;
    }
    Ok(adi)
}

/// The device of an ADI, with its group if it gets one in time.
fn wait_for_group(key: &Key) -> Option<AuxDevice> {
    let start = Instant::now();
    loop {
        let device = sysfs::newest(key);
        let node = device.as_ref().and_then(AuxDevice::vfio_group);
        if node.as_deref().is_some_and(Path::exists) || start.elapsed() > PATIENCE {
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
