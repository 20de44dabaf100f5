#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# An ADI's life through devlink: made, shown, destroyed; nothing is left.
# TIMEOUT: 120
. "$SELFTEST_LIB/adit.sh"
. "$SELFTEST_LIB/memory.sh"
plan 26
check "adit has the NIC" adit-load $nic
check "devlink knows the driver" \
    eval '[[ $(devlink -j dev info $dl | jq -r ".info[].driver") == adit ]]'
check_equal "the mailbox's protocol is in devlink info" \
    "$(devlink -j dev info $dl | jq -r '.info[].versions.running["fw.mgmt.api"]')" 2.0
check "there is room for 1,000 ADIs" \
    eval '(($(devlink -j resource show $dl | jq ".resources[][] | select(.name == \"adis\") | .size") >= 1000))'

check "a port is made" adi_add 88
check_equal "of flavour pcisf" "$(port_field $port .flavour)" pcisf
check_equal "inactive at first" "$(port_field $port .function.state)" inactive
check_equal "which takes nothing" "$(occupancy adis)" 0
check "it is given an address and queues" \
    devlink port function set $port hw_addr 02:00:00:00:88:01 max_io_eqs 2
check "it is made active" adi_state $port active
check_equal "and says so" "$(port_field $port '.function | .state + " " + .opstate')" "active attached"
adi=$(echo $aux/adit.adi.*)
check "an auxiliary device is there" test -e $adi
attributes=$(cd $adi && grep -s . sfnum queues vectors mac state faults | tr '\n' ' ')
check_equal "its attributes" "$attributes" \
    "sfnum:88 queues:2 vectors:2 mac:02:00:00:00:88:01 state:active faults:0 "
check "it has a PASID" eval '(($(<$adi/pasid) > 0))'
check_equal "resources in use" "$(occupancy adis) $(occupancy queue_pairs) $(occupancy vectors)" "1 2 2"

before=$(pinned)
check "it is opened and closed by who registers memory" retry 5 \
    python3 "$SELFTEST_LIB/adi_holder.py" "${adi##*/}" 4
check_equal "which is not pinned any more" "$(pinned)" "$before"

first=$port
check "a second one" adi_up 89
check "with a PASID of its own" eval '[[ $(cat $aux/adit.adi.*/pasid | sort -u | wc -l) == 2 ]]'
check "and an address from the device" \
    eval '[[ $(port_field $port .function.hw_addr) != 00:00:00:00:00:00 ]]'
check "the first is made inactive" adi_state $first inactive
check_equal "the second is still there" "$(occupancy adis) $(port_field $port .function.state)" "1 active"
check "both ports are removed" eval 'devlink port del $first && devlink port del $port'
check_equal "no auxiliary device is left" "$(ls $aux | grep -c adit)" 0
check_equal "no resource is in use" "$(occupancy adis) $(occupancy queue_pairs)" "0 0"
check "adit is unloaded" adit-load -u $nic
done_testing
