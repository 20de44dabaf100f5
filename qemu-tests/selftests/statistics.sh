#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The driver's counters and the device's agree with what was sent.
. "$SELFTEST_LIB/net.sh"
plan 4
check "up" net_up
ping4 1 >/dev/null
rx=$(stat 'rx_q-[0-9]+_pkts') tx=$(stat 'tx_q-[0-9]+_pkts')
check "100 echoes" ping4 100 -i 0.01
check "at least 100 more received" test "$(($(stat 'rx_q-[0-9]+_pkts') - rx))" -ge 100
check "at least 100 more sent" test "$(($(stat 'tx_q-[0-9]+_pkts') - tx))" -ge 100
done_testing
