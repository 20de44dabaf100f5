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
    let (heard, asked) = mpsc::channel();
    std::thread::spawn(move || {
        for script in scripts {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let mut stream = stream;
            for (n, reply) in script.into_iter().enumerate() {
                // The greeting is sent without a request.
                if n > 0 {
                    let Some(Ok(line)) = lines.next() else { break };
                    let _ = heard.send(line);
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
    (dir, qmp, asked)
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
fn it_asks_for_the_register_and_for_our_place() {
    let other = PciId {
        vendor: 0x8086,
        device: 0x1234,
    };
    let replies = script(REGISTER, &bus(&[(other, 4), (DEFAULT_ID, 5)]));
    let (_dir, qmp, asked) = qemu(vec![replies]);
    let root = qmp.ask().unwrap();
    let expected = Root {
        table: 0x1_1234_5000,
        requester: 0x28,
    };
    assert_eq!(root, expected);
    let heard: Vec<String> = asked.iter().collect();
    assert!(heard[0].contains("qmp_capabilities"), "{heard:?}");
    assert!(heard[1].contains("xp /2wx 0xfed90020"), "{heard:?}");
}

#[test]
fn answers_that_cannot_be_used_say_why() {
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
    assert!(error(vec!["{\"QMP\": {".into()]).contains("ended"));
}

fn qemu_error(scripts: Vec<Vec<String>>) -> String {
    let (_dir, qmp, _asked) = qemu(scripts);
    qmp.ask().unwrap_err().to_string()
}

#[test]
fn what_never_ends_is_cut_off() {
    let long = "x".repeat(MAX_INPUT as usize + 10);
    assert!(qemu_error(vec![vec![long]]).contains("went on"));
}

#[test]
fn what_comes_too_slowly_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qmp");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(PATIENCE / 20);
        }
    });
    let qmp = Qmp {
        path,
        pci_id: DEFAULT_ID,
        requester: None,
    };
    let start = Instant::now();
    assert!(matches!(qmp.ask(), Err(QmpError::Silent)));
    assert!(start.elapsed() < 2 * PATIENCE);
}

#[test]
fn a_socket_that_cannot_be_used_is_named_once() {
    let said = |path: PathBuf| {
        let qmp = Qmp {
            path,
            pci_id: DEFAULT_ID,
            requester: None,
        };
        format!("{:#}", anyhow::Error::from(qmp.ask().unwrap_err()))
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qmp");
    let absent = "the QMP socket cannot be used: No such file or directory (os error 2)";
    assert_eq!(said(path.clone()), absent);
    let listener = UnixListener::bind(&path).unwrap();
    // The socket has another client: the connection is never accepted.
    let silent = said(path.clone());
    assert!(
        silent.starts_with("no answer on the QMP socket within 2 s"),
        "{silent}"
    );
    drop(listener);
    let dead = "the QMP socket cannot be used: Connection refused (os error 111)";
    assert_eq!(said(path), dead);
}

#[test]
fn a_question_is_asked_again_after_a_reset_and_on_a_new_connection() {
    let replies = || script(REGISTER, &bus(&[(DEFAULT_ID, 5)]));
    // The first connection ends at once: QEMU serves another client.
    let (_dir, qmp, _asked) = qemu(vec![vec![], replies(), replies()]);
    let query = RootQuery::default();
    let (tell, told) = mpsc::channel();
    let mut translator = Translator::new(Some(query.clone()));
    std::thread::scope(|scope| {
        scope.spawn(|| qmp.serve(&query, |era, root| tell.send((era, root)).unwrap()));
        for _ in 0..2 {
            assert_eq!(translator.tables().find(), Readiness::Asking);
            assert_eq!(translator.root(), None);
            let (era, root) = told.recv().unwrap();
            assert!(root.is_some());
            assert!(translator.tables().answer(era, root));
            assert_eq!(translator.tables().find(), Readiness::Ready);
            assert!(translator.root().is_some());
            translator.tables().forget();
            let late = translator.tables().answer(era, root);
            assert!(!late, "an answer from before the reset");
        }
        // QEMU no longer listens.
        assert_eq!(translator.tables().find(), Readiness::Asking);
        let (era, root) = told.recv().unwrap();
        assert!(translator.tables().answer(era, root));
        assert_eq!(translator.tables().find(), Readiness::Failed);
        query.close();
    });
}
