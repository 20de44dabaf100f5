#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The device process is replaced by SIGHUP under stock idpf, which notices nothing: no reset, no change of
# the link. TCP and pings go on; the program that a control plane has loaded, its entries, connections and
# counters are kept. A successor that fails leaves the old process running.
# TIMEOUT: 300
. "$SELFTEST_LIB/net.sh"
. "$SELFTEST_LIB/keeper.sh"
plan 31
export ADIT_P4RT=$host4:9561
# The addresses of P4Runtime change hands in an update.
adit_again() { retry 10 adit "$@"; }
served() { wire curl -sSf -m 20 -o /dev/null http://$guest4:8005/; }
# frames: those that the device has delivered and sent so far.
frames() { echo $(($(device_metric adit_vport_frames_total) + $(device_metric adit_adi_frames_total))); }
resets() { dmesg | grep -c -i 'reset'; }
# established: the connection of iperf3 that carries data from the guest is tracked.
established() { adit ct -L -p tcp --dport 5201 2>/dev/null | grep -q ESTABLISHED; }
# moved TX|RX: the seconds in which iperf3 has moved data in that direction so far.
moved() { grep -c "\[$1-C\].* [1-9][0-9.]* [KMG]*bits/sec" "$ktap_output.iperf"; }
moves_on() { (($(moved TX) > tx && $(moved RX) > rx)) && kill -0 $iperf; }
lose_segments() {
    tc qdisc add dev "$dev" clsact &&
        tc filter add dev "$dev" ingress protocol ip flower ip_proto tcp src_port 5201 \
            action gact pass random netrand drop 3
}
# tcp_goes_on: the connections of iperf3 move data in both directions from now on. Prints the cause if not.
tcp_goes_on() {
    tx=$(moved TX) rx=$(moved RX)
    retry 60 moves_on && return
    diagnose 5201
    tail -n 8 "$ktap_output.iperf"
    return 1
}

check "the interface is up" net_up
check "the guest pings the wire" ping4
check "a control plane loads a program" adit_again p4 load /repo/p4/conntrack.p4
python3 -m http.server -b $guest4 -d /tmp 8005 >/dev/null 2>&1 &
web=$!
wait_listen 8005
check "the wire opens no connection to the guest" eval '! wire curl -sS -m 3 -o /dev/null http://$guest4:8005/'
check "a control plane adds an entry" \
    adit table add services ipv4.dst=$guest4 ipv4.protocol=6 dst_port=8005 allow priority=7
check "the wire opens a connection to the guest" served

wire --bg iperf iperf3 -s
wire_listen 5201
# Longer than the test, however slow the machine is.
iperf3 -c $host4 -t 3600 --bidir --connect-timeout 5000 --forceflush >"$ktap_output.iperf" 2>&1 &
iperf=$!
pings_start
sleep 2
check "the connections are tracked" retry 10 established
# So that segments are missing when the process is replaced, and come after that.
check "the guest loses a third of the segments of TCP from now on" lose_segments
before=$(resets) index=$(<"/sys/class/net/$dev/ifindex") changes=$(<"/sys/class/net/$dev/carrier_changes")

for round in 1 2 3; do
    count=$(frames)
    check "the device process is replaced, round $round" eval 'replaced HUP "$(keeper)"'
    check "its counters go on" eval '(($(retry 10 device_metrics >/dev/null; frames) > count))'
    check "the connections are still tracked" retry 10 established
    check "the entry is still there" eval 'adit_again table dump services | grep -q 8005'
done
check "the guest loses no more segments" tc qdisc del dev "$dev" clsact
check "TCP goes on in both directions, over the same connections" tcp_goes_on
check "the wire opens a connection to the guest by the entry" served

# --- a successor that dies: the old process stands still meanwhile, or it might be replaced before
running=$(worker)
wire sh -c "kill -STOP $running; kill -HUP $(keeper); n=0 status=1
    while [ \$n -lt 2000 ] && [ \$status = 1 ]; do
        for pid in \$(pgrep -P $(keeper)); do
            [ \$pid = $running ] || { kill -KILL \$pid; status=0; }
        done
        n=\$((n + 1)); sleep 0.01
    done; kill -CONT $running; exit \$status"
check_equal "a successor is killed" $? 0
sleep 1
check_equal "the old process goes on" "$(worker)" "$running"

check "TCP goes on after that, too" tcp_goes_on
check "pings have gone on" eval 'pause=$(pings_pause)'
echo "# the longest pause of pings: $pause ms"
check_equal "the driver has seen no reset" "$(resets)" "$before"
check_equal "the interface and its link are the same" \
    "$(<"/sys/class/net/$dev/ifindex") $(<"/sys/class/net/$dev/carrier_changes")" "$index $changes"
kill $iperf
wire --kill iperf >/dev/null
kill $web

# --- after a crash: a reset, and the program of the options
check "the device process is killed" eval 'replaced KILL "$(worker)"'
check "the guest pings the wire again" retry 30 ping4 1
rm -f "$ktap_output".*
done_testing
