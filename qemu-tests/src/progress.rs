// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Output of a long job, shown as one line that changes.

use std::io::{BufRead, BufReader, Read};

use indicatif::{ProgressBar, ProgressStyle};

/// Reads the output of the job `what` to its end and returns it; on a terminal the last line of it
/// is shown, with the elapsed time.
pub(crate) fn follow(what: &str, output: impl Read) -> String {
    let template = format!("{{spinner}} [{{elapsed}}] {what}: {{msg:.70}}");
    let bar = ProgressBar::new_spinner().with_style(
        ProgressStyle::with_template(&template)
            .unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    let mut text = String::new();
    let mut lines = BufReader::new(output);
    let mut line = Vec::new();
    while matches!(lines.read_until(b'\n', &mut line), Ok(1..)) {
        let shown = String::from_utf8_lossy(&line);
        bar.set_message(shown.trim().to_owned());
        bar.tick();
        text.push_str(&shown);
        line.clear();
    }
    bar.finish_and_clear();
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn all_of_it_is_kept() {
        let output = b"one\ntwo \xff\n\nno end".as_slice();
        assert_eq!(super::follow("test", output), "one\ntwo \u{fffd}\n\nno end");
    }
}
