// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A driver that accesses the function's registers in any order, while it moves frames.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| adit_nic::fuzzing::registers(input));
