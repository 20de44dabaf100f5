#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# ethtool -G: other ring sizes, with traffic after each.
# TIMEOUT: 120
. "$SELFTEST_LIB/net.sh"
plan 7
check "up" net_up
read -r rx tx < <(ethtool -g "$dev" | awk '/^Current/ { c = 1 } c && /^RX:/ { rx = $2 } c && /^TX:/ { tx = $2 } END { print rx, tx }')
check "small rings" ethtool -G "$dev" rx 128 tx 128
settle
check "they carry traffic" ping4 20
check "large rings" ethtool -G "$dev" rx 4096 tx 4096
settle
check "they carry traffic" ping4 20
check "the former sizes" ethtool -G "$dev" rx "$rx" tx "$tx"
settle
check "they carry traffic" ping4 20
done_testing
