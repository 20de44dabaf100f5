#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Function-level reset through sysfs.
# TIMEOUT: 120
. "$SELFTEST_LIB/net.sh"
plan 5
check "up" net_up
for round in 1 2; do
    check "reset $round" eval 'echo 1 >/sys/bus/pci/devices/$nic/reset'
    check "it carries traffic" eval 'retry 40 net_up && retry 20 ping4 1 -w 2'
done
done_testing
