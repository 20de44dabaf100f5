// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A driver that writes arbitrary data to the mailbox's registers and rings.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| adit_nic::mailbox::fuzz_mailbox(input));
