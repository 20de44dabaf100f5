// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Entries and packets of any kind, for the P4 programs that come with us.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| adit_pipeline::p4::fuzz::fuzz_engine(input));
