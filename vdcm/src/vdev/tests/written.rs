// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The log of written pages, as a client sees it.

use adit_vfio_user::migration::{DirtyBitmap, DirtyLog, IovaRange};

use super::*;

const PAGES: u64 = RAM_LEN / 0x1000;

impl Client {
    fn start_log(&mut self) {
        let range = IovaRange::new(0, RAM_LEN).unwrap();
        assert_eq!(self.front.start(0x1000, &[range]), Ok(0x1000));
    }

    /// The numbers of the pages that are reported.
    fn written(&mut self) -> Vec<u64> {
        let range = IovaRange::new(0, RAM_LEN).unwrap();
        let mut bits = [0; PAGES as usize / 8];
        let mut bitmap = DirtyBitmap::new(range, 0x1000, &mut bits);
        self.front.report(&mut bitmap).unwrap();
        let is_set = |page: &u64| bits[*page as usize / 8] >> (page % 8) & 1 != 0;
        (0..PAGES).filter(is_set).collect()
    }

    fn exchange(&mut self) {
        self.send(op::VERSION, &VERSION);
        assert_eq!(self.take(), Some((op::VERSION, 0)));
    }
}

/// The page of a reply of the mailbox, by number.
fn reply(n: u64) -> u64 {
    REPLIES / 0x1000 + n
}

#[test]
fn what_the_mailbox_writes_is_reported_once() {
    let adi = MockAdi::new("adi", 1, 4).logging();
    let mut client = Client::of(adi, shape(Layout::Vf));
    client.load();
    client.exchange();
    client.start_log();
    assert!(client.written().is_empty());
    client.exchange();
    assert_eq!(client.written(), [0, ARQ / 0x1000, reply(1)]);
    assert!(client.written().is_empty());
    // What an ADI writes is in the same log, whose marks are taken before its writes are complete.
    let log = client.state.lock().log.clone().unwrap();
    let settled = client.state.lock().settled;
    let mut ram = GuestMemory::new();
    let rw = Access {
        read: true,
        write: true,
    };
    ram.map(0x5000, 0x1000, rw, Some((sealed(0x1000), 0)))
        .unwrap();
    ram.set_log(Some(log));
    ram.write(0x5800, &[1]).unwrap();
    assert_eq!(client.written(), [5]);
    assert_eq!(client.state.lock().settled, settled + 1);

    // What an ADI's NIC has logged is in the report that comes next, with what others have marked.
    client.state.lock().unread = vec![0x7010, 0x8FFF];
    assert_eq!(client.written(), [7, 8]);
    assert!(client.written().is_empty());

    // A reset keeps the log; the end of the connection ends it.
    client.front.reset().unwrap();
    client.load();
    client.exchange();
    assert_eq!(client.written(), [0, ARQ / 0x1000, reply(0)]);
    client.front.disconnected();
    assert!(client.state.lock().log.is_none());
    client.connect();
    client.start_log();
    client.front.stop();
    assert!(client.state.lock().log.is_none());
}

#[test]
fn the_first_log_of_a_predecessors_client_begins_with_all_pages() {
    let adi = MockAdi::new("adi", 1, 4).logging();
    let mut client = Client::of(adi, shape(Layout::Vf));
    client.front.known_client();
    client.load();
    // A log of no ranges has no marks that could be missing later.
    assert_eq!(client.front.start(0x1000, &[]), Ok(0x1000));
    client.start_log();
    assert_eq!(client.written(), (0..PAGES).collect::<Vec<_>>());
    assert!(client.written().is_empty());
    client.exchange();
    assert_eq!(client.written(), [0, ARQ / 0x1000, reply(0)]);
    client.start_log();
    assert!(client.written().is_empty());

    // The next client has nothing of it.
    client.front.known_client();
    client.front.disconnected();
    client.connect();
    client.start_log();
    assert!(client.written().is_empty());
}

#[test]
fn all_that_may_be_written_is_reported_if_it_is_not_known_what_was() {
    let adis = [
        MockAdi::new("adi", 1, 4),
        MockAdi::new("adi", 1, 4).logging(),
    ];
    for (n, adi) in adis.into_iter().enumerate() {
        let mut client = Client::of(adi, shape(Layout::Vf));
        client.front.dma_unmap(0, RAM_LEN);
        let window = client.window(0, RAM_LEN - 0x3000, Some(sealed(RAM_LEN)));
        client.front.dma_map(window).unwrap();
        let read_only = DmaMap {
            prot: DmaProt::Read,
            ..client.window(RAM_LEN - 0x3000, 0x1000, Some(sealed(0x1000)))
        };
        client.front.dma_map(read_only).unwrap();
        match n {
            0 => client.start_log(),
            // A log of all memory would have no bounds.
            _ => assert_eq!(client.front.start(0x2000, &[]), Ok(0x2000)),
        }
        let writable: Vec<_> = (0..PAGES - 3).collect();
        assert_eq!(client.written(), writable);
        assert_eq!(client.written(), writable);
        client.front.stop();
    }
}
