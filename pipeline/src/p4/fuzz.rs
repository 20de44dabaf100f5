// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Body of the P4 engine's fuzz target: one of our programs, arbitrary entries and packets.

use std::sync::{Arc, OnceLock};

use adit_p4_frontend::ir::{Chosen, Match, Program};
use adit_p4_frontend::source::Includes;
use adit_p4_frontend::{compile, Options};

use super::engine::Blocks;
use super::native::{Native, Untranslated};
use super::objects::{Counter, Object};
use super::tables::{Action, Entry, Table};
use super::{Direction, Engine, Input, Output, FIRST_HOST_PORT};
use crate::fuzz::numbers;

/// Maximum number of steps of one input.
const MAX_STEPS: usize = 200;

/// The programs, selected by an input's first byte.
const TEXTS: [&str; 31] = [
    include_str!("../../../p4/default.p4"),
    include_str!("../../../p4/l3.p4"),
    include_str!("../../../p4/acl.p4"),
    include_str!("../../../p4/classifier.p4"),
    include_str!("../../../p4/l2.p4"),
    include_str!("../../../p4/tests/pna.p4"),
    include_str!("../../../p4/vxlan.p4"),
    include_str!("../../../p4/geneve.p4"),
    include_str!("../../../p4/tests/arithmetic.p4"),
    include_str!("../../../p4/tests/calls.p4"),
    include_str!("../../../p4/tests/checksums.p4"),
    include_str!("../../../p4/tests/checksums-pna.p4"),
    include_str!("../../../p4/tests/digests.p4"),
    include_str!("../../../p4/tests/exits.p4"),
    include_str!("../../../p4/tests/hashes.p4"),
    include_str!("../../../p4/tests/hashes-pna.p4"),
    include_str!("../../../p4/tests/meters.p4"),
    include_str!("../../../p4/tests/meters-pna.p4"),
    include_str!("../../../p4/tests/objects.p4"),
    include_str!("../../../p4/tests/parsing.p4"),
    include_str!("../../../p4/tests/priorities.p4"),
    include_str!("../../../p4/tests/registers.p4"),
    include_str!("../../../p4/tests/replication.p4"),
    include_str!("../../../p4/tests/saturation.p4"),
    include_str!("../../../p4/tests/selectors.p4"),
    include_str!("../../../p4/tests/stacks.p4"),
    include_str!("../../../p4/tests/tables.p4"),
    include_str!("../../../p4/tests/timeouts.p4"),
    include_str!("../../../p4/tests/value-sets.p4"),
    include_str!("../../../p4/conntrack.p4"),
    include_str!("../../../p4/tests/rejections.p4"),
];

/// The files that the programs include.
struct Beside;

impl Includes for Beside {
    fn include(&self, path: &str, _: Option<&str>) -> Result<Option<(String, String)>, String> {
        let text = match path {
            "v1model-skeleton.p4" => include_str!("../../../p4/tests/v1model-skeleton.p4"),
            "tunnel.p4" => include_str!("../../../p4/tunnel.p4"),
            _ => return Ok(None),
        };
        Ok(Some((path.to_owned(), text.to_owned())))
    }
}

/// A program, and its form compiled to machine code.
struct Made {
    program: Program,
    shared: Program,
    blocks: Blocks,
    native: Result<Arc<Native>, Untranslated>,
}

fn programs() -> &'static [Made] {
    static PROGRAMS: OnceLock<Vec<Made>> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        // So few that inputs fill the table.
        let options = Options {
            defines: vec![("CONNECTIONS".to_owned(), "4".to_owned())],
            ..Options::default()
        };
        let made = TEXTS.map(|text| {
            let program = compile("p4", text, &Beside, &options).program?;
            let mut shared = program.clone();
            let (blocks, native) = Blocks::translated(&mut shared).ok()?;
            Some(Made {
                program,
                shared,
                blocks,
                native,
            })
        });
        made.into_iter().flatten().collect()
    })
}

