// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Output without what depends on the run.

/// A word without what depends on the run: ids, ages, the number of users.
fn word(word: &str) -> String {
    match word.split_once('=') {
        Some((name @ ("id" | "use" | "delta-time"), _)) => format!("{name}=N"),
        _ => word.to_owned(),
    }
}

/// Replaces the number of an XML element.
fn element(line: &str, name: &str) -> String {
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    match (line.find(&begin), line.find(&end)) {
        (Some(from), Some(to)) if from < to => {
            format!("{}N{}", &line[..from + begin.len()], &line[to..])
        }
        _ => line.to_owned(),
    }
}

/// Replaces what is between two texts.
fn between(line: &str, begin: &str, end: &str) -> String {
    let Some(from) = line.find(begin).map(|at| at + begin.len()) else {
        return line.to_owned();
    };
    match line[from..].find(end) {
        Some(length) => format!("{}N{}", &line[..from], &line[from + length..]),
        None => line.to_owned(),
    }
}

/// The date that begins a line: the digits are replaced, and the blanks behind them.
fn date(line: &str) -> String {
    let Some((date, rest)) = line
        .strip_prefix('[')
        .and_then(|line| line.split_once("]\t"))
    else {
        return line.to_owned();
    };
    let neutral = |c: char| {
        if c.is_ascii_digit() || c == ' ' {
            '9'
        } else {
            c
        }
    };
    format!(
        "[{}]\t{rest}",
        date.chars().map(neutral).collect::<String>()
    )
}

/// Removes the number and name of the process that has requested an event, which only conntrack(8) shows.
fn without_origin(line: &str) -> &str {
    let origin = line
        .find(" portid=")
        .filter(|&at| line[..at].ends_with(" [USERSPACE]"));
    &line[..origin.unwrap_or(line.len())]
}

/// The place of the timeout, which may differ by a second.
fn timeout_place(words: &[String]) -> Option<usize> {
    match words.first().map(String::as_str) {
        Some("-A" | "-D" | "-U") => words.iter().position(|word| word == "-t").map(|at| at + 1),
        _ => words
            .iter()
            .position(|word| word.starts_with("src="))
            .and_then(|end| {
                let is_number = |word: &String| word.parse::<u32>().is_ok();
                let is_expectation = words[..end]
                    .last()
                    .is_some_and(|word| word.starts_with("proto="));
                // A connection's protocol has a number as well, and one that has ended no timeout.
                let mut numbers = (0..end).rev().filter(|&at| is_number(&words[at]));
                let last = numbers.next()?;
                (is_expectation || numbers.next().is_some()).then_some(last)
            }),
    }
}

/// A line without what depends on the run.
pub(crate) fn line(text: &str) -> String {
    let mut line = without_origin(text).to_owned();
    if let Some((_, said)) = line.split_once(" (conntrack-tools)") {
        line = format!("conntrack (conntrack-tools){said}");
    }
    for name in [
        "id",
        "use",
        "deltatime",
        "timeout",
        "hour",
        "min",
        "sec",
        "start",
        "stop",
    ] {
        line = element(&line, name);
    }
    line = between(&line, "[start=", "]");
    line = between(&line, "[stop=", "]");
    line = date(&line);
    let mut words: Vec<_> = line.split(' ').map(word).collect();
    if let Some(word) = timeout_place(&words).and_then(|place| words.get_mut(place)) {
        *word = "T".to_owned();
    }
    words.join(" ")
}

/// The lines of a text without what depends on the run.
pub(crate) fn lines(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    text.lines().map(line).collect()
}

/// As [`lines`], in an order of their own.
pub(crate) fn sorted(text: &[u8]) -> Vec<String> {
    let mut lines = lines(text);
    lines.sort();
    lines
}
