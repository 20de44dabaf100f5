#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The daemon of a device out of a group of two ADIs is replaced by SIGHUP under stock idpf, which notices nothing:
# connections go on over the queues of both ADIs. After a crash the driver sees a reset, and uses all queues again.
# TIMEOUT: 300
. "$SELFTEST_LIB/queues.sh"
. "$SELFTEST_LIB/keeper.sh"
plan 20
keeper_nic=1
host4=10.99.1.1 guest4=10.99.1.2
resets() { dmesg | grep -c -i 'reset'; }
# moved TX|RX: the seconds in which all connections of iperf3 have moved data in that direction so far.
moved() { grep -c "SUM\]\[$1-C\].* [1-9][0-9.]* [KMG]*bits/sec" "$ktap_output.iperf"; }
moves_on() { (($(moved TX) > tx && $(moved RX) > rx)) && kill -0 $iperf; }

check "idpf makes one interface of the device" eval 'dev=$(nic-up 1)'
check "all eight queues are used" eval 'ethtool -L "$dev" combined 8 && retry 15 carrier 1'
check "the wire replies" ping4
check_equal "flows from the wire are spread over the queues of both ADIs" "$(flows $guest4)" "0 1 2 3 4 5 6 7"
wire --bg iperf iperf3 -s
wire_listen 5201
# Longer than the test, however slow the machine is.
iperf3 -c $host4 -t 3600 --bidir -P 4 --connect-timeout 5000 --forceflush >"$ktap_output.iperf" 2>&1 &
iperf=$!
pings_start
tx=0 rx=0
check "connections move data in both directions" retry 30 moves_on
before=$(resets) changes=$(<"/sys/class/net/$dev/carrier_changes")

for round in 1 2 3; do
    check "the daemon is replaced, round $round" eval 'replaced HUP "$(keeper)"'
    tx=$(moved TX) rx=$(moved RX)
    check "connections go on in both directions" \
        eval 'retry 30 moves_on || { tail -n 12 "$ktap_output.iperf"; false; }'
    check_equal "flows from the wire are spread over the queues of both ADIs" "$(flows $guest4)" "0 1 2 3 4 5 6 7"
done
check "pings have gone on" eval 'pause=$(pings_pause)'
echo "# the longest pause of pings: $pause ms"
check_equal "the driver has seen no reset, and the link has not changed" \
    "$(resets) $(<"/sys/class/net/$dev/carrier_changes")" "$before $changes"
kill $iperf
wire --kill iperf >/dev/null

check "the daemon is killed" eval 'replaced KILL "$(worker)"'
check "the wire replies after a reset" retry 30 ping4 1
check "the driver has seen it" eval '(($(resets) > before))'
check_equal "flows from the wire are spread over the queues of both ADIs" "$(flows $guest4)" "0 1 2 3 4 5 6 7"
ip link set "$dev" down
rm -f "$ktap_output".*
done_testing
