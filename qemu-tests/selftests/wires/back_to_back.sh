#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Two NICs connected to each other by UNIX sockets (--wire unix:PATH on both). Such a wire
# neither completes checksums nor segments, so the devices do.
# TIMEOUT: 300
. "$SELFTEST_LIB/ports.sh"
plan 7
one=$(port 02:ad:17:00:00:02) other=$(port 02:ad:17:00:01:02)
check "the first end is up" port_up "$one" 10.98.1.1/24
check "the second end is up" far_end "$other" 10.98.1.2/24
check "the first end pings the second" ping -n -q -c 3 -i 0.2 -w 30 10.98.1.2
check "the first end pings with frames of full size" ping -n -q -c 3 -i 0.2 -w 30 -s 1472 -M do 10.98.1.2
check "TCP from the first end to the second works" far_stream -c 10.98.1.2 -t 2
check "TCP from the second end to the first works" far_stream -c 10.98.1.2 -t 2 -R
errors() { "$@" | awk '/rx-csum_errors:/ { print $2 }'; }
check_equal "no checksum error is counted" "$(errors ethtool -S "$one"):$(errors far ethtool -S "$other")" 0:0
no_far_end
done_testing
