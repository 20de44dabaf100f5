#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The steps of `cargo xtask demo`, which end with an exit status.
# TIMEOUT: 600
. "$SELFTEST_LIB/ktap.sh"
plan 1
check "the demo shows what it says" /repo/qemu-tests/demo/node.sh
done_testing
