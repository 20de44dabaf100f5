#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Everything that an owner of an ADI can say wrongly to VFIO, its regions and its mailbox is refused
# with the errno for it; some seconds of calls at random do no harm, to it or to the next owner.
# TIMEOUT: 150
. "$SELFTEST_LIB/adi.sh"
. "$SELFTEST_LIB/memory.sh"
plan 8
check "the NIC is adit's" adi_start
check "two ADIs are made" eval 'adi_create 1 && adi_create 2'
check "wrong calls are refused" python3 "$SELFTEST_LIB/adi_hostile.py" "$(adi_device 1)" "${SECONDS_OF_CALLS:-8}"
before=$(pinned)
check "memory that is registered and unmapped at the same time" \
    python3 "$SELFTEST_LIB/adi_race.py" "$(adi_device 1)" 4
check "memory of several that is unmapped at the same time" \
    python3 "$SELFTEST_LIB/adi_unmappers.py" "$(adi_device 1)" 5
check_equal "is not pinned in the end" "$(pinned)" "$before"
adit ping --adi "$(adi_device 2)" --ip 10.99.0.4 -q &
check "the next owner finds it as it should be" \
    adit ping --adi "$(adi_device 1)" --ip 10.99.0.3 -i 10 -c 20 -q 10.99.0.4
adi_stop
check "both can be destroyed" eval 'adi_destroy 1 && adi_destroy 2'
done_testing