/// The rest of an input; zeros after its end.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn one(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Returns a number below `limit`, which is at least 1.
    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.one()) % limit.max(1)
    }

    /// Returns a value that usually fits in the width, and is often small.
    fn value(&mut self, width: u32) -> Vec<u64> {
        let mut limbs = vec![0u64; width.div_ceil(64).max(1) as usize];
        let how = self.one();
        let count = if how < 128 { 1 } else { limbs.len() * 8 };
        for (n, byte) in self.take(count).iter().enumerate() {
            limbs[n / 8] |= u64::from(*byte) << (n % 8 * 8);
        }
        if how != 255 {
            super::bits::trim(&mut limbs, width);
        }
        limbs
    }
}

/// Runs one input: selects the program, then alternates table changes and packets. A panic is a
/// bug, and so is any difference between machine code and the interpreter.
pub fn fuzz_engine(input: &[u8]) {
    let mut bytes = Bytes(input);
    let programs = programs();
    let Some(made) = programs.get(bytes.below(programs.len())) else {
        return;
    };
    let (Ok(native), Ok(interpreted)) = (
        Engine::with_code(
            made.shared.clone(),
            made.blocks.clone(),
            made.native.clone(),
        ),
        Engine::load_interpreted(made.program.clone()),
    ) else {
        return;
    };
    let engines = [Arc::new(native), Arc::new(interpreted)];
    let mut workers = engines.each_ref().map(Engine::worker);
    let cpu_port = (bytes.one() & 1 == 1).then_some(0xffff_fffd);
    engines.iter().for_each(|e| e.set_cpu_port(cpu_port));
    let mut now_ns = 0;
    for _ in 0..MAX_STEPS {
        if bytes.0.is_empty() {
            break;
        }
        now_ns += u64::from(bytes.one()) * 100_000_000;
        if bytes.one() & 1 == 0 {
            let before = bytes.0;
            for engine in &engines {
                bytes.0 = before;
                change(engine, &mut bytes, now_ns);
            }
            continue;
        }
        let count = bytes.one().into();
        let data = bytes.take(count);
        let (port, flags) = (u32::from(bytes.one()), bytes.one());
        let (port, direction) = match flags & 1 {
            0 => (port, Direction::NetToHost),
            _ => (port + FIRST_HOST_PORT, Direction::HostToNet),
        };
        let input = Input {
            port,
            direction,
            checksums_verified: flags & 2 == 0,
            length: data.len() + usize::from(bytes.one()),
            ..Input::new(0, data)
        };
        // Truncated copies too, so that not all of them are equal.
        let cut = |n: usize| Input {
            data: &data[..data.len() - n.min(data.len())],
            ..input
        };
        let count = match bytes.one() {
            few @ 1..=20 => few.into(),
            _ => 1,
        };
        let inputs: Vec<Input<'_>> = (0..count).map(|n| cut(n * 3 % 40)).collect();
        let outputs = workers.each_mut().map(|worker| {
            let mut outputs = Vec::new();
            worker.process(now_ns, &inputs, &mut |n, output| {
                if let Output::Sent(sent) = output {
                    assert!(sent.payload_offset <= inputs[n].data.len(), "{sent:?}");
                }
                outputs.push(format!("{n} {output:?}"));
            });
            outputs
        });
        assert_eq!(outputs[0], outputs[1], "{input:?}");
    }
    let counts = engines.each_ref().map(|engine| {
        let counters = engine.objects().iter().filter_map(|object| match object {
            Object::Counter(counter) => Some(counter),
            _ => None,
        });
        // The first elements and the last one: some have very many.
        let elements = |c: &Counter| (0..c.size().min(256)).chain([c.size().saturating_sub(1)]);
        let counts = counters.flat_map(|c| elements(c).map(move |n| c.get(n).ok()));
        counts.collect::<Vec<_>>()
    });
    assert_eq!(counts[0], counts[1]);
    let tables = engines.each_ref().map(|e| e.tables().iter());
    let [mut native, mut interpreted] = tables;
    for (native, interpreted) in native.by_ref().zip(interpreted.by_ref()) {
        assert_eq!(native.len(), interpreted.len(), "{native:?}");
        let all = native.all();
        assert_eq!(all.len(), native.len());
        for state in all {
            // The listed key and priority identify the entry.
            let (keys, priority) = (&state.entry.keys, state.entry.priority);
            let same = native.get(keys, priority);
            assert_eq!(same.map(|s| s.id), Ok(state.id));
            let other = interpreted.get(keys, priority);
            assert_eq!(
                other.map(|s| (s.entry, s.count)),
                Ok((state.entry, state.count))
            );
        }
    }
}

