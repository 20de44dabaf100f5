// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Payloads of both sides of a session through H.323's helper of registration with a gatekeeper.
#![no_main]

use adit_conntrack::Helper;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| adit_conntrack::fuzzing::fuzz_helper(Helper::Ras, input));
