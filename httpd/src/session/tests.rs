// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of requests and responses, with bytes in memory in place of a connection.

use std::time::Duration;

use super::*;
use crate::{Limits, Site};
use proptest::prelude::*;

/// A connection in memory.
#[derive(Default)]
struct Memory {
    input: Vec<u8>,
    at_end: bool,
    output: Vec<u8>,
    /// The bytes that can be sent.
    room: usize,
}

impl Stream for Memory {
    fn receive(&mut self, f: impl FnOnce(&[u8]) -> usize) -> usize {
        if self.input.is_empty() {
            return 0;
        }
        let taken = f(&self.input);
        self.input.drain(..taken);
        taken
    }

    fn received(&self) -> usize {
        self.input.len()
    }

    fn is_at_end(&self) -> bool {
        self.at_end && self.input.is_empty()
    }

    fn send(&mut self, f: impl FnOnce(&mut [u8]) -> usize) -> usize {
        if self.room == 0 {
            return 0;
        }
        let mut space = vec![0; self.room.min(1000)];
        let written = f(&mut space);
        self.output.extend_from_slice(&space[..written]);
        self.room -= written;
        written
    }
}

struct Lab {
    shared: Shared,
    counters: Counters,
    date: DateText,
    start: Instant,
    stream: Memory,
    session: Session,
}

fn site() -> Site {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("index.html"), "<p>home</p>").unwrap();
    std::fs::write(root.path().join("big"), vec![b'b'; 5000]).unwrap();
    std::fs::create_dir(root.path().join("a b")).unwrap();
    std::fs::write(root.path().join("a b/index.html"), "sub").unwrap();
    // Files that are not cached stay open.
    Site::open(root.path(), 100).unwrap()
}

impl Lab {
    fn new() -> Self {
        let limits = Limits {
            body: 1000,
            ..Limits::default()
        };
        let shared = Shared::new("test".into(), site(), limits);
        let counters = Counters::default();
        let mut date = DateText::new();
        let start = Instant::now();
        let address = "10.99.0.3:80".parse().unwrap();
        let worker = Worker {
            shared: &shared,
            counters: &counters,
            date: &mut date,
            now: start,
        };
        let session = Session::new("10.99.0.1:5000".parse().unwrap(), address, &worker);
        let stream = Memory {
            room: usize::MAX,
            ..Memory::default()
        };
        Self {
            shared,
            counters,
            date,
            start,
            stream,
            session,
        }
    }

    fn advance(&mut self, seconds: u64) -> Next {
        let mut worker = Worker {
            shared: &self.shared,
            counters: &self.counters,
            date: &mut self.date,
            now: self.start + Duration::from_secs(seconds),
        };
        loop {
            match self.session.advance(&mut self.stream, &mut worker) {
                Next::Again => {}
                next => return next,
            }
        }
    }

    /// Returns the answer to a request, and what the connection waits for.
    fn ask(&mut self, request: &str) -> (String, Next) {
        self.stream.input.extend_from_slice(request.as_bytes());
        let next = self.advance(0);
        (self.output(), next)
    }

    fn output(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.stream.output)).unwrap()
    }
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")
}

fn post(body: &str, fields: &str) -> String {
    let len = body.len();
    format!("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: {len}\r\n{fields}\r\n{body}")
}

fn status(answer: &str) -> u16 {
    let code = answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    code.and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("{answer:?}"))
}

#[test]
fn files_are_served_and_connections_kept() {
    let mut lab = Lab::new();
    let (answer, next) = lab.ask(&get("/"));
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\nServer: adit\r\nDate: "),
        "{answer}"
    );
    assert!(answer.contains("Content-Type: text/html; charset=utf-8\r\n"));
    assert!(
        answer.ends_with("Content-Length: 11\r\n\r\n<p>home</p>"),
        "{answer}"
    );
    assert!(matches!(next, Next::Wait(_)));
    let (answer, _) = lab.ask(&get("/big"));
    assert!(answer.ends_with(&"b".repeat(5000)));
    let (answer, _) = lab.ask("HEAD /big HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(answer.ends_with("Content-Length: 5000\r\n\r\n"), "{answer}");
    let (answer, _) = lab.ask("HEAD /none HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(
        status(&answer) == 404 && answer.ends_with("\r\n\r\n"),
        "{answer}"
    );
    let (answer, _) = lab.ask(&get("/a%20b"));
    assert!(answer.contains("\r\nLocation: /a%20b/\r\n"), "{answer}");
    let (answer, _) = lab.ask(&get("/a%20b/"));
    assert!(answer.ends_with("sub"), "{answer}");
    let count = lab.counters.snapshot();
    assert_eq!((count.requests, count.responses_2xx), (6, 4));
    assert_eq!((count.responses_3xx, count.responses_4xx), (1, 1));
}

