// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state of a device that is updated. The target's body is in the crate, so that tests run it, too.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adit_nic::fuzzing::update(data));
