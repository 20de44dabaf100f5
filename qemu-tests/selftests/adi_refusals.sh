#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# What devlink is refused for ADIs, with words that say why; and that nothing comes of it.
# TIMEOUT: 120
. "$SELFTEST_LIB/adit.sh"
plan 22
check "adit has the NIC" adit-load $nic
add() { devlink port add "$dl" "$@"; }
check "a port of another flavour" refused "not supported" "only ports of flavour pcisf" \
    add flavour pcipf pfnum 0
check "a port of another function" refused "Invalid argument" "pfnum must be 0" \
    add flavour pcisf pfnum 1 sfnum 1
check "a port without a number" refused "Invalid argument" "sfnum" add flavour pcisf pfnum 0
check "a port at an index" refused "not supported" "assigned by the driver" \
    devlink port add $dl/7 flavour pcisf pfnum 0 sfnum 1
check "a controller that is not there" refused "Invalid argument" "only controller 0" \
    add flavour pcisf controller 1 pfnum 0 sfnum 1
check "a port" adi_add 7
check "the same number again" refused "File exists" "sfnum 7 is in use" \
    add flavour pcisf pfnum 0 sfnum 7
fn() { devlink port function set "$port" "$@"; }
check "a group's address" refused "Invalid argument" "multicast address" fn hw_addr 01:00:5e:00:00:01
check "no queues" refused "Invalid argument" "queue pairs" fn max_io_eqs 0
check "too many queues" refused "Invalid argument" "queue pairs" fn max_io_eqs 65535
check "more queues than a number holds" refused "Invalid argument" "queue pairs" fn max_io_eqs 4294967295
check_equal "nothing has come of all that" \
    "$(port_field $port '.function | "\(.hw_addr) \(.max_io_eqs) \(.state)"')" "00:00:00:00:00:00 1 inactive"
check "it is made active" fn state active
check "and once more, which is nothing" fn state active
check "another address while it is" refused "busy" "active" fn hw_addr 02:00:00:00:00:07
check "other queues while it is" refused "busy" "active" fn max_io_eqs 2
mac=$(port_field $port .function.hw_addr)
check "the same address twice" eval 'adi_add 8 hw_addr $mac && refused "exists" "MAC address is in use" adi_state $port active'
check_equal "the second one took nothing" "$(occupancy adis) $(port_field $port .function.state)" "1 inactive"
check "what is not there" refused "No such device" "" devlink port del $dl/9999
check "an active port is removed with its ADI" devlink port del $(adi_port 7)
check "adit is unloaded with a port left" adit-load -u $nic
done_testing
