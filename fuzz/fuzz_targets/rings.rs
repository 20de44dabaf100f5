// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A driver that writes arbitrary data to its rings, and rings any doorbell.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| adit_nic::fuzzing::rings(input));
