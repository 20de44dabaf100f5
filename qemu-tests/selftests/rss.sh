#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# ethtool -X: the hash key and the indirection table.
# TIMEOUT: 120
. "$SELFTEST_LIB/net.sh"
plan 6
check "the interface is up" net_up
queues=$(ethtool -l "$dev" | awk '/^Combined:/ { n = $2 } END { print n }')
check "the indirection table can be set to queue 0" ethtool -X "$dev" equal 1
# flows: sends 32, and waits until they are received.
flows() {
    local taken
    taken=$(received)
    wire bash -c "for port in {40000..40031}; do echo x >/dev/udp/$guest4/\$port; done"
    (($(grows $((taken + 32)) received) >= taken + 32))
}
before=$(stat 'rx_q-0_pkts')
others=$(stat 'rx_q-[1-9][0-9]*_pkts')
check "queue 0 receives the flows" eval 'flows && (($(stat "rx_q-0_pkts") >= before + 32))'
check_equal "the other queues receive none" "$(stat 'rx_q-[1-9][0-9]*_pkts')" "$others"
check "the default indirection table can be restored" ethtool -X "$dev" default
if ((queues > 1)); then
    others=$(stat 'rx_q-[1-9][0-9]*_pkts')
    check "flows spread with the default table" eval 'flows && (($(stat "rx_q-[1-9][0-9]*_pkts") > others))'
else
    skip "flows spread with the default table" "one queue"
fi
done_testing
