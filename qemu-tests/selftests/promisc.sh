#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Frames for others arrive only in promiscuous mode; otherwise the device counts them as filtered.
. "$SELFTEST_LIB/net.sh"
plan 9
check "the interface is up" net_up
capture() { # capture EXTRA-ARGS…: the number of frames for another station that tcpdump captures
    timeout 6 tcpdump "$@" -e -i "$dev" -n -c 5 'ether dst 02:00:00:00:00:99' >/tmp/promisc 2>/tmp/promisc.log &
    retry 5 grep -q listening /tmp/promisc.log
    sleep 0.3
    wire "$SELFTEST_LIB/raw.py" send wire0 020000000099020000000098 5
    wait $!
    grep -c 'ethertype Unknown' /tmp/promisc
}
check_equal "frames for others are not captured without promiscuous mode" "$(capture -p)" 0
check_equal "frames for others are captured in promiscuous mode" "$(capture)" 5
check_equal "frames for others are not captured after promiscuous mode" "$(capture -p)" 0
for round in 1 2; do
    ip link set "$dev" promisc off
    check "promisc off: frames for others are filtered" arrives no 020000000099
    ip link set "$dev" promisc on
    check "promisc on: frames for others are delivered" arrives yes 020000000099
done
ip link set "$dev" promisc off
check "promisc off in the end: frames for others are filtered" arrives no 020000000099
done_testing
