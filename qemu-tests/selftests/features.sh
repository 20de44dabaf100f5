#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# ethtool -K: each feature changes the frames on the wire, or what completions report of a frame.
# TIMEOUT: 400
. "$SELFTEST_LIB/net.sh"
plan 19
capture=/scratch/features.pcap
check "the interface is up" net_up

# switch FEATURE on|off: for some features the driver reconfigures its queues.
switch() { ethtool -K "$dev" "$@" >/dev/null && retry 10 carrier 1; }
# recorded CONDITION TCPDUMP… -- FILTER -- CMD…: captures with tcpdump while CMD runs, in $capture, and
# until the capture meets the condition.
recorded() {
    local tcpdump=() filter=() condition=$1 status
    shift
    while [[ $1 != -- ]]; do tcpdump+=("$1") && shift; done
    shift
    while [[ $1 != -- ]]; do filter+=("$1") && shift; done
    shift
    rm -f "$capture"
    # Full packets: checksums are over all of it. -Z: the folder is root's.
    "${tcpdump[@]}" -Z root -U -w "$capture" "${filter[@]}" 2>/dev/null &
    retry 20 test -s "$capture" || return 1
    "$@" >/dev/null
    status=$?
    retry 20 eval "$condition"
    # For what may come that should not.
    sleep 0.5
    wire pkill -x tcpdump
    pkill -x tcpdump
    wait
    return $status
}
on_wire() { recorded "$1" wire tcpdump --immediate-mode -i wire0 -n "${@:2}"; }
in_guest() { recorded "$1" tcpdump --immediate-mode -i "$dev" -n -p "${@:2}"; }
longest() { tcpdump -r "$capture" -n -e 2>/dev/null | sed -n 's/.*, length \([0-9]*\): .*/\1/p' | sort -n | tail -n 1; }

stream_out() { wire_stream -c $host4 -n 2M; }
stream_in() { wire_stream -c $host4 -n 2M -R; }
data_out=(tcp and src host $guest4 and dst port 5201)
data_in=(tcp and src host $host4 and src port 5201)

# longer_out, longer_in: a stream has frames that are longer than the MTU allows.
longer='(($(longest) > 1514))' not_longer='(($(longest) == 1514))'
longer_out() { on_wire "$longer" -- "${data_out[@]}" -- stream_out && eval "$longer"; }
not_longer_out() { on_wire "$not_longer" -- "${data_out[@]}" -- stream_out && eval "$not_longer"; }
longer_in() { in_guest "$longer" -- "${data_in[@]}" -- stream_in && eval "$longer"; }
not_longer_in() { in_guest "$not_longer" -- "${data_in[@]}" -- stream_in && eval "$not_longer"; }

switch tso off
check "tso off: frames on the wire are segments" not_longer_out
switch tso on
check "tso on: frames on the wire are larger than the MTU" longer_out
switch sg off
check "sg off: frames on the wire are segments" not_longer_out
switch sg on tso on
check "sg on: frames on the wire are larger than the MTU" longer_out

# A checksum that the guest offloads to the NIC is offloaded to the TAP device.
sums() { # sums TEXT: tcpdump prints TEXT for the checksums of all five datagrams
    local five="((\$(tcpdump -r '$capture' -n -vv 2>/dev/null | grep -c '$1') == 5))"
    on_wire "$five" -- udp and dst port 9 -- bash -c "for i in 1 2 3 4 5; do echo x >/dev/udp/$host4/9; done"
    eval "$five"
}
switch tx off
check "tx off: frames on the wire have complete checksums" sums "udp sum ok"
switch tx on tso on
check "tx on: frames on the wire have partial checksums" sums "bad udp cksum"

# The checksums are wrong; the kernel drops the frames with and without the offload.
errors() { stat rx-csum_errors; }
wrong() {
    before=$(errors) taken=$(received)
    wire "$SELFTEST_LIB/raw.py" bad-checksum wire0 02ad17000001020000000098 20
    retry 20 eval '(($(received) >= taken + 20))'
}
switch rx off
check "rx off: wrong checksums arrive" wrong
check_equal "rx off: no checksum error is reported" "$(($(errors) - before))" 0
switch rx on
check "rx on: wrong checksums arrive" wrong
# Other frames are received, too.
check_equal "rx on: every checksum error is reported" "$(($(grows $((before + 20)) errors) - before))" 20

spread() { # the number of datagrams of 32 flows that arrive on other queues than the first
    local before taken
    before=$(stat 'rx_q-[1-9][0-9]*_pkts') taken=$(received)
    wire bash -c "for port in {40000..40031}; do echo x >/dev/udp/$guest4/\$port; done"
    grows $((taken + 32)) received >/dev/null
    echo $(($(stat 'rx_q-[1-9][0-9]*_pkts') - before))
}
switch rxhash off
check_equal "rxhash off: all flows go to the first queue" "$(spread)" 0
switch rxhash on
check "rxhash on: flows spread" test "$(spread)" -gt 3

merged() { stat 'rx_q-[0-9]+_rx_gro_hw_pkts'; }
switch rx-gro-hw off gro off
check "gro off: the stack receives segments" not_longer_in
switch rx-gro-hw on
before=$(merged)
check "rx-gro-hw on: merged frames arrive" longer_in
check "rx-gro-hw on: the driver counts merged frames" test "$(merged)" -gt "$before"
switch rx-gro-hw off gro on
stream_in >/dev/null
check_equal "rx-gro-hw off: no frames are merged" "$(merged)" 0

large() { # sends eight datagrams of 1000 bytes in one call (UDP_SEGMENT, udp(7))
    before=$(stat 'tx_q-[0-9]+_lso_pkts')
    on_wire whole -- udp and dst port 40100 -- python3 - <<PY
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_UDP, 103, 1000)
s.sendto(bytes(8000), ("$host4", 40100))
PY
    whole
}
# whole: there are all bytes of UDP's payload, in one frame or in eight.
whole() {
    tcpdump -r "$capture" -n 2>/dev/null | sed -n 's/.* length \([0-9]*\)$/\1/p' | awk '{ sum += $1 } END { exit sum != 8000 }'
}
lso() { echo $(($(stat 'tx_q-[0-9]+_lso_pkts') - before)); }
switch tx-udp-segmentation off
large
check_equal "tx-udp-segmentation off: the stack segments" "$?:$(lso)" 0:0
switch tx-udp-segmentation on
large
check_equal "tx-udp-segmentation on: the device segments" "$?:$(lso)" 0:1

done_testing
