// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit table` and `adit counter` as processes, against a server on loopback.

mod commands;

use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use adit_p4runtime::program::Package;
use adit_p4runtime::server::{listen, Listening, Pipeline, PipelineHandle, Server};
use adit_pipeline::p4::objects::{Count, Object};
use adit_pipeline::p4::Engine;
use commands::Commands;
use serde_json::Value;

const PROGRAM: &str = include_str!("table.p4");
const DEVICE: &str = "7";

/// A data path that takes any program.
struct Idle;

impl PipelineHandle for Idle {
    fn commit(&self, _: Arc<Engine>) -> Result<(), String> {
        Ok(())
    }
    fn now_ns(&self) -> u64 {
        0
    }
}

struct Nic {
    listening: Listening,
    engine: Arc<Engine>,
}

fn nic() -> Nic {
    let program = Package::source(PROGRAM).program().expect("no errors");
    let engine = Arc::new(Engine::load(program).expect("an engine"));
    let pipeline = Pipeline::of_engine(engine.clone()).expect("a pipeline");
    let server = Server::new(7, Arc::new(Idle), Some(pipeline));
    let address = "127.0.0.1:0".parse().expect("an address");
    Nic {
        listening: listen(server, &address, None).expect("the kernel has a port"),
        engine,
    }
}

impl Commands for Nic {
    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
        command.args(words.split(' ')).args([
            "--p4rt",
            &self.listening.address,
            "--device",
            DEVICE,
        ]);
        command
    }
}

impl Nic {
    /// Runs a command with a file as its standard input.
    fn reads(&self, words: &str, file: &str) -> Output {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("entries");
        std::fs::write(&path, file).expect("a file");
        self.command(words)
            .stdin(Stdio::from(std::fs::File::open(path).expect("the file")))
            .output()
            .expect("adit starts")
    }
}

#[test]
fn an_entry_is_added_changed_and_deleted() {
    let nic = nic();
    nic.stdout("table add routes ipv4.dst=10.0.0.0/8 route(nexthop=3)");
    let shown = nic.stdout("table list routes");
    let line = shown.lines().nth(1).expect("an entry");
    let cells: Vec<_> = line.split_whitespace().collect();
    assert_eq!(
        cells,
        [
            "routes",
            "-",
            "h.ipv4.dst=10.0.0.0/8",
            "route(nexthop=3)",
            "0",
            "0"
        ]
    );

    nic.stdout("table set routes dst=10.0.0.0/8 route(4)");
    let list = nic.json("table list routes");
    assert_eq!(list[0]["action"], "route(nexthop=4)");
    assert_eq!(list[0]["match"]["h.ipv4.dst"], "10.0.0.0/8");
    assert_eq!(list[0]["packets"], 0);
    assert_eq!(list[1]["is_default"], true);
    assert_eq!(list[1]["action"], "no_route()");

    let tables = nic.json("table list");
    let routes = tables.as_array().expect("tables").iter();
    let routes = routes
        .clone()
        .find(|t| t["table"] == "routes")
        .expect("routes");
    assert_eq!(routes["entries"], 1);
    assert_eq!(routes["size"], 1024);

    nic.stdout("table delete routes ipv4.dst=10.0.0.0/8");
    assert_eq!(
        nic.json("table list routes").as_array().expect("it").len(),
        1
    );
}

#[test]
fn default_actions_are_set_and_reset() {
    let nic = nic();
    nic.stdout("table set nexthops default forward(02:00:00:00:00:0a, 5)");
    assert_eq!(
        nic.stdout("table dump nexthops"),
        "nexthops default forward(mac=02:00:00:00:00:0a, port=5)\n"
    );
    nic.stdout("table delete nexthops default");
    assert_eq!(nic.stdout("table dump nexthops"), "");
}

