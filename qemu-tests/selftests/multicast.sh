#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# A group's frames arrive once it was joined.
. "$SELFTEST_LIB/net.sh"
plan 3
check "up" net_up
check "all nodes answer" ping -6 -n -q -c 2 -W 5 "ff02::1%$dev"
check "the guest answers as one of all nodes" eval "wire ping -6 -n -c 2 -W 5 ff02::1%wire0 | grep -qi 'from fe80'"
done_testing
