#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The ends of an owner: it is killed under traffic, the driver is unbound and the function reset
# while ADIs are in use. Owners get an error instead of a hang, and nothing is leaked.
# TIMEOUT: 240
. "$SELFTEST_LIB/adi.sh"
. "$SELFTEST_LIB/memory.sh"
plan 25
check "adit is bound to the NIC" adi_start
check "two ADIs are created" eval 'adi_create 1 && adi_create 2'
one=$(adi_device 1) two=$(adi_device 2)
check "an ADI with two queue pairs is created" adi_create 3 max_io_eqs 2
check "the state of an owner is not visible to the next owner" \
    python3 "$SELFTEST_LIB/adi_previous_owner.py" "$(adi_device 3)"

before=$(pinned)
python3 "$SELFTEST_LIB/adi_holder.py" "$one" hold >"$ktap_output.held" &
owner=$!
check "an owner registers memory" retry 20 grep -q holds "$ktap_output.held"
check_equal "memory is pinned after registration" "$(($(pinned) - before))" 64
kill -9 "$owner"
wait "$owner" 2>/dev/null
check_equal "memory is unpinned when its owner is killed" "$(pinned)" "$before"

# Frames that the ADI has sent since the module was loaded.
sent() { adit -o json adi stats "$1" | jq '.[0].tx_packets'; }
sends() { # sends ADI: waits until the ADI sends frames. An owner under load takes seconds to start.
    local before
    before=$(sent "$1")
    retry 20 eval '(($(sent '"$1"') > '"$before"'))'
}
for round in 1 2 3; do
    adit pktgen --adi "$one" --seconds 60 send >/dev/null &
    owner=$!
    check "round $round: an owner under traffic is killed" eval 'sends "$one" && kill -9 "$owner"'
    wait "$owner" 2>/dev/null
    check "round $round: the ADI works for the next owner" retry 5 \
        adit ping -W 30000 --adi "$one" --ip 10.99.0.3 -i 10 -c 5 -q 10.99.0.1
done

unread() { "$@" | true; return "${PIPESTATUS[0]}"; }
check "pktgen exits with success when its output is closed" unread adit pktgen --adi "$one" --seconds 0.1 receive

adit pktgen --adi "$one" --seconds 100 send >"$ktap_output.one" 2>&1 &
first=$!
adit ping --adi "$two" --ip 10.99.0.4 -q >"$ktap_output.two" 2>&1 &
second=$!
check "both ADIs are in use" eval 'sends "$one" && retry 20 wire ping -c 1 -W 1 10.99.0.4'
unbind() { echo "$1" >"$(readlink -f "$aux/$1/driver")/unbind"; }
check "the driver of the ADI unbinds under traffic" unbind "$one"
wait "$first"
check_equal "the owner of the unbound ADI exits with an error" "$?" 1
check "the error names the reason" eval 'cat "$ktap_output.one"; grep "the ADI is taken away" "$ktap_output.one"'
check "the other ADI still works" wire ping -c 3 -i 0.2 -w 30 10.99.0.4
adit-load -u "$nic"
check_equal "no page is pinned after the driver is unloaded" "$(pinned)" "$before"
check "the owner of the other ADI exits when the function is unbound" retry 20 eval '! kill -0 $second 2>/dev/null'
wait "$second"
check_equal "the owner of the other ADI exits with an error" "$?" 1
check "the error names the reason" eval 'cat "$ktap_output.two"; grep "the ADI is taken away" "$ktap_output.two"'
check "the module is unloaded" test ! -e /sys/module/adit
check "the function works after the module is loaded again" eval 'adi_start && adi_create 1 &&
    adit ping -W 30000 --adi "$(adi_device 1)" --ip 10.99.0.3 -i 10 -c 5 -q 10.99.0.1'
rm -f "$ktap_output".*
done_testing
