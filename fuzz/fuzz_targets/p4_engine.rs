// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Arbitrary entries and packets, for the P4 programs of this repository.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| adit_pipeline::p4::fuzz::fuzz_engine(input));
