#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# ethtool -C: interrupt moderation.
. "$SELFTEST_LIB/net.sh"
plan 5
check "the interface is up" net_up
check "fixed moderation can be set" ethtool -C "$dev" adaptive-rx off adaptive-tx off rx-usecs 50 tx-usecs 50
check_equal "the fixed interval is read back" "$(ethtool -c "$dev" | sed -n 's/^rx-usecs:[[:space:]]*//p')" 50
check "traffic passes with fixed moderation" ping4 10
check "adaptive moderation can be set" ethtool -C "$dev" adaptive-rx on adaptive-tx on
done_testing
