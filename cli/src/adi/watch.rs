// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit adi watch`: prints a line for each ADI that is added, changed or removed.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::record::{Adi, Adis};
use crate::output::{counted, Format};

/// The properties of an ADI whose changes are printed.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Seen {
    state: &'static str,
    faults: Option<u64>,
}

/// An event.
#[derive(Debug, PartialEq, Serialize)]
struct Event {
    event: &'static str,
    adi: String,
    #[serde(flatten)]
    now: Option<Seen>,
}

pub(super) fn watch(interval: Duration, count: Option<u64>, format: Format) -> Result<()> {
    let mut before = BTreeMap::new();
    let mut looks = 0;
    loop {
        let now: BTreeMap<_, _> = Adis::load()?.iter().map(look).collect();
        let mut out = io::stdout().lock();
        for event in changes(&before, &now) {
            match format {
                Format::Json => writeln!(out, "{}", serde_json::to_string(&event)?)?,
                Format::Table => writeln!(out, "{}", line(&event))?,
            }
        }
        out.flush()?;
        before = now;
        looks += 1;
        if count.is_some_and(|count| looks >= count) {
            return Ok(());
        }
        sleep(interval);
    }
}

fn look(adi: &Adi) -> (String, Seen) {
    let faults = adi.device.as_ref().and_then(|d| d.number("faults"));
    let state = adi.state();
    (adi.label(), Seen { state, faults })
}

fn changes(before: &BTreeMap<String, Seen>, now: &BTreeMap<String, Seen>) -> Vec<Event> {
    let event = |event, adi: &String, now: Option<&Seen>| Event {
        event,
        adi: adi.clone(),
        now: now.cloned(),
    };
    let gone = before
        .keys()
        .filter(|adi| !now.contains_key(*adi))
        .map(|adi| event("gone", adi, None));
    let new = now.iter().filter_map(|(adi, seen)| match before.get(adi) {
        None => Some(event("new", adi, Some(seen))),
        Some(last) if last != seen => Some(event("changed", adi, Some(seen))),
        Some(_) => None,
    });
    gone.chain(new).collect()
}

fn line(event: &Event) -> String {
    let mut text = format!("{:8} {}", event.event, event.adi);
    if let Some(now) = &event.now {
        text.push_str(&format!("  {}", now.state));
        if let Some(faults) = now.faults.filter(|&faults| faults > 0) {
            text.push_str(&format!(", {}", counted(faults, "fault")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_changes_and_goes_is_told_once() {
        let seen = |state, faults| Seen {
            state,
            faults: Some(faults),
        };
        let of = |list: &[(&str, Seen)]| {
            list.iter()
                .map(|(adi, seen)| ((*adi).to_owned(), seen.clone()))
                .collect::<BTreeMap<_, _>>()
        };
        let before = of(&[("a", seen("active", 0)), ("b", seen("active", 0))]);
        let now = of(&[("b", seen("active", 2)), ("c", seen("inactive", 0))]);
        let lines: Vec<_> = changes(&before, &now).iter().map(line).collect();
        assert_eq!(
            lines,
            [
                "gone     a",
                "changed  b  active, 2 faults",
                "new      c  inactive"
            ]
        );
        assert!(changes(&now, &now).is_empty());
    }
}
