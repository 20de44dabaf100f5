// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Traces on both trackers, step by step.

use std::fmt::Write;
use std::time::Instant;

use adit_conntrack::Time;
use anyhow::Result;

use crate::kernel::Kernel;
use crate::library::Library;
use crate::observation::Observation;
use crate::runner::Outcome;
use crate::trace::{Step, Trace};

/// Feeds both trackers, which are empty before, with a trace. With `verbose`, all that the kernel
/// shows is printed.
///
/// # Errors
///
/// Fails if the kernel cannot be asked.
pub(crate) fn compare(kernel: &mut Kernel, trace: &Trace, verbose: bool) -> Result<Outcome> {
    kernel.reset(&trace.settings, &trace.policy)?;
    kernel.add_hosts(&trace.hosts)?;
    let mut library = Library::new(trace.settings.clone(), trace.policy.clone());
    let start = Instant::now();
    let mut packets = 0;
    for (number, step) in trace.steps.iter().enumerate() {
        let now = Time::from_secs(1) + start.elapsed();
        match step {
            Step::Packet(packet) => {
                let ours = library.feed(packet, now);
                let theirs = kernel.feed(packet)?;
                if verbose {
                    println!("# {step}");
                    theirs
                        .to_string()
                        .lines()
                        .for_each(|line| println!("#     {line}"));
                }
                if !ours.agrees(&theirs) {
                    return Ok(Outcome::Differ(report(trace, number, &ours, &theirs)));
                }
                packets += 1;
            }
            Step::Wait(duration) => std::thread::sleep(*duration),
            Step::SetTimeout(timeout) => {
                library.set_timeout(*timeout, now);
                kernel.set_timeout(*timeout)?;
            }
        }
    }
    Ok(Outcome::Agree(packets))
}

fn report(trace: &Trace, at: usize, ours: &Observation, theirs: &Observation) -> String {
    let mut text = format!("trace `{}' differs after its last packet:\n", trace.name);
    for step in &trace.steps[..=at] {
        let _ = writeln!(text, "    {step}");
    }
    for (who, observation) in [("the library", ours), ("the kernel", theirs)] {
        let _ = writeln!(text, "{who}:");
        for line in observation.to_string().lines() {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}
