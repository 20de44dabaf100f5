#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Groups of ADIs: an owner that has several open makes their queues those of one virtual port. Nobody
# else can, and a group ends with each of its ADIs: a close, a killed owner, a reset of the function.
# TIMEOUT: 240
. "$SELFTEST_LIB/adi.sh"
. "$SELFTEST_LIB/memory.sh"
plan 16
work=$(mktemp -d)
counted() { devlink -j health diagnose "$dl" reporter control_plane | jq -c "$1"; }
check "adit is bound to the NIC" adi_start
check "three ADIs are created" eval 'adi_create 1 && adi_create 2 && adi_create 3'
check_equal "no group was formed" "$(counted '[.groups_formed, .groups_ended]')" "[0,0]"
pins=$(pinned)
check "groups do what they should, and nobody else forms one" \
    python3 "$SELFTEST_LIB/adi_group.py" owner "$(adi_device 1)" "$(adi_device 2)" "$(adi_device 3)"
check_equal "no page is pinned afterwards" "$(pinned)" "$pins"
check_equal "groups are counted that were formed and that ended" "$(counted '[.groups_formed, .groups_ended]')" "[3,3]"
check_equal "refusals are counted" "$(counted .groups_refused)" 27

# held COMMAND: keeps a group of the first two ADIs in another process.
held() {
    rm -f "$work/log"
    python3 "$SELFTEST_LIB/adi_group.py" "$1" "$(adi_device 1)" "$(adi_device 2)" >"$work/log" 2>&1 &
    holder=$!
    retry 20 grep -q ready "$work/log" || { cat "$work/log"; return 1; }
}
usable() { adit ping -W 30000 --adi "$(adi_device "$1")" --ip 10.99.0.3 -i 10 -c 5 -q 10.99.0.1; }
check "a process has a group" held holder
check "an ADI of a group is not deleted" refused "Device or resource busy" "" adi_state "$(adi_port 2)" inactive
kill -9 "$holder"
wait "$holder" 2>/dev/null
check "its ADIs are of use after it is killed" eval 'usable 1 && usable 2'
check_equal "no page is pinned after it is killed" "$(pinned)" "$pins"
check "a process has a group again" held reset
check "the function is reset" within 20 sh -c "echo 1 >/sys/bus/pci/devices/$nic/reset"
check "the process loses both ADIs" eval 'wait "$holder" && grep -q lost "$work/log" || { cat "$work/log"; false; }'
check "the ADIs are in no group after the reset" eval 'held holder && kill -9 "$holder" && ! wait "$holder" &&
    usable 1 && usable 2'
rm -rf "$work"
check "all ADIs are destroyed" eval 'adi_destroy 1 && adi_destroy 2 && adi_destroy 3'
done_testing
