// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packets through the connection tracker, fragments among them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| adit_conntrack::fuzzing::fuzz_packets(input));
