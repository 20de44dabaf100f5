// SPDX-License-Identifier: Apache-2.0 OR MIT

use std::sync::Arc;

use adit_p4_frontend::ir::{Match, Program};
use adit_p4_frontend::source::Includes;
use adit_p4_frontend::{compile, Options};
use proptest::prelude::*;

use super::MAX_PASSES;
use crate::p4::replication::{CloneSession, Replica, MAX_COPIES};
use crate::p4::{DropReason, Engine, Input, LoadError, Output, Worker};

const SKELETON: &str = include_str!("../../../../p4/tests/v1model-skeleton.p4");

struct Skeleton;

impl Includes for Skeleton {
    fn include(&self, path: &str, _: Option<&str>) -> Result<Option<(String, String)>, String> {
        let found = || (path.to_owned(), SKELETON.to_owned());
        Ok((path == "v1model-skeleton.p4").then(found))
    }
}

fn program(text: &str) -> Program {
    let compiled = compile("test.p4", text, &Skeleton, &Options::default());
    let rendered = compiled.diagnostics.render(&compiled.sources);
    compiled.program.unwrap_or_else(|| panic!("{rendered}"))
}

/// A worker with its own engine.
struct Switch(Worker);

impl std::ops::Deref for Switch {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        self.0.engine()
    }
}

impl Switch {
    fn new(program: Program) -> Result<Switch, LoadError> {
        Ok(Switch(Engine::worker(&Arc::new(Engine::load(program)?))))
    }
}

fn sent(switch: &mut Switch, packet: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut out = Vec::new();
    switch
        .0
        .process(0, &[Input::new(0, packet)], &mut |_, output| {
            if let Output::Sent(sent) = output {
                let mut data = Vec::new();
                sent.copy_to(packet, &mut data);
                out.push((sent.port as u16, data));
            }
        });
    out
}

/// Builds a program from the body of an ingress control.
fn switch(parser: &str, ingress: &str) -> Switch {
    let text = format!(
        "#include <v1model.p4>
         header h_t {{ bit<8> a; bit<8> b; }}
         struct H {{ h_t h; }}
         struct M {{ @field_list(1) bit<8> kept; bit<8> lost; }}
         parser P(packet_in p, out H h, inout M m, inout standard_metadata_t s) {{ {parser} }}
         control I(inout H h, inout M m, inout standard_metadata_t s) {{ {ingress} }}
         #include \"v1model-skeleton.p4\"\n"
    );
    Switch::new(program(&text)).unwrap()
}

/// Builds a program with an egress control.
fn whole(ingress: &str, egress: &str) -> Switch {
    let text = format!(
        "#include <v1model.p4>
         header h_t {{ bit<8> a; bit<8> b; }}
         struct H {{ h_t h; }}
         struct M {{ }}
         parser P(packet_in p, out H h, inout M m, inout standard_metadata_t s) {{ {PARSER} }}
         control V(inout H h, inout M m) {{ apply {{}} }}
         control I(inout H h, inout M m, inout standard_metadata_t s) {{ {ingress} }}
         control E(inout H h, inout M m, inout standard_metadata_t s) {{ {egress} }}
         control C(inout H h, inout M m) {{ apply {{}} }}
         control D(packet_out b, in H h) {{ apply {{ b.emit(h); }} }}
         V1Switch(P(), V(), I(), E(), C(), D()) main;"
    );
    Switch::new(program(&text)).unwrap()
}

const PARSER: &str = "state start { p.extract(h.h); transition accept; }";

#[test]
fn value_sets_are_filled_at_run_time() {
    let mut switch = switch(
        "value_set<bit<8>>(2) known;
         state start { p.extract(h.h); transition select(h.h.a) { known: accept; _: other; } }
         state other { m.lost = 1; transition accept; }",
        "apply { s.egress_spec = (bit<9>) m.lost + 1; }",
    );
    assert_eq!(sent(&mut switch, &[7, 0])[0].0, 2);
    assert_eq!(switch.value_sets()[0].name(), "P.known");
    let range = Match::Range(vec![6], vec![8]);
    switch.value_sets()[0]
        .set(vec![vec![range.clone()]])
        .unwrap();
    assert_eq!(sent(&mut switch, &[7, 0])[0].0, 1);
    assert_eq!(sent(&mut switch, &[9, 0])[0].0, 2);
    let three = vec![vec![range]; 3];
    assert!(
        switch.value_sets()[0].set(three).is_err(),
        "it has room for two"
    );
}

#[test]
fn a_packet_goes_round_with_what_it_keeps() {
    let mut switch = switch(
        PARSER,
        "apply {
             s.egress_spec = 3;
             if (s.instance_type == 0) {
                 m.kept = 5; m.lost = 6; h.h.a = 9;
                 resubmit_preserving_field_list(1);
             } else { h.h.b = m.kept ++ m.lost == 16w0x0500 && h.h.a == 1 ? 8w1 : 2; }
         }",
    );
    assert_eq!(sent(&mut switch, &[1, 0, 0xff]), [(3, vec![1, 1, 0xff])]);
}

#[test]
fn digests_that_nobody_takes_are_bounded_and_counted() {
    let mut switch = switch(PARSER, "apply { digest(1, h.h.a); s.egress_spec = 1; }");
    for _ in 0..5000 {
        sent(&mut switch, &[7, 2]);
    }
    let lost = switch.digests().lost();
    let taken: Vec<_> = std::iter::from_fn(|| switch.digests().take()).collect();
    assert_eq!((taken[0].receiver, &taken[0].data[..]), (1, &[7][..]));
    assert_eq!(taken.len() as u64 + lost, 5000);
    assert!(lost > 0);
}