#[test]
fn a_dump_can_be_read_again() {
    let entries = "\
# what a NIC has
routes ipv4.dst=10.0.0.0/8 route(nexthop=3)
routes ipv4.dst=0.0.0.0/0 drop   # the rest

rules src=10.1.0.0/16 port=1000..2000 type=0x0800 priority=7 drop()
rules src=0.0.0.1&&&0.0.0.1 .priority=0x3&&&0x7 priority=8 NoAction
nexthops nexthop=3 forward(mac=02:00:00:00:00:0a, port=0x1ff)
nexthops default forward(02:00:00:00:00:0b, 1)
";
    let first = nic();
    let output = first.reads("table add --from -", entries);
    assert!(output.status.success(), "{output:?}");
    let dump = first.stdout("table dump");
    assert_eq!(dump.lines().count(), 6, "{dump}");
    assert!(
        dump.contains(
            "rules h.ipv4.src=10.1.0.0/16 h.ipv4.port=1000..2000 h.ethernet.type=2048 drop() \
             priority=7"
        ),
        "{dump}"
    );
    let second = nic();
    let output = second.reads("table add --atomic --from -", &dump);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(second.stdout("table dump"), dump);
    // An existing entry is an error, unless it is to be replaced.
    let output = second.reads("table add --from -", &dump);
    assert!(!output.status.success());
    let output = second.reads("-o json table add --replace --from -", &dump);
    assert!(output.status.success(), "{output:?}");
    let done: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(done["replaced"], 5);
    // Deletion: a key is sufficient.
    let output = second.reads("table delete --from -", "routes dst=10.0.0.0/8\n");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(second.stdout("table dump").lines().count(), 5);
    // Dumped lines with their actions can be deleted; default actions are reset to the program's.
    let rest = second.stdout("table dump");
    let output = second.reads("table delete --atomic --from -", &rest);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(second.stdout("table dump"), "");
    // The action is parsed nevertheless.
    let error = second.refuses("table delete routes dst=10.0.0.0/8 route(nexthop=65536)");
    assert!(error.contains("does not fit into 16 bits"), "{error}");
}

#[test]
fn members_and_groups_are_added_changed_and_deleted() {
    let nic = nic();
    let lines = "\
paths member=1 forward(mac=02:00:00:00:00:0a, port=1)
paths member=2 drop()
paths group=7 member(1) member(2, weight=3, watch=300)
paths group=8
ways m.nexthop=1 group(7)
ways m.nexthop=2 member(1)
profile member=1 drop()
hosts h.ethernet.src=02:00:00:00:00:01 member(1)
";
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let output = nic.reads("table add --atomic --from -", lines);
    assert!(output.status.success(), "{output:?}");
    let dump = nic.stdout("table dump");
    assert_eq!(sorted(&dump), sorted(lines));
    assert_eq!(
        sorted(&nic.stdout("table dump paths")),
        sorted(lines)[1..5].to_vec()
    );

    // Another NIC accepts it unchanged; entries that refer to others are deleted before them.
    let second = self::nic();
    for words in ["table add --from -", "table add --replace --from -"] {
        let output = second.reads(words, &dump);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(second.stdout("table dump"), dump);
    }
    let output = second.reads("table delete --from -", &dump);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(second.stdout("table dump"), "");

    let error = nic.refuses("table delete paths member=1");
    assert!(error.contains("paths member=1: "), "{error}");
    assert!(error.contains("(FailedPrecondition)"), "{error}");
    nic.stdout("table set paths member=2 forward(02:00:00:00:00:0b, 2)");
    nic.stdout("table set paths group=7 member(2)");
    let list = nic.json("table list paths");
    let rows = list.as_array().expect("rows").iter();
    let shown = |kind: &str, id: &str| {
        let found = rows.clone().find(|row| row["match"][kind] == id);
        found.expect("it is there")["action"].clone()
    };
    assert_eq!(
        shown("member", "2"),
        "forward(mac=02:00:00:00:00:0b, port=2)"
    );
    assert_eq!(shown("group", "7"), "member(2)");
    assert_eq!(shown("group", "8"), "");
    let tables = nic.json("table list");
    let mut tables = tables.as_array().expect("tables").iter();
    let paths = tables.find(|t| t["table"] == "paths").expect("paths");
    assert_eq!(paths["entries"], 4);
    nic.stdout("table delete paths group=8");
    assert_eq!(nic.stdout("table dump").lines().count(), 7);
}

