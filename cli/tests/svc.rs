// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit svc` and `adit flow` as processes, against a server on loopback.

mod commands;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_conntrack::{Seed, Settings, Time, Tracker};
use adit_conntrack_rpc::{service, Gate};
use adit_p4_frontend::files::{self, Folders};
use adit_p4runtime::program::Package;
use adit_p4runtime::server::{
    listen_with, Address, Limits, Listening, Pipeline, PipelineHandle, Routes, Server,
};
use adit_pipeline::p4::Engine;
use commands::Commands;
use serde_json::Value;

/// A data path with the node's program.
struct Idle;

impl PipelineHandle for Idle {
    fn commit(&self, _: Arc<Engine>) -> Result<(), String> {
        Err("the test has one program".to_owned())
    }
    fn now_ns(&self) -> u64 {
        0
    }
}

/// A clock that is stopped.
struct Still;

impl adit_conntrack_rpc::Clock for Still {
    fn now(&self) -> Time {
        Time::from_secs(100)
    }

    fn start_date(&self) -> Duration {
        Duration::from_secs(1_700_000_000)
    }
}

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    path.display().to_string()
}

/// A NIC that listens at an address.
fn serve(address: &str) -> Listening {
    let path = file("p4/k8s_node.p4");
    let mut package = Package {
        text: files::read(Path::new(&path)).expect("the program"),
        name: path,
        defines: vec!["CONNECTIONS=64".to_owned()],
        ..Package::default()
    };
    let made = package.gather(&Folders(Vec::new()), &Default::default());
    let (program, _) = made.unwrap_or_else(|error| panic!("{error}"));
    let engine = Arc::new(Engine::load(program).expect("an engine"));
    let pipeline = Pipeline::of_engine(engine).expect("a pipeline");
    let tracker = Tracker::new(64, Seed::new([5; 16]), Settings::default());
    let further = Routes::default().add_service(service(Arc::new(tracker), Still, Gate::default()));
    let server = Server::new(1, Arc::new(Idle), Some(pipeline));
    let address: Address = address.parse().expect("an address");
    listen_with(server, &address, None, Limits::default(), further).expect("it can listen")
}

struct Nic(String);

impl Commands for Nic {
    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
        command.args(words.split(' ')).env("ADIT_P4RT", &self.0);
        command
    }
}

fn nic() -> (Nic, Listening) {
    let listening = serve("127.0.0.1:0");
    (Nic(listening.address.clone()), listening)
}

#[test]
fn examples_are_applied_shown_and_deleted() {
    let (nic, _listening) = nic();
    let examples = file("node/examples");
    let apply = format!("svc apply -f {examples} --node node-1 --node-address 192.0.2.10");
    let dry = nic.json(&format!("{apply} --dry-run"));
    let done = nic.json(&apply);
    assert_eq!(done["inserted"], dry["inserted"]);
    assert!(done["inserted"].as_u64() > Some(20), "{done}");
    assert_eq!(nic.stdout(&apply), "no entry was changed\n");

    let list = nic.stdout("svc list");
    let lines: Vec<_> = list
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .collect();
    assert_eq!(
        lines[1],
        [
            "default/web",
            "http",
            "TCP",
            "10.3.241.122:80",
            "2/3",
            "600",
            "s",
            "0",
            "0",
            "0",
            "0"
        ]
    );
    assert_eq!(
        lines[2][..5],
        ["kube-system/dns", "dns", "UDP", "10.3.240.10:53", "3/3"]
    );
    let ports = nic.json("svc show web");
    let endpoints = ports[0]["endpoints"].as_array().expect("endpoints");
    assert_eq!(endpoints[2]["address"], "10.244.0.3:8080");
    assert_eq!(
        (&endpoints[2]["terminating"], &endpoints[2]["is_used"]),
        (&true.into(), &false.into())
    );
    let shown = nic.stdout("svc show web");
    assert!(shown.contains("10.244.0.3:8080"), "{shown}");
    assert!(shown.contains("serving,terminating"), "{shown}");

    assert_eq!(
        nic.refuses("svc delete mail"),
        "adit: the NIC has no service default/mail; it has: default/web, kube-system/dns\n"
    );
    nic.stdout("svc delete web");
    assert!(nic
        .refuses("svc show web")
        .contains("it has: kube-system/dns"));
    // What is in none of the files goes.
    let web = file("node/examples/web.yaml");
    nic.stdout(&format!("svc apply --prune -f {web}"));
    assert_eq!(nic.json("svc list").as_array().map(Vec::len), Some(1));
    nic.stdout("svc delete --all");
    assert_eq!(nic.json("svc list"), Value::Array(Vec::new()));
}

