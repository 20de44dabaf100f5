#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Frames of any group arrive while allmulticast is on; not after.
# TIMEOUT: 120
. "$SELFTEST_LIB/net.sh"
plan 4
group=01005e7f4201
check "the interface is up" net_up
ip link set "$dev" allmulticast on
check "allmulticast on: frames of any group arrive" arrives yes $group
check "allmulticast on: frames for another station are filtered" arrives no 020000000099
ip link set "$dev" allmulticast off
check "allmulticast off: frames of a group that is not joined are filtered" arrives no $group
done_testing
