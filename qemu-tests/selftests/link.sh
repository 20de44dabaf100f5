#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Link state: from the guest's side and from the wire's side.
. "$SELFTEST_LIB/net.sh"
plan 10
check "up" net_up
check_equal "operstate" "$(cat /sys/class/net/"$dev"/operstate)" up
check "the speed is known" test "$(cat /sys/class/net/"$dev"/speed)" -gt 0
check "down from the wire's side" eval 'wire ip link set wire0 down && retry 10 carrier 0'
check "up again from the wire's side" eval 'wire ip link set wire0 up && retry 10 carrier 1'
check "IPv4 works again" retry 10 ping4 1 -w 2
check "IPv6 works again" retry 10 ping6 1 -w 2
check "down and up from the guest" eval 'ip link set "$dev" down && ip link set "$dev" up && retry 10 carrier 1'
check "IPv4 works as before" retry 10 ping4 1 -w 2
check "IPv6 works as before" retry 10 ping6 1 -w 2
done_testing
