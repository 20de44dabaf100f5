#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# ICMP in both directions, both families, and the boundary sizes of frames.
. "$SELFTEST_LIB/net.sh"
plan 8
check "the interface is up" net_up
check "the guest pings the wire over IPv4" ping4
check "the guest pings the wire over IPv6" ping6
check "the wire pings the guest over IPv4" wire ping -n -q -c 3 -i 0.2 -w 30 $guest4
check "the wire pings the guest over IPv6" wire ping -6 -n -q -c 3 -i 0.2 -w 30 $guest6
check "the smallest frames arrive" ping4 3 -s 0
check "frames of full size arrive unfragmented" ping4 3 -s 1472 -M do
check "fragmented packets arrive" ping4 3 -s 8000
done_testing
