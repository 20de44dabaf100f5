#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# ethtool -L: other numbers of queues, with traffic after each.
# TIMEOUT: 120
. "$SELFTEST_LIB/net.sh"
plan 6
check "up" net_up
max=$(ethtool -l "$dev" | awk '/^Combined:/ { print $2; exit }')
now=$(ethtool -l "$dev" | awk '/^Combined:/ { n = $2 } END { print n }')
check "more than one queue is offered" test "$max" -gt 1
check "one queue" ethtool -L "$dev" combined 1
settle
check "it carries traffic" ping4
check "as many as before" ethtool -L "$dev" combined "$now"
settle
check "it carries traffic" ping4
done_testing
