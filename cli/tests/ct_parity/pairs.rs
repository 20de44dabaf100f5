// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Command lines of all pairs: each command with each option, and lists with each pair of options.

use libtest_mimic::Failed;

use crate::steps::{compare, Comparison};

/// Connections of which each command finds some.
const BEGIN: &str = "
    load
        -A -s 10.0.0.1 -d 10.0.0.2 -p tcp -t 900 --sport 1 --dport 2 --state ESTABLISHED -u ASSURED
        -A -s 10.0.0.1 -d 10.0.0.2 -p udp -t 900 --sport 1 --dport 2 -m 5
        -A -s 10.0.0.1 -d 10.0.0.2 -p udp -t 900 --sport 3 --dport 2 -n 5.5.5.5
        -A -s 10.0.0.1 -d 10.0.0.2 -p udp -t 900 --sport 4 --dport 2 -g 6.6.6.6:99 -m 5
        -A -s 10.0.0.1 -d 10.0.0.2 -p udp -t 900 --sport 5 --dport 2 -w 3
        -A -s 10.0.0.1 -d 10.0.0.2 -p udp -t 900 --sport 6 --dport 2 --orig-zone 3
        -A -s 10.0.0.1 -d 10.0.0.2 -p udp -t 900 --sport 7 --dport 2 --reply-zone 3
        -A -s 10.0.0.1 -d 10.0.0.2 -p icmp -t 900 --icmp-type 8 --icmp-code 0 --icmp-id 1
        -A -s fd00::1 -d fd00::2 -p udp -t 900 --sport 1 --dport 2
    end
";

/// Commands that change nothing.
const READING: &[&str] = &[
    "-L",
    "-L -p tcp",
    "-L expect",
    "-L dying",
    "-G",
    "-G -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1 --dport 2",
    "-G expect",
    "-G expect -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1 --dport 2 --reply-port-src 2 --reply-port-dst 1",
    "-C",
    "-C expect",
    "-S",
    "-V",
    "-h",
    "",
];

/// Commands that may change something, after which all is as at the beginning again.
const CHANGING: &[&str] = &[
    "-I",
    "-I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 800 --sport 9 --dport 2",
    "-I -r 10.0.0.1 -q 10.0.0.2 -p udp -t 800 --reply-port-src 9 --reply-port-dst 2",
    "-A -s 10.0.0.1 -d 10.0.0.2 -p tcp -t 800 --sport 1 --dport 2 --state CLOSE",
    "-U -s 10.0.0.1 -p udp --sport 1",
    "-D",
    "-D -p udp",
    "-F",
    "-F expect",
    "-I expect",
    "-D expect",
    "-D expect -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1 --dport 2 --reply-port-src 2 --reply-port-dst 1",
];

/// The commands that compare or change values: they have the options with each value, the others with the first one.
const WITH_VALUES: &[&str] = &[
    "-L",
    "-L -p tcp",
    "-G -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1 --dport 2",
    "-I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 800 --sport 9 --dport 2",
    "-I -r 10.0.0.1 -q 10.0.0.2 -p udp -t 800 --reply-port-src 9 --reply-port-dst 2",
    "-A -s 10.0.0.1 -d 10.0.0.2 -p tcp -t 800 --sport 1 --dport 2 --state CLOSE",
    "-U -s 10.0.0.1 -p udp --sport 1",
    "-D",
];

/// Options, each with values that are found, that are not, and that are wrong.
const OPTIONS: &[&str] = &[
    "-s 10.0.0.1",
    "-s 10.0.0.0/24",
    "-s 10.0.0.9",
    "-s fd00::1",
    "-s x",
    "-d 10.0.0.2",
    "-d 0.0.0.0/0",
    "-d 10.0.0.9",
    "-d 10.0.0.2/33",
    "-r 10.0.0.2",
    "-r 6.6.6.6",
    "-r 10.0.0.0/8",
    "-q 10.0.0.1",
    "-q 5.5.5.5",
    "-q x",
    "-p tcp",
    "-p udp",
    "-p icmp",
    "-p 132",
    "-p 89",
    "-p x",
    "-t 500",
    "-t x",
    "-u ASSURED",
    "-u SEEN_REPLY",
    "-u EXPECTED",
    "-u OFFLOAD",
    "-u UNSET",
    "-u SRC_NAT",
    "-u x",
    "-z",
    "-e NEW",
    "-e x",
    "--tuple-src 1.1.1.1",
    "--tuple-dst 1.1.1.1",
    "--tuple-dst x",
    "--mask-src 255.255.255.0",
    "--mask-dst 255.0.0.0",
    "--mask-dst x",
    "-a 1.2.3.4",
    "-m 5",
    "-m 1/1",
    "-m x",
    "-i 5",
    "-i x",
    "-f ipv4",
    "-f ipv6",
    "-f x",
    "-n",
    "-n 5.5.5.5",
    "-n 5.5.5.5:9",
    "-n 5.5.5.5:3",
    "-n x",
    "-g",
    "-g 6.6.6.6",
    "-g 6.6.6.6:99",
    "-g 5.5.5.5:2",
    "-g 6.6.6.6:x",
    "-j",
    "-j 5.5.5.5",
    "-j 6.6.6.6:99",
    "-j x",
    "-o xml",
    "-o save",
    "-o id",
    "-o extended",
    "-o timestamp",
    "-o ktimestamp",
    "-o labels",
    "-o x",
    "-c 5",
    "-c x",
    "-b 4096",
    "-w 3",
    "-w 0",
    "-w x",
    "-l x",
    "--label-add x",
    "--label-del",
    "--label-del x",
    "--orig-zone 3",
    "--orig-zone 0",
    "--reply-zone 3",
    "--reply-zone x",
    "--sport 1",
    "--sport x",
    "--dport 9",
    "--reply-port-src 2",
    "--reply-port-dst 9",
    "--state ESTABLISHED",
    "--icmp-type 8",
    "--srckey 1",
];

