#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Stock idpf on a device whose virtual port has the queues of two ADIs, four of each: one interface with
# eight queues, all of which receive and send.
# TIMEOUT: 240
. "$SELFTEST_LIB/queues.sh"
plan 10
check "idpf makes one interface of the device" eval 'dev=$(nic-up 2)'
check_equal "it has the device's address" "$(cat "/sys/class/net/$dev/address")" 02:ad:17:00:02:01
check "all eight queues are used" eval 'ethtool -L "$dev" combined 8 && retry 15 carrier 1'
check_equal "there are eight of each" "$(ethtool -l "$dev" | awk '/^Combined:/ { n = $2 } END { print n }')" 8
check "the wire replies" ping -n -q -c 3 -i 0.2 -w 30 10.99.2.1

check_equal "flows from the wire are spread over the queues of both ADIs" "$(flows 10.99.2.2)" "0 1 2 3 4 5 6 7"
counts_before tx
iperf3 -s -1 >/dev/null &
wait_listen 5201
check "32 connections at a time transmit" wire iperf3 -c 10.99.2.2 -R -P 32 -t 2
wait
check "queues of both ADIs send" eval '[[ $(used tx) == *[0-3]* && $(used tx) == *[4-7]* ]]'
check "two queues are used again" eval 'ethtool -L "$dev" combined 2 && retry 15 carrier 1'
check "the wire replies after that" ping -n -q -c 3 -i 0.2 -w 30 10.99.2.1
ip link set "$dev" down
done_testing
