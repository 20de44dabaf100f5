#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# After a reboot: the same device process, the driver bound to it once more, traffic.
. "$SELFTEST_LIB/net.sh"
plan 6
check "another boot" eval '[[ $(</proc/sys/kernel/random/boot_id) != "$(</scratch/reboot/boot-id)" ]]'
check "the device has kept its counters" \
    test "$(device_metric adit_wire_receive_frames_total)" -ge "$(</scratch/reboot/frames)"
wire --kill iperf >/dev/null
check "idpf is bound" test -e "$driver/$nic"
check "up" net_up
check "ping" ping4
wire --bg iperf iperf3 -s
wire_listen 5201
check "TCP both ways" iperf3 -c $host4 -t 1 --bidir --connect-timeout 5000
wire --kill iperf
done_testing
