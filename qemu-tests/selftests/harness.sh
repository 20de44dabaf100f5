#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The harness itself: failures are detected, and both ends of the wire exist.
# TIMEOUT: 240
. "$SELFTEST_LIB/ktap.sh"
plan 9

dir=$(mktemp -d)
run() {
    rm -f "$dir"/*.sh
    cat >"$dir/case.sh"
    SELFTEST_DIR=$dir SELFTEST_NO_SCAN=1 bash /repo/qemu-tests/selftests/run.sh >"$dir/report" 2>&1
}
head='. "$SELFTEST_LIB/ktap.sh"; plan 1;'

run <<<"$head pass fine; done_testing"
check_equal "a passing test passes" "$?:$(grep -c '^ok 1 case' "$dir/report")" 0:1
run <<<"$head check wrong false; done_testing"
check_equal "a failing test fails" "$?:$(grep -c '^not ok 1 case' "$dir/report")" 1:1
run <<<"$head check_equal 'two failures' '' ''; done_testing"
check_equal "a comparison with an empty value fails" "$?" 1
run <<<"$head done_testing"
check_equal "a test with fewer results than planned fails" "$?" 1
run <<<"# TIMEOUT: 1"$'\n'"sleep 20"
check_equal "a test that exceeds its timeout fails" "$?" 1
run <<<"$head skip this 'for a reason'; done_testing"
check_equal "a skipped test does not count as passed" "$(grep -c '^ok 1 case # SKIP' "$dir/report")" 1
# The word is split, so that the log of this test itself has no match.
run <<<"$head echo 'WARN''ING: made up' >/dev/kmsg; pass fine; done_testing"
check_equal "a warning in the kernel log fails a test" "$?" 1
# The log is read from this test's marker on: remove the made-up warning from it.
dmesg --clear

check_equal "a command at the other end of the wire returns its status" "$(wire sh -c 'exit 9'; echo $?)" 9
wire --bg sleeper sleep 100
check "a command in the background can be ended" wire --kill sleeper
done_testing
