// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask demo nic`: a page over the NIC, step by step.

use std::time::Duration;

use adit_qemu_tests::flavour::Flavour;
use adit_qemu_tests::guest::{Guest, GuestConfig, Outcome};
use adit_qemu_tests::nic::{Nic, METRICS};
use adit_qemu_tests::wire;
use anyhow::{bail, ensure, Context, Result};

use super::heading;
use crate::build::{self, Profile};

/// The page that is sent over the wire.
const PAGE: &str = "Hello from the guest, through the stock idpf driver.";

/// Timeout of one step in the guest.
const STEP: Duration = Duration::from_secs(60);

pub(super) fn run() -> Result<u8> {
    heading("1. Set-up: the Debian tree (cached after the first time) and adit-nic");
    let (tree, image) = build::set_up(Flavour::Stock)?;
    let nic = Nic::Adit {
        binary: build::programs(Profile::Release)?.nic,
        args: Vec::new(),
    };
    show(&format!("tree {}", tree.root.display()));

    heading("2. Boot: stock QEMU, unmodified Debian kernel, adit-nic plugged in as a PCI device");
    let config = GuestConfig {
        nics: vec![nic],
        ..GuestConfig::default()
    };
    let mut guest = Guest::boot(&tree, &image, &config)?;
    show(&format!(
        "Linux {} after {:.1} s with {:?}",
        guest.kernel,
        guest.boot_time.as_secs_f64(),
        guest.accel
    ));
    if let Err(error) = demonstrate(&mut guest) {
        bail!("{error:#}\n{}", guest.postmortem());
    }
    heading("It works. Look around with `cargo xtask guest`; every check: `cargo xtask test`.");
    Ok(0)
}

fn demonstrate(guest: &mut Guest) -> Result<()> {
    heading("3. The driver's probe: idpf binds to the device by its class code");
    in_guest(guest, "lspci -nnk -s 5 | sed 's/^[[:space:]]*/  /'")?;
    in_guest(
        guest,
        "dmesg | grep -E '(idpf|pci) 0000:00:05.0: ' | tail -n 12 || true",
    )?;
    let dev = in_guest(guest, "nic-up").context("the driver made no network interface")?;
    in_guest(
        guest,
        &format!("ethtool -i {dev} | head -n 5; ip -brief address show {dev}"),
    )?;

    heading("4. A page from a server in the guest, fetched with curl at the other end of the wire");
    let serve = format!(
        "mkdir -p /srv/demo && echo '{PAGE}' >/srv/demo/index.html && cd /srv/demo && \
         (python3 -m http.server --bind :: 80 >/run/demo.log 2>&1 &) && \
         for i in $(seq 150); do ss -Hltn 'sport = :80' | grep -q . && exit 0; sleep 0.2; done; exit 1"
    );
    quietly(guest, &serve).context("the server in the guest did not start")?;
    let (v4, v6) = wire::addresses(0, 2);
    for url in [format!("http://{v4}/"), format!("http://[{v6}]/")] {
        show(&format!("$ curl {url}"));
        let page = on_the_wire(guest, &["curl", "-sS", "--max-time", "20", "-g", &url])?;
        show(page.trim());
        ensure!(
            page.trim() == PAGE,
            "that is not the page that the guest serves"
        );
    }

    heading("5. The counters of the driver and of the device");
    let statistics = format!("ethtool -S {dev} | grep -vE ': 0$' | head -n 40");
    in_guest(guest, &statistics)?;
    let url = format!("http://{METRICS}/metrics");
    // The exit status depends on the page; a build without metrics is reported, but does not fail.
    match on_the_wire(guest, &["curl", "-sS", "--max-time", "10", &url]) {
        Ok(metrics) => {
            let shown = |line: &&str| !line.starts_with('#') && !line.ends_with(" 0");
            metrics.lines().filter(shown).for_each(show);
        }
        Err(error) => show(&format!("no metrics of the device: {error:#}")),
    }
    Ok(())
}

fn show(text: &str) {
    for line in text.lines() {
        println!("   {line}");
    }
}

/// Runs a line of shell in the guest, shows its output, and returns it.
fn in_guest(guest: &mut Guest, line: &str) -> Result<String> {
    let text = quietly(guest, line)?;
    show(&text);
    Ok(text)
}

fn quietly(guest: &mut Guest, line: &str) -> Result<String> {
    let (outcome, text) = guest.output(&["bash", "-c", line], STEP)?;
    ensure!(
        outcome == Outcome::Exited(0),
        "`{line}` in the guest: {outcome:?}\n{text}"
    );
    Ok(text.trim_end().to_owned())
}

fn on_the_wire(guest: &Guest, words: &[&str]) -> Result<String> {
    let (program, args) = words.split_first().context("no command")?;
    let output = guest.entrance().command(program).args(args).output()?;
    ensure!(
        output.status.success(),
        "`{}` at the other end of the wire: {} {}",
        words.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
