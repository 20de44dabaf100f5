#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# A group's frames arrive while it is joined, or all groups' are asked for; not before or after.
. "$SELFTEST_LIB/net.sh"
plan 9
group=01:00:5e:7f:42:01
check "up" net_up
check "all nodes answer" ping -6 -n -q -c 2 -W 5 "ff02::1%$dev"
check "the guest answers as one of all nodes" eval "wire ping -6 -n -c 2 -W 5 ff02::1%wire0 | grep -qi 'from fe80'"
check "a group that was not joined" arrives no "${group//:/}"
ip maddress add $group dev "$dev"
check "joined" arrives yes "${group//:/}"
ip maddress del $group dev "$dev"
check "left" arrives no "${group//:/}"
ip link set "$dev" allmulticast on
check "all groups" arrives yes "${group//:/}"
check "but no other station's" arrives no 020000000099
ip link set "$dev" allmulticast off
check "all groups no more" arrives no "${group//:/}"
done_testing
