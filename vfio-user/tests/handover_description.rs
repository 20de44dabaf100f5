// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Descriptions of clients and their transmission: several messages, and lies of all kinds.

mod common;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use adit_vfio_user::handover::{
    receive, send, HandoverError, InheritedFds, Limits, SavedClient, SentFds, MAX_FDS_PER_MESSAGE,
};
use adit_vfio_user::testing::{shared_memory, ScratchDevice};
use adit_vfio_user::{Config, Errno, Server, ServerError, StopHandle};
use common::{eventfd, signals, Client};
use zerocopy::IntoBytes;

const TIMEOUT: Duration = Duration::from_secs(10);

/// A description of a client as JSON, with its socket as descriptor 0 and a file as descriptor 1.
fn described(change: impl FnOnce(&mut serde_json::Value)) -> (SavedClient, InheritedFds) {
    let mut json = serde_json::json!({
        "format": 1, "socket": 0, "migration": 2, "logging": false,
        "agreed": {"minor": 1, "capabilities": {"max_data_xfer_size": 4096, "max_dma_maps": 8}},
        "windows": [
            {"iova": 0, "size": 4096, "offset": 0, "prot": "read", "file": 1},
            {"iova": 8192, "size": 8192, "offset": 4096, "prot": "read_write", "file": 1},
            {"iova": 4096, "size": 4096, "offset": 0, "prot": "write", "file": null},
        ],
    });
    change(&mut json);
    let socket = UnixStream::pair().unwrap().0;
    let fds = [socket.into(), shared_memory(3 << 12)]
        .into_iter()
        .collect();
    (serde_json::from_value(json).unwrap(), fds)
}

#[test]
fn descriptions_are_checked() {
    let (saved, mut fds) = described(|_| {});
    assert_eq!(
        saved
            .restore(&mut fds, &Config::default())
            .unwrap()
            .windows(),
        3
    );
    type Change = fn(&mut serde_json::Value);
    let changes: [(Change, &str); 12] = [
        (|v| v["format"] = 2.into(), "format 2"),
        (|v| v["socket"] = 2.into(), "descriptor 2"),
        (|v| v["migration"] = 8.into(), "migration state 8"),
        (|v| v["agreed"]["minor"] = 2.into(), "minor version"),
        (
            |v| v["agreed"]["capabilities"]["max_dma_maps"] = 65536.into(),
            "max_dma_maps",
        ),
        (
            |v| v["agreed"]["capabilities"]["max_data_xfer_size"] = u64::MAX.into(),
            "max_data",
        ),
        (
            |v| v["agreed"] = serde_json::Value::Null,
            "before a version",
        ),
        (|v| v["windows"][1]["iova"] = 4096.into(), "window 0x1000"),
        (|v| v["windows"][1]["size"] = 0.into(), "window 0x2000"),
        (|v| v["windows"][1]["size"] = 12288.into(), "window 0x2000"),
        (|v| v["windows"][1]["file"] = 0.into(), "descriptor 0"),
        (
            |v| v["windows"][0]["iova"] = (u64::MAX - 4095).into(),
            "window 0xfffffffffffff000",
        ),
    ];
    for (change, text) in changes {
        let (saved, mut fds) = described(change);
        let error = saved
            .restore(&mut fds, &Config::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains(text), "{error:?} does not name {text:?}");
    }
    let few = Config {
        max_dma_maps: 2,
        ..Config::default()
    };
    let (saved, mut fds) = described(|v| v["agreed"]["capabilities"] = serde_json::json!({}));
    let error = saved.restore(&mut fds, &few).unwrap_err();
    assert!(matches!(error, HandoverError::Window { .. }), "{error}");
}

