// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The server on kernel sockets, for tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use adit_httpd::adi::Pace;
use adit_httpd::{kernel, Limits, Shared, Site, Workers};

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) shared: Arc<Shared>,
    pub(crate) workers: Workers,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts it with that many threads and connections of each.
    pub(crate) fn start(limits: Limits, threads: usize, connections: usize) -> Self {
        let root = tempfile::tempdir().unwrap();
        let file =
            |name: &str, content: &[u8]| std::fs::write(root.path().join(name), content).unwrap();
        file("index.html", b"home");
        file("big", &big());
        let site = Site::open(root.path(), 1000).unwrap();
        let workers = Workers::new("test", site.size());
        let reports = workers.clone();
        let shared = Shared::new("test".into(), site, limits);
        let shared = Arc::new(shared.with_reports(move || reports.report()));
        let first = kernel::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let others = (1..threads).map(|_| kernel::listen(address).unwrap());
        let listeners = std::iter::once(first).chain(others).collect();
        let pace = Pace {
            spin: Some(Duration::ZERO),
            grace: Duration::from_secs(20),
        };
        let (in_thread, counts) = (Arc::clone(&shared), workers.clone());
        let thread = std::thread::spawn(move || {
            kernel::serve(listeners, connections, pace, &in_thread, &counts).unwrap();
        });
        Self {
            address,
            shared,
            workers,
            thread: Some(thread),
        }
    }

    /// Stops it, and returns once its connections have ended.
    pub(crate) fn stop(&mut self) {
        self.shared.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Returns the content of the file `big`.
pub(crate) fn big() -> Vec<u8> {
    (0..3_000_000_u32)
        .flat_map(|n| (n / 3).to_le_bytes().into_iter().take(1))
        .collect()
}
