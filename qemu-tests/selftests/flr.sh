#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Function-level reset through sysfs. The driver notices it in its own time and then makes its
# netdev anew, so one that is still there may be about to go.
# TIMEOUT: 120
. "$SELFTEST_LIB/net.sh"
plan 5
check "up" net_up
up_and_running() { net_up && ping4 1 -w 2; }
for round in 1 2; do
    check "reset $round" eval 'echo 1 >/sys/bus/pci/devices/$nic/reset'
    check "it carries traffic" retry 40 up_and_running
    # Not before the driver is done with this one.
    sleep 2
    retry 40 up_and_running >/dev/null 2>&1
done
done_testing
