// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Devices whose virtual port has the queues of several ADIs: traffic over all of them, resets, the end
//! of one, and what a driver and an operator may not do. The ADIs are those of a NIC in this process,
//! the driver is one of the published vfio-user client.

mod driver;
#[allow(dead_code, reason = "its other functions are for the examples")]
mod vdev_client;

use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_function::control::AdiLimits;
use adit_nic::mac::MacAddr;
use adit_nic::runtime::Setup;
use adit_uapi::virtchnl2::{
    op, queue_model, queue_type, ConfigRxQueues, QueueVector, QueueVectorMaps, RxqInfo,
};
use adit_vdcm::embedded::EmbeddedNic;
use adit_vdcm::manager::{Manager, ManagerOptions};
use adit_vdcm::protocol::{ErrorCode, Limits, Spec, VdevState};
use adit_vfio_user::Permissions;
use zerocopy::little_endian::{U16, U32};
use zerocopy::IntoBytes;

use driver::{
    answers, assert_all, flows, interrupts, udp, Driver, FLOWS, QUEUES, STATION, TIMEOUT,
};
use vdev_client::{device, queues, vf};

const MAC: [u8; 6] = [2, 0xAD, 0x17, 9, 9, 1];

/// A daemon's devices, and the other end of the wire.
struct Daemon {
    nic: Arc<EmbeddedNic>,
    manager: Manager,
    wire: UnixDatagram,
    _folder: tempfile::TempDir,
}

fn spec(name: &str) -> Spec {
    Spec {
        name: Some(name.to_owned()),
        ..Spec::default()
    }
}

fn grouped(name: &str) -> Spec {
    Spec {
        group: Some(2),
        queues: Some(QUEUES),
        mac: Some(MacAddr(MAC)),
        ..spec(name)
    }
}

impl Daemon {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let wire = UnixDatagram::bind(path("far")).unwrap();
        wire.set_read_timeout(Some(TIMEOUT)).unwrap();
        let ends = format!("unix:{},{}", path("near").display(), path("far").display());
        let setup = Setup {
            wires: vec![ends.parse().unwrap()],
            mac: MacAddr([2, 0xAD, 0x17, 0, 9, 0]),
            p4: None,
            p4_options: Default::default(),
            p4rt: None,
            metrics: None,
            connections: 64,
            reserved_ports: Vec::new(),
        };
        let limits = AdiLimits { adis: 4, pairs: 8 };
        let nic = adit_nic::embedded::Nic::start(&setup, limits).unwrap();
        let nic = Arc::new(EmbeddedNic::new(nic));
        wire.connect(path("near")).unwrap();
        let options = ManagerOptions {
            sockets: folder.path().to_owned(),
            permissions: Permissions::default(),
            limits: Limits::default(),
            max_devices: 4,
        };
        let manager = Manager::new(nic.clone(), options).unwrap();
        Self {
            nic,
            manager,
            wire,
            _folder: folder,
        }
    }

    fn create(&self, spec: Spec) -> std::path::PathBuf {
        self.manager.create(spec).unwrap().socket
    }

    /// The received and sent unicast frames that the device reports.
    fn traffic(&self, name: &str) -> (u64, u64) {
        let stats = self.manager.stats(name).unwrap();
        let traffic = stats.adis[0].traffic.unwrap();
        (traffic.rx_unicast, traffic.tx_unicast)
    }
}

