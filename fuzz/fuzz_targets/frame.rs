// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Arbitrary frames.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| adit_pipeline::fuzz::fuzz_frame(input));
