// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit ct` as a process, against the service on a NIC's listener, with connections of packets.

mod ct_common;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Output, Stdio};

use adit_conntrack::testing::{V4, V6};
use adit_conntrack::{Commit, Input};
use adit_conntrack_rpc::Clock;
use ct_common::Nic;
use serde_json::Value;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const RST: u8 = 0x04;

impl Nic {
    /// Feeds the tracker with a packet.
    fn packet(&self, packet: &[u8]) {
        let (input, now) = (Input::new(packet), self.clock.now());
        let mut tracked = self.tracker.track(&input, now);
        let commit = Commit::default();
        let committed = self.tracker.commit(&mut tracked, &input, &commit, now);
        committed.expect("a place");
    }

    /// Feeds it with a handshake, an unanswered datagram and one of IPv6.
    fn traffic(&self) {
        self.packet(&V4.tcp(SYN, 100, 0, &[]));
        self.packet(&V4.reverse().tcp(SYN | ACK, 500, 101, &[]));
        self.packet(&V4.tcp(ACK, 101, 501, &[]));
        self.packet(&V4.udp(b"query"));
        self.packet(&V6.udp(b"query"));
    }

    /// The standard output of a command that succeeds, and its last error line.
    fn shows(&self, words: &str) -> (String, String) {
        let output = self.run(words);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{words}: {error}");
        let last = error.lines().last().unwrap_or_default();
        let last = last.rsplit("): ").next().unwrap_or_default();
        (text(&output.stdout), last.to_owned())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// The lines of a text, without what depends on time, sorted.
fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<_> = text
        .lines()
        .map(|line| {
            let words = line.split(' ').map(|word| match word.split_once('=') {
                Some((name @ ("delta-time" | "id"), _)) => format!("{name}=N"),
                _ => word.to_owned(),
            });
            words.collect::<Vec<_>>().join(" ")
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn connections_of_packets_are_listed() {
    let nic = Nic::start();
    nic.traffic();
    let (out, last) = nic.shows("-L -o extended,id");
    assert_eq!(last, "3 flow entries have been shown.");
    let expected = [
        "ipv4     2 tcp      6 431999 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1234 dport=80 \
         packets=2 bytes=80 src=10.0.0.2 dst=10.0.0.1 sport=80 dport=1234 packets=1 bytes=40 \
         [ASSURED] mark=0 delta-time=N use=1 id=N",
        "ipv4     2 udp      17 29 src=10.0.0.1 dst=10.0.0.2 sport=1234 dport=80 packets=1 \
         bytes=33 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=80 dport=1234 packets=0 bytes=0 \
         mark=0 delta-time=N use=1 id=N",
        "ipv6     10 udp      17 29 src=fd00::1 dst=fd00::2 sport=1234 dport=80 packets=1 \
         bytes=53 [UNREPLIED] src=fd00::2 dst=fd00::1 sport=80 dport=1234 packets=0 bytes=0 \
         mark=0 delta-time=N use=1 id=N",
    ];
    assert_eq!(lines(&out), expected);
    assert_eq!(nic.shows("-C").0, "3\n");
    let (out, _) = nic.shows("-S");
    assert!(
        out.starts_with("cpu=0   \tfound=0 invalid=0 insert=3 "),
        "{out}"
    );
    let json: Vec<Value> = nic
        .shows("-L -o json -p tcp")
        .0
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object a line"))
        .collect();
    assert_eq!(json.len(), 1);
    assert_eq!(json[0]["state"], "ESTABLISHED");
    assert_eq!(json[0]["original"]["packets"], 2);
}

#[test]
fn filters_select() {
    let nic = Nic::start();
    nic.traffic();
    for (filter, count) in [
        ("-p udp", 2),
        ("-f ipv6", 1),
        ("-s 10.0.0.0/8", 2),
        ("-s fd00::/16", 1),
        ("-p tcp --dport 80 --state ESTABLISHED", 1),
        ("-p tcp --state CLOSE", 0),
        ("-u ASSURED", 1),
        ("-u UNREPLIED", 2),
        ("-m 1", 0),
        ("-w 0", 3),
        ("-j", 0),
        ("-q 10.0.0.1", 2),
    ] {
        let (out, _) = nic.shows(&format!("-L {filter}"));
        assert_eq!(out.lines().count(), count, "{filter}: {out}");
    }
    assert_eq!(nic.shows("-L dying").1, "0 flow entries have been shown.");
}

#[test]
fn connections_are_saved_and_loaded_again() {
    let nic = Nic::start();
    nic.traffic();
    let nat =
        "-I -p udp -s 10.1.0.1 -d 10.1.0.2 --sport 5 --dport 6 -t 500 -n 192.0.2.1:7 -m 0x10 -w 3";
    assert_eq!(nic.shows(nat).1, "1 flow entries have been created.");
    let again = nic.run(nat);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr)
        .ends_with("): Operation failed: Such conntrack exists, try -U to update\n"));
    let (saved, _) = nic.shows("-L -o save");
    assert_eq!(saved.lines().count(), 4);
    nic.shows("-F");
    assert_eq!(nic.shows("-C").0, "0\n");
    let mut load = nic
        .command("-R -")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("adit starts");
    load.stdin
        .take()
        .expect("a pipe")
        .write_all(saved.as_bytes())
        .expect("it reads");
    let loaded = load.wait_with_output().expect("it ends");
    assert!(loaded.status.success(), "{}", text(&loaded.stderr));
    let (again, _) = nic.shows("-L -o save");
    let untimed = |text: &str| {
        let mut lines: Vec<_> = text
            .lines()
            .map(|line| line.split(' ').skip(3).collect::<Vec<_>>().join(" "))
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(untimed(&again), untimed(&saved));
}

#[test]
fn connections_are_changed_and_deleted() {
    let nic = Nic::start();
    nic.traffic();
    let (out, last) = nic.shows("-U -s 10.0.0.1 -p tcp -m 5 -t 100");
    assert_eq!(last, "1 flow entries have been updated.");
    assert!(out.contains(" mark=5 "), "{out}");
    let (out, _) = nic.shows("-L -m 5/7");
    assert!(out.starts_with("tcp      6 99 ESTABLISHED"), "{out}");
    let get = "-G -p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1234 --dport";
    assert_eq!(
        nic.shows(&format!("{get} 80")).1,
        "1 flow entries have been shown."
    );
    let code = |output: Output| output.status.code();
    assert_eq!(code(nic.run(&format!("{get} 81"))), Some(1));
    let (out, last) = nic.shows("-D -p udp");
    assert_eq!(last, "2 flow entries have been deleted.");
    assert_eq!(out.lines().count(), 2);
    let none = nic.run("-D -p udp");
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none.stderr).ends_with("): 0 flow entries have been deleted.\n"));
    nic.shows("-D");
    assert!(nic.tracker.is_empty());
}

#[test]
fn events_are_printed_until_a_signal() {
    let nic = Nic::start();
    let mut events = nic
        .command("-E -e NEW,DESTROY")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("adit starts");
    let mut out = BufReader::new(events.stdout.take().expect("a pipe")).lines();
    let mut next = || out.next().expect("a line").expect("text");
    // It has begun to watch when a first event arrives.
    let mut port = 2000;
    let (sender, receiver) = std::sync::mpsc::channel();
    let tracked = &nic;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while receiver
                .recv_timeout(std::time::Duration::from_millis(50))
                .is_err()
            {
                port += 1;
                let probe = adit_conntrack::testing::Flow {
                    src_port: port,
                    ..V4
                };
                tracked.packet(&probe.udp(b""));
            }
        });
        let first = next();
        sender.send(()).expect("the thread waits");
        assert!(first.starts_with("    [NEW] udp      17 "), "{first}");
        assert!(first.contains(" sport=80 dport=20"), "{first}");
    });
    nic.packet(&V4.tcp(SYN, 100, 0, &[]));
    nic.packet(&V4.reverse().tcp(RST | ACK, 0, 101, &[]));
    let (new, destroy) = loop {
        let line = next();
        if line.contains(" tcp ") {
            break (line, next());
        }
    };
    assert!(new.starts_with("    [NEW] tcp      6 1"), "{new}");
    assert!(new.contains(" SYN_SENT "), "{new}");
    assert!(destroy.starts_with("[DESTROY] tcp      6 "), "{destroy}");
    assert!(destroy.contains(" packets=1 bytes=40 "), "{destroy}");
    let pid = rustix::process::Pid::from_child(&events);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    let ended = events.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(0));
    assert!(text(&ended.stderr).ends_with(" flow events have been shown.\n"));
}

