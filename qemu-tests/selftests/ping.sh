#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# ICMP both ways, both families, all frame sizes that matter.
. "$SELFTEST_LIB/net.sh"
plan 8
check "up" net_up
check "IPv4, from the guest" ping4
check "IPv6, from the guest" ping6
check "IPv4, from the wire" wire ping -n -q -c 3 -i 0.2 -W 5 $guest4
check "IPv6, from the wire" wire ping -6 -n -q -c 3 -i 0.2 -W 5 $guest6
check "the smallest frame" ping4 3 -s 0
check "a full frame, not fragmented" ping4 3 -s 1472 -M do
check "fragments" ping4 3 -s 8000
done_testing
