#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Frames of a group arrive while it is joined; not before or after.
# TIMEOUT: 240
. "$SELFTEST_LIB/net.sh"
plan 6
group=01:00:5e:7f:42:01
check "the interface is up" net_up
# The station that pings replies, too.
local_address() { jq -r '.[0].addr_info[] | select(.family == "inet6" and .scope == "link") | .local' | head -n 1; }
here=$(ip -json address show dev "$dev" | local_address)
there=$(wire ip -json address show dev wire0 | local_address)
# replies ADDRESS CMD…: the output of ping has a reply from that address.
replies() { [[ -n $1 ]] && "${@:2}" | grep -F "from $1%"; }
check "the wire replies to a ping of the all-nodes group" retry 20 replies "$there" ping -6 -n -c 2 -w 5 "ff02::1%$dev"
check "the guest replies to a ping of the all-nodes group" retry 20 replies "$here" wire ping -6 -n -c 2 -w 5 ff02::1%wire0
check "frames of a group that is not joined are filtered" arrives no "${group//:/}"
ip maddress add $group dev "$dev"
check "frames of a joined group arrive" arrives yes "${group//:/}"
ip maddress del $group dev "$dev"
check "frames of a left group are filtered" arrives no "${group//:/}"
done_testing
