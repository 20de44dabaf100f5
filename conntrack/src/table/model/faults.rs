// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The models with a fault each: they must find it. A model that passes with every fault proves nothing.
//!
//! | Model | Fails without |
//! | --- | --- |
//! | `reused_slots_are_found_by_their_keys` | fences of readers; fences of writers |
//! | `keys_are_read_whole` | fences of readers; fences of writers |
//! | `free_slots_are_taken_once` | the order of the head; its version |
//! | `lookups_find_what_is_there` | the order of slots |
//! | `a_connection_is_inserted_once` | the order of the shards' locks |
//! | `a_connection_is_removed_once` | the order of the shards' locks |

use std::sync::atomic::Ordering;

use super::*;
use crate::sync::{with_fault, Fault};

/// Without it, the keys of the later connection are read, and then the former generation.
#[test]
#[should_panic(expected = "the generation of the other connection")]
fn readers_need_their_fence_to_find() {
    let fault = Fault::NoFence(Ordering::Acquire);
    with_fault(fault, reused_slots_are_found_by_their_keys);
}

/// Without it, keys are changed before the generation.
#[test]
#[should_panic(expected = "the generation of the other connection")]
fn writers_need_their_fences_to_be_found() {
    let fault = Fault::NoFence(Ordering::Release);
    with_fault(fault, reused_slots_are_found_by_their_keys);
}

#[test]
#[should_panic(expected = "keys of two connections")]
fn readers_need_their_fence_for_keys() {
    with_fault(Fault::NoFence(Ordering::Acquire), keys_are_read_whole);
}

#[test]
#[should_panic(expected = "keys of two connections")]
fn writers_need_their_fences_for_keys() {
    with_fault(Fault::NoFence(Ordering::Release), keys_are_read_whole);
}

/// Without it, the link of a slot that was given back is not seen, but an older one.
#[test]
#[should_panic(expected = "a slot that is taken twice")]
fn free_slots_need_the_order_of_the_head() {
    with_fault(Fault::Unordered("free.rs"), free_slots_are_taken_once);
}

#[test]
#[should_panic(expected = "a slot that is taken twice")]
fn free_slots_need_the_version_of_the_head() {
    with_fault(Fault::NoVersion("free.rs"), free_slots_are_taken_once);
}

/// Without it, a slot is found by keys of which some are another connection's.
#[test]
#[should_panic(expected = "another's keys")]
fn lookups_need_the_order_of_slots() {
    with_fault(Fault::Unordered("slot.rs"), lookups_find_what_is_there);
}

/// Without it, the other thread's entries are not seen under the lock.
#[test]
#[should_panic(expected = "inserted so many times")]
fn insertions_need_the_order_of_their_lock() {
    with_fault(Fault::UnorderedLock, a_connection_is_inserted_once);
}

/// Without it, the other thread's end of the connection is not seen under the lock: its shard, which counts
/// it, would have less than none.
#[test]
#[should_panic(expected = "attempt to subtract with overflow")]
fn removals_need_the_order_of_their_lock() {
    with_fault(Fault::UnorderedLock, a_connection_is_removed_once);
}
