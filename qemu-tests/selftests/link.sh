#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Link state: from the guest's side and from the wire's side.
. "$SELFTEST_LIB/net.sh"
plan 10
check "the interface is up" net_up
check_equal "the operational state is up" "$(cat /sys/class/net/"$dev"/operstate)" up
check "the link speed is reported" test "$(cat /sys/class/net/"$dev"/speed)" -gt 0
check "the carrier is lost when the wire goes down" eval 'wire ip link set wire0 down && retry 10 carrier 0'
check "the carrier returns when the wire comes up" eval 'wire ip link set wire0 up && retry 10 carrier 1'
check "IPv4 works after the wire was down" retry 10 ping4 1 -w 2
check "IPv6 works after the wire was down" retry 10 ping6 1 -w 2
check "the carrier returns when the guest sets the link down and up" eval 'ip link set "$dev" down && ip link set "$dev" up && retry 10 carrier 1'
check "IPv4 works after the guest set the link down and up" retry 10 ping4 1 -w 2
check "IPv6 works after the guest set the link down and up" retry 10 ping6 1 -w 2
done_testing
