#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The device process is killed, hangs, and is replaced under stock idpf: the driver detects a reset,
# and the same interface carries traffic again, without any command in the guest.
# TIMEOUT: 400
. "$SELFTEST_LIB/net.sh"
. "$SELFTEST_LIB/keeper.sh"
plan 21
limit=$((10000 * ${SELFTEST_PACE:-1}))
check "the interface is up" net_up
check "the guest pings the wire" ping4
index=$(<"/sys/class/net/$dev/ifindex")
same_interface() { [[ $(<"/sys/class/net/$dev/ifindex") == "$index" ]]; }

for round in 1 2 3; do
    pings_start
    check "the device process is killed, round $round" eval 'replaced KILL "$(worker)"'
    check "the guest pings the wire again" eval 'pause=$(pings_pause)'
    echo "# the longest pause of pings: $pause ms"
    check "the pause is shorter than 10 s" eval '((pause < limit))'
done
check "the interface is the same" same_interface

wire --bg iperf iperf3 -s
wire_listen 5201
iperf3 -c $host4 -t 20 --bidir --connect-timeout 5000 >"$ktap_output.iperf" 2>&1 &
iperf=$!
sleep 3
check "the device process is killed under TCP in both directions" eval 'replaced KILL "$(worker)"'
retry 120 has_ended $iperf || { diagnose 5201; kill $iperf; }
check "the connections continue" eval 'wait $iperf; status=$?; tail -n 8 "$ktap_output.iperf"; ((status == 0))'
wire --kill iperf >/dev/null
check "TCP works in both directions" wire_stream -c $host4 -t 1 --bidir

pings_start
check "a device process that hangs is killed" eval 'replaced STOP "$(worker)"'
check "the guest pings the wire again" eval 'pause=$(pings_pause)'
echo "# the longest pause of pings: $pause ms"
pings_start
check "the device process is replaced by SIGHUP to its keeper" eval 'replaced HUP "$(keeper)"'
check "the guest pings the wire again" eval 'pause=$(pings_pause)'
echo "# the longest pause of pings: $pause ms"
check "the interface is the same" same_interface
check "the driver unloads and loads" eval 'rmmod idpf && modprobe idpf && net_up && ping4'
rm -f "$ktap_output".*
done_testing
