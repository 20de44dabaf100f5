// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit p4 run` as a process, over the packets of the programs' own tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use adit_p4_frontend::files::Folders;
use adit_p4_frontend::warnings::Actions;
use adit_p4runtime::program::Package;
use adit_pipeline::p4::trace::Event;
use adit_pipeline::p4::{Engine, Input};
use pcap_file::pcap::{PcapPacket, PcapReader, PcapWriter};
use serde_json::Value;

fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../p4")
}

/// Returns the packets of a test that arrive on a port.
fn packets(test: &Path, port: &str) -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(test).expect("the test is there");
    let lines = text.lines().filter_map(|line| {
        let rest = line.strip_prefix("packet ")?;
        let (at, hex) = rest.split_once(' ')?;
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let bytes = digits.chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair).expect("digits");
            u8::from_str_radix(pair, 16).expect("digits")
        });
        (at == port).then(|| bytes.collect())
    });
    lines.collect()
}

struct Ran {
    output: Output,
    folder: tempfile::TempDir,
}

/// Runs a program over packets.
fn run(program: &Path, packets: &[Vec<u8>], entries: &str, words: &[&str]) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let file = std::fs::File::create(path("in.pcap")).expect("a file");
    let mut writer = PcapWriter::new(file).expect("a header");
    for (n, data) in packets.iter().enumerate() {
        let at = Duration::from_millis(n as u64);
        let packet = PcapPacket::new(at, data.len() as u32, data);
        writer.write_packet(&packet).expect("a packet");
    }
    drop(writer);
    std::fs::write(path("entries"), entries).expect("a file");
    let output = Command::new(env!("CARGO_BIN_EXE_adit"))
        .args(["p4", "run"])
        .arg(program)
        .arg("--pcap")
        .arg(path("in.pcap"))
        .arg("--entries")
        .arg(path("entries"))
        .arg("--out")
        .arg(path("out.pcap"))
        .args(words)
        .output()
        .expect("adit starts");
    Ran { output, folder }
}

impl Ran {
    fn text(&self) -> &str {
        let error = String::from_utf8_lossy(&self.output.stderr);
        assert!(self.output.status.success(), "{error}");
        std::str::from_utf8(&self.output.stdout).expect("text")
    }

    fn json(&self) -> Value {
        serde_json::from_str(self.text()).expect("JSON")
    }

    fn error(&self) -> String {
        assert_eq!(self.output.status.code(), Some(1));
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// Returns the frames that were sent.
    fn left(&self) -> Vec<Vec<u8>> {
        let file = std::fs::File::open(self.folder.path().join("out.pcap")).expect("a file");
        let mut reader = PcapReader::new(file).expect("a header");
        let mut frames = Vec::new();
        while let Some(packet) = reader.next_packet() {
            frames.push(packet.expect("a packet").data.into_owned());
        }
        frames
    }
}

const ROUTES: &str = "\
ipv4_routes dst=10.0.0.0/8 set_nexthop(1)
ipv4_routes dst=10.8.0.0/16 set_nexthop(77)
ipv4_routes dst=10.1.2.3/32 local
nexthops nexthop=1 forward(src=02:00:00:00:0a:01, dst=02:00:00:00:0b:01, port=1)
";

#[test]
fn a_routers_packets_are_followed() {
    let packets = packets(&programs().join("l3.stf"), "0");
    let ran = run(&programs().join("l3.p4"), &packets[..1], ROUTES, &[]);
    assert_eq!(
        ran.text(),
        "\
packet 1: 47 bytes at port 0
  RouterParser
    state start
    state NetworkParser.start: ethernet_h
    state NetworkParser.ipv4: ipv4_h
    state NetworkParser.ipv4_transport
    state NetworkParser.udp: udp_h
  RouterControl
    table ipv4_routes: h.ipv4.dst=10.2.3.4
      hit   ipv4_routes h.ipv4.dst=10.0.0.0/8 set_nexthop(nexthop=1)
      set_nexthop(nexthop=1)
    table nexthops: m.nexthop=1
      hit   nexthops m.nexthop=1 forward(src=02:00:00:00:0a:01, dst=02:00:00:00:0b:01, port=1)
      forward(src=02:00:00:00:0a:01, dst=02:00:00:00:0b:01, port=1)
    action age_ipv4
  changed h.ethernet.dst: 02:aa:00:00:00:01 -> 02:00:00:00:0b:01
  changed h.ethernet.src: 02:00:00:00:00:01 -> 02:00:00:00:0a:01
  changed h.ipv4.ttl: 64 -> 63
  changed h.ipv4.checksum: 27589 -> 27845
  sent to port 1, 47 bytes
1 packet: 1 sent, 0 dropped
"
    );
    let mut frame = packets[0].clone();
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 0xb, 1, 2, 0, 0, 0, 0xa, 1]);
    frame[22] -= 1;
    frame[24] += 1;
    assert_eq!(ran.left(), [frame]);
}

