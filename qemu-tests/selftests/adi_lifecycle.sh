#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The lifecycle of an ADI in devlink: created, shown, destroyed; no resource is leaked.
# TIMEOUT: 120
. "$SELFTEST_LIB/adit.sh"
. "$SELFTEST_LIB/memory.sh"
plan 26
check "adit is bound to the NIC" adit-load $nic
check "devlink reports the driver" \
    eval '[[ $(devlink -j dev info $dl | jq -r ".info[].driver") == adit ]]'
check_equal "devlink reports the version of the mailbox protocol" \
    "$(devlink -j dev info $dl | jq -r '.info[].versions.running["fw.mgmt.api"]')" 2.0
check "the resource limit allows 1,000 ADIs" \
    eval '(($(devlink -j resource show $dl | jq ".resources[][] | select(.name == \"adis\") | .size") >= 1000))'

check "a port is created" adi_add 88
check_equal "the port has flavour pcisf" "$(port_field $port .flavour)" pcisf
check_equal "a new port is inactive" "$(port_field $port .function.state)" inactive
check_equal "an inactive port occupies no ADI" "$(occupancy adis)" 0
check "the MAC address and the queues of the port are set" \
    devlink port function set $port hw_addr 02:00:00:00:88:01 max_io_eqs 2
check "the port is activated" adi_state $port active
check_equal "the port is active and attached" "$(port_field $port '.function | .state + " " + .opstate')" "active attached"
adi=$(echo $aux/adit.adi.*)
check "an auxiliary device exists" test -e $adi
attributes=$(cd $adi && grep -s . sfnum queues vectors mac state faults | tr '\n' ' ')
check_equal "the attributes of the auxiliary device match the port" "$attributes" \
    "sfnum:88 queues:2 vectors:2 mac:02:00:00:00:88:01 state:active faults:0 "
check "the ADI has a PASID" eval '(($(<$adi/pasid) > 0))'
check_equal "the ADI occupies its resources" "$(occupancy adis) $(occupancy queue_pairs) $(occupancy vectors)" "1 2 2"

before=$(pinned)
check "an owner opens the ADI, registers memory and closes it" retry 5 \
    python3 "$SELFTEST_LIB/adi_holder.py" "${adi##*/}" 4
check_equal "no page is pinned after the owner has closed the ADI" "$(pinned)" "$before"

first=$port
check "a second ADI is created" adi_up 89
check "the second ADI has its own PASID" eval '[[ $(cat $aux/adit.adi.*/pasid | sort -u | wc -l) == 2 ]]'
check "the second ADI has a MAC address from the device" \
    eval '[[ $(port_field $port .function.hw_addr) != 00:00:00:00:00:00 ]]'
check "the first ADI is deactivated" adi_state $first inactive
check_equal "the second ADI is still active" "$(occupancy adis) $(port_field $port .function.state)" "1 active"
check "both ports are removed" eval 'devlink port del $first && devlink port del $port'
check_equal "no auxiliary device remains" "$(ls $aux | grep -c adit)" 0
check_equal "no resource is occupied" "$(occupancy adis) $(occupancy queue_pairs)" "0 0"
check "adit is unloaded" adit-load -u $nic
done_testing
