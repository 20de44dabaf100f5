// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The control protocol over a real socket, with clients that do as they should and others.

mod fakes;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use adit_vdcm::control::client::{Client, ClientError};
use adit_vdcm::control::message::{Outcome, Reply, MAX_REQUEST_LEN};
use adit_vdcm::control::server::{Settings, Timeouts};
use adit_vdcm::protocol::{ErrorCode, Spec, VdevError};

use fakes::{spec, Running};

/// The limit for what a correct daemon does at once.
const TIMEOUT: Duration = Duration::from_secs(20);

fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> VdevError {
    match result {
        Err(ClientError::Refused(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn adis(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// A connection below the client library.
struct Raw {
    lines: BufReader<UnixStream>,
}

impl Raw {
    fn connect(server: &Running) -> Self {
        let stream = UnixStream::connect(&server.path).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self {
            lines: BufReader::new(stream),
        }
    }

    fn greeted(server: &Running) -> Self {
        let mut raw = Self::connect(server);
        raw.send(b"{\"method\":\"hello\",\"params\":{\"version\":1}}\n");
        raw.reply().unwrap();
        raw
    }

    fn send(&mut self, bytes: &[u8]) {
        self.lines.get_mut().write_all(bytes).unwrap();
    }

    /// The next reply: an error's code and text, if it is one.
    fn reply(&mut self) -> Result<Reply, VdevError> {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        let reply: Reply = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        match reply.outcome {
            Outcome::Error(error) => Err(error),
            Outcome::Result(_) => Ok(reply),
        }
    }

    fn code(&mut self) -> ErrorCode {
        self.reply().unwrap_err().code
    }

    fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.lines.read_to_end(&mut rest) {
            Ok(_) => rest.is_empty(),
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn devices_are_created_shown_and_destroyed() {
    let server = Running::start(Settings::default());
    let mut client = server.client();
    assert!(client.welcome().may_change);
    let web = client.create(spec("web")).unwrap();
    assert_eq!(web.name, "web");
    client.create(spec("db")).unwrap();
    let names: Vec<_> = client
        .list()
        .unwrap()
        .into_iter()
        .map(|it| it.name)
        .collect();
    assert_eq!(names, ["db", "web"]);
    assert_eq!(client.show("web").unwrap(), web);
    assert_eq!(client.stats("web").unwrap().name, "web");
    let swapped = client.swap("web", 0, &adis(&["adi9"])).unwrap();
    assert_eq!(swapped.adis[0].name, "adi9");
    let swapped = client.swap("web", 0, &adis(&["adi0", "adi9"])).unwrap();
    assert_eq!(swapped.adis[0].name, "adi0+adi9");
    assert_eq!(client.adis().unwrap(), ["adi0", "adi9"]);
    assert_eq!(refusal(client.create(spec("web"))).code, ErrorCode::Exists);
    client.destroy("web").unwrap();
    assert_eq!(refusal(client.show("web")).code, ErrorCode::NotFound);
    let status = client.status().unwrap();
    assert_eq!((status.devices, status.connections), (1, 1));
    assert_eq!(status.refused["exists"], 1);
    assert_eq!(status.pid, std::process::id());
}

#[test]
fn a_trace_comes_in_parts() {
    let server = Running::start(Settings::default());
    let mut client = server.client();
    client.create(spec("web")).unwrap();
    let first = client.trace("web", 0).unwrap();
    assert!(first.more);
    assert_eq!((first.entries.len(), first.entries[0].seq), (1_000, 1));
    let rest = client.trace("web", 2_499).unwrap();
    assert_eq!((rest.entries.len(), rest.more), (1, false));
    assert!(client.trace("web", 2_500).unwrap().entries.is_empty());
}

#[test]
fn the_version_comes_first() {
    let server = Running::start(Settings::default());
    for line in [
        "{\"method\":\"list\"}\n",
        "{\"method\":\"hello\",\"params\":{\"version\":2}}\n",
    ] {
        let mut raw = Raw::connect(&server);
        raw.send(line.as_bytes());
        assert_eq!(raw.code(), ErrorCode::UnsupportedVersion, "{line}");
        assert!(raw.is_closed());
    }
}

#[test]
fn what_is_no_request_is_answered_and_the_next_one_served() {
    let server = Running::start(Settings::default());
    let mut raw = Raw::greeted(&server);
    for (line, code) in [
        (&b"\n"[..], ErrorCode::BadRequest),
        (b"list\n", ErrorCode::BadRequest),
        (b"[1,2]\n", ErrorCode::BadRequest),
        (b"{\"method\":\"list\",\"id\":-1}\n", ErrorCode::BadRequest),
        (b"{\"method\":\"list\",\"more\":1}\n", ErrorCode::BadRequest),
        (b"\xFF\xFE{}\n", ErrorCode::BadRequest),
        (b"\0\n", ErrorCode::BadRequest),
        (b"{\"method\":\"stop\"}\n", ErrorCode::UnknownMethod),
        (b"{\"method\":\"show\",\"params\":7}\n", ErrorCode::Invalid),
        (
            b"{\"method\":\"create\",\"params\":{\"mac\":\"1\"}}\n",
            ErrorCode::Invalid,
        ),
    ] {
        raw.send(line);
        assert_eq!(raw.code(), code, "{}", line.escape_ascii());
    }
    let mut deep = vec![b'['; MAX_REQUEST_LEN];
    deep.push(b'\n');
    raw.send(&deep);
    assert_eq!(raw.code(), ErrorCode::BadRequest);
    raw.send(b"{\"id\":77,\"method\":\"list\"}\n");
    assert_eq!(raw.reply().unwrap().id, Some(77));
}

#[test]
fn a_state_comes_with_its_request_or_is_missing() {
    let server = Running::start(Settings::default());
    let mut raw = Raw::greeted(&server);
    raw.send(b"{\"method\":\"restore\",\"params\":{}}\n");
    let missing = raw.reply().unwrap_err();
    assert_eq!(missing.code, ErrorCode::Invalid);
    assert!(
        missing.message.contains("the state is missing"),
        "{missing:?}"
    );
    let mut client = server.client();
    let long = serde_json::json!({ "format": "x".repeat(MAX_REQUEST_LEN) });
    let refused = refusal(client.restore(Spec::default(), long));
    assert_eq!(refused.code, ErrorCode::Invalid);
    assert!(
        refused.message.starts_with("the file of the state: "),
        "{refused:?}"
    );
    // That file is no other request's.
    raw.send(b"{\"method\":\"restore\",\"params\":{}}\n");
    assert_eq!(raw.reply().unwrap_err(), missing);
    assert!(client.list().unwrap().is_empty());
}

#[test]
fn requests_that_come_at_once_are_answered_in_order() {
    let server = Running::start(Settings::default());
    let mut raw = Raw::greeted(&server);
    let all: String = (1..=500)
        .map(|id| format!("{{\"id\":{id},\"method\":\"list\"}}\n"))
        .collect();
    raw.send(all.as_bytes());
    for id in 1..=500 {
        assert_eq!(raw.reply().unwrap().id, Some(id));
    }
    // The last one of a client that sends nothing more is answered, too.
    raw.send(b"{\"id\":501,\"method\":\"list\"}\n");
    raw.lines
        .get_ref()
        .shutdown(std::net::Shutdown::Write)
        .unwrap();
    assert_eq!(raw.reply().unwrap().id, Some(501));
    assert!(raw.is_closed());
}

#[test]
fn a_line_without_end_is_refused_at_its_maximum() {
    let server = Running::start(Settings::default());
    for greeted in [false, true] {
        let mut raw = match greeted {
            true => Raw::greeted(&server),
            false => Raw::connect(&server),
        };
        // 10 MB, of which the daemon reads the beginning only.
        let sender = raw.lines.get_ref().try_clone().unwrap();
        let sender = std::thread::spawn(move || {
            let mut sender = sender;
            sender
                .write_all(&vec![b'x'; 10_000_000])
                .unwrap_err()
                .kind()
        });
        let error = raw.reply().unwrap_err();
        assert_eq!(error.code, ErrorCode::BadRequest);
        assert!(error.message.contains("262144"), "{error}");
        assert!(raw.is_closed());
        assert_eq!(sender.join().unwrap(), ErrorKind::BrokenPipe);
    }
    server.client().list().unwrap();
}

#[test]
fn clients_that_stand_still_are_disconnected_and_hold_up_nobody() {
    let timeouts = Timeouts {
        request: Duration::from_millis(200),
        reply: Duration::from_millis(200),
        idle: Duration::from_millis(200),
    };
    let server = Running::start(Settings {
        timeouts,
        ..Settings::default()
    });
    let mut silent = Raw::connect(&server);
    let mut half = Raw::greeted(&server);
    half.send(b"{\"method\":");
    let mut idle = Raw::greeted(&server);
    // It sends requests, and reads no reply.
    let never_reads = Raw::greeted(&server);
    let mut filler = never_reads.lines.get_ref().try_clone().unwrap();
    let filler = std::thread::spawn(move || {
        let request = b"{\"method\":\"list\"}\n".repeat(1_000);
        while filler.write_all(&request).is_ok() {}
    });
    // Meanwhile another one is served.
    let mut client = server.client();
    client.create(spec("web")).unwrap();
    assert!(silent.is_closed() && half.is_closed() && idle.is_closed());
    filler.join().unwrap();
    let mut client = server.client();
    let refused = client.status().unwrap().refused;
    assert_eq!(refused["reply_timeout"], 1, "{refused:?}");
    assert!(refused["request_timeout"] >= 2, "{refused:?}");
    assert!(refused["idle_timeout"] >= 1, "{refused:?}");
}

#[test]
fn of_a_thousand_connections_some_are_served_and_the_rest_refused() {
    let settings = Settings::default();
    let most = settings.max_connections_per_user;
    let server = Running::start(settings);
    let (mut served, mut refused) = (Vec::new(), 0);
    for _ in 0..1_000 {
        let mut raw = Raw::connect(&server);
        // A refused one may be closed before it has sent anything.
        let _ = raw
            .lines
            .get_mut()
            .write_all(b"{\"method\":\"hello\",\"params\":{\"version\":1}}\n");
        match raw.reply() {
            Ok(_) => served.push(raw),
            Err(error) => {
                assert_eq!(error.code, ErrorCode::TooManyConnections);
                refused += 1;
            }
        }
    }
    assert_eq!((served.len(), refused), (most, 1_000 - most));
    let error = refusal(Client::connect(&server.path));
    assert_eq!(error.code, ErrorCode::TooManyConnections);
    drop(served);
    // There is space again as soon as the daemon has noticed.
    let give_up = std::time::Instant::now() + TIMEOUT;
    let status = loop {
        match Client::connect(&server.path).and_then(|mut client| client.status()) {
            Ok(status) => break status,
            Err(error) => assert!(std::time::Instant::now() < give_up, "{error}"),
        }
    };
    assert!(status.refused["too_many_connections"] > refused as u64);
}

#[test]
fn clients_that_vanish_leave_nothing() {
    let server = Running::start(Settings::default());
    for n in 0..500 {
        let mut raw = Raw::connect(&server);
        match n % 3 {
            0 => {}
            1 => raw.send(b"{\"method\":\"hel"),
            _ => raw.send(
                b"{\"method\":\"hello\",\"params\":{\"version\":1}}\n{\"method\":\"list\"}\n",
            ),
        }
        if n % 2 == 0 {
            drop(raw);
        } else {
            raw.lines
                .get_ref()
                .shutdown(std::net::Shutdown::Both)
                .unwrap();
        }
        let mut client = server.retrying_client();
        client.list().unwrap();
    }
    let mut client = server.retrying_client();
    let give_up = std::time::Instant::now() + TIMEOUT;
    while client.status().unwrap().connections > 1 {
        assert!(std::time::Instant::now() < give_up);
    }
}

#[test]
fn the_daemon_is_gone_in_the_middle() {
    let server = Running::start(Settings::default());
    let mut client = server.client();
    client.list().unwrap();
    let path = server.path.clone();
    drop(server);
    assert!(matches!(client.list(), Err(ClientError::Io(_))));
    let error = Client::connect(&path).unwrap_err().to_string();
    assert!(error.contains("adit-vdcm does not run"), "{error}");
}

#[test]
fn other_users_look_and_change_nothing() {
    // Needs a second user: root can become one. (The client's thread alone changes it.)
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: not root");
        return;
    }
    const USER: u32 = 4_321;
    const GROUP: u32 = 4_322;
    for (users, groups, may) in [
        (vec![], vec![], false),
        (vec![USER], vec![], true),
        (vec![], vec![GROUP], true),
        (vec![USER + 1], vec![GROUP + 1], false),
    ] {
        let mut settings = Settings::default();
        settings.access.users = users;
        settings.access.groups = groups;
        let server = Running::start(settings);
        server.client().create(spec("web")).unwrap();
        server.open_to_all();
        let mut client = server.client_as(USER, GROUP);
        assert_eq!(client.welcome().may_change, may);
        client.list().unwrap();
        client.show("web").unwrap();
        client.stats("web").unwrap();
        if may {
            client.trace("web", 0).unwrap();
            client.swap("web", 0, &adis(&["adi9"])).unwrap();
            client.destroy("web").unwrap();
            client.create(Spec::default()).unwrap();
            continue;
        }
        for refused in [
            refusal(client.create(spec("db"))),
            refusal(client.destroy("web")),
            refusal(client.swap("web", 0, &adis(&["adi9"]))),
            refusal(client.trace("web", 0)),
        ] {
            assert_eq!(refused.code, ErrorCode::PermissionDenied);
            assert!(refused.message.contains("4321"), "{refused}");
        }
        assert_eq!(server.client().list().unwrap().len(), 1);
    }
}

#[test]
fn others_do_not_lock_out_the_operator() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: not root");
        return;
    }
    let server = Running::start(Settings {
        max_connections: 4,
        max_connections_per_user: 2,
        ..Settings::default()
    });
    server.open_to_all();
    let mut others = Vec::new();
    for user in [5_001, 5_002] {
        others.push(server.client_as(user, user));
        others.push(server.client_as(user, user));
    }
    let full = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        server.client_as(5_003, 5_003)
    }));
    assert!(full.is_err(), "a fifth connection of others");
    server.client().list().unwrap();
}
