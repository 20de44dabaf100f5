#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# classifier.p4: flows go to a queue or nowhere, a QUIC connection to a queue whatever its addresses
# are.
. "$SELFTEST_LIB/programs.sh"
plan 6
check "up" program_up 1
# What the program does not say goes to queue 0.
ethtool -X "$dev" equal 1
check "what is in no table passes" ping -n -q -c 3 -i 0.2 -W 5 10.99.1.1

# udp SOURCE-PORT PORT HEX: five datagrams from the wire.
udp() {
    wire python3 -c '
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("10.99.1.1", int(sys.argv[1])))
for _ in range(5):
    s.sendto(bytes.fromhex(sys.argv[3]), ("10.99.1.2", int(sys.argv[2])))
' "$@"
    sleep 0.5
}
# taken NAME CMD…: what the command adds to a counter.
taken() {
    local before
    before=$(stat "$1")
    "${@:2}"
    echo $(($(stat "$1") - before))
}
check_equal "a flow goes to queue 1" "$(taken 'rx_q-1_pkts' udp 4000 4000 00)" 5
check_equal "its neighbour does not" "$(taken 'rx_q-1_pkts' udp 4002 4000 00)" 0
check_equal "another one is dropped" "$(taken 'rx_q-[0-9]+_pkts' udp 4001 4001 00)" 0
quic=0102030405060708
check_equal "a QUIC connection goes to queue 1, by long and short headers" \
    "$(taken 'rx_q-1_pkts' eval "udp 1111 443 c00000000108${quic}00ff; udp 2222 443 40${quic}ff")" 10
ethtool -X "$dev" default
done_testing
