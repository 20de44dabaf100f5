// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The limit of open file descriptors.

use rustix::process::{getrlimit, setrlimit, Resource};

/// Raises the limit to what the process may have: a device takes about ten descriptors, and many
/// shells permit 1,024 unless a program requests more. (Nothing in the daemon uses select(2), for
/// which they keep the limit so low.)
pub(crate) fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!("the limit of open descriptors is not raised: {error}");
    }
}
