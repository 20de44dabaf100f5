#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Traffic in both directions that continues until the guest reboots, and the state that after.sh
# compares with.
. "$SELFTEST_LIB/net.sh"
plan 3
check "the interface is up" net_up
wire --bg iperf iperf3 -s
wire_listen 5201
setsid iperf3 -c $host4 -t 3600 --bidir --connect-timeout 5000 </dev/null >/dev/null 2>&1 &
moves() { # moves COUNTER: waits until it counts a thousand packets
    local before
    before=$(stat "$1")
    retry 30 eval "[[ \$(stat '$1') -gt $((before + 1000)) ]]"
}
check "traffic to the guest is flowing" moves 'rx_q-[0-9]+_pkts'
check "traffic from the guest is flowing" moves 'tx_q-[0-9]+_pkts'
mkdir -p /scratch/reboot
cat /proc/sys/kernel/random/boot_id >/scratch/reboot/boot-id
device_metric 'adit_wire_receive_frames_total' >/scratch/reboot/frames
done_testing
