#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The accounts of wire, device and driver agree to the frame: what the wire gave was delivered or
# dropped for a reason, what was delivered is what the driver has received; and so outwards.
# TIMEOUT: 150
. "$SELFTEST_LIB/net.sh"
plan 21
accounts=$SELFTEST_LIB/accounts.py
check "up" net_up
# No merged frames: one that the device cuts is one on the wire and several for the driver.
wire ethtool -K wire0 tso off gso off gro off >/dev/null 2>&1
begin() { $accounts save /tmp/before "$dev"; }
# agree WITH: device, driver or link.
agree() { $accounts "$1" /tmp/before "$dev"; }
# dropped DIRECTION REASON FRAMES: at least so many since the beginning.
dropped() { $accounts dropped /tmp/before "$dev" "$@"; }

begin
check "a hundred echoes" ping4 100 -i 0.01
check "the accounts agree" agree driver
wire_send 020000000099 70
check "frames for another station are filtered" dropped rx filtered 70
check "the accounts agree" agree driver

wire ip link set wire0 mtu 9000
wire "$SELFTEST_LIB/raw.py" send wire0 02ad17000001020000000098 30 4000
check "frames above the MTU are too long" dropped rx too_long 30
wire ip link set wire0 mtu 1500
check "the accounts agree" agree driver

wire --bg flood ping -f -q -s 1000 $guest4
sleep 1
check "down and up in a flood" eval 'ip link set "$dev" down && sleep 1 && net_up'
wire --kill flood
check "nothing is delivered while it is down" dropped rx port_disabled 1
# The driver begins its counters anew when it comes up.
check "the accounts of wire and device agree" agree device

begin
iperf3 -s -1 -p 5202 >/dev/null 2>&1 &
wait_listen 5202
check "a stream of datagrams" wire iperf3 -u -c $guest4 -p 5202 -t 2 -b 20M -l 1200
check "the accounts agree, and what \`ip -s link' shows" agree link
wire ethtool -K wire0 tso on gso on gro on >/dev/null 2>&1

# From here on frames cross the wire that stand for many, which count as their segments.
wire --bg sink iperf3 -s -p 5203
wire_listen 5203
# streamed DIRECTION SEGMENT-SIZE BYTES: at least as many frames as BYTES make.
streamed() { $accounts segments /tmp/before "$dev" "$@"; }
begin
check "a stream to the wire" iperf3 -c $host4 -p 5203 -n 20M --connect-timeout 5000
check "its segments are counted" streamed tx 1448 20000000
check "as the driver counts them" agree driver
begin
check "a stream from the wire" iperf3 -c $host4 -p 5203 -n 20M -R --connect-timeout 5000
check "its segments are counted" streamed rx 1448 20000000
check "the accounts agree" agree driver
wire --kill sink
begin
check "one send of 11 datagrams (UDP segmentation)" "$SELFTEST_LIB/uso.py" $host4 1400 14500
check "11 datagrams are counted" streamed tx 1400 14500
check "also in what \`ip -s link' shows" agree link
done_testing
