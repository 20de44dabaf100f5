// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A line of a script: words, and options of the form `NAME=VALUE`.

use std::str::FromStr;

use anyhow::{anyhow, Result};

/// A line.
pub struct Line<'a> {
    words: Vec<&'a str>,
}

impl<'a> Line<'a> {
    /// The line of a text.
    pub fn new(text: &'a str) -> Self {
        Line {
            words: text.split_whitespace().collect(),
        }
    }

    /// The word at an index, empty if there are fewer.
    pub fn word(&self, at: usize) -> &'a str {
        self.words.get(at).copied().unwrap_or_default()
    }

    /// Reports whether the line has the word.
    pub fn has(&self, word: &str) -> bool {
        self.words.contains(&word)
    }

    /// The value of an option.
    pub fn value(&self, name: &str) -> Option<&'a str> {
        let mut options = self.words.iter().filter_map(|word| word.split_once('='));
        options.find(|(found, _)| *found == name).map(|it| it.1)
    }

    /// Reports whether the line has one of the options.
    pub fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.value(name).is_some())
    }

    /// The number that is an option's value.
    pub fn number<T: FromStr>(&self, name: &str, default: T) -> Result<T> {
        match self.value(name) {
            Some(value) => value
                .parse()
                .map_err(|_| anyhow!("{name}={value} is no number of its range")),
            None => Ok(default),
        }
    }
}
