// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Devices of a manager, at their sockets.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use adit_vfio_user::fuzzing::HELLO;
use adit_vfio_user::header::{Command, Header};

use super::*;
use crate::backend::Adi;
use crate::protocol::VdevState;
use crate::testing::{MockAdi, MockProvider};

struct Daemon {
    manager: Manager,
    provider: Arc<MockProvider>,
    folder: tempfile::TempDir,
}

fn daemon() -> Daemon {
    let folder = tempfile::tempdir().unwrap();
    let provider = Arc::new(MockProvider::default());
    let options = ManagerOptions {
        sockets: folder.path().to_owned(),
        permissions: Permissions {
            mode: Some(0o660),
            group: None,
        },
        limits: Limits::default(),
        max_devices: 2,
    };
    let manager = Manager::new(provider.clone(), options).unwrap();
    Daemon {
        manager,
        provider,
        folder,
    }
}

fn of(adis: &[&str]) -> Spec {
    Spec {
        adis: adis.iter().map(|&name| name.to_owned()).collect(),
        ..Spec::default()
    }
}

fn names(adis: &[&str]) -> Vec<String> {
    of(adis).adis
}

fn code<T>(result: Result<T, VdevError>) -> Option<ErrorCode> {
    result.err().map(|error| error.code)
}

