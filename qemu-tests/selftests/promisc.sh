#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Frames for others arrive in promiscuous mode only.
. "$SELFTEST_LIB/net.sh"
plan 4
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
done_testing
