#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# ethtool -X: the hash key and the indirection table.
. "$SELFTEST_LIB/net.sh"
plan 6
check "the interface is up" net_up
queues=$(ethtool -l "$dev" | awk '/^Combined:/ { n = $2 } END { print n }')
check "the indirection table can be set to queue 0" ethtool -X "$dev" equal 1
before=$(stat 'rx_q-0_pkts')
others=$(stat 'rx_q-[1-9][0-9]*_pkts')
for port in $(seq 40000 40031); do
    wire bash -c "echo x >/dev/udp/$guest4/$port"
done
sleep 0.5
check "queue 0 receives the flows" test "$(stat 'rx_q-0_pkts')" -gt "$before"
check_equal "the other queues receive none" "$(stat 'rx_q-[1-9][0-9]*_pkts')" "$others"
check "the default indirection table can be restored" ethtool -X "$dev" default
if ((queues > 1)); then
    others=$(stat 'rx_q-[1-9][0-9]*_pkts')
    for port in $(seq 40000 40031); do
        wire bash -c "echo x >/dev/udp/$guest4/$port"
    done
    sleep 0.5
    check "flows spread with the default table" test "$(stat 'rx_q-[1-9][0-9]*_pkts')" -gt "$others"
else
    skip "flows spread with the default table" "one queue"
fi
done_testing
