// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Entries of node setup that the program refuses.

use std::path::Path;

use adit_node_oracle::entries::{entry, Key};
use adit_node_oracle::nic::TestNic;

#[test]
fn the_mtu_of_a_next_hop_is_at_least_that_of_every_link() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../p4/k8s_node.p4");
    let with = |mtu: u16| {
        let mtu = mtu.to_be_bytes();
        let started = TestNic::start(&path, |info| {
            vec![entry(info, "mtus", &[Key::number(1)], 0, "mtu", &[&mtu])]
        });
        started.err().map(|error| format!("{error:#}"))
    };
    assert_eq!(with(1280), None);
    for mtu in [0, 67, 1279] {
        let error = with(mtu).expect("it is refused");
        assert!(error.contains("bytes >= 1280"), "{mtu}: {error}");
    }
}
