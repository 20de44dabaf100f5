// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The steps of a comparison: command lines, packets, and files.
//!
//! A line of a table is a command line, `feed` and a script up to `end`, `labels` and a file of labels'
//! names up to `end`, `load` and a file of commands up to `end`, or `wait` and seconds.

use std::process::Output;
use std::time::Duration;

use libtest_mimic::Failed;

use crate::ct_common::{words, Nic};
use crate::namespace::Namespace;
use crate::neutral;

/// Both sides of a comparison.
pub(crate) struct Both {
    pub(crate) theirs: Namespace,
    pub(crate) ours: Nic,
}

impl Both {
    pub(crate) fn new() -> Result<Self, String> {
        Ok(Both {
            theirs: Namespace::new()?,
            ours: Nic::start(),
        })
    }

    /// The words of a command line of conntrack(8), and of ours.
    pub(crate) fn commands(&self, line: &str) -> [std::process::Command; 2] {
        let arguments = words(line);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let theirs = [&["conntrack"], &arguments[..]].concat();
        let ours = [&[env!("CARGO_BIN_EXE_adit"), "ct"], &arguments[..]].concat();
        let mut ours = self.theirs.command_outside(&ours);
        ours.env("ADIT_P4RT", self.ours.address());
        [self.theirs.command(&theirs), ours]
    }

    fn run(&self, line: &str) -> [Output; 2] {
        let [theirs, mut ours] = self.commands(line);
        let words: Vec<_> = theirs
            .get_args()
            .skip_while(|word| *word != "conntrack")
            .collect();
        let words: Vec<_> = words.iter().filter_map(|word| word.to_str()).collect();
        [
            self.theirs.run(&words),
            ours.output().expect("nsenter starts"),
        ]
    }

    /// Takes the steps of a table, and passes the outputs of each command line to `each`.
    pub(crate) fn take(
        &mut self,
        table: &str,
        mut each: impl FnMut(&str, [Output; 2]),
    ) -> Result<(), Failed> {
        let mut lines = table.lines().map(str::trim).filter(|line| !line.is_empty());
        while let Some(line) = lines.next() {
            let mut block = || {
                let lines: Vec<_> = lines.by_ref().take_while(|line| *line != "end").collect();
                lines.join("\n") + "\n"
            };
            match line.split_whitespace().next() {
                Some("feed") => {
                    let script = block();
                    self.theirs.feed(&script)?;
                    let clock = self.ours.clock;
                    let now = || adit_conntrack_rpc::Clock::now(&clock);
                    adit_conntrack_oracle::feed::feed(&self.ours.tracker, &script, now)?;
                }
                Some("labels") => self.theirs.name_labels(&block()),
                Some("load") => {
                    let text = block();
                    let file = tempfile::NamedTempFile::new()?;
                    std::fs::write(file.path(), text)?;
                    let path = file.path().to_string_lossy();
                    let outputs = self.run(&format!("-R {path}"));
                    each("-R", outputs);
                }
                Some("wait") => {
                    let seconds = line
                        .split_whitespace()
                        .nth(1)
                        .and_then(|word| word.parse().ok());
                    std::thread::sleep(Duration::from_secs_f64(seconds.unwrap_or(1.0)));
                }
                _ => {
                    let outputs = self.run(line);
                    each(line, outputs);
                }
            }
        }
        Ok(())
    }
}

/// The compared parts of an output: exit code, lines of standard output and of standard error.
pub(crate) type View = (Option<i32>, Vec<String>, Vec<String>);

/// The difference of two views, as a report of exit codes and lines that differ.
pub(crate) fn difference(line: &str, [theirs, ours]: [View; 2]) -> String {
    if theirs == ours {
        return String::new();
    }
    let differing = |this: &View, other: &View| {
        let of = |these: &[String], others: &[String]| {
            let all = these.iter().enumerate();
            let all = all.filter(|(number, line)| others.get(*number) != Some(*line));
            all.map(|(_, line)| format!("\n    {line}"))
                .collect::<String>()
        };
        let (out, error) = (of(&this.1, &other.1), of(&this.2, &other.2));
        format!("{:?}{out}{error}", this.0)
    };
    let (first, second) = (differing(&theirs, &ours), differing(&ours, &theirs));
    format!("conntrack {line}\n  theirs {first}\n  ours   {second}\n")
}

/// The steps that both programs have taken, and their differences.
pub(crate) struct Comparison {
    both: Both,
    differences: String,
    count: usize,
}

impl Comparison {
    pub(crate) fn new() -> Result<Self, String> {
        Ok(Comparison {
            both: Both::new()?,
            differences: String::new(),
            count: 0,
        })
    }

    /// Takes the steps of a table on both sides, and compares. Returns whether a command has succeeded.
    pub(crate) fn take(&mut self, table: &str) -> Result<bool, Failed> {
        let mut succeeded = false;
        let (differences, count) = (&mut self.differences, &mut self.count);
        self.both.take(table, |line, outputs| {
            *count += 1;
            succeeded |= outputs.iter().any(|output| output.status.success());
            let views = outputs.map(|output| {
                let code = output.status.code();
                let [out, error] =
                    [output.stdout, output.stderr].map(|text| neutral::sorted(&text));
                (code, out, error)
            });
            *differences += &difference(line, views);
        })?;
        Ok(succeeded)
    }

    /// Reports the differences.
    pub(crate) fn finish(self) -> Result<(), Failed> {
        println!("{} command lines compared", self.count);
        match self.differences.is_empty() {
            true => Ok(()),
            false => Err(self.differences.into()),
        }
    }
}

/// Compares the steps of a table.
pub(crate) fn compare(table: &str) -> Result<(), Failed> {
    let mut comparison = Comparison::new()?;
    comparison.take(table)?;
    comparison.finish()
}