/// Waits until something happens that another thread does.
fn wait(mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing happens");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Connects, and negotiates the version.
fn connect(info: &VdevInfo) -> UnixStream {
    let mut stream = UnixStream::connect(&info.socket).unwrap();
    stream
        .write_all(&adit_vfio_user::fuzzing::message(
            1,
            Command::Version,
            0,
            HELLO,
        ))
        .unwrap();
    let mut header = [0; Header::SIZE];
    stream.read_exact(&mut header).unwrap();
    stream
}

#[test]
fn a_device_is_created_shown_and_destroyed() {
    let daemon = daemon();
    let adi = MockAdi::new("adi0", 5, 4);
    let state = adi.state();
    daemon.provider.add(adi);
    let info = daemon.manager.create(of(&["adi0"])).unwrap();
    assert_eq!((info.name.as_str(), info.state), ("vdev0", VdevState::Idle));
    assert_eq!(info.socket, daemon.folder.path().join("vdev0.sock"));
    let mode = info.socket.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    assert_eq!((info.queues, info.tx_queues, info.vectors), (4, 4, 6));
    assert_eq!(daemon.manager.list(), std::slice::from_ref(&info));
    assert_eq!(daemon.manager.show("vdev0").unwrap(), info);
    daemon.manager.destroy("vdev0").unwrap();
    assert!(!state.lock().open && !info.socket.exists());
    let again = daemon.manager.destroy("vdev0");
    assert_eq!(code(again), Some(ErrorCode::NotFound));
}

#[test]
fn a_client_is_seen_and_disconnected() {
    let daemon = daemon();
    daemon.provider.add(MockAdi::new("adi0", 5, 1));
    let info = daemon.manager.create(of(&["adi0"])).unwrap();
    let show = || daemon.manager.show("vdev0").unwrap();
    let stream = connect(&info);
    wait(|| show().state == VdevState::Connected);
    assert_eq!(daemon.manager.stats("vdev0").unwrap().connections, 1);
    let swap = daemon.manager.swap_adi("vdev0", 0, &names(&["adi0"]));
    assert_eq!(code(swap), Some(ErrorCode::Busy));
    drop(stream);
    wait(|| show().state == VdevState::Idle);
    let mut stream = connect(&info);
    daemon.manager.destroy("vdev0").unwrap();
    // What is left of the reply, and then the end.
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(!info.socket.exists());
}

#[test]
fn an_adi_that_goes_is_noticed_and_replaced() {
    let daemon = daemon();
    let adi = MockAdi::new("adi0", 5, 1);
    let end = adi.end();
    daemon.provider.add(adi);
    daemon.provider.add(MockAdi::new("adi1", 6, 1));
    daemon.manager.create(of(&["adi0"])).unwrap();
    end();
    wait(|| daemon.manager.show("vdev0").unwrap().state == VdevState::Gone);
    let swap = |adis: &[&str]| daemon.manager.swap_adi("vdev0", 0, &names(adis));
    let info = swap(&["adi1"]).unwrap();
    assert_eq!(info.state, VdevState::Idle);
    assert_eq!(info.adis[0].name, "adi1");
    // One that was made again takes its own place, also if nobody has noticed that it was gone.
    daemon.provider.add(MockAdi::new("adi1", 7, 1));
    assert_eq!(swap(&["adi1"]).unwrap().adis[0].mac.0[5], 7);
}

#[test]
fn a_member_of_a_group_is_replaced() {
    let daemon = daemon();
    let add = |name: &str, number, pairs| {
        let adi = MockAdi::new(name, number, pairs).in_groups();
        let state = adi.state();
        daemon.provider.add(adi);
        state
    };
    let (first, second) = (add("a", 1, 2), add("b", 2, 1));
    let spec = Spec {
        group: Some(2),
        ..of(&["a", "b"])
    };
    daemon.manager.create(spec).unwrap();
    let show = || daemon.manager.show("vdev0").unwrap();
    let swap = |adis: &[&str]| daemon.manager.swap_adi("vdev0", 0, &names(adis));
    let open = |state: &Arc<parking_lot::Mutex<_>>| {
        let state: &parking_lot::Mutex<crate::testing::MockState> = state;
        state.lock().open
    };
    // What cannot be is found before anything is closed.
    let (third, large) = (add("c", 3, 1), add("large", 4, 2));
    let unlike = swap(&["a", "large"]).unwrap_err();
    assert_eq!(unlike.code, ErrorCode::Invalid);
    assert!(
        unlike.message.contains("ADI a+large has 4 queue pairs")
            && unlike.message.contains("ADI a+b has 3"),
        "{}",
        unlike.message
    );
    assert!(!open(&large));
    assert_eq!(code(swap(&["a", "missing"])), Some(ErrorCode::NotFound));
    assert_eq!(code(swap(&["a", "a"])), Some(ErrorCode::Invalid));
    assert_eq!(code(swap(&[])), Some(ErrorCode::Invalid));
    let other_port = daemon.manager.swap_adi("vdev0", 1, &names(&["c"]));
    assert_eq!(code(other_port), Some(ErrorCode::Invalid));
    assert_eq!(show().state, VdevState::Idle);
    assert!(open(&first) && open(&second));

    // The leader stays, and is opened again.
    let again = add("a", 1, 2);
    let info = swap(&["a", "c"]).unwrap();
    assert_eq!(
        (info.state, info.adis[0].name.as_str()),
        (VdevState::Idle, "a+c")
    );
    assert!(!open(&first) && !open(&second) && open(&again) && open(&third));
    let resets = daemon.manager.stats("vdev0").unwrap().resets;
    assert_eq!(resets.get("adi_swapped"), Some(&1), "{resets:?}");

    // Its own ADI cannot be opened again: the port has none, until others come.
    assert_eq!(code(swap(&["c", "a"])), Some(ErrorCode::NotFound));
    assert_eq!(show().state, VdevState::Gone);
    add("d", 5, 3);
    assert_eq!(swap(&["d"]).unwrap().state, VdevState::Idle);
}

#[test]
fn names_sockets_and_adis_have_one_owner() {
    let daemon = daemon();
    for (name, number) in [("a", 1), ("b", 2), ("c", 3)] {
        daemon.provider.add(MockAdi::new(name, number, 1));
    }
    let first = daemon.manager.create(of(&["a"])).unwrap();
    let spec = |name: Option<&str>, socket: Option<&Path>| Spec {
        name: name.map(ToOwned::to_owned),
        socket: socket.map(ToOwned::to_owned),
        ..of(&["b"])
    };
    let name = daemon.manager.create(spec(Some("vdev0"), None));
    assert_eq!(code(name), Some(ErrorCode::Exists));
    let socket = daemon.manager.create(spec(None, Some(&first.socket)));
    assert_eq!(code(socket), Some(ErrorCode::Exists));
    let adi = daemon.manager.create(of(&["a"]));
    assert_eq!(code(adi), Some(ErrorCode::NotFound));
    let mac = Spec {
        mac: Some("02:00:00:00:00:01".parse().unwrap()),
        ..of(&["c"])
    };
    assert_eq!(code(daemon.manager.create(mac)), Some(ErrorCode::Invalid));
    daemon.manager.create(spec(None, None)).unwrap();
    let third = daemon.manager.create(Spec::default());
    assert_eq!(code(third), Some(ErrorCode::Limit));
}

#[test]
fn a_failed_creation_leaves_nothing() {
    let daemon = daemon();
    let adi = MockAdi::new("adi0", 5, 1);
    let state = adi.state();
    daemon.provider.add(adi);
    let spec = Spec {
        socket: Some(daemon.folder.path().join("missing/socket")),
        ..of(&["adi0"])
    };
    assert!(daemon.manager.create(spec).is_err());
    assert!(!state.lock().open);
    let created = daemon.manager.create(Spec::default()).unwrap();
    assert_eq!(created.name, "vdev0");
    daemon.manager.shut_down();
    assert!(daemon.manager.list().is_empty());
    let late = daemon.manager.create(Spec::default());
    assert_eq!(code(late), Some(ErrorCode::Busy));
}

#[test]
fn devices_are_not_frozen_while_one_is_changed() {
    let daemon = daemon();
    daemon.provider.add(MockAdi::new("a", 1, 2));
    daemon.manager.create(of(&["a"])).unwrap();
    let change = daemon.manager.begin_change("vdev0").unwrap();
    assert!(daemon.manager.freeze().is_err());
    assert!(!daemon.manager.is_frozen());
    drop(change);
    daemon.manager.freeze().unwrap();
    assert_eq!(code(daemon.manager.save("vdev0")), Some(ErrorCode::Busy));
    assert_eq!(code(daemon.manager.resume("vdev0")), Some(ErrorCode::Busy));
    let swap = daemon.manager.swap_adi("vdev0", 0, &names(&["a"]));
    assert_eq!(code(swap), Some(ErrorCode::Busy));
    daemon.manager.thaw();
    drop(daemon.manager.begin_change("vdev0").unwrap());
}

#[test]
fn an_operator_does_not_resume_a_device_that_was_suspended_to_be_handed_over() {
    let daemon = daemon();
    daemon.provider.add(MockAdi::new("a", 1, 2));
    daemon.manager.create(of(&["a"])).unwrap();
    let vdev = daemon.manager.entry("vdev0").unwrap().vdev.clone();
    std::thread::scope(|scope| {
        // The operator's request has found the device, and waits for its lock.
        let state = vdev.lock();
        let resuming = scope.spawn(|| daemon.manager.resume("vdev0"));
        wait(|| daemon.manager.devices.lock().changes > 0);
        let frozen = daemon.manager.freeze();
        assert!(frozen.is_err() && !daemon.manager.is_frozen());
        drop(state);
        resuming.join().unwrap().unwrap();
    });
    daemon.manager.freeze().unwrap();
    assert!(vdev.is_suspended());
    daemon.manager.thaw();
    assert!(!daemon.manager.close());
    assert!(daemon.manager.freeze().is_err());
}

#[test]
fn a_device_whose_adis_were_left_open_and_are_gone_says_so() {
    let daemon = daemon();
    let left = |name, number| MockAdi::new(name, number, 2).members();
    let group = [left("a", 1), left("b", 2)].concat();
    let spec = Spec {
        name: Some("web".into()),
        group: Some(2),
        ..of(&["a", "b"])
    };
    // The provider has no ADI that a predecessor has left.
    let composed = daemon.manager.compose(spec, Some(vec![group]), |_| Ok(()));
    let info = composed.unwrap();
    assert_eq!(info.adis[0].name, "a+b");
    assert_eq!((info.adis[0].mac.0[5], info.adis[0].pairs), (1, 4));
    let state = || daemon.manager.show("web").unwrap().state;
    wait(|| state() == VdevState::Gone);
    drop(connect(&info));
    // It is composed of others.
    daemon.provider.add(MockAdi::new("c", 3, 4));
    wait(|| daemon.manager.swap_adi("web", 0, &names(&["c"])).is_ok());
    assert_eq!(state(), VdevState::Idle);

    // Each port gets another one.
    let spec = Spec {
        name: Some("two".into()),
        ..of(&["d", "e"])
    };
    let ports = vec![left("d", 4), left("e", 5)];
    daemon
        .manager
        .compose(spec, Some(ports), |_| Ok(()))
        .unwrap();
    let state = || daemon.manager.show("two").unwrap().state;
    wait(|| state() == VdevState::Gone);
    for (vport, (name, number)) in (0..).zip([("d", 4), ("e", 5)]) {
        assert_eq!(state(), VdevState::Gone);
        daemon.provider.add(MockAdi::new(name, number, 2));
        let adis = names(&[name]);
        daemon.manager.swap_adi("two", vport, &adis).unwrap();
    }
    assert_eq!(state(), VdevState::Idle);
}
