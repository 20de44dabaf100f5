#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# ethtool -K loopback: sent frames return to the sender, and do not reach the wire.
# TIMEOUT: 120
. "$SELFTEST_LIB/net.sh"
plan 3
check "the interface is up" net_up
# switch on|off: the driver reconfigures its queues.
switch() { ethtool -K "$dev" loopback "$1" >/dev/null && retry 10 carrier 1; }
mac=$(tr -d : <"/sys/class/net/$dev/address")
switch on
taken=$(received)
"$SELFTEST_LIB/raw.py" send "$dev" "${mac}020000000098" 50
check "loopback on: sent frames are received" retry 20 eval '(($(received) >= taken + 50))'
switch off
check "loopback off: frames reach the wire" ping4
done_testing
