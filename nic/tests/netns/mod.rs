// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Entry into a network namespace of the test's own.

use std::fs;
use std::process::Command;

use rustix::process::{getgid, getuid};
use rustix::thread::{unshare_unsafe, UnshareFlags};

/// Moves this process, which must not have started a thread yet, into a new network namespace.
/// Without privilege it also creates a user namespace. Fails with the missing prerequisite.
pub(crate) fn enter() -> Result<(), String> {
    if Command::new("ip").arg("-V").output().is_err() {
        return Err("the `ip` command (iproute2) is not installed".to_owned());
    }
    let (uid, gid) = (getuid(), getgid());
    // SAFETY: no file descriptor table is unshared; this moves the thread between namespaces.
    if unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.is_err() {
        let flags = UnshareFlags::NEWUSER | UnshareFlags::NEWNET;
        // SAFETY: as above.
        unsafe { unshare_unsafe(flags) }
            .map_err(|errno| format!("no network namespace may be made here: {errno}"))?;
        for (file, map) in [
            ("setgroups", "deny".to_owned()),
            ("uid_map", format!("0 {} 1", uid.as_raw())),
            ("gid_map", format!("0 {} 1", gid.as_raw())),
        ] {
            fs::write(format!("/proc/self/{file}"), map)
                .map_err(|error| format!("cannot become root of a user namespace: {error}"))?;
        }
    }
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .map_err(|error| format!("/dev/net/tun cannot be opened: {error}"))?;
    Ok(())
}