#[test]
fn one_virtual_port_has_the_queues_of_two_adis() {
    let daemon = Daemon::start();
    let socket = daemon.create(grouped("group"));
    assert_eq!(daemon.nic.nic().adis().len(), 2);
    let info = daemon.manager.show("group").unwrap();
    assert_eq!(
        (info.queues, info.tx_queues, info.adis.len()),
        (QUEUES, QUEUES, 1)
    );
    let adi = &info.adis[0];
    assert_eq!((adi.pairs, adi.mac), (QUEUES, MacAddr(MAC)));
    assert!(adi.name.contains('+'), "{}", adi.name);

    let mut driver = Driver::start(&socket);
    assert_eq!(driver.mac(), MAC);
    assert_all(&flows(&mut driver, &daemon.wire));
    answers(&mut driver, &daemon.wire);
    let (flows_count, queues) = (u64::from(FLOWS), u64::from(QUEUES));
    assert_eq!(daemon.traffic("group"), (flows_count, queues));

    // Also those of the second ADI.
    interrupts(&mut driver, &daemon.wire);

    // A reset of the driver's, and the next client.
    driver.vf.reset().unwrap();
    driver.set_up();
    assert_all(&flows(&mut driver, &daemon.wire));
    drop(driver);
    let end = Instant::now() + TIMEOUT;
    while daemon.manager.show("group").unwrap().state != VdevState::Idle {
        assert!(Instant::now() < end, "the client does not go");
    }
    let mut next = Driver::start(&socket);
    assert_all(&flows(&mut next, &daemon.wire));
    answers(&mut next, &daemon.wire);
    daemon.manager.destroy("group").unwrap();
    assert!(daemon.nic.nic().adis().is_empty());
}

#[test]
fn the_end_of_one_adi_resets_the_device() {
    let daemon = Daemon::start();
    let socket = daemon.create(grouped("group"));
    let mut driver = Driver::start(&socket);
    assert_all(&flows(&mut driver, &daemon.wire));
    let member = daemon.nic.nic().adis()[1];
    assert!(daemon.nic.nic().destroy_adi(member));
    driver.vf.await_reset(TIMEOUT).unwrap();
    assert_eq!(daemon.manager.show("group").unwrap().state, VdevState::Gone);
    let resets = daemon.manager.stats("group").unwrap().resets;
    assert_eq!(resets.get("adi_gone"), Some(&1), "{resets:?}");
    // Nothing of the other one is left, and frames do not reach the driver any more.
    assert!(daemon.nic.nic().adis().is_empty());
    daemon.wire.send(&udp(STATION, MAC, 1)).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    for pair in &mut driver.pairs {
        assert_eq!(pair.receive(&mut driver.vf).unwrap(), None);
    }
    daemon.manager.destroy("group").unwrap();
    daemon.create(grouped("group"));
}

/// An ADI that ends when it is closed cannot be opened again.
#[test]
fn a_swap_by_the_own_adi_is_refused_before_it_is_closed() {
    let daemon = Daemon::start();
    for spec in [spec("single"), grouped("group")] {
        let name = spec.name.clone().unwrap();
        daemon.create(spec);
        let own = daemon.manager.show(&name).unwrap().adis[0].name.clone();
        let own: Vec<_> = own.split('+').map(str::to_owned).collect();
        let refused = daemon.manager.swap_adi(&name, 0, &own).unwrap_err();
        assert!(
            refused.message.contains("leave out its name"),
            "{refused:?}"
        );
        assert_eq!(daemon.manager.show(&name).unwrap().state, VdevState::Idle);
        assert_eq!(daemon.nic.nic().adis().len(), own.len());
        daemon.manager.destroy(&name).unwrap();
    }
}

#[test]
fn a_queue_cannot_use_what_is_of_another_adi() {
    let daemon = Daemon::start();
    let socket = daemon.create(grouped("group"));
    let mut driver = Driver::start(&socket);
    // The last queue is one of the second ADI, the first buffer queue one of the first.
    let config = RxqInfo {
        queue_id: U32::new(u32::from(QUEUES) - 1),
        type_: U32::new(queue_type::RX),
        model: U16::new(queue_model::SPLIT),
        ..RxqInfo::default()
    };
    let header = ConfigRxQueues {
        num_qinfo: U16::new(1),
        ..ConfigRxQueues::default()
    };
    let message = [header.as_bytes(), config.as_bytes()].concat();
    let refused = driver.vf.ok(op::CONFIG_RX_QUEUES, &message);
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("refused"), "{text}");
    let stats = daemon.manager.stats("group").unwrap();
    assert_eq!(stats.requests_refused.values().sum::<u64>(), 1);
    assert_all(&flows(&mut driver, &daemon.wire));
}

