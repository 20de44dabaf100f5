// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The same command lines for conntrack(8) and for `adit ct`: standard output, error output and exit
//! code are the same but for version, ids and the order of entries.
//!
//! conntrack(8) runs in a network namespace of its own. Where its kernel has no connection tracking,
//! or the program is not installed, the tests are reported as ignored, with the reason.

mod ct_common;

use std::process::{Child, Command, ExitCode, Output, Stdio};

use ct_common::Nic;
use libtest_mimic::{Arguments, Failed, Trial};

/// A network namespace, which a process keeps.
struct Namespace(Child);

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Namespace {
    /// Creates one in which conntrack(8) works, with counters and dates.
    fn new() -> Result<Self, String> {
        let keeper = Command::new("unshare")
            .args(["--user", "--map-root-user", "--net", "sh", "-c"])
            .arg("echo ready; exec sleep 600")
            .stdout(Stdio::piped())
            .spawn();
        let mut keeper = keeper.map_err(|error| format!("unshare: {error}"))?;
        let mut ready = String::new();
        let out = keeper.stdout.take().ok_or("unshare has no output")?;
        let read = std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut ready);
        let namespace = Namespace(keeper);
        if read.is_err() || ready != "ready\n" {
            return Err("no network namespace may be made here".to_owned());
        }
        let settings = "echo 1 >/proc/sys/net/netfilter/nf_conntrack_acct && \
                        echo 1 >/proc/sys/net/netfilter/nf_conntrack_timestamp";
        for words in [&["conntrack", "-C"][..], &["sh", "-c", settings]] {
            let output = namespace.enter(words).map_err(|error| error.to_string())?;
            if !output.status.success() {
                let why = String::from_utf8_lossy(&output.stderr).into_owned();
                return Err(format!("`{}` fails: {}", words.join(" "), why.trim()));
            }
        }
        Ok(namespace)
    }

    fn enter(&self, words: &[&str]) -> std::io::Result<Output> {
        Command::new("nsenter")
            .args(["--user", "--net", "--preserve-credentials"])
            .args(["--target", &self.0.id().to_string(), "timeout", "10"])
            .args(words)
            .output()
    }

    fn conntrack(&self, line: &str) -> Output {
        let words: Vec<_> = std::iter::once("conntrack")
            .chain(line.split_whitespace())
            .collect();
        self.enter(&words).expect("nsenter starts")
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let unavailable = Namespace::new().err();
    if let Some(reason) = &unavailable {
        eprintln!("ignoring the comparison with conntrack(8): {reason}");
    }
    let trials = TABLES.iter().map(|(name, lines)| {
        let run = || compare(lines);
        Trial::test(*name, run).with_ignored_flag(unavailable.is_some())
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// A word without what depends on the run: ids, dates, the number of users.
fn neutral_word(word: &str) -> String {
    match word.split_once('=') {
        Some((name @ ("id" | "use" | "delta-time"), _)) => format!("{name}=N"),
        _ => word.to_owned(),
    }
}

/// Replaces the number of an XML element.
fn neutral_element(line: &str, name: &str) -> String {
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    match (line.find(&begin), line.find(&end)) {
        (Some(from), Some(to)) if from < to => {
            format!("{}N{}", &line[..from + begin.len()], &line[to..])
        }
        _ => line.to_owned(),
    }
}

/// The lines of a text in an order of their own. Timeouts may differ by a second.
fn neutral(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let mut lines: Vec<_> = text
        .lines()
        .map(|line| {
            let mut line = line.to_owned();
            if let Some((_, said)) = line.split_once(" (conntrack-tools)") {
                line = format!("conntrack (conntrack-tools){said}");
            }
            for name in ["id", "use", "deltatime", "timeout"] {
                line = neutral_element(&line, name);
            }
            let mut words: Vec<_> = line.split(' ').map(neutral_word).collect();
            let timeout = match words.first().map(String::as_str) {
                Some("-A" | "-D" | "-U") => words.iter().position(|w| w == "-t").map(|n| n + 1),
                _ => words.iter().position(|w| w.starts_with("src=")).map(|n| {
                    let is_number = |word: &String| word.parse::<u32>().is_ok();
                    words[..n].iter().rposition(is_number).unwrap_or(0)
                }),
            };
            if let Some(place) = timeout.and_then(|place| words.get_mut(place)) {
                *place = "T".to_owned();
            }
            words.join(" ")
        })
        .collect();
    lines.sort();
    lines
}

/// Runs lines with both programs, which begin without connections.
fn compare(lines: &str) -> Result<(), Failed> {
    let (theirs, ours) = (Namespace::new()?, Nic::start());
    let mut differences = String::new();
    let mut count = 0;
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (expected, got) = (theirs.conntrack(line), ours.run(line));
        count += 1;
        let view = |output: &Output| {
            let code = output.status.code();
            (code, neutral(&output.stdout), neutral(&output.stderr))
        };
        let (expected, got) = (view(&expected), view(&got));
        if expected != got {
            differences += &format!("conntrack {line}\n  theirs {expected:?}\n  ours   {got:?}\n");
        }
    }
    println!("{count} command lines compared");
    match differences.is_empty() {
        true => Ok(()),
        false => Err(differences.into()),
    }
}

/// Tables of command lines, each of which begins without connections.
const TABLES: [(&str, &str); 5] = [
    ("what_is_wrong_is_reported", WRONG),
    ("connections_are_created_and_listed", CREATED),
    ("filters_select", FILTERS),
    ("connections_are_changed_and_deleted", CHANGED),
    ("protocols_have_options", PROTOCOLS),
];

const WRONG: &str = "
    -L foo
    -C dying
    -F unconfirmed
    -D dying
    -E dying
    -U expect
    -A expect
    -X
    --bogus
    -L --sport 1
    -L -p bogus
    -L -p 999
    -L -p tcp --bogus
    -L -p udp --state X
    -L -L
    -L -D
    -L -s
    -L -p tcp --sport
    --p
    -L --s
    -L --orig 10.0.0.1
    -L --zero=5
    -L -s foo
    -L -s 10.0.0.1/33
    -L -s 10.0.0.1/x
    -L -s 10.0.0.1/255.255.255.0
    -L -s fd00::1/129
    -L -r 10.0.0.0/8
    -L -q 10.0.0.0/8
    -L -f ipv5
    -L -f IPV6
    -L -f ipv4 -s ::1
    -L -s 10.0.0.1 -d fd00::2
    -L -f ipv4 -f ipv6
    -L -s 10.0.0.1 --mask-src ffff::
    -L --mask-src 255.0.0.0
    -L --mask-dst 255.0.0.0
    -L -o bogus
    -L -o xml,bogus
    -L -o
    -L -o save,id
    -L -o id -o save
    -L -u BOGUS
    -L -u unreplied,assured
    -L -u assured,unreplied
    -L -u ,ASSURED
    -L -u UNSET
    -L -u SRC_NAT
    -L -t 5
    -L -e NEW
    -L -b 1
    -L -i 5
    -L -l foo
    -L --tuple-src 1.1.1.1
    -L -n -j
    -L -n bogus
    -E -e BOGUS
    -E -e NEW,BOGUS
    -E -t 5
    -F -s 10.0.0.1
    -C -s 10.0.0.1
    -S -o id
    -V -s 10.0.0.1
    -h -s 10.0.0.1
    -h foo
    -G
    -I
    -A
    -I -p udp
    -I -p udp -t 5
    -I -p udp -t 5 -s 1.1.1.1
    -I -p udp -t 5 -s 1.1.1.1 -d 1.1.1.2
    -I -p udp -t 5 -s 1.1.1.1 -d 1.1.1.2 --sport 1
    -I -p tcp -t 5 -s 1.1.1.1 -d 1.1.1.2 --sport 1 --dport 2
    -I -p tcp -t 5 -s 1.1.1.1 -d 1.1.1.2 --sport 1 --dport 2 --state established
    -I -p udp -t 5 -s 1.1.1.1 -d 1.1.1.2 --sport 1 --dport 2 -z
    -I -p udp -t 5 -s 1.1.1.1 -d 1.1.1.2 --sport 1 --dport 2 -f ipv4
    -I -p udp -t 5 -s 1.1.1.1 -d 1.1.1.2 --sport 1 --dport 2 -j 1.1.1.3
    -I -p udp -t 5 -s 1.1.1.1 -d 1.1.1.2 --sport 1 --dport 2 -o id
    -I -p udp -t 5 -s 1.1.1.1 -d 1.1.1.2 --sport 1 --dport 2 -n 5.5.5.5:x
    -I -p udp -t 5 -s 1.1.1.1 -d 1.1.1.2 --sport 1 --dport 2 -n 5.5.5.5:1-2
    -I -p udp -t 5 -s 1.1.1.1 -d 1.1.1.2 --sport 1 --dport 2 -n 5.5.5.5-5.5.5.6
    -I -p udp -t 5 -s 1.1.1.1 -d 1.1.1.2 --sport 1 --dport 2 -w 3 --orig-zone 4
    -I -p udp -t 5 -s 1.1.1.1 -d 1.1.1.2 --sport 1 --dport 2 -r 1.1.1.2
    -I -p udp -t 5 -s 1.1.1.1 -d 1.1.1.2 --sport 1 --dport 2 -u EXPECTED
    -I -p udp -t 5 -s 1.1.1.1 -d 1.1.1.2 --sport 1 --dport 2 --mask-port-src 1
    -G -p tcp
    -G -p udp -s 1.1.1.1 -d 1.1.1.2
    -G -p udp -s 1.1.1.1 -d 1.1.1.2 --sport 1 --dport 2 -u ASSURED
    -G -p udp -s 1.1.1.1 -d 1.1.1.2 --sport 1 --dport 2
    -G -p udp -r 1.1.1.1 -q 1.1.1.2 --reply-port-src 1 --reply-port-dst 2
    -D
    -D -z
    -D -c 1
    -U
    -U -w 1
    -I expect
    -I expect -s 1.1.1.1 -d 1.1.1.2 -p udp
    -I expect -s 1.1.1.1 -d 1.1.1.2 -p udp -t 5
    -I expect -s 1.1.1.1 -d 1.1.1.2 -p udp -t 5 --tuple-src 1.1.1.1
    -I expect -s 1.1.1.1 -d 1.1.1.2 -p udp -t 5 --tuple-src 1.1.1.1 --tuple-dst 1.1.1.2
    -G expect
    -D expect -s 1.1.1.1
    -D expect -s 1.1.1.1 -d 1.1.1.2 -p udp
    -L expect -s 1.1.1.1
    -E expect -e NEW
    -R /nonexistent
    -R
    -L -R /dev/null
    -R /dev/null
";

const CREATED: &str = "
    -I -s 10.0.0.1 -d 10.0.0.2 -p tcp -t 1000 --sport 1 --dport 2 --state ESTABLISHED
    -I -s 10.0.0.1 -d 10.0.0.2 -p tcp -t 1000 --sport 1 --dport 2 --state ESTABLISHED
    -A -s 10.0.0.1 -d 10.0.0.2 -p tcp -t 1000 --sport 1 --dport 2 --state ESTABLISHED
    -A -s 10.0.0.1 -d 10.0.0.2 -p tcp -t 1000 --sport 2 --dport 2 --state TIME_WAIT -u ASSURED,SEEN_REPLY -m 0x10
    -I -s 10.0.0.1 -d 10.0.0.2 -p tcp -t 1000 --sport 3 --dport 2 --state LISTEN
    -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 3 --dport 2
    -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 3 --dport 3 -n 5.5.5.5
    -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 4 --dport 3 -g 5.5.5.6
    -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 5 --dport 3 -g 5.5.5.7:77 -u SEEN_REPLY
    -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 6 --dport 3 -u FIXED_TIMEOUT
    -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 7 --dport 3 --reply-port-src 9
    -I -r 10.0.0.2 -q 10.0.0.1 -p udp -t 1000 --reply-port-src 8 --reply-port-dst 2
    -I -s 10.0.0.1 -d 10.0.0.2 -p icmp -t 1000 --icmp-type 8 --icmp-code 0 --icmp-id 66
    -I -s 10.0.0.1 -d 10.0.0.2 -p icmp -t 1000 --icmp-type 3 --icmp-code 0
    -I -s 10.0.0.1 -d 10.0.0.2 -p gre -t 1000 --srckey 0x10 --dstkey 17
    -I -s 10.0.0.1 -d 10.0.0.2 -p sctp -t 1000 --sport 1 --dport 2 --state ESTABLISHED --orig-vtag 1 --reply-vtag 2
    -I -s 10.0.0.1 -d 10.0.0.2 -p udplite -t 1000 --sport 1 --dport 3
    -I -s 10.0.0.1 -d 10.0.0.2 -p 89 -t 1000
    -I -s fd00::1 -d fd00::2 -p tcp -t 1000 --sport 1 --dport 2 --state SYN_SENT -w 5
    -I -s fd00::1 -d fd00::2 -p udp -t 1000 --sport 1 --dport 2 -n [fd00::9]:5
    -I -s fd00::1 -d fd00::2 -p icmpv6 -t 1000 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 9
    -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 9 --dport 3 --orig-zone 3
    -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 9 --dport 4 --reply-zone 3
    -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 99999 --dport x
    -C
    -L
    -L conntrack
    -L dying
    -L unconfirmed
    -L expect
    -C expect
    -L -o extended
    -L -o id
    -L -o ID,ext
    -L -o save
    -L -o timestamp
    -L -o userspace
    -L -z
    -L -f ipv6
    -L -f ipv4 -o save
    -L -p udp -o xml
    -L -p tcp -o xml
    -L -p gre -o xml
    -L -p 89 -o xml
    -L -p icmp -o xml
    -L -f ipv6 -o xml
    -F
    -C
    -L -o xml
";

const FILTERS: &str = "
    -I -s 10.0.0.1 -d 10.0.0.2 -p tcp -t 1000 --sport 1 --dport 2 --state ESTABLISHED -u ASSURED
    -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 1 --dport 2 -n 5.5.5.5
    -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 2 --dport 2 -g 6.6.6.6:99 -m 5
    -I -s fd00::1 -d fd00::2 -p udp -t 1000 --sport 1 --dport 2 -w 7
    -L --orig-s 10.0.0.1
    -L --src=10.0.0.1
    -L -s10.0.0.1
    --dump=expect
    -Lexpect
    -L --
    -L -- foo
    -L conntrack extra
    extra -L
    -zL
    -LX
    -Ls 10.0.0.1
    -L -p tcp -p udp
    -L -p TCP
    -L -p 6 --sport 1
    -L -p icmp -f ipv6
    -L -p tcp --sp 1
    -L -p tcp --dport http
    -L -p tcp --reply-port-src 2
    -L -p tcp --state ESTABLISHED
    -L -p tcp --state CLOSE
    -L -n
    -L -n 5.5.5.5
    -L -n5.5.5.5
    -L -n 5.5.5.6
    -L -n 5.5.5.5:7
    -L --src-nat=5.5.5.5
    -L --src-nat 5.5.5.5
    -L -g
    -L -g 6.6.6.6
    -L -g 6.6.6.6:99
    -L -j
    -L -j 6.6.6.6
    -L -n fd00::1
    -L -n -g
    -L -r 6.6.6.6
    -L -q 5.5.5.5
    -L -s 10.0.0.0/8 -d 10.0.0.2/32
    -L -s 10.0.0.9 --mask-src 255.255.255.0
    -L -s 10.0.0.0/8 --mask-src 255.0.0.0
    -L -s fd00::/64
    -L -s 0.0.0.0/0
    -L -d fd00::2
    -L -u SEEN
    -L -u ASSURED
    -L -u assured,seen_reply
    -L -u UNREPLIED
    -L -u FIXED_TIMEOUT
    -L -m 5
    -L -m 0/1
    -L -m 0x4/0xc
    -L -m x
    -L -w 7
    -L -w 0
    -L -w 0x7
    -L -c 5
    -L -a 1.2.3.4
    -G -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 2 --dport 2
    -G -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 2 --dport 2 -o id,extended
    -G -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 2 --dport 2 -o save
    -G -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 2 --dport 2 -o xml
    -G -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 2 --dport 2 -i 5
    -G -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 2 --dport 3
";

const CHANGED: &str = "
    -I -s 10.0.0.1 -d 10.0.0.2 -p tcp -t 1000 --sport 1 --dport 2 --state ESTABLISHED -u ASSURED
    -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 1 --dport 2
    -I -s 10.0.0.3 -d 10.0.0.2 -p udp -t 1000 --sport 1 --dport 2
    -I -s fd00::1 -d fd00::2 -p udp -t 1000 --sport 1 --dport 2
    -U -s 10.0.0.1 -p udp -m 9
    -U -s 10.0.0.1 -p tcp -m 0x18
    -U -s 10.0.0.1 -p tcp -m 0x10/0xf0
    -U -s 10.0.0.1 -p tcp -m 1/1
    -U -s 10.0.0.1 -p tcp -t 500
    -U -s 10.0.0.1 -p tcp -u SEEN_REPLY
    -U -s 10.0.0.1 -p tcp -u UNSET
    -U -s 10.0.0.1 -p tcp -u FIXED_TIMEOUT -o extended
    -U -s 10.0.0.1 -d 10.0.0.2 -p tcp --state CLOSE
    -U -f ipv6 -m 4
    -U -s 9.9.9.9 -m 1
    -L -o save
    -D -p udp -s 10.0.0.3
    -D -p tcp --state ESTABLISHED
    -D -p tcp -o save
    -D -p udp -s 10.0.0.1 -o xml
    -D -s 9.9.9.9
    -D -f ipv6 -u ASSURED
    -D -i 4
    -D -f ipv6
    -D
    -F
    -F expect
    -F -f ipv6
    -C
";

const PROTOCOLS: &str = "
    -I -s 1.1.1.1 -d 1.1.1.2 -t 5 -p icmp
    -I -s 1.1.1.1 -d 1.1.1.2 -t 5 -p icmp --icmp-type 8
    -I -s 1.1.1.1 -d 1.1.1.2 -t 5 -p gre
    -I -s 1.1.1.1 -d 1.1.1.2 -t 5 -p gre --srckey 1
    -I -s 1.1.1.1 -d 1.1.1.2 -t 5 -p sctp --sport 1 --dport 2
    -I -s 1.1.1.1 -d 1.1.1.2 -t 5 -p sctp --sport 1 --dport 2 --state NONE
    -I -s 1.1.1.1 -d 1.1.1.2 -t 5 -p sctp --sport 1 --dport 2 --state CLOSED --orig-vtag 5
    -L -p sctp --orig-vtag 1
    -D -p sctp --orig-vtag 1
    -I -s 1.1.1.1 -d 1.1.1.2 -t 5 -p dccp --sport 1 --dport 2
    -I -s 1.1.1.1 -d 1.1.1.2 -t 5 -p dccp --sport 1 --dport 2 --state OPEN
    -I -s 1.1.1.1 -d 1.1.1.2 -t 5 -p dccp --sport 1 --dport 2 --state OPEN --role x
    -L -p dccp --role client
    -L -p udp --mask-port-src 1
    -L -p gre --tuple-key-src 1
    -I -s 1.1.1.1 -d 1.1.1.2 -t 5 -p icmpv6 --icmpv6-type 128 --icmpv6-code 0
    -G -s 1.1.1.1 -d 1.1.1.2 -p icmp
    -I expect -s 1.1.1.1 -d 1.1.1.2 -p tcp -t 5 --tuple-src 1.1.1.1 --tuple-dst 1.1.1.2 --mask-src 255.255.255.0 --mask-dst 255.255.255.0
    -I expect -s 1.1.1.1 -d 1.1.1.2 -p tcp -t 5 --tuple-src 1.1.1.1 --tuple-dst 1.1.1.2 --mask-src 255.255.255.0 --mask-dst 255.255.255.0 --sport 1 --dport 2
    -G expect -s 1.1.1.1 -d 1.1.1.2 -p tcp --sport 1 --dport 2
    -G expect -s 1.1.1.1 -d 1.1.1.2 -p tcp --sport 1 --dport 2 --reply-port-src 2 --reply-port-dst 1
    -D expect -s 1.1.1.1 -d 1.1.1.2 -p tcp --sport 1 --dport 2 --reply-port-src 2 --reply-port-dst 1
    -D expect -s 1.1.1.1 -d 1.1.1.2 -p tcp --state X
    -D expect -s 1.1.1.1 -d 1.1.1.2 -p icmp
    -I expect -s 1.1.1.1 -d 1.1.1.2 -p icmp -t 5 --tuple-src 1.1.1.1 --tuple-dst 1.1.1.2 --mask-src 255.255.255.0 --mask-dst 255.255.255.0
";