#[test]
fn what_never_ends_is_dropped_and_counted() {
    let mut round = switch(PARSER, "apply { resubmit_preserving_field_list(1); }");
    assert!(sent(&mut round, &[1, 2]).is_empty());
    assert_eq!(round.dropped(DropReason::TooManyPasses), 1);
    let mut long = switch(
        PARSER,
        "apply { for (bit<64> i in 0 .. 1 << 40) { h.h.a = h.h.a + 1; } }",
    );
    assert!(sent(&mut long, &[1, 2]).is_empty());
    assert_eq!(long.dropped(DropReason::TooLong), 1);
    let never = "state start { transition select(m.lost) { 0: start; default: accept; } }";
    let mut stuck = switch(never, "apply { }");
    assert!(sent(&mut stuck, &[1, 2]).is_empty());
    assert_eq!(stuck.dropped(DropReason::TooLong), 1);
}

#[test]
fn clones_go_where_their_session_says() {
    let mut switch = switch(
        PARSER,
        "apply { s.egress_spec = 1; h.h.a = 0xee; clone(CloneType.I2E, 7); }",
    );
    assert_eq!(sent(&mut switch, &[1, 2]).len(), 1);
    assert_eq!(switch.dropped(DropReason::UnknownSession), 1);
    // The session exists, but not its group.
    let missing = CloneSession::group(3);
    switch.replication().insert_session(7, missing).unwrap();
    assert_eq!(sent(&mut switch, &[1, 2]).len(), 1);
    assert_eq!(switch.dropped(DropReason::UnknownGroup), 1);
    assert_eq!(switch.dropped(DropReason::UnknownSession), 1);
    switch.replication().delete_session(7).unwrap();
    let copies = [(8, 1), (9, 2)].map(|(port, instance)| Replica { port, instance });
    switch.replication().insert_group(4, &copies).unwrap();
    let session = CloneSession::group(4);
    switch.replication().insert_session(7, session).unwrap();
    let mut out = sent(&mut switch, &[1, 2]);
    out.sort();
    // Clones have the contents of the packet as received.
    assert_eq!(out, [(1, vec![0xee, 2]), (8, vec![1, 2]), (9, vec![1, 2])]);
}

#[test]
fn every_member_of_a_large_group_gets_a_copy() {
    let mut switch = switch(PARSER, "apply { s.mcast_grp = 4; }");
    let copies = (0..MAX_COPIES as u64).map(|port| Replica { port, instance: 0 });
    let copies: Vec<_> = copies.collect();
    switch.replication().insert_group(4, &copies).unwrap();
    let ports: Vec<_> = sent(&mut switch, &[1, 2]).iter().map(|s| s.0).collect();
    assert_eq!(ports, (0..MAX_COPIES as u16).collect::<Vec<_>>());
}

/// Copies that are cloned and recirculated: processing of every packet terminates, and copies that
/// are not made are counted.
#[test]
fn copies_of_copies_are_bounded() {
    for copies in [1, 2, MAX_COPIES as u64] {
        let mut switch = whole(
            "apply { s.mcast_grp = 4; }",
            "apply {
                 clone(CloneType.E2E, 7);
                 recirculate_preserving_field_list(0);
             }",
        );
        let replicas = (0..copies).map(|port| Replica { port, instance: 0 });
        let replicas: Vec<_> = replicas.collect();
        switch.replication().insert_group(4, &replicas).unwrap();
        let session = CloneSession::group(4);
        switch.replication().insert_session(7, session).unwrap();
        assert!(sent(&mut switch, &[1, 2]).is_empty(), "all go round");
        let dropped = switch.dropped(DropReason::TooManyPasses);
        // A pass requests two copies, either of which may be refused.
        assert!(
            (1..=2 * u64::from(MAX_PASSES)).contains(&dropped),
            "{dropped}"
        );
    }
}

#[test]
fn what_goes_round_stays_cut() {
    let mut switch = whole(
        "apply { s.egress_spec = 1; h.h.b = h.h.b + 1; }",
        "apply { if (h.h.b < 3) { truncate(5); recirculate_preserving_field_list(0); } }",
    );
    let out = sent(&mut switch, &[9, 0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(out, [(1, vec![9, 3, 1, 2, 3])]);
}

#[test]
fn what_the_engine_lacks_is_named() {
    let text = "#include <v1model.p4>
         struct H {} struct M {}
         parser P(packet_in p, out H h, inout M m, inout standard_metadata_t s) {
             state start { transition accept; }
         }
         extern void magic(in bit<8> x);
         control I(inout H h, inout M m, inout standard_metadata_t s) { apply { magic(1); } }
         #include \"v1model-skeleton.p4\"\n";
    let error = Switch::new(program(text)).err().unwrap().to_string();
    assert!(error.contains("`magic`"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Processing of any packet terminates without a panic, for programs that use much of the
    /// language.
    #[test]
    fn any_packet_ends(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..8)) {
        for text in [
            include_str!("../../../../p4/tests/parsing.p4"),
            include_str!("../../../../p4/tests/arithmetic.p4"),
            include_str!("../../../../p4/tests/calls.p4"),
        ] {
            let mut switch = Switch::new(program(text)).unwrap();
            for packet in &packets {
                prop_assert!(sent(&mut switch, packet).len() <= 1);
            }
        }
    }
}