#[test]
fn expectations_are_created_listed_and_deleted() {
    let nic = Nic::start();
    nic.traffic();
    let master = "-p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1234 --dport 80";
    let create = format!(
        "-I expect {master} -t 300 --tuple-src 10.0.0.2 --tuple-dst 10.0.0.1 --tuple-port-src 0 \
         --tuple-port-dst 5000 --mask-src 255.255.255.255 --mask-dst 255.255.255.255 \
         --mask-port-src 0 --mask-port-dst 65535"
    );
    nic.shows(&create);
    let (out, last) = nic.shows("-L expect");
    assert_eq!(last, "1 expectations have been shown.");
    assert_eq!(
        out.trim_start_matches(|c: char| c.is_ascii_digit()),
        " proto=6 src=10.0.0.2 dst=10.0.0.1 sport=0 dport=5000 mask-src=255.255.255.255 \
         mask-dst=255.255.255.255 sport=0 dport=65535 master-src=10.0.0.1 master-dst=10.0.0.2 \
         sport=1234 dport=80 class=0\n"
    );
    assert_eq!(nic.shows("-C expect").0, "1\n");
    let found = "-p tcp -s 10.0.0.2 -d 10.0.0.1 --sport 9 --dport 5000 --reply-port-src 5000 --reply-port-dst 9";
    nic.shows(&format!("-G expect {found}"));
    // conntrack(8) ends with 1 as it prints nothing.
    let deleted = nic.run(&format!("-D expect {found}"));
    assert!(text(&deleted.stderr).ends_with("): 0 expectations have been shown.\n"));
    assert_eq!(nic.shows("-C expect").0, "0\n");
    let missing = nic.run(&format!("-D expect {found}"));
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).ends_with("No such file or directory\n"));
    assert_eq!(
        nic.shows("-F expect").1,
        "expectation table has been emptied."
    );
}

#[test]
fn the_program_is_conntrack_under_its_name() {
    let nic = Nic::start();
    nic.traffic();
    let output = nic
        .command("-C")
        .arg0("/usr/sbin/conntrack")
        .output()
        .expect("adit starts");
    // The first word is `ct` then, which is skipped as any word that is no option.
    assert_eq!(text(&output.stdout), "3\n");
    let help = nic.run("-h -p tcp");
    assert!(text(&help.stdout).contains("--reply-port-dst"));
}

#[test]
fn a_server_that_is_not_there_is_an_error() {
    let nic = Nic::start();
    let output = nic
        .command("-L")
        .env("ADIT_P4RT", "127.0.0.1:1")
        .output()
        .expect("adit starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("127.0.0.1:1"));
}