#[test]
fn files_that_are_wrong_change_nothing() {
    let (nic, _listening) = nic();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.yaml");
    let right = std::fs::read_to_string(file("node/examples/web.yaml")).expect("the example");
    std::fs::write(&path, right.replace("port: 80\n", "port: 0\n")).expect("a file");
    let apply = format!("svc apply -f {}", folder.path().display());
    let error = nic.refuses(&apply);
    assert!(error.starts_with("adit: nothing was changed:\n"), "{error}");
    let wanted =
        "a.yaml, document 1, Service web, spec.ports[0].port: invalid value: integer `0`, \
                  expected a port, from 1 to 65535";
    assert!(error.contains(wanted), "{error}");
    assert!(nic
        .refuses("svc apply -f /nonexistent")
        .contains("reading /nonexistent"));
    assert_eq!(nic.json("svc list"), Value::Array(Vec::new()));
}

#[test]
fn a_service_is_set_on_the_command_line() {
    let (nic, _listening) = nic();
    let set = "svc set shop/web --address 10.96.0.1 --address fd96::1 --port 80";
    nic.stdout(&format!(
        "{set} --endpoint 10.244.0.1:8080 --endpoint 10.244.0.2:8080"
    ));
    let ended = format!("{set} --endpoint 10.244.0.2:8080 --terminating 10.244.0.1:8080");
    let done = nic.json(&ended);
    assert_eq!(
        (&done["inserted"], &done["deleted"]),
        (&0.into(), &1.into()),
        "{done}"
    );
    assert_eq!(nic.stdout(&ended), "no entry was changed\n");
    let port = &nic.json("svc show shop/web")[0];
    assert_eq!(port["frontends"].as_array().map(Vec::len), Some(2));
    assert_eq!(port["endpoints"][0]["is_used"], false);
    assert_eq!(port["endpoints"][1]["is_used"], true);
    assert_eq!(port["endpoints"][0]["connections"], 0);
}