#[test]
fn a_file_that_the_client_has_is_not_sent_again() {
    let mut lab = Lab::new();
    let (answer, _) = lab.ask(&get("/"));
    let etag = answer
        .split("ETag: ")
        .nth(1)
        .unwrap()
        .split("\r\n")
        .next()
        .unwrap();
    for (tags, want) in [
        (etag.to_owned(), 304),
        (format!("\"x\", W/{etag}"), 304),
        ("*".into(), 304),
        ("\"x\"".into(), 200),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\nIf-None-Match: {tags}\r\n\r\n");
        assert_eq!(status(&lab.ask(&request).0), want, "{tags}");
    }
}

#[test]
fn an_echo_says_who_answered_what() {
    let mut lab = Lab::new();
    let (answer, _) = lab.ask(&post("hello \"\u{e4}\"", ""));
    let json: serde_json::Value =
        serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(json["server"], "test");
    assert_eq!(json["client"], "10.99.0.1:5000");
    assert_eq!(json["method"], "POST");
    assert_eq!(json["body"], "hello \"\u{e4}\"");
    assert_eq!(json["body_bytes"], 10);
    let (answer, _) = lab.ask(&get("/echo?x=1"));
    assert!(answer.contains("\"target\":\"/echo?x=1\""), "{answer}");
}

#[test]
fn a_body_is_asked_for_when_the_client_waits() {
    let mut lab = Lab::new();
    let request = post("0123456789", "Expect: 100-continue\r\n");
    let (head, body) = request.split_at(request.len() - 10);
    assert_eq!(lab.ask(head).0, "HTTP/1.1 100 Continue\r\n\r\n");
    let (answer, next) = lab.ask(body);
    assert!(status(&answer) == 200 && matches!(next, Next::Wait(_)));
    // The answer is final when the body is of no use.
    let (answer, next) =
        lab.ask("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!((status(&answer), next), (405, Next::Done));
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
}

#[test]
fn a_body_of_no_use_is_discarded() {
    let mut lab = Lab::new();
    let request = "POST /big HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde";
    let (answer, _) = lab.ask(&format!("{request}{}", get("/")));
    assert_eq!(status(&answer), 405);
    assert!(answer.contains("Allow: GET, HEAD\r\n") && answer.ends_with("<p>home</p>"));
}

#[test]
fn refusals_close_the_connection_and_are_counted() {
    for (request, want) in [
        (get("/../etc/passwd"), 400),
        (get("/%2e%2e/%2e%2e/etc/passwd"), 400),
        ("nonsense\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("GET / HTTP/3.0\r\nHost: h\r\n\r\n".into(), 505),
        (
            format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(9000)),
            431,
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(70)),
            431,
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n".into(),
            413,
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
            411,
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: br\r\n\r\n".into(),
            501,
        ),
    ] {
        let mut lab = Lab::new();
        let (answer, next) = lab.ask(&format!("{request}{}", get("/")));
        assert_eq!((status(&answer), next), (want, Next::Done), "{request}");
        assert!(answer.contains("\r\nConnection: close\r\n"));
        assert!(
            !answer.contains("home"),
            "what follows is not answered: {answer}"
        );
        let count = lab.counters.snapshot();
        let refused = count.refused_syntax
            + count.refused_head_size
            + count.refused_body_size
            + count.refused_transfer_coding
            + count.refused_path;
        assert_eq!(refused, 1, "{request}");
    }
}

#[test]
fn a_client_that_takes_too_long_is_closed_for_its_reason() {
    // A head that arrives byte by byte.
    let mut lab = Lab::new();
    for (second, byte) in get("/").bytes().enumerate() {
        lab.stream.input.push(byte);
        if lab.advance(second as u64) == Next::Done {
            assert_eq!(second, 10);
            break;
        }
    }
    assert_eq!(status(&lab.output()), 408);
    assert_eq!(lab.counters.snapshot().closed_head_time, 1);
    // No byte at all, and none after a response.
    let mut lab = Lab::new();
    assert!(matches!(lab.advance(9), Next::Wait(_)));
    assert_eq!((lab.advance(10), lab.output().as_str()), (Next::Done, ""));
    let mut lab = Lab::new();
    lab.ask(&get("/"));
    assert!(matches!(lab.advance(59), Next::Wait(_)));
    assert_eq!(lab.advance(60), Next::Done);
    assert_eq!(lab.counters.snapshot().closed_idle, 1);
    // A body that does not come.
    let mut lab = Lab::new();
    lab.ask("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabc");
    assert!(matches!(lab.advance(29), Next::Wait(_)));
    assert_eq!((lab.advance(30), status(&lab.output())), (Next::Done, 408));
    assert_eq!(lab.counters.snapshot().closed_body_time, 1);
    // One that does not come either, of a request that has its response.
    let mut lab = Lab::new();
    let (answer, _) = lab.ask("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabc");
    assert_eq!(status(&answer), 405);
    assert_eq!((lab.advance(30), lab.output().as_str()), (Next::Done, ""));
    assert_eq!(lab.counters.snapshot().closed_body_time, 1);
}

