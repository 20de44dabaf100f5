// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A control server in a thread, for fake devices.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use adit_function::mac::MacAddr;
use adit_function::pci::DEFAULT_ID;
use adit_vdcm::control::client::{Client, ClientError};
use adit_vdcm::control::devices::Devices;
use adit_vdcm::control::server::{Server, Settings};
use adit_vdcm::protocol::{
    AdiInfo, AdiState, ErrorCode, Spec, TraceEntry, TraceEvent, VdevError, VdevInfo, VdevState,
    VdevStats,
};
use adit_vdcm::snapshot::DeviceState;
use adit_vfio_user::{Listener, Permissions, StopHandle};

/// A spec of that name.
pub(crate) fn spec(name: &str) -> Spec {
    Spec {
        name: Some(name.to_owned()),
        adis: vec!["adi0".to_owned()],
        ..Spec::default()
    }
}

#[derive(Default)]
struct Paper {
    devices: Mutex<BTreeMap<String, VdevInfo>>,
}

fn adi(name: &str) -> AdiInfo {
    AdiInfo {
        name: name.to_owned(),
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        vlan: 0,
        pairs: 2,
        vectors: 2,
        state: AdiState::Up,
        speed_mbps: 10_000,
    }
}

impl Devices for Paper {
    fn create(&self, spec: Spec) -> Result<VdevInfo, VdevError> {
        let name = spec.name.unwrap_or_else(|| "vdev0".to_owned());
        let mut devices = self.devices.lock().unwrap();
        if devices.contains_key(&name) {
            let text = format!("there is a device `{name}`");
            return Err(VdevError::new(ErrorCode::Exists, text));
        }
        let info = VdevInfo {
            name: name.clone(),
            state: VdevState::Idle,
            suspended: false,
            socket: PathBuf::from(format!("/run/{name}.sock")),
            layout: spec.layout,
            pci_id: DEFAULT_ID,
            queues: 2,
            tx_queues: 2,
            vectors: 4,
            adis: spec.adis.iter().map(|name| adi(name)).collect(),
            limits: spec.limits.unwrap_or_default(),
            windows: 0,
            registered_bytes: 0,
        };
        devices.insert(name, info.clone());
        Ok(info)
    }

    fn list(&self) -> Vec<VdevInfo> {
        self.devices.lock().unwrap().values().cloned().collect()
    }

    fn show(&self, name: &str) -> Result<VdevInfo, VdevError> {
        let found = self.devices.lock().unwrap().get(name).cloned();
        found.ok_or_else(|| VdevError::new(ErrorCode::NotFound, format!("no device `{name}`")))
    }

    fn destroy(&self, name: &str) -> Result<(), VdevError> {
        self.show(name)?;
        self.devices.lock().unwrap().remove(name);
        Ok(())
    }

    fn stats(&self, name: &str) -> Result<VdevStats, VdevError> {
        Ok(VdevStats {
            name: self.show(name)?.name,
            ..VdevStats::default()
        })
    }

    fn trace(&self, name: &str, after: u64, max: usize) -> Result<Vec<TraceEntry>, VdevError> {
        self.show(name)?;
        let entries = (after + 1..=2_500).map(|seq| TraceEntry {
            seq,
            time_us: seq,
            event: TraceEvent::Connected,
        });
        Ok(entries.take(max).collect())
    }

    fn swap(&self, name: &str, vport: u16, new: &[String]) -> Result<VdevInfo, VdevError> {
        let mut devices = self.devices.lock().unwrap();
        let device = devices.get_mut(name).unwrap();
        device.adis[usize::from(vport)] = adi(&new.join("+"));
        Ok(device.clone())
    }

    fn save(&self, name: &str) -> Result<DeviceState, VdevError> {
        self.show(name)?;
        Err(on_paper())
    }

    fn restore(&self, _spec: Spec, _state: &DeviceState) -> Result<VdevInfo, VdevError> {
        Err(on_paper())
    }

    fn resume(&self, name: &str) -> Result<(), VdevError> {
        self.show(name).map(drop)
    }

    fn adis(&self) -> Result<Vec<String>, VdevError> {
        Ok(vec!["adi0".into(), "adi9".into()])
    }
}

/// The error of a method that a fake device does not implement.
fn on_paper() -> VdevError {
    VdevError::new(ErrorCode::Unsupported, "the device is a fake")
}

/// A server in a thread; dropping it stops it.
pub(crate) struct Running {
    pub(crate) path: PathBuf,
    folder: tempfile::TempDir,
    stop: StopHandle,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Running {
    pub(crate) fn start(settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let listener = Listener::bind(&path, Permissions::default(), 1_024).unwrap();
        let stop = StopHandle::new().unwrap();
        let mut server = Server::new(listener, Arc::new(Paper::default()), settings);
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || server.run(&stop)
        });
        Self {
            path,
            folder,
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.path).unwrap()
    }

    /// A client that tries again while there are too many.
    pub(crate) fn retrying_client(&self) -> Client {
        loop {
            match Client::connect(&self.path) {
                Ok(client) => return client,
                Err(ClientError::Refused(error)) if error.code == ErrorCode::TooManyConnections => {
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    /// Lets all users connect.
    pub(crate) fn open_to_all(&self) {
        for (path, mode) in [(self.folder.path(), 0o755), (&*self.path, 0o666)] {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(path, permissions).unwrap();
        }
    }

    /// A client of another user and group, for root.
    pub(crate) fn client_as(&self, user: u32, group: u32) -> Client {
        use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
        use rustix::thread::{Gid, Uid};

        let path = self.path.clone();
        let thread = std::thread::spawn(move || {
            let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(group));
            // Of this thread alone, which ends.
            set_thread_groups(&[gid]).unwrap();
            set_thread_res_gid(gid, gid, gid).unwrap();
            set_thread_res_uid(uid, uid, uid).unwrap();
            Client::connect(&path).unwrap()
        });
        match thread.join() {
            Ok(client) => client,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}