/// Options that are combined with each other.
const PAIRED: &[&str] = &[
    "-s 10.0.0.1",
    "-s 10.0.0.0/24",
    "-s fd00::1",
    "-d 10.0.0.2",
    "-r 6.6.6.6",
    "-q 10.0.0.1",
    "-p tcp",
    "-p udp",
    "-p icmp",
    "-u ASSURED",
    "-u SEEN_REPLY",
    "-z",
    "--mask-src 255.255.255.0",
    "--mask-dst 255.0.0.0",
    "-m 5",
    "-m 1/1",
    "-f ipv6",
    "-n",
    "-n 5.5.5.5",
    "-n 5.5.5.5:9",
    "-g 6.6.6.6:99",
    "-j",
    "-j 6.6.6.6:99",
    "-o xml",
    "-o save",
    "-o id",
    "-o labels",
    "-c 5",
    "-w 3",
    "-w 0",
    "-l x",
    "--orig-zone 3",
    "--reply-zone 3",
    "--sport 1",
    "--reply-port-src 2",
    "--state ESTABLISHED",
    "--icmp-type 8",
];

/// Options whose values are compared with those of connections.
const COMPARED: &[&str] = &[
    "-s",
    "-d",
    "-r",
    "-q",
    "-p",
    "-m",
    "-c",
    "-u",
    "-w",
    "--orig-zone",
    "--reply-zone",
];

/// Reports whether both programs do different things on purpose, which the README of the service lists.
fn differs(command: &str, options: &[&str]) -> bool {
    let has = |name: &str| options.iter().any(|option| option.starts_with(name));
    let place = |name: &str| options.iter().position(|option| option.starts_with(name));
    let compares = COMPARED.iter().any(|name| has(name));
    match command {
        // The help is its own text. conntrack(8) looks up what is permitted without a command behind its table.
        "" | "-h" if options.is_empty() || has("-a") || has("--reply-zone") || has("-p") => true,
        // Counters are not kept for each core.
        "-S" if options.is_empty() || has("-a") => true,
        // Half of a tuple, and ports of a protocol that was named before another one: conntrack(8) creates connections
        // with addresses and ports of 0.
        _ if command.starts_with("-I -r") && (has("-s") || has("-d") || has("-p")) => true,
        _ if command.starts_with("-I -s") && has("-p icmp") => true,
        _ if command.starts_with("-A") && has("-p icmp") => true,
        // conntrack(8) compares the address with the source as well.
        _ if has("-j ") && compares => true,
        // conntrack(8) takes the status for the mark.
        _ => place("-m ")
            .zip(place("-u "))
            .is_some_and(|(mark, status)| mark < status),
    }
}

/// The name of an option with a value.
fn name(option: &str) -> &str {
    option.split(' ').next().unwrap_or(option)
}

/// The options of a command, each in turn.
fn options(command: &str) -> Vec<&'static str> {
    let mut options = OPTIONS.to_vec();
    if !WITH_VALUES.contains(&command) {
        options.dedup_by_key(|option| name(option));
    }
    options
}

fn line(command: &str, options: &[&str]) -> Option<String> {
    let words = [&[command], options].concat().join(" ");
    (!differs(command, options)).then(|| format!("{words}\n"))
}

/// Compares commands that change nothing, with each option.
pub(crate) fn of_reading() -> Result<(), Failed> {
    let mut table = BEGIN.to_owned();
    for command in READING {
        table.extend(line(command, &[]));
        for option in options(command) {
            table.extend(line(command, &[option]));
        }
    }
    compare(&table)
}

/// Compares lists with two options, which may be the same. Every second pair has the later one first.
pub(crate) fn of_options() -> Result<(), Failed> {
    let mut table = BEGIN.to_owned();
    for (place, first) in PAIRED.iter().enumerate() {
        for (distance, second) in PAIRED[place..].iter().enumerate() {
            let mut pair = [*first, *second];
            if distance % 2 == 1 {
                pair.reverse();
            }
            table.extend(line("-L", &pair));
        }
    }
    compare(&table)
}

/// Compares commands that may change something, with each option.
pub(crate) fn of_changing() -> Result<(), Failed> {
    let mut comparison = Comparison::new()?;
    comparison.take(BEGIN)?;
    for command in CHANGING {
        for option in options(command) {
            let Some(line) = line(command, &[option]) else {
                continue;
            };
            if comparison.take(&line)? {
                comparison.take(&format!("-L\n-F\n{BEGIN}"))?;
            }
        }
    }
    comparison.finish()
}
