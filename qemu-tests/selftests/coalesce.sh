#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# ethtool -C: interrupt moderation.
. "$SELFTEST_LIB/net.sh"
plan 5
check "up" net_up
check "fixed moderation" ethtool -C "$dev" adaptive-rx off adaptive-tx off rx-usecs 50 tx-usecs 50
check_equal "it is read back" "$(ethtool -c "$dev" | sed -n 's/^rx-usecs:[[:space:]]*//p')" 50
check "it carries traffic" ping4 10
check "adaptive again" ethtool -C "$dev" adaptive-rx on adaptive-tx on
done_testing
