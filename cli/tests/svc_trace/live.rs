// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packets that pass while a command follows them.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};

use adit_node_oracle::nic::Left;

use super::*;

/// A process that is ended with the test.
struct Follower(Child);

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Follower {
    /// Begins to follow packets; returns what it says that it follows.
    fn start(nic: &Nic, words: &str) -> (Follower, String) {
        let mut command = nic.command(words);
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut follower = Follower(child.expect("adit starts"));
        let mut said = BufReader::new(follower.0.stderr.take().expect("a pipe"));
        let mut line = String::new();
        said.read_line(&mut line).expect("a line");
        (follower, line)
    }

    /// Its output, once it has ended by itself.
    fn output(mut self) -> String {
        let mut text = String::new();
        let mut out = self.0.stdout.take().expect("a pipe");
        out.read_to_string(&mut text).expect("text");
        assert!(self.0.wait().expect("it ends").success());
        text
    }
}

fn objects(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// A packet in a VXLAN tunnel to this node.
fn tunnelled(from: &str, packet: &[u8]) -> Vec<u8> {
    let vxlan = [8, 0, 0, 0, 0, 0, 7, 0];
    let link = [&ROUTER[..], &[2, 0xbb, 0, 0, 0, 1, 8, 0]].concat();
    flow(&format!("{from}:50000"), "192.0.2.10:4789").udp(&[&vxlan, &*link, packet].concat())
}

/// The answer to a SYN.
fn syn_ack(from: &str, to: &str) -> Vec<u8> {
    flow(from, to).tcp(0x12, 7000, 1001, b"")
}

/// The destination of a packet in the tunnel that it leaves in.
fn endpoint(left: &[Left]) -> String {
    let octets = &left[0].packet[20 + 8 + 8 + 14 + 16..][..4];
    format!("10.245.0.{}:8080", octets[3])
}

#[test]
fn replies_from_other_nodes_are_followed_out_of_their_tunnels() {
    let mut nic = Nic::start();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("far.yaml");
    let far = std::fs::read_to_string(example()).expect("the example");
    let far = far.replace("10.244.0.", "10.245.0.");
    let far = far.replace("nodeName: node-1", "nodeName: node-2");
    std::fs::write(&path, &far).expect("a file");
    nic.stdout(&format!("svc apply -f {} --node node-1", path.display()));
    let (follower, line) = Follower::start(&nic, "-o json svc trace web -c 5");
    assert_eq!(
        line,
        "following packets to 10.3.241.122:80/TCP, and from other nodes to 3 endpoints, and replies\n"
    );
    let (web, pod) = ("10.3.241.122:80", "10.244.0.7:40000");
    // A pod's SYN leaves in the tunnel; the answer comes back in it.
    let left = nic.0.pass(port(7), &syn(pod, web));
    let endpoint = endpoint(&left);
    let reply = tunnelled("192.0.2.20", &syn_ack(&endpoint, pod));
    let left = nic.0.pass(WIRE, &reply);
    assert_eq!(left[0].port, port(7));
    // The pod refuses what it has got.
    let error = flow("10.244.0.7:1", web).icmp(3, 3, [0; 4], &left[0].packet);
    nic.0.pass(port(7), &error);
    // A client elsewhere is masqueraded, so the answer comes to this node.
    let client = "203.0.113.9:9";
    let left = nic.0.pass(WIRE, &syn(client, web));
    let reply = syn_ack(&self::endpoint(&left), "192.0.2.10:9");
    nic.0.pass(WIRE, &tunnelled("192.0.2.20", &reply));
    let packets = objects(&follower.output());
    let directions = packets.iter().map(|it| it["direction"].as_str());
    assert_eq!(
        directions
            .map(Option::unwrap_or_default)
            .collect::<Vec<_>>(),
        ["to_service", "reply", "error", "to_service", "reply"]
    );
    for (n, packet) in packets.iter().enumerate() {
        assert_eq!(packet["packet"], n + 1);
        assert_eq!(packet["service"]["address"], web, "{packet}");
        assert_eq!(packet["service"]["name"], "web");
        assert_eq!(packet["outcome"]["dropped"], false, "{packet}");
    }
    let reply = &packets[1];
    assert_eq!(reply["flow"], format!("{endpoint} > {pod} tcp [syn,ack]"));
    let tunnel = &reply["tunnel"];
    assert_eq!(
        (
            &tunnel["kind"],
            &tunnel["vni"],
            &tunnel["from"],
            &tunnel["to"],
            &tunnel["taken_out"]
        ),
        (
            &"vxlan".into(),
            &7.into(),
            &"192.0.2.20".into(),
            &"192.0.2.10".into(),
            &true.into()
        )
    );
    assert_eq!(reply["endpoint"]["address"], endpoint);
    assert_eq!(reply["endpoint"]["by"], "connection");
    assert_eq!(reply["source"]["address"], web);
    // It was not masqueraded.
    assert_eq!(reply["destination"], Value::Null);
    assert_eq!(reply["way"]["port"], port(7));
    assert_eq!(packets[2]["destination"], endpoint);
    assert_eq!(packets[2]["connection"]["state"], "related");
    assert_eq!(packets[2]["endpoint"]["address"], endpoint);
    let undone = &packets[4];
    assert_eq!(undone["source"]["address"], web);
    assert_eq!(undone["destination"], client);
    assert_eq!(undone["way"]["to"], "next_hop");
}

#[test]
fn packets_of_other_nodes_to_endpoints_are_followed_and_their_replies() {
    let mut nic = Nic::start();
    let set = "svc set web --address 10.3.241.122 --port 80 --endpoint 10.244.0.3:8080";
    nic.stdout(&format!("{set} --node node-1"));
    let (follower, _) = Follower::start(&nic, "svc trace web -c 4");
    let (client, endpoint) = ("10.245.0.5:40000", "10.244.0.3:8080");
    nic.0
        .pass(WIRE, &tunnelled("192.0.2.20", &syn(client, endpoint)));
    // Another pod of this node is none of the service's clients, and its connection no other node's.
    nic.0.pass(port(6), &syn("10.244.0.6:1", endpoint));
    nic.0.pass(port(3), &syn_ack(endpoint, "10.244.0.6:1"));
    nic.0.pass(port(3), &syn_ack(endpoint, client));
    // Only peers are taken out of their tunnels.
    nic.0
        .pass(WIRE, &tunnelled("192.0.2.99", &syn(client, endpoint)));
    // To the service, in a tunnel.
    let web = syn("10.245.0.5:40001", "10.3.241.122:80");
    nic.0.pass(WIRE, &tunnelled("192.0.2.20", &web));
    let text = follower.output();
    let wanted = [
        "packet 1: 10.245.0.5:40000 > 10.244.0.3:8080 tcp [syn] at port 0, ",
        "  tunnel       vxlan from 192.0.2.20 to 192.0.2.10, VNI 7: taken out of it\n",
        "  service      default/web, TCP, behind its addresses\n",
        "  direction    to an endpoint, past this node's addresses of the service\n",
        ", ready, serving: the packet has come with its address\n",
        "packet 2: 10.244.0.3:8080 > 10.245.0.5:40000 tcp [syn,ack] at port 4115, ",
        "  direction    a reply, from the endpoint to the client\n",
        "  way          vxlan tunnel to 192.0.2.20, VNI 7, by the route 10.245.0.0/16\n",
        "packet 3: 10.245.0.5:40000 > 10.244.0.3:8080 tcp [syn] at port 0, ",
        "  tunnel       vxlan from 192.0.2.99 to 192.0.2.10, VNI 7: left in it, as `tunnels` has no",
        "packet 4: 10.245.0.5:40001 > 10.3.241.122:80 tcp [syn] at port 0, ",
        "  service      default/web, at its ClusterIP 10.3.241.122:80/TCP\n",
        "  destination  translated to 10.244.0.3:8080\n",
    ];
    let mut rest = &*text;
    for line in wanted {
        let at = rest.find(line).unwrap_or_else(|| panic!("{line}\n{text}"));
        rest = &rest[at + line.len()..];
    }
}

#[test]
fn only_requests_are_followed_on_request() {
    let mut nic = Nic::start();
    let set = "svc set web --address 10.3.241.122 --port 80 --endpoint 10.244.0.3:8080";
    nic.stdout(&format!("{set} --node node-1"));
    let (follower, line) = Follower::start(&nic, "-o json svc trace web --requests -c 2");
    assert_eq!(
        line,
        "following packets to 10.3.241.122:80/TCP, and from other nodes to 1 endpoint\n"
    );
    let (pod, web) = ("10.244.0.7:40000", "10.3.241.122:80");
    nic.0.pass(port(7), &syn(pod, web));
    nic.0.pass(port(3), &syn_ack("10.244.0.3:8080", pod));
    nic.0.pass(port(7), &syn(pod, web));
    let packets = objects(&follower.output());
    assert!(packets.iter().all(|it| it["direction"] == "to_service"));

    let words = "svc trace web --at 10.3.241.122 -c 2";
    let (follower, line) = Follower::start(&nic, words);
    assert_eq!(
        line,
        "following packets to 10.3.241.122:80/TCP, and replies\n"
    );
    nic.0.pass(port(7), &syn("10.244.0.7:40001", web));
    nic.0
        .pass(port(3), &syn_ack("10.244.0.3:8080", "10.244.0.7:40001"));
    let text = follower.output();
    let back = "  source       translated back to the service's 10.3.241.122:80\n";
    assert!(text.contains(back), "{text}");
}

#[test]
fn live_packets_are_followed() {
    let mut nic = Nic::start();
    nic.stdout(&format!("svc apply -f {} --node node-1", example()));
    let words = "-o json svc trace web --client 10.244.0.7 -c 3";
    let (follower, _) = Follower::start(&nic, words);
    let web = "10.3.241.122:80";
    let mut send = |from: &str, to: &str| nic.0.pass(port(7), &syn(from, to));
    send("10.244.0.7:1", web);
    // Neither another client's nor those to others.
    send("10.244.0.6:1", web);
    send("10.244.0.7:1", "10.3.241.122:81");
    send("10.244.0.7:1", "203.0.113.1:80");
    send("10.244.0.7:1", web);
    send("10.244.0.7:2", web);
    let packets = objects(&follower.output());
    let by = packets
        .iter()
        .map(|it| it["endpoint"]["by"].as_str().unwrap_or_default());
    assert_eq!(
        by.collect::<Vec<_>>(),
        ["hash_of_client", "connection", "affinity"]
    );
    assert_eq!(
        packets[2]["flow"],
        "10.244.0.7:2 > 10.3.241.122:80 tcp [syn]"
    );
}
