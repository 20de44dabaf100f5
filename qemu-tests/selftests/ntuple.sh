#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# ethtool -N: a rule puts a flow on a chosen queue.
# TIMEOUT: 120
. "$SELFTEST_LIB/net.sh"
plan 6
check "the interface is up" net_up
ethtool -K "$dev" ntuple on 2>/dev/null
# Without the rule the flow must go elsewhere: all to queue 0.
ethtool -X "$dev" equal 1
check "a rule can be added" ethtool -N "$dev" flow-type udp4 dst-ip $guest4 dst-port 4789 action 1 loc 0
check "the rule is listed" eval "ethtool -n $dev | grep -q 'Filter: 0'"
before=$(stat 'rx_q-1_pkts')
for _ in 1 2 3 4 5; do wire bash -c "echo x >/dev/udp/$guest4/4789"; done
check_equal "the flow of the rule goes to queue 1" "$(($(grows $((before + 5)) stat 'rx_q-1_pkts') - before))" 5
check "the rule can be deleted" ethtool -N "$dev" delete 0
before=$(stat 'rx_q-1_pkts') taken=$(received)
for _ in 1 2 3 4 5; do wire bash -c "echo x >/dev/udp/$guest4/4789"; done
grows $((taken + 5)) received >/dev/null
check_equal "the flow goes to another queue without the rule" "$(($(stat 'rx_q-1_pkts') - before))" 0
ethtool -X "$dev" default
done_testing