#[test]
fn entries_have_sets_of_actions_of_their_own() {
    let nic = nic();
    let lines = "\
ways m.nexthop=1 action(forward(mac=02:00:00:00:00:0a, port=1), weight=3) action(drop())
ways m.nexthop=2 action(forward(mac=02:00:00:00:00:0b, port=2), weight=2, watch=300)
ways m.nexthop=3 action()
";
    let output = nic.reads("table add --atomic --from -", lines);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(nic.stdout("table dump"), lines);
    // An action of weight 1 that watches no port can be written alone.
    nic.stdout("table set ways m.nexthop=3 forward(02:00:00:00:00:0c, 3) drop");
    let list = nic.json("table list ways");
    assert_eq!(
        list[2]["action"],
        "action(forward(mac=02:00:00:00:00:0c, port=3)) action(drop())"
    );
    let dump = nic.stdout("table dump");
    let second = self::nic();
    let output = second.reads("table add --from -", &dump);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(second.stdout("table dump"), dump);

    let error = nic.refuses("table add paths member=1 drop()");
    assert!(error.contains("paths member=1: "), "{error}");
    assert!(error.contains("has sets of actions"), "{error}");
    let output = nic.reads("table delete --from -", &dump);
    assert!(output.status.success(), "{output:?}");
    nic.stdout("table add paths member=1 drop()");
    let error = nic.refuses("table add ways m.nexthop=1 drop()");
    assert!(error.contains("has members or groups"), "{error}");
}

#[test]
fn metadata_goes_with_entries() {
    let nic = nic();
    let lines = "\
routes h.ipv4.dst=10.0.0.0/8 drop() metadata=owner:blue,v2 controller-metadata=7
routes h.ipv4.dst=11.0.0.0/8 drop() metadata=0x00ff23
routes h.ipv4.dst=12.0.0.0/8 drop() metadata=0x3078
";
    let output = nic.reads("table add --atomic --from -", lines);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(nic.stdout("table dump"), lines);
    nic.stdout("table set routes dst=12.0.0.0/8 drop() metadata=é");
    nic.stdout("table set nexthops default drop() metadata=mine");
    let dump = nic.stdout("table dump");
    for line in [
        "routes h.ipv4.dst=12.0.0.0/8 drop() metadata=0xc3a9\n",
        "nexthops default drop() metadata=mine\n",
    ] {
        assert!(dump.contains(line), "{dump}");
    }
    let error = nic.refuses("table add routes dst=13.0.0.0/8 drop metadata=0x+1");
    assert!(error.contains("two digits for each byte"), "{error}");
    let long = format!(
        "table add routes dst=13.0.0.0/8 drop metadata={}",
        "x".repeat(1001)
    );
    let error = nic.refuses(&long);
    assert!(error.contains("1000 are kept"), "{error}");
}