#[test]
fn a_client_that_takes_next_to_nothing_is_reset() {
    let mut lab = Lab::new();
    lab.stream.room = 100;
    lab.ask(&get("/big"));
    let mut last = 0;
    for second in 1..200 {
        lab.stream.room += 10;
        if lab.advance(second) == Next::Abort {
            last = second;
            break;
        }
    }
    assert_eq!(last, 30);
    assert_eq!(lab.counters.snapshot().closed_send_time, 1);
    // One that takes enough is served, however long that takes.
    let mut lab = Lab::new();
    lab.stream.room = 100;
    lab.ask(&get("/big"));
    for second in 1..60 {
        lab.stream.room += 150;
        assert!(matches!(lab.advance(second), Next::Wait(_)));
    }
    assert!(lab.output().ends_with(&"b".repeat(5000)));
}

#[test]
fn a_server_that_stops_ends_connections_after_their_request() {
    let mut lab = Lab::new();
    lab.stream.room = 100;
    lab.ask(&get("/big"));
    lab.shared.stop();
    lab.stream.room = usize::MAX;
    assert_eq!(lab.advance(1), Next::Done);
    assert!(lab.output().ends_with('b'));
    assert_eq!(lab.counters.snapshot().closed_stopping, 1);
    let mut lab = Lab::new();
    lab.shared.stop();
    let (answer, next) = lab.ask(&get("/"));
    assert!(answer.contains("Connection: close\r\n") && next == Next::Done);
}

#[test]
fn clients_of_http_1_0_are_told_that_the_connection_is_kept() {
    let mut lab = Lab::new();
    let (answer, next) = lab.ask("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
    assert!(answer.contains("Connection: keep-alive\r\n") && matches!(next, Next::Wait(_)));
    let (answer, next) = lab.ask("GET / HTTP/1.0\r\n\r\n");
    assert!(answer.contains("Connection: close\r\n") && next == Next::Done);
}

#[test]
fn the_end_of_a_client_ends_the_session() {
    let mut lab = Lab::new();
    lab.stream.at_end = true;
    let (answer, next) = lab.ask(&get("/"));
    assert_eq!((status(&answer), next), (200, Next::Done));
    let mut lab = Lab::new();
    lab.stream.at_end = true;
    assert_eq!(lab.ask("GET /").1, Next::Done);
    assert_eq!(lab.counters.snapshot().closed_in_request, 1);
}

fn request() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(get("/")),
        Just(get("/big")),
        Just(get("/none")),
        Just("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned()),
        "[a-z]{0,60}".prop_map(|body| post(&body, "")),
        "[a-z]{1,60}".prop_map(|body| post(&body, "").replace("/echo", "/big")),
    ]
}

/// The answers without the fields that depend on the time.
fn without_dates(answers: &str) -> String {
    let fields = ["Date: ", "ETag: ", "Last-Modified: "];
    let lines = answers.split_inclusive("\r\n");
    lines
        .filter(|line| !fields.iter().any(|field| line.starts_with(field)))
        .collect()
}

proptest! {
    /// Pipelined requests have the same answers however they are cut, and however slowly the client
    /// takes them.
    #[test]
    fn answers_do_not_depend_on_the_pieces(
        requests in proptest::collection::vec(request(), 1..50),
        pieces in proptest::collection::vec(1..200_usize, 1..60),
        rooms in proptest::collection::vec(0..3000_usize, 1..60),
    ) {
        let all = requests.concat();
        let whole = Lab::new().ask(&all).0;
        prop_assert_eq!(whole.matches("HTTP/1.1 ").count(), requests.len());
        let mut lab = Lab::new();
        lab.stream.room = 0;
        let mut rest = all.as_bytes();
        for (piece, room) in pieces.iter().cycle().zip(rooms.iter().cycle()).take(100_000) {
            let (now, later) = rest.split_at((*piece).min(rest.len()));
            rest = later;
            lab.stream.input.extend_from_slice(now);
            lab.stream.room += room + 1;
            prop_assert!(matches!(lab.advance(0), Next::Wait(_)));
            if rest.is_empty() && lab.stream.output.len() >= whole.len() {
                break;
            }
        }
        let output = lab.output();
        prop_assert_eq!(without_dates(&output), without_dates(&whole));
    }

    #[test]
    fn bytes_do_not_make_it_panic(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..20)
    ) {
        let mut lab = Lab::new();
        for piece in pieces {
            lab.stream.input.extend_from_slice(&piece);
            if !matches!(lab.advance(0), Next::Wait(_)) {
                break;
            }
            prop_assert!(lab.session.pending.len() <= lab.shared.limits.head + 1);
        }
    }
}
