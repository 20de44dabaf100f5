#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The counters of wire, device and driver agree to the frame: a frame received from the wire is
# delivered or dropped for a reason, and a delivered frame is counted by the driver; likewise on
# transmission.
# TIMEOUT: 400
. "$SELFTEST_LIB/net.sh"
plan 21
counters=$SELFTEST_LIB/counters.py
check "the interface is up" net_up
# No merged frames: one that the device segments is one on the wire and several for the driver.
wire ethtool -K wire0 tso off gso off gro off >/dev/null 2>&1
begin() { $counters save /tmp/before "$dev"; }
# agree WITH: the counters agree with those of the device, the driver or the link.
agree() { $counters "$1" /tmp/before "$dev"; }
# dropped DIRECTION REASON FRAMES: at least so many since the beginning.
dropped() { $counters dropped /tmp/before "$dev" "$@"; }

begin
check "a hundred echo requests get replies" ping4 100 -i 0.01
check "the counters agree" agree driver
wire_send 020000000099 70
check "frames for another station are filtered" dropped rx filtered 70
check "the counters agree" agree driver

wire ip link set wire0 mtu 9000
wire "$SELFTEST_LIB/raw.py" send wire0 02ad17000001020000000098 30 4000
check "frames above the MTU are too long" dropped rx too_long 30
wire ip link set wire0 mtu 1500
check "the counters agree" agree driver

wire --bg flood ping -f -q -s 1000 $guest4
check "no frame is delivered while the interface is down" eval 'ip link set "$dev" down && retry 20 dropped rx port_disabled 1'
check "the interface comes up under a flood" net_up
wire --kill flood
# The driver resets its counters when the interface comes up.
check "the counters of wire and device agree" agree device

begin
iperf3 -s -1 -p 5202 >/dev/null 2>&1 &
wait_listen 5202
check "a stream of datagrams arrives" wire iperf3 -u -c $guest4 -p 5202 -t 2 -b 20M -l 1200
check "the counters and \`ip -s link' agree" agree link
wire ethtool -K wire0 tso on gso on gro on >/dev/null 2>&1

# From here on merged frames cross the wire, which count as their segments.
# streamed DIRECTION SEGMENT-SIZE BYTES: at least as many frames as BYTES make.
streamed() { $counters segments /tmp/before "$dev" "$@"; }
begin
check "a TCP stream to the wire succeeds" wire_stream -c $host4 -n 20M
check "the segments of the stream are counted" streamed tx 1448 20000000
check "the counters agree with those of the driver" agree driver
begin
check "a TCP stream from the wire succeeds" wire_stream -c $host4 -n 20M -R
check "the segments of the stream are counted" streamed rx 1448 20000000
check "the counters agree" agree driver
begin
check "11 datagrams are sent in one call (UDP segmentation)" "$SELFTEST_LIB/uso.py" $host4 1400 14500
check "the 11 datagrams are counted" streamed tx 1400 14500
check "the 11 datagrams are counted by \`ip -s link'" agree link
done_testing
