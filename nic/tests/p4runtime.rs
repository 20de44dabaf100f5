// SPDX-License-Identifier: Apache-2.0 OR MIT
//! P4Runtime clients that are not ours drive the device process. Each has a Python environment of
//! its own, since they want different versions of the same packages; it is made once and kept in
//! the user's cache.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use adit_p4runtime::p4info::{p4info, text};
use adit_p4runtime::program::Package;

const PROGRAM: &str = include_str!("p4runtime/clients.p4");

/// One environment is made at a time.
static MAKING: Mutex<()> = Mutex::new(());

struct Nic {
    process: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Drop for Nic {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A device process; the kernel chooses the port.
fn nic() -> Nic {
    let folder = tempfile::tempdir().expect("a folder");
    let mut process = Command::new(env!("CARGO_BIN_EXE_adit-nic"))
        .arg("--socket")
        .arg(folder.path().join("nic.sock"))
        .args(["--p4rt", "127.0.0.1:0"])
        .env("NO_COLOR", "1")
        .env_remove("ADIT_LOG")
        .stderr(Stdio::piped())
        .spawn()
        .expect("adit-nic starts");
    let mut lines = BufReader::new(process.stderr.take().expect("its log")).lines();
    let address = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("P4Runtime address=")?.1.trim().to_owned()))
        .expect("it says where it listens");
    // The log must go somewhere while the process runs.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    Nic {
        process,
        address,
        _folder: folder,
    }
}

/// The interpreter of an environment with these packages.
fn python(name: &str, packages: &[&str]) -> PathBuf {
    let _making = MAKING.lock().unwrap_or_else(|e| e.into_inner());
    let home = std::env::var_os("HOME").expect("HOME says where the cache is");
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map_or_else(|| Path::new(&home).join(".cache"), PathBuf::from);
    let folder = cache.join("adit").join(format!("python-{name}"));
    let python = folder.join("bin/python3");
    let stamp = folder.join("adit-packages");
    let wanted = packages.join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|there| there == wanted) {
        return python;
    }
    let _ = std::fs::remove_dir_all(&folder);
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
    let mut install = Command::new(&python);
    run(install
        .args(["-m", "pip", "install", "--quiet"])
        .args(packages));
    std::fs::write(stamp, wanted).expect("the environment is kept");
    python
}

fn run(command: &mut Command) {
    let output = command.output();
    let output = output.unwrap_or_else(|e| panic!("{command:?}: {e} (python3-venv is needed)"));
    assert!(
        output.status.success(),
        "{command:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Runs a client's script, which says what it checks and fails if anything is wrong.
fn drive(name: &str, packages: &[&str], script: &str, least: usize) {
    let python = python(name, packages);
    let nic = nic();
    let folder = tempfile::tempdir().expect("a folder");
    let package = Package::source(PROGRAM);
    let program = package.program().expect("the program has no errors");
    let info = p4info(&program).expect("its ids are right").p4info;
    let (info_file, blob) = (
        folder.path().join("p4info.txtpb"),
        folder.path().join("blob"),
    );
    std::fs::write(&info_file, text::to_text(&info).expect("P4Info as text")).expect("a file");
    std::fs::write(&blob, package.to_bytes()).expect("a file");
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/p4runtime")
        .join(script);
    let output = Command::new("timeout")
        .arg("300")
        .arg(python)
        .arg(script)
        .arg(&nic.address)
        .args([&info_file, &blob])
        .output()
        .expect("the client starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let checks = said
        .lines()
        .filter(|line| line.starts_with("ok - "))
        .count();
    assert!(checks >= least, "only {checks} checks were made:\n{said}");
}

#[test]
fn finsy_drives_the_device() {
    let packages = ["finsy==0.30.0", "protobuf>=6.33,<7"];
    drive("finsy", &packages, "finsy_client.py", 16);
}

#[test]
fn p4runtime_shell_drives_the_device() {
    let packages = ["p4runtime-shell==0.0.6", "protobuf<3.21", "setuptools<81"];
    drive("p4runtime-shell", &packages, "shell_client.py", 9);
}
