// SPDX-License-Identifier: Apache-2.0 OR MIT

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::sync::mpsc;

use super::super::root::Readiness;
use super::super::Translator;
use super::*;
use crate::pci::DEFAULT_ID;

const GREETING: &str = r#"{"QMP": {"version": {}, "capabilities": ["oob"]}}"#;

/// The response to `query-pci` for a root bus with these functions.
fn bus(functions: &[(PciId, u64)]) -> Value {
    let devices = functions.iter().map(|(id, slot)| {
        json!({
            "bus": 0, "slot": slot, "function": 0,
            "id": { "device": id.device, "vendor": id.vendor },
        })
    });
    json!([{ "bus": 0, "devices": devices.collect::<Vec<_>>() }])
}

/// A QEMU that serves as many connections as there are scripts, each a list of replies.
fn qemu(scripts: Vec<Vec<String>>) -> (tempfile::TempDir, Qmp, mpsc::Receiver<String>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qmp");
    let listener = UnixListener::bind(&path).unwrap();
    let (sender, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for script in scripts {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let mut stream = stream;
            for (n, reply) in script.into_iter().enumerate() {
                // The greeting is sent without a request.
                if n > 0 {
                    let Some(Ok(line)) = lines.next() else { break };
                    let _ = sender.send(line);
                }
                if stream.write_all(reply.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    let qmp = Qmp {
        path,
        pci_id: DEFAULT_ID,
        requester: None,
    };
    (dir, qmp, requests)
}

fn script(register: &str, buses: &Value) -> Vec<String> {
    let value = |v: Value| format!("{}\n", json!({ "return": v }));
    vec![
        format!("{GREETING}\r\n"),
        value(json!({})),
        format!(
            "{}\n{}",
            json!({ "event": "RESUME" }),
            value(register.into())
        ),
        value(buses.clone()),
    ]
}

const REGISTER: &str = "00000000fed90020: 0x12345400 0x00000001\r\n";

#[test]
fn a_lookup_reads_the_register_and_our_bus_address() {
    let other = PciId {
        vendor: 0x8086,
        device: 0x1234,
    };
    let replies = script(REGISTER, &bus(&[(other, 4), (DEFAULT_ID, 5)]));
    let (_dir, qmp, requests) = qemu(vec![replies]);
    let root = qmp.query().unwrap();
    let expected = Root {
        table: 0x1_1234_5000,
        requester: 0x28,
    };
    assert_eq!(root, expected);
    let sent: Vec<String> = requests.iter().collect();
    assert!(sent[0].contains("qmp_capabilities"), "{sent:?}");
    assert!(sent[1].contains("xp /2wx 0xfed90020"), "{sent:?}");
}

#[test]
fn unusable_responses_give_a_reason() {
    let ours = bus(&[(DEFAULT_ID, 5)]);
    let error = |replies| qemu_error(vec![replies]);
    let off = script("fed90020: 0x00000000 0x00000000\r\n", &ours);
    assert!(error(off).contains("scalable"));
    let alone = script(REGISTER, &bus(&[]));
    assert!(error(alone).contains("no PCI function"));
    let two = script(REGISTER, &bus(&[(DEFAULT_ID, 5), (DEFAULT_ID, 6)]));
    assert!(error(two).contains("--requester-id"));
    for printed in ["", "unknown command", "1: 0x1", "1: 0x1 0x2 0x3", "1: x y"] {
        assert!(error(script(printed, &ours)).contains("not QMP"));
    }
    let mut refuses = script(REGISTER, &ours);
    refuses[2] = "{\"error\": {\"desc\": \"no monitor\"}}\n".into();
    assert!(error(refuses).contains("no monitor"));
    assert!(error(vec!["SSH-2.0\n".into()]).contains("SSH"));
    assert!(error(vec!["{\"QMP\": {".into()]).contains("closed"));
}

fn qemu_error(scripts: Vec<Vec<String>>) -> String {
    let (_dir, qmp, _requests) = qemu(scripts);
    qmp.query().unwrap_err().to_string()
}

#[test]
fn endless_output_is_bounded() {
    let long = "x".repeat(MAX_INPUT as usize + 10);
    assert!(qemu_error(vec![vec![long]]).contains("sent more than"));
}

#[test]
fn slow_output_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qmp");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(TIMEOUT / 20);
        }
    });
    let qmp = Qmp {
        path,
        pci_id: DEFAULT_ID,
        requester: None,
    };
    let start = Instant::now();
    assert!(matches!(qmp.query(), Err(QmpError::TimedOut)));
    assert!(start.elapsed() < 20 * TIMEOUT);
}

#[test]
fn a_socket_that_cannot_be_used_is_named_once() {
    let error = |path: PathBuf| {
        let qmp = Qmp {
            path,
            pci_id: DEFAULT_ID,
            requester: None,
        };
        format!("{:#}", anyhow::Error::from(qmp.query().unwrap_err()))
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qmp");
    let absent = "the QMP socket cannot be used: No such file or directory (os error 2)";
    assert_eq!(error(path.clone()), absent);
    let listener = UnixListener::bind(&path).unwrap();
    // The socket has another client: the connection is never accepted.
    let timed_out = error(path.clone());
    assert!(
        timed_out.starts_with("no response on the QMP socket within 2 s"),
        "{timed_out}"
    );
    drop(listener);
    let dead = "the QMP socket cannot be used: Connection refused (os error 111)";
    assert_eq!(error(path), dead);
}

#[test]
fn a_lookup_is_repeated_after_a_reset_and_on_a_new_connection() {
    let replies = || script(REGISTER, &bus(&[(DEFAULT_ID, 5)]));
    // The first connection ends at once: QEMU serves another client.
    let (_dir, qmp, _requests) = qemu(vec![vec![], replies(), replies()]);
    let query = RootQuery::default();
    let (sender, responses) = mpsc::channel();
    let mut translator = Translator::new(Some(query.clone()));
    std::thread::scope(|scope| {
        scope.spawn(|| qmp.serve(&query, |era, root| sender.send((era, root)).unwrap()));
        for _ in 0..2 {
            assert_eq!(translator.tables().find(), Readiness::Pending);
            assert_eq!(translator.root(), None);
            let (era, root) = responses.recv().unwrap();
            assert!(root.is_some());
            assert!(translator.tables().complete(era, root));
            assert_eq!(translator.tables().find(), Readiness::Ready);
            assert!(translator.root().is_some());
            translator.tables().forget();
            let late = translator.tables().complete(era, root);
            assert!(!late, "a response from before the reset");
        }
        // QEMU no longer listens.
        assert_eq!(translator.tables().find(), Readiness::Pending);
        let (era, root) = responses.recv().unwrap();
        assert!(translator.tables().complete(era, root));
        assert_eq!(translator.tables().find(), Readiness::Failed);
        query.close();
    });
}
