// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The commands in P4Runtime's README print the output that it shows; the commands about P4 in the
//! main README work.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use adit_p4runtime::server::{listen, Listening, PipelineHandle, Server, Tls};
use adit_pipeline::p4::Engine;

const README: &str = include_str!("../../p4runtime/README.md");
const FIRST_README: &str = include_str!("../../README.md");

struct Idle;

impl PipelineHandle for Idle {
    fn commit(&self, _: Arc<Engine>) -> Result<(), String> {
        Ok(())
    }
    fn now_ns(&self) -> u64 {
        0
    }
}

fn serve(tls: Option<Tls>) -> Listening {
    let server = Server::new(1, Arc::new(Idle), None);
    let address = "127.0.0.1:0".parse().expect("an address");
    listen(server, &address, tls).expect("the kernel has a port")
}

/// Returns the blocks of code, each with the info string of its fence.
fn blocks(readme: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        if let Some(kind) = line.strip_prefix("```") {
            let inner = lines.by_ref().take_while(|line| *line != "```");
            let text: String = inner.map(|line| format!("{line}\n")).collect();
            blocks.push((kind.to_owned(), text));
        }
    }
    blocks
}

/// Runs a block with `adit` in the path; returns its output.
fn shell(folder: &Path, address: &str, text: &str) -> String {
    let adit = Path::new(env!("CARGO_BIN_EXE_adit"));
    let path = std::env::var("PATH").unwrap_or_default();
    let bin = adit.parent().expect("its folder").display();
    let output = Command::new("sh")
        .args(["-e", "-c", text])
        .current_dir(folder)
        .env("PATH", format!("{bin}:{path}"))
        .env("ADIT_P4RT", address)
        .output()
        .expect("a shell");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{error}");
    String::from_utf8(output.stdout).expect("text")
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../p4");
    std::os::unix::fs::symlink(programs, folder.path().join("p4")).expect("a link");
    folder
}

#[test]
fn the_commands_do_what_they_say() {
    let nic = serve(None);
    let folder = folder();
    let (mut printed, mut compared) = (String::new(), 0);
    for (kind, text) in blocks(README) {
        match kind.as_str() {
            "sh" => printed = shell(folder.path(), &nic.address, &text),
            "text" => {
                assert_eq!(printed, text);
                compared += 1;
            }
            _ => {}
        }
    }
    assert_eq!(compared, 3);
}

#[test]
fn the_certificates_are_taken() {
    let folder = folder();
    let all = blocks(README);
    let block = |wanted: &str| {
        let found = all.iter().find(|(kind, _)| kind == wanted);
        found.expect("the block").1.clone()
    };
    shell(folder.path(), "", &block("sh certificates"));
    let read = |name: &str| std::fs::read(folder.path().join(name)).expect("a file");
    let nic = serve(Some(Tls {
        certificate: read("localhost.pem"),
        key: read("localhost.key"),
        clients: Some(read("ca.pem")),
    }));
    let address = nic.address.replace("127.0.0.1", "localhost");
    let text = block("sh tls");
    let load = text.replace("table list", "p4 load p4/l3.p4");
    shell(folder.path(), &address, &load);
    let listed = shell(folder.path(), &address, &text);
    assert!(listed.contains("ipv4_routes"), "{listed}");
    // Without a certificate it fails.
    let without = format!("! adit table list --tls-ca ca.pem --p4rt {address}");
    shell(folder.path(), &address, &without);
}

/// Returns a capture of one IPv4 packet from 10.0.0.1 to 10.1.2.3 (classic pcap, Ethernet).
fn recording() -> Vec<u8> {
    let mut frame = vec![0x02, 0xAD, 0x17, 0, 0, 1, 0x02, 0, 0, 0, 0, 1, 0x08, 0];
    // Version and length of the header, total length, TTL, UDP, checksum, addresses.
    frame.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0x64, 0xCD]);
    frame.extend([10, 0, 0, 1, 10, 1, 2, 3]);
    frame.extend([0x10, 0, 0x10, 1, 0, 8, 0, 0]);
    frame.resize(60, 0);
    let mut file = Vec::new();
    for word in [0xA1B2_C3D4_u32, 4 << 16 | 2, 0, 0, 65535, 1, 0, 0, 60, 60] {
        file.extend(word.to_le_bytes());
    }
    file.extend(frame);
    file
}

#[test]
fn the_first_readme_shows_commands_about_p4_that_work() {
    let nic = serve(None);
    let folder = folder();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.path().join(name), bytes).expect("a file is written");
    };
    write("in.pcap", &recording());
    write("routes", b"ipv4_routes dst=10.0.0.0/8 set_nexthop(1)\n");
    let all = blocks(FIRST_README);
    let block = |wanted: &str| {
        let found = all.iter().find(|(kind, _)| kind == wanted);
        found.expect("the block").1.clone()
    };
    let met = shell(folder.path(), "", &block("sh p4"));
    assert!(met.contains("set_nexthop"), "{met}");
    shell(folder.path(), &nic.address, &block("sh p4rt"));
    let entries = shell(folder.path(), &nic.address, "adit table dump");
    assert_eq!(
        entries,
        "ipv4_routes h.ipv4.dst=10.0.0.0/8 set_nexthop(nexthop=1)\n"
    );
}
