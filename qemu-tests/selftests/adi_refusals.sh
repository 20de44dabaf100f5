#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Invalid devlink requests for ADIs are refused with a reason and have no effect.
# TIMEOUT: 120
. "$SELFTEST_LIB/adit.sh"
plan 22
check "adit is bound to the NIC" adit-load $nic
add() { devlink port add "$dl" "$@"; }
check "a port of another flavour is refused" refused "not supported" "only ports of flavour pcisf" \
    add flavour pcipf pfnum 0
check "a port of another function is refused" refused "Invalid argument" "pfnum must be 0" \
    add flavour pcisf pfnum 1 sfnum 1
check "a port without an sfnum is refused" refused "Invalid argument" "sfnum" add flavour pcisf pfnum 0
check "a port at a given index is refused" refused "not supported" "assigned by the driver" \
    devlink port add $dl/7 flavour pcisf pfnum 0 sfnum 1
check "an unknown controller is refused" refused "Invalid argument" "only controller 0" \
    add flavour pcisf controller 1 pfnum 0 sfnum 1
check "a port is created" adi_add 7
check "an sfnum in use is refused" refused "File exists" "sfnum 7 is in use" \
    add flavour pcisf pfnum 0 sfnum 7
fn() { devlink port function set "$port" "$@"; }
check "a multicast address is refused" refused "Invalid argument" "multicast address" fn hw_addr 01:00:5e:00:00:01
check "zero queue pairs are refused" refused "Invalid argument" "queue pairs" fn max_io_eqs 0
check "too many queue pairs are refused" refused "Invalid argument" "queue pairs" fn max_io_eqs 65535
check "2^32 - 1 queue pairs are refused" refused "Invalid argument" "queue pairs" fn max_io_eqs 4294967295
check_equal "the port is unchanged after the refusals" \
    "$(port_field $port '.function | "\(.hw_addr) \(.max_io_eqs) \(.state)"')" "00:00:00:00:00:00 1 inactive"
check "the port is activated" fn state active
check "activating an active port succeeds" fn state active
check "another MAC address is refused while the port is active" refused "busy" "active" fn hw_addr 02:00:00:00:00:07
check "other queue pairs are refused while the port is active" refused "busy" "active" fn max_io_eqs 2
mac=$(port_field $port .function.hw_addr)
check "a MAC address in use is refused" eval 'adi_add 8 hw_addr $mac && refused "exists" "MAC address is in use" adi_state $port active'
check_equal "the refused port occupies no ADI" "$(occupancy adis) $(port_field $port .function.state)" "1 inactive"
check "removing an unknown port is refused" refused "No such device" "" devlink port del $dl/9999
check "an active port is removed with its ADI" devlink port del $(adi_port 7)
check "adit is unloaded while a port exists" adit-load -u $nic
done_testing