#[test]
fn programs_read_why_packets_are_dropped() {
    let all = packets(&programs().join("l3.stf"), "0");
    let ran = run(&programs().join("l3.p4"), &all, ROUTES, &["-o", "json"]);
    let records = ran.json();
    let records = records.as_array().expect("packets");
    assert_eq!(records.len(), all.len());
    let to = |address: &str| {
        let with = |r: &&Value| {
            let mut steps = r["steps"].as_array().expect("steps").iter();
            steps.any(|s| s["key"][0]["value"] == address)
        };
        records.iter().find(with).expect("it was there")
    };
    // A route to a next hop that does not exist.
    let missed = to("10.8.0.1");
    let steps = missed["steps"].as_array().expect("steps");
    let table = |name: &str| steps.iter().find(|s| s["table"] == name).expect("applied");
    assert_eq!(table("ipv4_routes")["hit"], true);
    assert_eq!(table("nexthops")["hit"], false);
    assert_eq!(table("nexthops")["key"][0]["value"], "77");
    assert_eq!(table("nexthops")["action"], "no_route");
    assert_eq!(missed["dropped"][0]["reason"], "program");
    assert_eq!(missed["sent"].as_array().expect("a list").len(), 0);
    // A truncated packet.
    let is_cut = |r: &&Value| {
        let mut steps = r["steps"].as_array().expect("steps").iter();
        steps.any(|s| s["error"] == "PacketTooShort")
    };
    let cut = records.iter().find(is_cut).expect("one is cut off");
    assert_eq!(cut["bytes"], 30);
    assert_eq!(cut["dropped"][0]["reason"], "program");
}

