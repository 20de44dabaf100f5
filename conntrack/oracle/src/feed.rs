// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Traffic for the tests of others: the packets of scripts, for the kernel's tracker in a process of its
//! own and for one of the library. What a script says of settings does not apply.

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;

use adit_conntrack::{Family, Settings, Time, Tracker};
use anyhow::{Context, Result};

use crate::kernel::Kernel;
use crate::library::Library;
use crate::script;
use crate::trace::{Step, Trace};

/// The line that a process writes when the kernel's tracker is ready, and after each script.
pub const READY: &str = "ready";
/// Stands for the end of a line of a script.
const END: char = '\t';

/// Enters a network namespace in which the kernel tracks what it forwards, and feeds it with the scripts of
/// the standard input until that ends. Writes [`READY`] before and behind each.
///
/// # Errors
/// Without the rights for it, nft(8) or ip(8), or when a script is wrong.
pub fn serve(nft: &Path) -> Result<()> {
    let mut kernel = Kernel::start(nft)?;
    println!("{READY}");
    for line in std::io::stdin().lock().lines() {
        let script = line?.replace(END, "\n");
        let trace = parse(&script)?;
        kernel.apply(&trace.policy)?;
        for step in &trace.steps {
            match step {
                Step::Packet(packet) => drop(kernel.feed(packet)?),
                Step::Wait(time) => std::thread::sleep(*time),
                Step::SetTimeout(timeout) => kernel.set_timeout(*timeout)?,
            }
        }
        println!("{READY}");
    }
    Ok(())
}

/// Passes a script to a process that serves them. The caller waits for [`READY`].
///
/// # Errors
/// When the process has ended.
pub fn send(script: &str, to: &mut impl Write) -> std::io::Result<()> {
    let lines: Vec<_> = script.lines().map(str::trim).collect();
    writeln!(to, "{}", lines.join(&END.to_string()))
}

/// Feeds a tracker with a script, as a router would.
///
/// # Errors
/// When the script is wrong.
pub fn feed(tracker: &Arc<Tracker>, script: &str, now: impl Fn() -> Time) -> Result<()> {
    let trace = parse(script)?;
    let mut library = Library::of(tracker.clone(), trace.policy);
    for step in &trace.steps {
        match step {
            Step::Packet(packet) => drop(library.feed(packet, now())),
            Step::Wait(time) => std::thread::sleep(*time),
            Step::SetTimeout(timeout) => library.set_timeout(*timeout, now()),
        }
    }
    Ok(())
}

fn parse(script: &str) -> Result<Trace> {
    let trace = script::parse("script", script, Family::V4)?;
    let trace = trace.context("script is not for IPv4")?;
    Ok(Trace {
        settings: Settings::default(),
        ..trace
    })
}
