// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit svc trace` as a process, against a NIC on loopback that packets pass.

#[path = "../commands/mod.rs"]
mod commands;
mod live;

use std::path::Path;
use std::process::Command;

use adit_conntrack::testing::Flow;
use adit_node_oracle::entries::Key;
use adit_node_oracle::nic::{TestNic, ROUTER, WIRE};
use adit_node_oracle::setup::{NodeSetup, GATEWAY};
use adit_p4runtime::proto::config::P4Info;
use adit_p4runtime::proto::v1::Update;
use commands::Commands;
use serde_json::Value;

/// The port before that of the pod 1: of pods 10.244.0.1 to 10.244.0.9.
const PODS: u32 = 0x1010;
const NUM_PODS: u8 = 9;
/// The ends of the tunnel: this node, and the other one.
const OWN: [u8; 4] = [192, 0, 2, 10];
const PEER: [u8; 4] = [192, 0, 2, 20];

fn port(pod: u8) -> u32 {
    PODS + u32::from(pod)
}

/// Pods, a gateway, and a tunnel to another node, whose pods are 10.245.0.0/16.
fn node(info: &P4Info) -> Vec<Update> {
    let mut node = NodeSetup::new(info);
    let tunnel: [&[u8]; 8] = [
        &ROUTER,
        &[2, 0xbb, 0, 0, 0, 1],
        &[7],
        &OWN,
        &PEER,
        &ROUTER,
        &GATEWAY,
        &WIRE.to_be_bytes(),
    ];
    node.entry("nexthops", &[Key::number(2)], 0, "vxlan", &tunnel);
    node.route([10, 245, 0, 0].into(), 16, 2);
    let peer = [
        Key::number(0),
        Key::address(PEER.into()),
        Key::address(OWN.into()),
        Key::number(7),
    ];
    node.entry("tunnels", &peer, 0, "inner", &[&[0], &[1]]);
    node.cluster([10, 244, 0, 0].into(), 15);
    // Reason 2: clients of services.
    let clients = Key::Ternary(vec![2], vec![3]);
    node.masquerade([clients, Key::Any, Key::Any], 1, OWN.into());
    for pod in 1..=NUM_PODS {
        node.pod(pod, [10, 244, 0, pod].into(), port(pod));
    }
    node.updates()
}

struct Nic(TestNic);

impl Nic {
    fn start() -> Nic {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../p4/k8s_node.p4");
        Nic(TestNic::start(&program, node).expect("a NIC"))
    }

    /// The trace of an injected packet.
    fn injected(&self, words: &str) -> Value {
        self.json(&format!("svc trace --inject {words}"))
    }
}

impl Commands for Nic {
    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
        command.args(words.split(' '));
        command.env("ADIT_P4RT", self.0.target().address);
        command
    }
}

fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node/examples/web.yaml");
    path.display().to_string()
}

fn flow(from: &str, to: &str) -> Flow {
    let [from, to] = [from, to].map(|it| it.parse::<std::net::SocketAddr>().expect("a socket"));
    Flow {
        src: from.ip(),
        src_port: from.port(),
        dst: to.ip(),
        dst_port: to.port(),
    }
}

/// A SYN of a client.
fn syn(from: &str, to: &str) -> Vec<u8> {
    let mut packet = flow(from, to).tcp(2, 1000, 0, b"");
    adit_conntrack::testing::fill_checksums(&mut packet);
    packet
}

