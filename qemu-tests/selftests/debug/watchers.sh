#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The checkers of the debug kernel are enabled: without them, passing tests prove little.
. "$SELFTEST_LIB/ktap.sh"
plan 5
check "KASAN is enabled" eval 'zcat /proc/config.gz | grep -x CONFIG_KASAN=y'
check "KASAN instruments the Rust module" eval 'nm /scratch/module/adit.ko | grep -q " U __asan_"'
check "kmemleak is enabled" test -w /sys/kernel/debug/kmemleak
check "lockdep is active" grep -q 'debug_locks: *1' /proc/lockdep_stats
check "debug objects are enabled" test -e /sys/kernel/debug/debug_objects/stats
done_testing
