#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Jumbo frames and back.
. "$SELFTEST_LIB/net.sh"
plan 6
check "up" net_up
wire ip link set wire0 mtu 9000
check "MTU 9000" ip link set "$dev" mtu 9000
settle
check "frames of 9014 bytes, from the guest" ping4 3 -s 8972 -M do
check "frames of 9014 bytes, from the wire" wire ping -n -q -c 3 -i 0.2 -W 5 -s 8972 -M do $guest4
wire ip link set wire0 mtu 1500
check "MTU 1500" ip link set "$dev" mtu 1500
settle
check "it carries traffic" ping4
done_testing
