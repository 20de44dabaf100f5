#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Frames for others arrive only in promiscuous mode; otherwise the device counts them as filtered.
# TIMEOUT: 240
. "$SELFTEST_LIB/net.sh"
plan 9
check "the interface is up" net_up
captured() { grep -c 'ethertype Unknown' /tmp/promisc || :; }
# capture FILTERED EXTRA-ARGS…: the number of five frames for another station that tcpdump captures, of which
# the device filters so many.
capture() {
    local before tcpdump
    rm -f /tmp/promisc /tmp/promisc.log
    tcpdump "${@:2}" --immediate-mode -l -e -i "$dev" -n 'ether dst 02:00:00:00:00:99' >/tmp/promisc 2>/tmp/promisc.log &
    tcpdump=$!
    retry 20 grep -q listening /tmp/promisc.log
    before=$(filtered 020000000099)
    wire "$SELFTEST_LIB/raw.py" send wire0 020000000099020000000098 5
    grows $((before + $1)) filtered 020000000099 >/dev/null
    grows $((5 - $1)) captured >/dev/null
    # For what may come that should not.
    sleep 0.5
    kill $tcpdump
    wait $tcpdump
    captured
}
check_equal "frames for others are not captured without promiscuous mode" "$(capture 5 -p)" 0
check_equal "frames for others are captured in promiscuous mode" "$(capture 0)" 5
check_equal "frames for others are not captured after promiscuous mode" "$(capture 5 -p)" 0
for round in 1 2; do
    ip link set "$dev" promisc off
    check "promisc off: frames for others are filtered" arrives no 020000000099
    ip link set "$dev" promisc on
    check "promisc on: frames for others are delivered" arrives yes 020000000099
done
ip link set "$dev" promisc off
check "promisc off in the end: frames for others are filtered" arrives no 020000000099
done_testing