#[test]
fn headers_that_come_and_go_are_shown() {
    let into = "encap input_port=4096 ethernet.dst=02:aa:00:00:00:01 encapsulate(vni=0x123456, \
                src=192.0.2.1, dst=192.0.2.2, src_mac=02:00:00:00:0a:01, \
                dst_mac=02:00:00:00:0b:01, port=0)\n";
    let all = packets(&programs().join("vxlan.stf"), "4096");
    let words = ["--port", "4096", "--count", "1"];
    let ran = run(&programs().join("vxlan.p4"), &all, into, &words);
    let text = ran.text();
    for line in [
        "  added h.outer_ipv4 {version=4 ",
        " dst=192.0.2.2}\n",
        "  sent to port 0, 97 bytes\n",
        "1 packet: 1 sent, 0 dropped\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    // Decapsulation returns the original packet.
    let out = "decap outer_ipv4.dst=192.0.2.2 vni=0x123456 decapsulate(4096)\n";
    let back = run(&programs().join("vxlan.p4"), &ran.left(), out, &[]);
    assert!(back.text().contains("  removed h.outer_udp\n"));
    assert_eq!(back.left(), all[..1]);
}

#[test]
fn what_is_wrong_with_files_is_said() {
    let ran = run(
        &programs().join("l3.p4"),
        &[],
        "ipv4_routes dst=x drop\n",
        &[],
    );
    assert!(ran.error().contains("line 1: table `ipv4_routes`"));
    let full = "nexthops nexthop=1 drop\n".repeat(2);
    let error = run(&programs().join("l3.p4"), &[], &full, &[]).error();
    assert!(error.contains("1 of 2 entries failed"), "{error}");
    assert!(error.contains("line 2: nexthops m.nexthop=1: "), "{error}");
    let ran = run(&programs().join("l3.p4"), &[], "", &["-o", "json"]);
    assert_eq!(ran.json(), Value::Array(Vec::new()));
}

const LOGGING: &str = r#"
#include <adit.p4>
header h_t { bit<8> ttl; int<8> delta; bool ok; bit<7> rest; }
struct H { h_t h; } struct M {}
parser P(packet_in pkt, out H h, inout M m, in pna_main_parser_input_metadata_t i) {
    state start { pkt.extract(h.h); transition accept; }
}
control C(inout H h, inout M m, in pna_main_input_metadata_t i,
          inout pna_main_output_metadata_t o) {
    apply {
        log_msg("begin");
        log_msg("ttl={} delta={} ok={}", { h.h.ttl, h.h.delta, h.h.ok });
        assert(h.h.ok);
        send_to_port((PortId_t) 1);
    }
}
control D(packet_out pkt, in H h, in M m, in pna_main_output_metadata_t o) { apply { pkt.emit(h); } }
PNA_NIC(P(), C(), D()) main;
"#;

#[test]
fn messages_of_programs_are_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("log.p4");
    std::fs::write(&program, LOGGING).expect("a file");
    let ran = run(&program, &[vec![64, 0xff, 0x80], vec![1, 2, 0]], "", &[]);
    let name = program.display();
    let text = ran.text();
    for line in [
        format!("  log {name}:11:9: begin\n"),
        format!("  log {name}:12:9: ttl=64 delta=-1 ok=true\n  sent to port 1"),
        format!("  log {name}:13:9: `assert` does not hold\n  dropped (assertion)"),
    ] {
        assert!(text.contains(&line), "{line}: {text}");
    }
    let ran = run(&program, &[vec![64, 0xff, 0x80]], "", &["-o", "json"]);
    let json = ran.json();
    assert_eq!(json[0]["log"][1]["text"], "ttl=64 delta=-1 ok=true");
}

#[test]
fn recordings_are_read_and_written_as_pcapng() {
    let packets = packets(&programs().join("l3.stf"), "0");
    let first = run(&programs().join("l3.p4"), &packets[..1], ROUTES, &[]);
    let folder = first.folder.path();
    let adit = |from: &str, to: &str| {
        let ran = Command::new(env!("CARGO_BIN_EXE_adit"))
            .args(["p4", "run"])
            .arg(programs().join("default.p4"))
            .args(["--pcap".as_ref(), folder.join(from).as_os_str()])
            .args(["--out".as_ref(), folder.join(to).as_os_str()])
            .output()
            .expect("adit starts");
        assert!(ran.status.success(), "{ran:?}");
        std::fs::read(folder.join(to)).expect("a file")
    };
    let ng = adit("out.pcap", "x.pcapng");
    assert_eq!(ng[..4], [0x0a, 0x0d, 0x0d, 0x0a]);
    let back = adit("x.pcapng", "back.pcap");
    assert_eq!(back, adit("out.pcap", "direct.pcap"));
    assert!(back.len() > packets[0].len());
}

#[test]
fn a_program_is_compiled_into_a_new_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("new/folder");
    let compile = |words: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_adit"))
            .args(["p4", "compile"])
            .args(words)
            .arg(programs().join("l3.p4"))
            .arg("--to")
            .arg(&to)
            .output()
            .expect("adit starts")
    };
    let ran = compile(&["--arch", "pna"]);
    assert!(ran.status.success(), "{ran:?}");
    assert!(to.join("p4info.txtpb").is_file() && to.join("program.p4bin").is_file());
    // The requested architecture has to be the program's.
    for (arch, message) in [
        ("v1model", "`main` is a `PNA_NIC`: v1model has `V1Switch`"),
        (
            "psa",
            "`psa` is no architecture: v1model, pna, pna-dpdk or pna-tc",
        ),
    ] {
        let ran = compile(&["--arch", arch]);
        let error = String::from_utf8_lossy(&ran.stderr);
        assert!(!ran.status.success() && error.contains(message), "{error}");
    }
}

