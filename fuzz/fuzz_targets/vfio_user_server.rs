// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A vfio-user client that sends arbitrary data.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| adit_vfio_user::fuzzing::vfio_user_server(input));