/// A process that is ended with the test.
struct Watcher(Child);

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is() {
        assert!(Instant::now() < deadline, "not within 60 s: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn files_are_followed_and_so_is_a_nic_that_restarts() {
    let listening = serve("127.0.0.1:0");
    let nic = Nic(listening.address.clone());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("web.yaml");
    let text = std::fs::read_to_string(file("node/examples/web.yaml")).expect("the example");
    std::fs::write(&path, &text).expect("a file");
    let words = format!("svc watch -f {}", folder.path().display());
    let child = nic
        .command(&words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut watcher = Watcher(child.expect("adit starts"));
    let mut out = BufReader::new(watcher.0.stdout.take().expect("a pipe"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    assert!(line.contains("0 modified, 0 deleted"), "{line}");

    // A file that is wrong changes nothing, one that is right again does.
    let used = |nic: &Nic| {
        let ports = nic.json("svc list");
        let endpoints = ports[0]["endpoints"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        endpoints.iter().filter(|it| it["is_used"] == true).count()
    };
    assert_eq!(used(&nic), 2);
    std::fs::write(&path, text.replace("kind: Service", "kind: [")).expect("a file");
    let renamed = folder.path().join(".new");
    std::fs::write(&renamed, text.replace("[10.244.0.2]", "[10.244.0.7]")).expect("a file");
    assert_eq!(used(&nic), 2);
    std::fs::rename(&renamed, &path).expect("a name");
    eventually("the endpoint is replaced", || {
        nic.stdout("svc show web").contains("10.244.0.7:8080")
    });
    assert!(!nic.stdout("svc show web").contains("10.244.0.2:8080"));

    // Its role has no other writer meanwhile; a NIC that has lost its tables gets them again.
    let address = listening.address.clone();
    drop(listening);
    let listening = serve(&address);
    eventually("the services are back", || used(&nic) == 2);
    std::fs::remove_file(&path).expect("it is there");
    eventually("the services are gone", || {
        nic.json("svc list") == Value::Array(Vec::new())
    });

    let pid = watcher.0.id().to_string();
    let killed = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(killed.expect("kill starts").success());
    assert!(watcher.0.wait().expect("it ends").success());
    drop(listening);
}

/// The example with an empty list of ports.
fn without_ports(text: &str) -> String {
    let (service, rest) = text.split_once("  ports:\n").expect("ports");
    let rest = rest
        .lines()
        .skip_while(|line| line.starts_with("  ") && !line.starts_with("  s"));
    let rest: Vec<_> = rest.collect();
    format!("{service}  ports: []\n{}", rest.join("\n"))
}

#[test]
fn a_service_that_has_become_headless_goes() {
    let (nic, _listening) = nic();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("web.yaml");
    let text = std::fs::read_to_string(file("node/examples/web.yaml")).expect("the example");
    let dns = file("node/examples/dns.yaml");
    let apply = format!("svc apply -f {}", path.display());
    let others = [
        text.replace("clusterIP: 10.3.241.122", "clusterIP: None"),
        text.replace(
            "spec:\n  clusterIP: 10.3.241.122",
            "spec:\n  type: ExternalName",
        ),
        text.replace(
            "metadata:\n  name: web\n",
            "metadata:\n  name: web\n  labels: {service.kubernetes.io/service-proxy-name: x}\n",
        ),
        without_ports(&text),
    ];
    for other in others {
        assert_ne!(other, text);
        std::fs::write(&path, &text).expect("a file");
        nic.stdout(&format!("{apply} -f {dns}"));
        std::fs::write(&path, &other).expect("a file");
        nic.stdout(&apply);
        let list = nic.json("svc list");
        let names: Vec<_> = list.as_array().into_iter().flatten().collect();
        assert!(
            names.iter().all(|it| it["name"] == "dns"),
            "{other}: {list}"
        );
        assert!(!names.is_empty(), "services of other files stay");
    }
}

#[test]
fn a_folder_that_others_write_to_all_the_time_is_followed() {
    let (nic, _listening) = nic();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("web.yaml");
    let text = std::fs::read_to_string(file("node/examples/web.yaml")).expect("the example");
    std::fs::write(&path, &text).expect("a file");
    let words = format!("svc watch -f {}", folder.path().display());
    let child = nic.command(&words).stdout(Stdio::null()).spawn();
    let _watcher = Watcher(child.expect("adit starts"));
    eventually("the services are there", || {
        nic.json("svc list")
            .as_array()
            .is_some_and(|all| !all.is_empty())
    });
    // More often than changes take to settle.
    let (log, stop) = (folder.path().join("log.txt"), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                std::fs::write(&log, "busy").expect("a file");
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let ends = Ends(&stop);
        std::fs::write(&path, text.replace("[10.244.0.2]", "[10.244.0.7]")).expect("a file");
        eventually("the endpoint is replaced", || {
            nic.stdout("svc show web").contains("10.244.0.7:8080")
        });
        drop(ends);
    });
}

/// Ends a thread, also if the test fails.
struct Ends<'s>(&'s AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn flows_are_put_on_queues() {
    let (nic, _listening) = nic();
    let tuple = "--vport 5 --src 192.0.2.1:4000 --dst 10.244.0.1:80";
    let quic = "--vport 5 --quic 0a1b2c3d4e5f6071";
    nic.stdout(&format!("flow add {tuple} --queue 3"));
    nic.stdout(&format!("flow add {quic} --queue 2 --flow-id 7"));
    // Once more: it changes.
    nic.stdout(&format!("flow add {tuple} --queue 1"));
    let list = nic.json("flow list");
    assert_eq!(list.as_array().map(Vec::len), Some(2), "{list}");
    assert_eq!(
        (&list[0]["queue"], &list[0]["dst"]),
        (&1.into(), &"10.244.0.1:80".into())
    );
    assert_eq!(
        (&list[1]["flow_id"], &list[1]["quic_id"]),
        (&7.into(), &"0a1b2c3d4e5f6071".into())
    );
    assert_eq!(list[0].get("flow_id"), None);
    let shown = nic.stdout("flow list");
    assert!(shown.contains("192.0.2.1:4000 -> 10.244.0.1:80"), "{shown}");
    nic.stdout(&format!("flow delete {tuple}"));
    let error = nic.refuses(&format!("flow delete {tuple}"));
    assert!(
        error.starts_with("adit: the flow 192.0.2.1:4000 10.244.0.1:80 6 of the virtual port 5: "),
        "{error}"
    );
    assert_eq!(nic.json("flow list").as_array().map(Vec::len), Some(1));
}

#[test]
fn another_program_is_told() {
    let server = Server::new(1, Arc::new(Idle), {
        let program = Package::source(include_str!("table.p4"))
            .program()
            .expect("no errors");
        let engine = Arc::new(Engine::load(program).expect("an engine"));
        Some(Pipeline::of_engine(engine).expect("a pipeline"))
    });
    let address: Address = "127.0.0.1:0".parse().expect("an address");
    let listening = listen_with(server, &address, None, Limits::default(), Routes::default());
    let listening = listening.expect("the kernel has a port");
    let nic = Nic(listening.address.clone());
    for words in ["svc list", "flow list"] {
        let error = nic.refuses(words);
        assert!(error.contains("it is not p4/k8s_node.p4"), "{error}");
    }
}
