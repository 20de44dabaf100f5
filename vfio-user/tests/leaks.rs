// SPDX-License-Identifier: Apache-2.0 OR MIT
//! File descriptors are closed in all outcomes of their message. This is the only test of its
//! process, since it counts all open descriptors.

mod common;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use adit_vfio_user::fuzzing::{message, seeds};
use adit_vfio_user::header::Command;
use adit_vfio_user::testing::shared_memory;
use common::{eventfd, Running};

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn no_client_leaves_a_descriptor_behind() {
    let server = Running::with_config(adit_vfio_user::Config {
        message_timeout: std::time::Duration::from_millis(300),
        // The server has descriptors of the windows' files then.
        handover: true,
        ..Default::default()
    });
    let fds: Vec<OwnedFd> = (0..40).map(|_| eventfd()).collect();
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| fd.as_fd()).collect();
    let memory = shared_memory(1 << 20);
    let round = || {
        for count in [0, 1, 3, 16, 17, 40] {
            let mut client = server.client();
            for seed in seeds() {
                client.send_with_fds(&seed, &fds[..count]);
            }
            for seed in seeds() {
                client.send_with_fds(&seed, &[memory.as_fd()]);
            }
            assert!(client.stream.shutdown(std::net::Shutdown::Write).is_ok());
            while client.stream.peek_is_open() {}
            // And a client that disconnects within a message that carries some.
            let cut = server.client();
            let bytes = message(0, Command::DmaMap, 0, &[0; 32]);
            cut.send_with_fds(&bytes[..20], &fds[..count]);
        }
        assert!(server.client().is_served());
    };
    round();
    let before = open_descriptors();
    for _ in 0..20 {
        round();
    }
    // The server may not have released the last client yet.
    let mut after = open_descriptors();
    for _ in 0..100 {
        if after <= before {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
        after = open_descriptors();
    }
    assert!(after <= before, "{before} descriptors have become {after}");
}

/// Reads until the server has closed its end.
trait Drain {
    fn peek_is_open(&mut self) -> bool;
}

impl Drain for std::os::unix::net::UnixStream {
    fn peek_is_open(&mut self) -> bool {
        std::io::Read::read(self, &mut [0; 4096]).is_ok_and(|n| n > 0)
    }
}
