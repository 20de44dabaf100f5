#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Link state: from the guest's side and from the wire's side.
. "$SELFTEST_LIB/net.sh"
plan 8
check "up" net_up
check_equal "operstate" "$(cat /sys/class/net/"$dev"/operstate)" up
check "the speed is known" test "$(cat /sys/class/net/"$dev"/speed)" -gt 0
check "down from the wire's side" eval 'wire ip link set wire0 down && retry 10 carrier 0'
check "up again from the wire's side" eval 'wire ip link set wire0 up && retry 10 carrier 1'
wire ip addr replace fd99::1/64 dev wire0 nodad
check "it carries traffic again" ping4
check "down and up from the guest" eval 'ip link set "$dev" down && ip link set "$dev" up && retry 10 carrier 1'
net_up >/dev/null
check "it carries traffic again" ping4
done_testing
