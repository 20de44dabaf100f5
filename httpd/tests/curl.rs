// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The server on kernel sockets, with curl(1) as its client.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use adit_httpd::Limits;
use common::{big, Server};

impl Server {
    /// Returns what curl prints.
    fn curl(&self, words: &[&str], path: &str) -> Vec<u8> {
        let url = format!("http://{}{path}", self.address);
        let command = Command::new("curl")
            .args(["-sS", "--max-time", "60", "--noproxy", "*", "--path-as-is"])
            .args(words)
            .arg(url)
            .output()
            .expect("curl(1), which this test needs, can be started");
        let error = String::from_utf8_lossy(&command.stderr);
        assert!(command.status.success(), "{words:?} {path}: {error}");
        command.stdout
    }

    fn text(&self, words: &[&str], path: &str) -> String {
        String::from_utf8(self.curl(words, path)).unwrap()
    }
}

#[test]
fn curl_gets_files_and_echoes_over_kept_connections() {
    let mut server = Server::start(Limits::default(), 2, 100);
    assert_eq!(server.text(&[], "/"), "home");
    assert!(server.curl(&[], "/big") == big());
    // Several requests over one connection.
    let several = [
        "-w",
        "%{num_connects} ",
        "-o",
        "/dev/null",
        "-o",
        "/dev/null",
        "-o",
        "/dev/null",
    ];
    assert_eq!(server.text(&several, "/[1-3]"), "1 0 0 ");
    let echo = server.text(&["--json", "{\"a\":1}"], "/echo?q");
    let echo: serde_json::Value = serde_json::from_str(&echo).unwrap();
    assert_eq!(
        (&echo["server"], &echo["target"]),
        (&"test".into(), &"/echo?q".into())
    );
    assert_eq!(echo["body"], "{\"a\":1}");
    let codes = ["-o", "/dev/null", "-w", "%{http_code}"];
    for (words, path, code) in [
        (&[][..], "/none", "404"),
        (&[], "/../etc/passwd", "400"),
        (&["-X", "DELETE"], "/", "405"),
        (
            &["-H", "Transfer-Encoding: chunked", "-d", "x"],
            "/echo",
            "411",
        ),
        (&["-I"], "/big", "200"),
        (&["--http1.0"], "/", "200"),
    ] {
        let words = [&codes[..], words].concat();
        assert_eq!(server.text(&words, path), code, "{path}");
    }
    let stats: serde_json::Value = serde_json::from_str(&server.text(&[], "/stats")).unwrap();
    assert_eq!(stats["http"]["refused_path"], 1);
    assert_eq!(stats["site"]["files"], 2);
    server.stop();
    let http = server.workers.report().http;
    assert_eq!(http.connections, http.closed);
}

#[test]
fn clients_in_parallel_get_whole_files() {
    let mut server = Server::start(Limits::default(), 2, 100);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("#1");
    let words = ["-Z", "--parallel-max", "50", "-o", out.to_str().unwrap()];
    server.curl(&words, "/big?[1-60]");
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(files.len(), 60);
    for file in files {
        assert!(std::fs::read(file.unwrap().path()).unwrap() == big());
    }
    server.stop();
    assert_eq!(server.workers.report().http.cut_responses, 0);
}

#[test]
fn slow_and_idle_clients_are_closed_and_a_stop_waits_for_the_others() {
    let limits = Limits {
        head_time: Duration::from_millis(300),
        idle: Duration::from_millis(300),
        ..Limits::default()
    };
    let mut server = Server::start(limits, 2, 2);
    let connect = || {
        let stream = TcpStream::connect(server.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream
    };
    let mut slow = connect();
    slow.write_all(b"GET / HT").unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let mut idle = connect();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    answer.clear();
    idle.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("home"));
    let http = server.workers.report().http;
    assert_eq!((http.closed_head_time, http.closed_idle), (1, 1));
    // A client that has not taken its response yet.
    let mut taking = connect();
    taking
        .write_all(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    let mut first = [0; 100];
    taking.read_exact(&mut first).unwrap();
    server.shared.stop();
    let mut rest = Vec::new();
    taking.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(&big()[1_000_000..]));
    server.stop();
}