#[test]
fn the_variable_says_where_the_nic_is() {
    let nic = nic();
    let adit = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_adit"))
            .args(words)
            .args(["--device", DEVICE])
            .env("ADIT_P4RT", &nic.listening.address)
            .output();
        output.expect("adit starts")
    };
    let output = adit(&["table", "add", "routes", "dst=10.0.0.0/8", "drop"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(nic.stdout("table dump").lines().count(), 1);
    // The command line takes precedence.
    let output = adit(&["table", "list", "--p4rt", "unix:/nowhere"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("server at unix:/nowhere"), "{error}");
}

#[test]
fn a_program_is_given_with_and_without_what_was_there() {
    let nic = nic();
    let folder = tempfile::tempdir().expect("a folder");
    let load = |options: &str, text: &str| {
        let path = folder.path().join("program.p4");
        std::fs::write(&path, text).expect("a file");
        format!("p4 load {}{options}", path.display())
    };
    let route = "routes h.ipv4.dst=10.0.0.0/8 drop()\n";
    nic.stdout("table add routes dst=10.0.0.0/8 drop");
    let larger = PROGRAM.replace("size = 1024", "size = 2048");
    assert_ne!(larger, PROGRAM);
    nic.stdout(&load(" --keep", &larger));
    assert_eq!(nic.stdout("table dump"), route);
    assert_eq!(nic.json("table list")[0]["size"], 2048);
    // A program without the table of existing entries is rejected, and nothing changes.
    let other = PROGRAM.replace("routes", "nets");
    let error = nic.refuses(&load(" --keep", &other));
    assert!(error.contains("SetForwardingPipelineConfig: "), "{error}");
    let error = nic.refuses(&load("", &PROGRAM.replace("size = 1024", "size = x")));
    assert!(error.contains("program.p4:"), "{error}");
    assert_eq!(nic.stdout("table dump"), route);
    nic.stdout(&load("", PROGRAM));
    assert_eq!(nic.stdout("table dump"), "");
}

#[test]
fn mistakes_are_named_with_what_would_be_right() {
    let nic = nic();
    for (words, why) in [
        (
            "table add rout dst=1.0.0.0/8 drop",
            "no table `rout`; it has: ",
        ),
        (
            "table add routes x=1 drop",
            "table `routes`: it has no match field `x`; it has: h.ipv4.dst",
        ),
        (
            "table add routes dst=10.0.0.1/8 drop",
            "10.0.0.0/8 would be right",
        ),
        (
            "table add routes dst=10.0.0.0/8 forward(1,2)",
            "no action `forward`; it has: ",
        ),
        (
            "table add routes dst=10.0.0.0/8 no_route",
            "cannot be an action of entries; these can: route(nexthop=bit<16>), drop()",
        ),
        (
            "table add routes dst=10.0.0.0/8 route(65536)",
            "`nexthop`: `65536` does not fit into 16 bits",
        ),
        (
            "table add routes dst=10.0.0.0/8 route()",
            "the action is route(nexthop=bit<16>): `nexthop` is missing",
        ),
        (
            "table add routes dst=10.0.0.0/8",
            "an action is missing: route(nexthop=bit<16>), drop()",
        ),
        (
            "table add routes dst=10.0.0.0/8 priority=1 drop",
            "have no priority",
        ),
        (
            "table add rules src=10.0.0.0/8 drop",
            "priority=N is missing",
        ),
        (
            "table add nexthops drop",
            "`m.nexthop` is missing: m.nexthop=VALUE",
        ),
        (
            "table add hosts src=02:00:00:00:00:01 drop",
            "the table wants member(N)",
        ),
        (
            "table delete routes dst=10.0.0.0/8",
            "routes h.ipv4.dst=10.0.0.0/8: ",
        ),
        ("table add paths", "it takes member=N ACTION or group=N"),
        (
            "table add paths x=1 drop",
            "it takes member=N ACTION or group=N",
        ),
        (
            "table add paths member=0 drop",
            "`0` is no number from 1 to",
        ),
        (
            "table add paths member=1",
            "an action is missing: forward(mac=bit<48>, port=bit<9>), drop()",
        ),
        (
            "table add paths member=1 route(1)",
            "action profile `paths`: it has no action `route`; it has: forward, drop",
        ),
        (
            "table add paths member=1 drop drop",
            "a member has one action",
        ),
        (
            "table add paths group=1 drop",
            "member(N, weight=W, watch=PORT) is wanted",
        ),
        (
            "table add paths group=1 member(1,weight=0)",
            "a weight is 1 to",
        ),
        ("table add paths group=1 member(1", "a `(` without its `)`"),
        ("table add profile group=1", "it is no selector"),
        (
            "table add hosts src=02:00:00:00:00:01 group(1)",
            "the table wants member(N)",
        ),
        (
            "table add ways nexthop=1 route(1)",
            "action(ACTION(...), weight=W, watch=PORT) ...: it has no action `route`",
        ),
        (
            "table add ways nexthop=1 action(drop(),wait=1)",
            "`wait=1` is neither weight=W nor watch=PORT",
        ),
        (
            "table add ways nexthop=1 drop() member(1)",
            "`member(1)`: a second action",
        ),
        (
            "table add routes dst=10.0.0.0/8 drop drop",
            "`drop`: a second action",
        ),
        (
            "table list nothing",
            "no action profile `nothing`; it has: ",
        ),
        ("counter nothing", "no counter `nothing`; it has: seen"),
        ("counter seen 16", "`seen` has 16 counters"),
    ] {
        let error = nic.refuses(words);
        assert!(error.contains(why), "{words}: {error}");
    }
    // The server's own message, and its code.
    nic.stdout("table add routes dst=10.0.0.0/8 drop");
    let error = nic.refuses("table add routes dst=10.0.0.0/8 drop");
    assert!(error.contains("routes h.ipv4.dst=10.0.0.0/8: "), "{error}");
    assert!(error.contains("(AlreadyExists)"), "{error}");
    let error = nic.refuses("table add hosts src=02:00:00:00:00:01 member(9)");
    assert!(
        error.contains("hosts h.ethernet.src=02:00:00:00:00:01: "),
        "{error}"
    );
}

#[test]
fn a_file_with_a_mistake_changes_nothing_and_updates_fail_one_by_one() {
    let nic = nic();
    let bad = "nexthops nexthop=1 drop\nnexthops nexthop=x drop\n";
    let output = nic.reads("table add --from -", bad);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("nothing was changed") && error.contains("line 2: "),
        "{error}"
    );
    assert!(!error.contains("line 1: "), "{error}");
    assert_eq!(nic.stdout("table dump"), "");

    // The table has space for four entries: failed ones are identified by their lines.
    let six: String = (1..=6)
        .map(|n| format!("nexthops nexthop={n} drop\n"))
        .collect();
    let output = nic.reads("table add --atomic --from -", &six);
    assert!(!output.status.success());
    assert_eq!(nic.stdout("table dump"), "");
    let output = nic.reads("table add --from -", &six);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("2 of 6 entries failed"), "{error}");
    for n in 1..=6 {
        assert_eq!(error.contains(&format!("line {n}: ")), n > 4, "{error}");
    }
    assert!(error.contains("(ResourceExhausted)"), "{error}");
    assert_eq!(nic.stdout("table dump").lines().count(), 4);
}

