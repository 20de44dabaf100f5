#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Frames for others arrive in promiscuous mode only, and the device counts them when they do not.
. "$SELFTEST_LIB/net.sh"
plan 9
check "up" net_up
capture() { # capture EXTRA-ARGS…: how many frames for another station tcpdump sees
    timeout 6 tcpdump "$@" -e -i "$dev" -n -c 5 'ether dst 02:00:00:00:00:99' >/tmp/promisc 2>/tmp/promisc.log &
    retry 5 grep -q listening /tmp/promisc.log
    sleep 0.3
    wire "$SELFTEST_LIB/raw.py" send wire0 020000000099020000000098 5
    wait $!
    grep -c 'ethertype Unknown' /tmp/promisc
}
check_equal "not without" "$(capture -p)" 0
check_equal "with" "$(capture)" 5
check_equal "not any more afterwards" "$(capture -p)" 0
for round in 1 2; do
    ip link set "$dev" promisc off
    check "off: filtered" arrives no 020000000099
    ip link set "$dev" promisc on
    check "on: delivered" arrives yes 020000000099
done
ip link set "$dev" promisc off
check "off at last" arrives no 020000000099
done_testing
