// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The server on kernel sockets without descriptors. The limit is one of the process, so there is only
//! this test in it.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use adit_httpd::Limits;
use common::Server;
use rustix::net::{connect, socket, AddressFamily, SocketType};
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};

fn ask(stream: &mut TcpStream) {
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nhome") {
        let mut bytes = [0; 1000];
        let len = stream.read(&mut bytes).unwrap();
        assert!(len > 0, "the server has closed the connection");
        answer.extend_from_slice(&bytes[..len]);
    }
}

#[test]
fn clients_are_served_while_no_descriptor_is_left_and_the_others_wait() {
    let mut server = Server::start(Limits::default(), 1, 100);
    let mut served = TcpStream::connect(server.address).unwrap();
    ask(&mut served);
    let waiting = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let limit = getrlimit(Resource::Nofile);
    // The lowest free descriptor.
    let next = rustix::io::dup(&waiting).unwrap().as_raw_fd();
    let low = Rlimit {
        current: Some(next as u64),
        ..limit
    };
    setrlimit(Resource::Nofile, low).unwrap();
    connect(&waiting, &server.address).unwrap();
    let mut took: Vec<_> = (0..21)
        .map(|_| {
            let begin = Instant::now();
            ask(&mut served);
            begin.elapsed()
        })
        .collect();
    took.sort();
    setrlimit(Resource::Nofile, limit).unwrap();
    // Of most: the machine may stand still during one.
    assert!(took[10] < Duration::from_millis(50), "{took:?}");
    assert!(server.workers.report().http.accept_failures > 0);
    let mut waiting = TcpStream::from(waiting);
    ask(&mut waiting);
    drop((served, waiting));
    server.stop();
}
