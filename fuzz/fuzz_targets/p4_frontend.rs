// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Arbitrary text as a P4 program.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| adit_p4_frontend::fuzz::fuzz_check(input));
