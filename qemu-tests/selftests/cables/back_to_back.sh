#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Two NICs cabled to each other by UNIX sockets (--wire unix:PATH on both). Nothing finishes
# checksums or cuts segments on such a wire, so the devices do it themselves.
# TIMEOUT: 120
. "$SELFTEST_LIB/ports.sh"
plan 7
one=$(port 02:ad:17:00:00:02) other=$(port 02:ad:17:00:01:02)
check "this end" port_up "$one" 10.98.1.1/24
check "the other end" far_end "$other" 10.98.1.2/24
check "ping" ping -n -q -c 3 -i 0.2 -W 5 10.98.1.2
check "full size" ping -n -q -c 3 -i 0.2 -W 5 -s 1472 -M do 10.98.1.2
far iperf3 -s >/dev/null 2>&1 &
server=$!
retry 15 far sh -c "ss -Hltn 'sport = :5201' | grep -q ."
check "TCP there" iperf3 -c 10.98.1.2 -t 2 --connect-timeout 5000
check "TCP back" iperf3 -c 10.98.1.2 -t 2 -R --connect-timeout 5000
kill $server
errors() { "$@" | awk '/rx-csum_errors:/ { print $2 }'; }
check_equal "no wrong checksums" "$(errors ethtool -S "$one"):$(errors far ethtool -S "$other")" 0:0
no_far_end
done_testing
