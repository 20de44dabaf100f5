// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A client of a composed device. The target's body is in the crate, so that tests run it, too.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adit_vdcm::fuzzing::vdev(data));
