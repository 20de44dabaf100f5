// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Short runs of the fuzz target, and what its seeds reach.

use adit_function::testing::seeded::{run, spoil};

use super::*;

#[test]
fn any_client() {
    run(vdev, 1_000);
}

#[test]
fn a_driver_that_goes_wrong() {
    spoil(vdev, &vdev_corpus(), 3_000);
}

#[test]
fn the_seeds_reach_the_adis() {
    for input in vdev_corpus() {
        let mut choices = Choices(&input);
        let mut client = Client::new(choices.u8()).unwrap();
        let mut most = 0;
        while choices.more() {
            client.act(&mut choices);
            most = most.max(client.running());
        }
        assert_eq!(most, 5, "the queues of a pair, of the kind {}", input[0]);
        let stats = client.stats();
        assert!(stats.requests_refused.is_empty(), "{stats:?}");
        // One message came while the ring was not mapped.
        assert_eq!(stats.mailbox_faults.get("ring"), Some(&1), "{stats:?}");
    }
}
