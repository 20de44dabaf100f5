#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# ethtool -G: other ring sizes, with traffic after each.
# TIMEOUT: 120
. "$SELFTEST_LIB/net.sh"
plan 7
check "the interface is up" net_up
read -r rx tx < <(ethtool -g "$dev" | awk '/^Current/ { c = 1 } c && /^RX:/ { rx = $2 } c && /^TX:/ { tx = $2 } END { print rx, tx }')
check "the ring sizes can be reduced" ethtool -G "$dev" rx 128 tx 128
settle
check "traffic passes with these ring sizes" ping4 20
check "the ring sizes can be increased" ethtool -G "$dev" rx 4096 tx 4096
settle
check "traffic passes with these ring sizes" ping4 20
check "the ring sizes can be restored" ethtool -G "$dev" rx "$rx" tx "$tx"
settle
check "traffic passes with these ring sizes" ping4 20
done_testing