#[test]
fn a_device_that_does_not_take_the_windows_ends_the_client() {
    struct Refusing(ScratchDevice);
    impl adit_vfio_user::Device for Refusing {
        fn info(&self) -> adit_vfio_user::DeviceInfo {
            self.0.info()
        }
        fn regions(&self) -> &[adit_vfio_user::Region] {
            self.0.regions()
        }
        fn irqs(&self) -> &[adit_vfio_user::IrqInfo] {
            self.0.irqs()
        }
        fn region_read(&mut self, _: u32, _: u64, _: &mut [u8]) -> Result<(), Errno> {
            Err(Errno::IO)
        }
        fn region_write(&mut self, _: u32, _: u64, _: &[u8]) -> Result<(), Errno> {
            Err(Errno::IO)
        }
        fn dma_map(&mut self, map: adit_vfio_user::DmaMap) -> Result<(), Errno> {
            if map.iova != 0 {
                return Err(Errno::NOMEM);
            }
            self.0.dma_map(map)
        }
        fn dma_unmap(&mut self, iova: u64, size: u64) {
            self.0.dma_unmap(iova, size);
        }
        fn set_irqs(&mut self, _: adit_vfio_user::IrqRequest) -> Result<(), Errno> {
            Ok(())
        }
        fn reset(&mut self) -> Result<(), Errno> {
            Ok(())
        }
        fn connected(&mut self) {
            self.0.connected();
        }
        fn disconnected(&mut self) {
            self.0.disconnected();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::bind(folder.path().join("device.sock"), Config::default()).unwrap();
    let (saved, mut fds) = described(|_| {});
    let client = saved.restore(&mut fds, server.config()).unwrap();
    let mut device = Refusing(ScratchDevice::new());
    let stop = StopHandle::new().unwrap();
    let refused = server.serve(&mut device, &stop, Some(client)).unwrap_err();
    let ServerError::Resume { iova, errno } = refused else {
        panic!("{refused}")
    };
    assert_eq!((iova, errno), (4096, Errno::NOMEM));
    assert!(device.0.windows.is_empty());
}

#[test]
fn many_descriptors_take_several_messages() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    for count in [0, 1, MAX_FDS_PER_MESSAGE, MAX_FDS_PER_MESSAGE + 1, 600] {
        let sent: Vec<OwnedFd> = (0..count).map(|_| eventfd()).collect();
        let mut fds = SentFds::default();
        for (n, fd) in sent.iter().enumerate() {
            assert_eq!(fds.add(fd.as_fd()), n as u32);
        }
        std::thread::scope(|scope| {
            scope.spawn(|| send(ours.as_fd(), b"state", &fds, TIMEOUT).unwrap());
            let limits = Limits { len: 5, fds: 600 };
            let (text, mut received) = receive(theirs.as_fd(), limits, TIMEOUT).unwrap();
            assert_eq!((&text[..], received.len()), (&b"state"[..], count));
            // In their order.
            for (n, fd) in sent.iter().enumerate() {
                rustix::io::write(fd, &(n as u64 + 1).to_ne_bytes()).unwrap();
                let taken = received.take(n as u32).unwrap();
                assert_eq!(signals(&taken), n as u64 + 1);
            }
        });
    }
}

#[test]
fn transmissions_that_lie_are_refused() {
    let limits = Limits { len: 64, fds: 4 };
    let refused = |bytes: &[u8], fds: &[BorrowedFd<'_>]| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        Client { stream: ours }.send_with_fds(bytes, fds);
        receive(theirs.as_fd(), limits, TIMEOUT)
            .unwrap_err()
            .to_string()
    };
    let start =
        |version: u32, len: u32, fds: u32| [b"ADITHAND", [version, len, fds].as_bytes()].concat();
    let event = eventfd();
    let some = [event.as_fd()];
    for (bytes, fds, text) in [
        (&b"GET / HTTP/1.1\r\n\r\n12"[..], &[][..], "GET"),
        (&start(2, 0, 0), &[], "version 2"),
        (&start(1, 65, 0), &[], "65"),
        (&start(1, 0, 5), &[], "the number of descriptors"),
        (&start(1, u32::MAX, u32::MAX), &[], "64"),
        (&start(1, 5, 0), &[], "closed"),
        (&start(1, 0, 0)[..19], &[], "closed"),
        (&start(1, 0, 0), &some, "1 descriptors where 0"),
        (
            &[start(1, 0, 1), vec![1, 0, 0, 0]].concat(),
            &[],
            "came with 0",
        ),
        (&[start(1, 0, 1), vec![0; 4]].concat(), &[], "came with 0"),
    ] {
        let error = refused(bytes, fds);
        assert!(error.contains(text), "{error:?} does not name {text:?}");
    }
    // More of them than announced, with a group.
    let (ours, theirs) = UnixStream::pair().unwrap();
    let ours = Client { stream: ours };
    ours.send(&start(1, 0, 1));
    ours.send_with_fds(&[1, 0, 0, 0], &[event.as_fd(), event.as_fd()]);
    let error = receive(theirs.as_fd(), limits, TIMEOUT).unwrap_err();
    assert!(matches!(error, HandoverError::Protocol(_)), "{error}");
    // Somebody who neither sends nor reads.
    let (ours, theirs) = UnixStream::pair().unwrap();
    let short = Duration::from_millis(20);
    let error = receive(theirs.as_fd(), limits, short).unwrap_err();
    assert!(matches!(error, HandoverError::Timeout("send")), "{error}");
    let error = send(ours.as_fd(), &vec![0; 4 << 20], &SentFds::default(), short).unwrap_err();
    assert!(matches!(error, HandoverError::Timeout("read")), "{error}");
    drop(theirs);
    let error = send(ours.as_fd(), b"", &SentFds::default(), TIMEOUT).unwrap_err();
    assert!(matches!(error, HandoverError::Closed), "{error}");
}
