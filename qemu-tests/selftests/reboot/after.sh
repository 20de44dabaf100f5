#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# After a reboot: the same device process, the driver bound again, traffic.
. "$SELFTEST_LIB/net.sh"
plan 6
check "the guest has rebooted" eval '[[ $(</proc/sys/kernel/random/boot_id) != "$(</scratch/reboot/boot-id)" ]]'
check "the device has kept its counters" \
    test "$(device_metric adit_wire_receive_frames_total)" -ge "$(</scratch/reboot/frames)"
wire --kill iperf >/dev/null
check "idpf is bound" test -e "$driver/$nic"
check "the interface is up" net_up
check "the guest pings the wire" ping4
check "TCP works in both directions" wire_stream -c $host4 -t 1 --bidir
done_testing
