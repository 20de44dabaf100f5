#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Invalid calls of an owner to VFIO, the regions and the mailbox of its ADI are refused with the
# documented errno; random calls for some seconds affect neither the ADI nor its next owner.
# TIMEOUT: 180
. "$SELFTEST_LIB/adi.sh"
. "$SELFTEST_LIB/memory.sh"
plan 9
check "adit is bound to the NIC" adi_start
check "two ADIs are created" eval 'adi_create 1 && adi_create 2'
check "invalid calls are refused" python3 "$SELFTEST_LIB/adi_hostile.py" "$(adi_device 1)" "${SECONDS_OF_CALLS:-8}"
before=$(pinned)
check "memory can be registered while another process unmaps it" \
    python3 "$SELFTEST_LIB/adi_race.py" "$(adi_device 1)" 4
check "several processes can unmap registered memory at the same time" \
    python3 "$SELFTEST_LIB/adi_unmappers.py" "$(adi_device 1)" 5
check "a read whose page fault nobody handles does not hold up an unmapping" \
    python3 "$SELFTEST_LIB/adi_stalled_read.py" "$(adi_device 1)"
check_equal "no page is pinned after the races" "$(pinned)" "$before"
adit ping --adi "$(adi_device 2)" --ip 10.99.0.4 -q &
# It takes seconds to start on a machine under load.
retry 20 wire ping -c 1 -W 1 10.99.0.4
check "the ADI works for the next owner" \
    adit ping -W 30000 --adi "$(adi_device 1)" --ip 10.99.0.3 -i 10 -c 20 -q 10.99.0.4
adi_stop
check "both ADIs are destroyed" eval 'adi_destroy 1 && adi_destroy 2'
done_testing
