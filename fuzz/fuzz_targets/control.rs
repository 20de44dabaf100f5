// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A driver that sends arbitrary data to the control plane.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| adit_nic::control::fuzz_control(input));