/// Formats the output for comparison. Of packets with odd numbers, or all, or none, events are
/// recorded.
fn outcome(engine: &Arc<Engine>, packets: &[Vec<u8>], traced: Traced) -> (Vec<String>, Vec<Event>) {
    let mut worker = Engine::worker(engine);
    let (mut all, mut seen) = (Vec::new(), Vec::new());
    for (n, packet) in packets.iter().enumerate() {
        let input = Input::new(0, packet);
        let mut out =
            |_, output: adit_pipeline::p4::Output<'_>| all.push(format!("{n} {output:?}"));
        match traced {
            Traced::All => seen.extend(worker.process_traced(n as u64, &input, &mut out)),
            Traced::Odd if n % 2 == 1 => {
                seen.extend(worker.process_traced(n as u64, &input, &mut out));
            }
            _ => worker.process(n as u64, &[input], &mut out),
        }
    }
    (all, seen)
}

/// The packets that are traced.
#[derive(Clone, Copy, PartialEq)]
enum Traced {
    None,
    Odd,
    All,
}

#[test]
fn tracing_changes_nothing() {
    let mut count = 0;
    for folder in [programs(), programs().join("tests")] {
        for file in std::fs::read_dir(&folder).expect("programs") {
            let path = file.expect("a file").path();
            let test = path.with_extension("stf");
            if path.extension().is_none_or(|e| e != "p4") || !test.exists() {
                continue;
            }
            let mut package = Package {
                name: path.display().to_string(),
                text: std::fs::read_to_string(&path).expect("text"),
                ..Package::default()
            };
            let program = package.gather(&Folders(Vec::new()), &Actions::default());
            let (program, _) = program.expect("it has no errors");
            let packets = packets(&test, "0");
            let run = |traced| {
                let engine = Engine::load(program.clone()).expect("an engine");
                outcome(&Arc::new(engine), &packets, traced)
            };
            let (expected, none) = run(Traced::None);
            assert_eq!(none, []);
            // Traced packets are interpreted, those between them are not.
            assert_eq!(run(Traced::Odd).0, expected, "{path:?}");
            let (all, events) = run(Traced::All);
            assert_eq!(all, expected, "{path:?}");
            let blocks = events.iter().filter(|e| matches!(e, Event::Block(..)));
            assert!(blocks.count() >= packets.len(), "{path:?}");
            count += 1;
        }
    }
    assert!(count > 20, "{count} programs");
}

#[test]
fn tables_of_programs_fit_a_terminal() {
    for name in [
        "acl",
        "classifier",
        "conntrack",
        "geneve",
        "l2",
        "l3",
        "vxlan",
    ] {
        let adit = |format: &str| {
            let output = Command::new(env!("CARGO_BIN_EXE_adit"))
                .args(["-o", format, "p4", "info"])
                .arg(programs().join(format!("{name}.p4")))
                .output();
            let output = output.expect("adit starts");
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).expect("text")
        };
        let text = adit("table");
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{name}: {line}");
        }
        let tables: Value = serde_json::from_str(&adit("json")).expect("JSON");
        for table in tables.as_array().expect("tables") {
            let alias = table["table"].as_str().expect("a name");
            let alias = alias.rsplit('.').next().expect("a name");
            assert!(text.contains(&format!("\n{alias} ")), "{name}: {text}");
            for key in table["keys"].as_array().expect("keys") {
                let key = key.as_str().expect("a key");
                let mut lines = text.lines();
                assert!(lines.any(|line| line.contains(key)), "{name}: {key}");
            }
        }
    }
}
