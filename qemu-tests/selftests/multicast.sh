#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Frames of a group arrive while it is joined; not before or after.
# TIMEOUT: 120
. "$SELFTEST_LIB/net.sh"
plan 6
group=01:00:5e:7f:42:01
check "the interface is up" net_up
check "the all-nodes group replies to ping" ping -6 -n -q -c 2 -W 5 "ff02::1%$dev"
check "the guest replies to a ping of the all-nodes group" eval "wire ping -6 -n -c 2 -W 5 ff02::1%wire0 | grep -qi 'from fe80'"
check "frames of a group that is not joined are filtered" arrives no "${group//:/}"
ip maddress add $group dev "$dev"
check "frames of a joined group arrive" arrives yes "${group//:/}"
ip maddress del $group dev "$dev"
check "frames of a left group are filtered" arrives no "${group//:/}"
done_testing