/// Makes a change to a table; it may be refused.
fn change(engine: &Engine, bytes: &mut Bytes<'_>, now_ns: u64) {
    if engine.tables().is_empty() {
        return;
    }
    let table = &engine.tables()[bytes.below(engine.tables().len())];
    let entry = entry(table, bytes);
    match bytes.one() % 5 {
        0 | 1 => drop(table.insert(&entry, now_ns)),
        2 => drop(table.modify(&entry, now_ns)),
        3 => drop(table.delete(&entry.keys, entry.priority)),
        _ => {
            if let Action::Direct(chosen) = entry.action {
                drop(table.set_default(chosen));
            }
            engine.expire(now_ns);
        }
    }
}

fn entry(table: &Table, bytes: &mut Bytes<'_>) -> Entry {
    let keys = table.spec().keys.iter();
    let keys = keys.map(|key| {
        let value = bytes.value(key.width);
        match (bytes.one() % 8, key.kind.as_str()) {
            (0, _) => Match::Any,
            (1, _) | (_, "exact") => Match::Exact(value),
            (_, "range") => {
                let other = bytes.value(key.width);
                let in_order = value.iter().rev().le(other.iter().rev());
                match in_order {
                    true => Match::Range(value, other),
                    false => Match::Range(other, value),
                }
            }
            (_, "lpm") => {
                let mut mask = vec![0; value.len()];
                let length = bytes.below(key.width as usize + 1) as u32;
                super::bits::set_ones(&mut mask, key.width - length, key.width);
                Match::Ternary(value, mask)
            }
            _ => Match::Ternary(value, bytes.value(key.width)),
        }
    });
    let keys = keys.collect();
    let action = bytes.below(table.spec().actions.len() + 1);
    let parameters = table.spec().actions.get(action).map(|a| &a.parameters[..]);
    let arguments = parameters.unwrap_or_default().iter();
    let arguments = arguments.map(|p| bytes.value(p.width)).collect();
    let chosen = Chosen {
        action: action as u32,
        arguments,
    };
    Entry {
        keys,
        priority: i64::from(bytes.one() % 4),
        action: match bytes.one() {
            250.. => Action::Member(1),
            _ => Action::Direct(chosen),
        },
        idle_timeout_ns: (bytes.one() > 250).then_some(1_000_000_000),
        opaque: Vec::new(),
    }
}

/// Deterministic seed inputs, several for each program: entries, and valid frames with some bytes
/// changed.
pub fn engine_corpus() -> Vec<Vec<u8>> {
    let mut random = numbers();
    let mut input = |program: u8| {
        let mut input = vec![program];
        for _ in 0..30 {
            input.extend(random().to_le_bytes().iter().map(|byte| byte & 0x0f));
            input.extend(random().to_le_bytes());
            input.extend([0, 1, 60]);
            // Ethernet, IPv4, UDP.
            input.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 46]);
            input.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, random() as u8]);
            input.extend(random().to_le_bytes());
            input.extend([0, 26, 0, 0]);
        }
        for _ in 0..random() % 8 {
            let at = random() as usize % input.len();
            input[at] = random() as u8;
        }
        input
    };
    (0..100).map(&mut input).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A short deterministic run.
    #[test]
    fn seeded_engine() {
        assert_eq!(programs().len(), TEXTS.len(), "all programs compile");
        if cfg!(all(feature = "jit", not(miri))) {
            let interpreted = programs().iter().find(|p| p.native.is_err());
            assert!(
                interpreted.is_none(),
                "{:?}",
                interpreted.map(|p| p.native.as_ref().err())
            );
        }
        for input in engine_corpus() {
            fuzz_engine(&input);
        }
    }
}
