// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Comparisons of random traces, whose failures proptest shrinks.

use std::cell::Cell;

use anyhow::Result;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

/// The result of a trace.
pub enum Outcome {
    /// Both sides agree after each packet; the number of packets.
    Agree(usize),
    /// They differ after a packet: the trace so far, and what both show.
    Differ(String),
}

/// The traces and packets of a random run that agree, and the smallest trace found that does not.
pub struct Run {
    /// The number of traces that agree.
    pub traces: usize,
    /// The number of their packets.
    pub packets: usize,
    /// The trace that does not, if there is one.
    pub difference: Option<String>,
}

/// The numbers of a random run.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    /// The number of traces.
    pub count: u32,
    /// The seed that they follow from.
    pub seed: u64,
    /// The number of their kind.
    pub kind: u8,
    /// The most attempts to make one that differs smaller.
    pub shrinks: u32,
}

/// Compares random traces.
pub fn run<S: Strategy>(
    traces: &S,
    numbers: Numbers,
    compare: impl Fn(S::Value) -> Result<Outcome>,
) -> Run {
    let config = Config {
        cases: numbers.count,
        failure_persistence: None,
        max_shrink_iters: numbers.shrinks,
        ..Config::default()
    };
    let mut octets = [numbers.kind; 32];
    octets[..8].copy_from_slice(&numbers.seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &octets);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let (agreeing, packets) = (Cell::new(0), Cell::new(0));
    let result = runner.run(traces, |trace| match compare(trace) {
        Ok(Outcome::Agree(count)) => {
            agreeing.set(agreeing.get() + 1);
            packets.set(packets.get() + count);
            Ok(())
        }
        Ok(Outcome::Differ(report)) => Err(TestCaseError::fail(report)),
        Err(error) => Err(TestCaseError::fail(format!("{error:#}"))),
    });
    let difference = match result {
        Ok(()) => None,
        Err(TestError::Fail(reason, trace)) => Some(match reason.message() {
            report if report.contains('\n') => report.to_owned(),
            error => format!("{error}: {trace:?}"),
        }),
        Err(TestError::Abort(reason)) => Some(reason.to_string()),
    };
    Run {
        traces: agreeing.get(),
        packets: packets.get(),
        difference,
    }
}
