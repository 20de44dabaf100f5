// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Commands of `adit` for a NIC that a test serves.

use std::process::{Command, Output};

use serde_json::Value;

/// A NIC that commands can be run for.
pub(crate) trait Commands {
    /// Returns a command for it, of these words.
    fn command(&self, words: &str) -> Command;

    fn run(&self, words: &str) -> Output {
        self.command(words).output().expect("adit starts")
    }

    /// Runs a command that succeeds; returns its output.
    fn stdout(&self, words: &str) -> String {
        let output = self.run(words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "adit {words}: {error}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs a command that fails; returns its error.
    fn refuses(&self, words: &str) -> String {
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(1), "adit {words}");
        String::from_utf8(output.stderr).expect("text")
    }

    fn json(&self, words: &str) -> Value {
        serde_json::from_str(&self.stdout(&format!("-o json {words}"))).expect("JSON")
    }
}
