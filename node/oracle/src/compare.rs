// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Traces through the program and through the kernel, step by step.

use std::fmt::Write;
use std::time::{Duration, Instant};

use adit_conntrack_oracle::runner::Outcome;
use adit_conntrack_oracle::trace::Packet;
use anyhow::Result;

use crate::choice::Choices;
use crate::kernel::Kernel;
use crate::node::Node;
use crate::observation::Observation;
use crate::trace::{Step, Trace};

/// Both sides.
pub(crate) struct Both {
    node: Node,
    kernel: Kernel,
    start: Instant,
}

impl Both {
    pub(crate) fn new(node: Node, kernel: Kernel) -> Self {
        Both {
            node,
            kernel,
            start: Instant::now(),
        }
    }

    fn now(&self) -> Duration {
        Duration::from_secs(2) + self.start.elapsed()
    }

    /// Feeds both sides, which have no connections and services before, with a trace. With `verbose`,
    /// what the kernel does is printed.
    ///
    /// # Errors
    ///
    /// Fails if one of them cannot be fed.
    pub(crate) fn compare(&mut self, trace: &Trace, verbose: bool) -> Result<Outcome> {
        self.kernel.reset(trace.family, trace.differs)?;
        let now = self.now();
        self.node.reset(now)?;
        let mut choices = [Choices::default(), Choices::default()];
        let mut packets = 0;
        let last = trace.steps.len().saturating_sub(1);
        for (number, step) in trace.steps.iter().enumerate() {
            match step {
                Step::Packet(packet) => {
                    let fates = self.feed(packet, &mut choices)?;
                    if verbose {
                        println!("# {step}");
                        let text = fates[1].to_string();
                        text.lines().for_each(|line| println!("#     {line}"));
                    }
                    let is_wanted = trace.differs && number == last;
                    if (fates[0] != fates[1]) != is_wanted {
                        return Ok(Outcome::Differ(report(trace, number, &fates)));
                    }
                    packets += 1;
                }
                Step::Wait(duration) => std::thread::sleep(*duration),
                Step::Services(services, _) => {
                    self.kernel.apply(services)?;
                    self.node.apply(services)?;
                    let apply = |it: &mut Choices| it.apply(services, &trace.choices);
                    choices.iter_mut().for_each(apply);
                }
            }
        }
        Ok(Outcome::Agree(packets))
    }

    /// Lets a packet arrive at both. Returns what the program does, and the kernel.
    fn feed(
        &mut self,
        packet: &Packet,
        [ours, kernels]: &mut [Choices; 2],
    ) -> Result<[Observation; 2]> {
        let with = |choices: &Choices| Packet {
            bytes: choices.arriving(&packet.bytes),
            ..packet.clone()
        };
        let now = self.now();
        let (mut fate, is_answer) = self.node.feed(&with(ours), now)?;
        let of_kernel = self.kernel.feed(&with(kernels))?;
        let mut of_kernel = of_kernel.kernels(&fate, is_answer);
        for (fate, choices) in [(&mut fate, ours), (&mut of_kernel, kernels)] {
            for (_, bytes) in &mut fate.leaving {
                *bytes = choices.leaving(bytes, &packet.bytes)?;
            }
        }
        Ok([fate, of_kernel])
    }
}

fn report(trace: &Trace, at: usize, fates: &[Observation; 2]) -> String {
    let how = if trace.differs {
        "does not differ as intended"
    } else {
        "differs"
    };
    let mut text = format!("trace `{}' {how} after its last packet:\n", trace.name);
    for step in &trace.steps[..=at] {
        let _ = writeln!(text, "    {step}");
    }
    for (who, fate) in ["the program", "the kernel"].iter().zip(fates) {
        let _ = writeln!(text, "{who}:");
        for line in fate.to_string().lines() {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}
