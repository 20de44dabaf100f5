// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The Prometheus text format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::fmt::{Display, Write};

/// The type of a family of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value that only increases until the process restarts. Its name ends in `_total`.
    Counter,
    /// A value that may increase and decrease.
    Gauge,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// Metrics in text form, one family after another.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// An empty exposition.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a family. All its samples must follow here: the format requires them to be
    /// contiguous.
    ///
    /// `name` consists of ASCII letters, digits and `_`, does not begin with a digit, and includes
    /// the unit (`adit_wire_receive_bytes_total`).
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        debug_assert!(is_name(name), "`{name}` is no metric name");
        let help = Escaped {
            text: help,
            quotes: false,
        };
        let kind = kind.as_str();
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Family {
            text: &mut self.text,
            name,
        }
    }

    /// Returns the text.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }
}

/// A family whose samples are being written.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Family<'_> {
    /// Adds a sample. Label names follow the same rules as metric names; label values are any text.
    pub fn sample(&mut self, labels: &[(&'static str, &str)], value: impl Display) -> &mut Self {
        self.text.push_str(self.name);
        for (i, (name, label)) in labels.iter().enumerate() {
            debug_assert!(is_name(name), "`{name}` is no label name");
            let before = if i == 0 { '{' } else { ',' };
            let label = Escaped {
                text: label,
                quotes: true,
            };
            let _ = write!(self.text, "{before}{name}=\"{label}\"");
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{close} {value}");
        self
    }
}

fn is_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(word) && name.starts_with(|c: char| !c.is_ascii_digit())
}

/// Text with its delimiters escaped.
struct Escaped<'a> {
    text: &'a str,
    quotes: bool,
}

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.text.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '"' if self.quotes => f.write_str("\\\"")?,
                _ => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn families_and_samples() {
        let mut out = Exposition::new();
        out.family(
            "adit_frames_total",
            Kind::Counter,
            "Frames, \"all\" of them.\nReally.",
        )
        .sample(&[("port", "0"), ("wire", "unix:a\\b\"c\nd")], 3_u64)
        .sample(&[("port", "1")], u64::MAX);
        out.family("adit_up", Kind::Gauge, "Whether.")
            .sample(&[], 0.5);
        let expected = "\
# HELP adit_frames_total Frames, \"all\" of them.\\nReally.
# TYPE adit_frames_total counter
adit_frames_total{port=\"0\",wire=\"unix:a\\\\b\\\"c\\nd\"} 3
adit_frames_total{port=\"1\"} 18446744073709551615
# HELP adit_up Whether.
# TYPE adit_up gauge
adit_up 0.5
";
        assert_eq!(out.finish(), expected);
    }

    proptest! {
        #[test]
        fn a_label_stays_in_its_line_and_its_quotes(label: String) {
            let mut out = Exposition::new();
            out.family("x", Kind::Gauge, "").sample(&[("l", &label)], 1);
            let text = out.finish();
            let sample = text.strip_prefix("# HELP x \n# TYPE x gauge\n").unwrap();
            let value = sample.strip_prefix("x{l=\"").unwrap().strip_suffix("\"} 1\n").unwrap();
            prop_assert!(!value.contains('\n'));
            let mut read = String::new();
            let mut chars = value.chars();
            while let Some(c) = chars.next() {
                prop_assert_ne!(c, '"');
                read.push(match c {
                    '\\' => match chars.next() { Some('n') => '\n', other => other.unwrap() },
                    c => c,
                });
            }
            prop_assert_eq!(read, label);
        }
    }
}
