#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# ethtool -L: other numbers of queues, with traffic after each.
# TIMEOUT: 120
. "$SELFTEST_LIB/net.sh"
plan 6
check "the interface is up" net_up
max=$(ethtool -l "$dev" | awk '/^Combined:/ { print $2; exit }')
now=$(ethtool -l "$dev" | awk '/^Combined:/ { n = $2 } END { print n }')
check "more than one queue is supported" test "$max" -gt 1
check "the number of queues can be set to one" ethtool -L "$dev" combined 1
settle
check "traffic passes with these queues" ping4
check "the number of queues can be restored" ethtool -L "$dev" combined "$now"
settle
check "traffic passes with these queues" ping4
done_testing
