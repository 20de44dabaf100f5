#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Ends of all kinds: the owner is killed under traffic, the driver is unbound and the function reset
# while ADIs are in use. Owners get an error and no hang, and nothing stays behind.
# TIMEOUT: 240
. "$SELFTEST_LIB/adi.sh"
. "$SELFTEST_LIB/memory.sh"
plan 24
check "the NIC is adit's" adi_start
check "two ADIs are made" eval 'adi_create 1 && adi_create 2'
one=$(adi_device 1) two=$(adi_device 2)
check "another one, with two queue pairs" adi_create 3 max_io_eqs 2
check "what its owner leaves behind is not the next one's" \
    python3 "$SELFTEST_LIB/adi_previous_owner.py" "$(adi_device 3)"

before=$(pinned)
python3 "$SELFTEST_LIB/adi_holder.py" "$one" hold >"$ktap_output.held" &
owner=$!
check "an owner has memory registered" retry 20 grep -q holds "$ktap_output.held"
check_equal "which is pinned" "$(($(pinned) - before))" 64
kill -9 "$owner"
wait "$owner" 2>/dev/null
check_equal "until it is killed" "$(pinned)" "$before"

for round in 1 2 3; do
    adit pktgen --adi "$one" --seconds 60 send >/dev/null &
    owner=$!
    sleep 1
    check "round $round: an owner under traffic is killed" kill -9 "$owner"
    wait "$owner" 2>/dev/null
    check "round $round: the next one finds a working ADI" retry 5 \
        adit ping --adi "$one" --ip 10.99.0.3 -i 10 -c 5 -q 10.99.0.1
done

unread() { "$@" | true; return "${PIPESTATUS[0]}"; }
check "who prints for nobody ends well" unread adit pktgen --adi "$one" --seconds 0.1 receive

adit pktgen --adi "$one" --seconds 100 send >"$ktap_output.one" 2>&1 &
first=$!
adit ping --adi "$two" --ip 10.99.0.4 -q >"$ktap_output.two" 2>&1 &
second=$!
sleep 1
unbind() { echo "$1" >"$(readlink -f "$aux/$1/driver")/unbind"; }
check "the ADI's driver is unbound under traffic, once the owner has closed it" unbind "$one"
wait "$first"
check_equal "who ends with an error" "$?" 1
check "that says why" eval 'cat "$ktap_output.one"; grep "the ADI is taken away" "$ktap_output.one"'
check "its neighbour works" wire ping -c 3 -i 0.2 -W 5 10.99.0.4
adit-load -u "$nic"
check_equal "no page is pinned any more" "$(pinned)" "$before"
check "unbinding the function ends the other, too" eval '! kill -0 $second 2>/dev/null'
wait "$second"
check_equal "with an error" "$?" 1
check "that says why" eval 'cat "$ktap_output.two"; grep "the ADI is taken away" "$ktap_output.two"'
check "nothing is left" test ! -e /sys/module/adit
check "and the function works again" eval 'adi_start && adi_create 1 &&
    adit ping --adi "$(adi_device 1)" --ip 10.99.0.3 -i 10 -c 5 -q 10.99.0.1'
rm -f "$ktap_output".*
done_testing