#[test]
fn all_queues_interrupt_by_one_vector() {
    let daemon = Daemon::start();
    let socket = daemon.create(grouped("group"));
    let mut driver = Driver::start(&socket);
    let first = driver.vf.vectors.start_vector_id;
    let map = |queue| QueueVector {
        queue_id: U32::new(queue),
        vector_id: first,
        queue_type: U32::new(queue_type::RX),
        ..QueueVector::default()
    };
    let maps: Vec<_> = (0..u32::from(QUEUES)).map(map).collect();
    let header = QueueVectorMaps {
        num_qv_maps: U16::new(QUEUES),
        ..QueueVectorMaps::default()
    };
    let message = [header.as_bytes(), maps.as_bytes()].concat();
    driver.vf.ok(op::MAP_QUEUE_VECTOR, &message).unwrap();
    assert_all(&flows(&mut driver, &daemon.wire));
}

#[test]
fn a_group_is_saved_and_restored() {
    let daemon = Daemon::start();
    let socket = daemon.create(grouped("group"));
    let mut driver = Driver::start(&socket);
    assert_all(&flows(&mut driver, &daemon.wire));
    let state = daemon.manager.save("group").unwrap();
    assert_eq!(state.adis.len(), 1);
    // TX, completion, RX and two buffer queues of each pair.
    assert_eq!(state.adis[0].queues.len(), 5 * usize::from(QUEUES));
    daemon.manager.resume("group").unwrap();
    assert_all(&flows(&mut driver, &daemon.wire));
    answers(&mut driver, &daemon.wire);
    let state_now = daemon.manager.save("group").unwrap();
    daemon.manager.destroy("group").unwrap();
    drop(driver);
    let restored = Spec {
        group: Some(2),
        ..spec("restored")
    };
    let info = daemon.manager.restore(restored, &state_now).unwrap();
    assert!(info.suspended);
    let again = daemon.manager.save("restored").unwrap();
    assert_eq!(again.adis, state_now.adis);
    assert_ne!(again.adis, state.adis);
    // A device with other queues cannot have the state.
    daemon.manager.destroy("restored").unwrap();
    let other = Spec {
        group: Some(2),
        queues: Some(2),
        ..spec("other")
    };
    let refused = daemon.manager.restore(other, &state_now).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Invalid, "{}", refused.message);
}

#[test]
fn groups_that_cannot_be_leave_nothing() {
    let daemon = Daemon::start();
    let group = |members, queues| Spec {
        group: Some(members),
        queues: Some(queues),
        ..spec("group")
    };
    let refused = |spec: Spec| {
        let error = daemon.manager.create(spec).unwrap_err();
        assert!(daemon.nic.nic().adis().is_empty(), "{}", error.message);
        error.code
    };
    assert_eq!(refused(group(0, 4)), ErrorCode::Invalid);
    assert_eq!(refused(group(17, 34)), ErrorCode::Invalid);
    // The NIC has 8 pairs, and 4 ADIs.
    assert_eq!(refused(group(2, 10)), ErrorCode::System);
    assert_eq!(refused(group(5, 5)), ErrorCode::System);
    let named = Spec {
        adis: vec!["a".to_owned(), "a".to_owned()],
        ..group(2, 2)
    };
    assert_eq!(refused(named), ErrorCode::Invalid);
    let odd = Spec {
        adis: ["a", "b", "c"].map(String::from).into(),
        ..group(2, 2)
    };
    assert_eq!(refused(odd), ErrorCode::Invalid);
    daemon.create(group(4, 8));
}