#[test]
fn the_choice_of_an_endpoint_is_explained() {
    let nic = Nic::start();
    nic.stdout(&format!("svc apply -f {} --node node-1", example()));
    let first = nic.injected("web --client 10.244.0.7:40000");
    assert_eq!(first["port"], port(7));
    let service = &first["service"];
    assert_eq!(
        (
            &service["name"],
            &service["port"],
            &service["kind"],
            &service["address"]
        ),
        (
            &"web".into(),
            &"http".into(),
            &"ClusterIP".into(),
            &"10.3.241.122:80".into()
        )
    );
    assert_eq!(first["connection"]["state"], "new");
    let group = &first["group"];
    assert_eq!(
        (&group["policy"], &group["endpoints"], &group["inside"]),
        (&"Cluster".into(), &2.into(), &true.into())
    );
    let endpoint = &first["endpoint"];
    assert_eq!(
        (
            &endpoint["by"],
            &endpoint["ready"],
            &endpoint["terminating"]
        ),
        (&"hash_of_client".into(), &true.into(), &false.into())
    );
    assert_eq!(first["destination"], endpoint["address"]);
    let address = endpoint["address"].as_str().expect("an address");
    let pod = address
        .trim_start_matches("10.244.0.")
        .trim_end_matches(":8080");
    let pod: u8 = pod.parse().expect("a pod");
    assert_eq!(first["way"]["to"], "pod");
    assert_eq!(first["way"]["port"], port(pod));
    assert_eq!(first["sent"][0]["port"], port(pod));
    assert_eq!(first["source"], Value::Null);
    assert_eq!(
        (&first["outcome"]["verdict"], &first["outcome"]["dropped"]),
        (&"OPENED".into(), &false.into())
    );

    // Its next connection gets the same one, for it is the client's.
    let next = nic.injected("web --port http --client 10.244.0.7:40001");
    assert_eq!(next["endpoint"]["by"], "affinity");
    assert_eq!(next["endpoint"]["address"], endpoint["address"]);
    // The packet once more: its connection is known.
    let again = nic.injected("web --port 80 --client 10.244.0.7:40000");
    assert_eq!(again["endpoint"]["by"], "connection");
    assert_eq!(again["endpoint"]["address"], endpoint["address"]);
    assert_eq!(again["connection"]["state"], "unreplied");
    assert_eq!(again["group"], Value::Null);

    let text = nic.stdout("svc trace web --inject --client 10.244.0.7:40002");
    let wanted = [
        "packet 1: 10.244.0.7:40002 > 10.3.241.122:80 tcp [syn] at port 4119, ",
        "  service      default/web, port http, at its ClusterIP 10.3.241.122:80/TCP\n",
        "  connection   new\n",
        " for clients on this node, policy Cluster: 2 endpoints of all nodes\n",
        ", ready, serving: the client has had it before\n",
        "  affinity     the client keeps the endpoint until it was silent for 600 s\n",
        "  destination  translated to 10.244.0.",
        "  way          a pod of this node, at port 41",
        "  outcome      passes: it has opened a connection\n",
        "  sent to port 41",
    ];
    for line in wanted {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn what_drops_or_refuses_a_packet_is_explained() {
    let nic = Nic::start();
    let set = |name: &str, more: &str| {
        nic.stdout(&format!(
            "svc set {name} --address 10.96.0.1 --port 80{more}"
        ));
    };
    let outcome = |packet: &Value| {
        let it = &packet["outcome"];
        let verdict = it["verdict"].as_str().unwrap_or_default().to_owned();
        (
            verdict,
            [&it["dropped"], &it["refused"], &it["answered"]].map(|it| it == true),
        )
    };
    // No endpoint: the sender gets a reset.
    set("empty", "");
    let packet = nic.injected("empty --client 10.244.0.7");
    assert_eq!(outcome(&packet), ("NO_ENDPOINT".to_owned(), [true; 3]));
    assert_eq!(packet["group"]["endpoints"], 0);
    assert_eq!(packet["endpoint"], Value::Null);
    assert_eq!(packet["sent"][0]["kind"], "answer");
    let text = nic.stdout("svc trace empty --inject --client 10.244.0.7");
    let refused =
        "outcome      refused, and the sender is told: the service has no endpoint that takes";
    assert!(text.contains(refused), "{text}");
    nic.stdout("svc delete empty");

    // Its own endpoint, and no address to masquerade it with.
    set("own", " --endpoint 10.244.0.7:8080");
    let packet = nic.injected("own --client 10.244.0.7:9");
    assert_eq!(
        outcome(&packet),
        ("NO_SNAT".to_owned(), [true, false, false])
    );
    // Port by port: an endpoint that is gone ends its connection.
    let packet = nic.injected("own --client 10.244.0.6:9");
    assert_eq!(outcome(&packet).0, "OPENED");
    set("own", " --endpoint 10.244.0.8:8080");
    let packet = nic.injected("own --client 10.244.0.6:9");
    assert_eq!(outcome(&packet), ("ENDPOINT_GONE".to_owned(), [true; 3]));
    assert_eq!(packet["endpoint"]["address"], Value::Null);
    assert_eq!(packet["connection"]["forgotten"], true);
    // The last that serve take connections while none is ready.
    set("own", " --terminating 10.244.0.8:8080");
    let packet = nic.injected("own --client 10.244.0.6:10");
    let endpoint = &packet["endpoint"];
    assert_eq!(
        (
            &endpoint["ready"],
            &endpoint["terminating"],
            &endpoint["by"]
        ),
        (&false.into(), &true.into(), &"hash".into())
    );
    let text = nic.stdout("svc trace own --inject --client 10.244.0.6:11");
    assert!(text.contains("; none is ready\n"), "{text}");
}

#[test]
fn policies_tunnels_and_masquerade_are_explained() {
    let nic = Nic::start();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("far.yaml");
    let far = std::fs::read_to_string(example()).expect("the example");
    let far = far
        .replace("10.244.0.", "10.245.0.")
        .replace("nodeName: node-1", "nodeName: node-2");
    let local = far.replace(
        "spec:\n  clusterIP: 10.3.241.122",
        "spec:\n  clusterIP: 10.3.241.122\n  internalTrafficPolicy: Local",
    );
    assert_ne!(far, local);
    std::fs::write(&path, &far).expect("a file");
    let apply = format!("svc apply -f {} --node node-1", path.display());
    nic.stdout(&apply);
    // Replies of a pod elsewhere come back through this node only if the client is its.
    let packet = nic.injected("web --client 203.0.113.9:9 --from 0");
    // The wire may open connections of services.
    assert_eq!(packet["outcome"]["verdict"], "OPENED", "{packet}");
    assert_eq!(packet["group"]["inside"], false);
    assert_eq!(packet["source"]["reason"], "service");
    assert_eq!(packet["source"]["address"], "192.0.2.10:9");
    let way = &packet["way"];
    assert_eq!(
        (
            &way["to"],
            &way["kind"],
            &way["vni"],
            &way["peer"],
            &way["route"]
        ),
        (
            &"tunnel".into(),
            &"vxlan".into(),
            &7.into(),
            &"192.0.2.20".into(),
            &"10.245.0.0/16".into()
        )
    );
    let text = nic.stdout("svc trace web --inject --client 203.0.113.9:10");
    assert!(
        text.contains("vxlan tunnel to 192.0.2.20, VNI 7, by the route 10.245.0.0/16"),
        "{text}"
    );

    std::fs::write(&path, &local).expect("a file");
    nic.stdout(&apply);
    let packet = nic.injected("web --client 10.244.0.7");
    assert_eq!(packet["group"]["policy"], "Local");
    assert_eq!(packet["outcome"]["verdict"], "NOT_LOCAL");
    assert_eq!(packet["outcome"]["answered"], false);
}

#[test]
fn what_is_not_there_is_named() {
    let nic = Nic::start();
    assert_eq!(
        nic.refuses("svc trace web"),
        "adit: the NIC has no service default/web; it has none\n"
    );
    nic.stdout(&format!(
        "svc apply -f {} --node node-1 --node-address 192.0.2.10",
        example()
    ));
    for (words, wanted) in [
        (
            "svc trace mail",
            "the NIC has no service default/mail; it has: default/web",
        ),
        (
            "svc trace web --port dns",
            "the service default/web has no port `dns`; it has: http; 10.3.241.122:80/TCP",
        ),
        (
            "svc trace web --port 81",
            "the service default/web has no port `81`; it has: http; 10.3.241.122:80/TCP",
        ),
        (
            "svc trace web --at 10.3.241.1",
            "the service default/web is not at 10.3.241.1; it is at: 10.3.241.122:80/TCP",
        ),
        (
            "svc trace web --inject --client fd00::1",
            "the client fd00::1 is not of the family of the service default/web, which is at: \
             10.3.241.122:80/TCP",
        ),
    ] {
        assert_eq!(nic.refuses(words), format!("adit: {wanted}\n"), "{words}");
    }
    let both = "svc set two --address 10.96.0.2 --port 80 --node-port 30080";
    nic.stdout(&format!("{both} --node-address 192.0.2.10"));
    // A node port is another way to the same port.
    assert_eq!(
        nic.injected("two --client 10.244.0.7")["service"]["kind"],
        "ClusterIP"
    );
    let node = nic.injected("two --port 30080 --client 10.244.0.7");
    assert_eq!(node["service"]["kind"], "NodePort");
    let node = nic.injected("two --at 192.0.2.10 --client 10.244.0.7");
    assert_eq!(node["service"]["address"], "192.0.2.10:30080");
}
