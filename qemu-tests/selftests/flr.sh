#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Function-level reset through sysfs. The driver detects it asynchronously and then creates its
# netdev again, so an existing netdev may be about to be removed.
# TIMEOUT: 120
. "$SELFTEST_LIB/net.sh"
plan 5
check "the interface is up" net_up
up_and_running() { net_up && ping4 1 -w 2; }
for round in 1 2; do
    check "reset $round succeeds" eval 'echo 1 >/sys/bus/pci/devices/$nic/reset'
    check "the interface carries traffic after the reset" retry 40 up_and_running
    # The driver must have finished handling this reset.
    sleep 2
    retry 40 up_and_running >/dev/null 2>&1
done
done_testing
