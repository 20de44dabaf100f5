#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The debug kernel's watchers are there: without them, tests that pass say little.
. "$SELFTEST_LIB/ktap.sh"
plan 5
check "KASAN" eval 'zcat /proc/config.gz | grep -x CONFIG_KASAN=y'
check "of Rust modules, too" eval 'nm /scratch/module/adit.ko | grep -q " U __asan_"'
check "kmemleak" test -w /sys/kernel/debug/kmemleak
check "lockdep still watches" grep -q 'debug_locks: *1' /proc/lockdep_stats
check "objects' lives are watched" test -e /sys/kernel/debug/debug_objects/stats
done_testing
