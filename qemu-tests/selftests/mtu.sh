#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Jumbo frames and back.
. "$SELFTEST_LIB/net.sh"
plan 6
check "the interface is up" net_up
wire ip link set wire0 mtu 9000
check "the MTU can be set to 9000" ip link set "$dev" mtu 9000
settle
check "frames of 9014 bytes from the guest arrive" ping4 3 -s 8972 -M do
check "frames of 9014 bytes from the wire arrive" wire ping -n -q -c 3 -i 0.2 -w 30 -s 8972 -M do $guest4
wire ip link set wire0 mtu 1500
check "the MTU can be set to 1500" ip link set "$dev" mtu 1500
settle
check "traffic passes with the MTU of 1500" ping4
done_testing