#[test]
fn counters_are_shown() {
    let nic = nic();
    let mut objects = nic.engine.objects().iter();
    let seen = objects.find_map(|object| match object {
        Object::Counter(counter) if counter.size() == 16 => Some(counter),
        _ => None,
    });
    let count = Count {
        packets: 12,
        bytes: 0,
    };
    seen.expect("a counter").set(3, count).expect("it has 16");
    nic.stdout("table add routes dst=10.0.0.0/8 route(1)");
    let shown = nic.json("counter");
    assert_eq!(shown.as_array().expect("counters").len(), 1, "{shown}");
    assert_eq!(shown[0]["counter"], "seen");
    assert_eq!(shown[0]["index"], 3);
    assert_eq!(shown[0]["packets"], 12);
    assert_eq!(nic.json("counter seen 4")[0]["packets"], 0);
    assert_eq!(
        nic.json("counter seen --all").as_array().expect("it").len(),
        16
    );
    let direct = nic.json("counter routes --all");
    assert_eq!(direct[0]["entry"], "routes h.ipv4.dst=10.0.0.0/8");
}

#[test]
fn writers_at_the_same_time_wait_for_each_other() {
    let nic = nic();
    let children: Vec<_> = (1..=4)
        .map(|n| {
            let route = format!("ipv4.dst=10.{n}.0.0/16");
            let mut command = nic.command(&format!("table add routes {route} drop"));
            command.stderr(Stdio::piped()).spawn().expect("adit starts")
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(nic.stdout("table dump").lines().count(), 4);
}

#[test]
fn nobody_at_the_other_end_is_told() {
    let nic = nic();
    let address = nic.listening.address.clone();
    let output = nic.run("table list --device 8");
    assert!(!output.status.success());
    drop(nic);
    let output = Command::new(env!("CARGO_BIN_EXE_adit"))
        .args(["table", "list", "--p4rt", &address])
        .output()
        .expect("adit starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains(&format!("cannot reach a P4Runtime server at {address}"))
            && error.to_lowercase().contains("refused"),
        "{error}"
    );
}
