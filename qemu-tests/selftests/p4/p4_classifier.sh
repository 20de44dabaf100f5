#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# classifier.p4: flows go to a queue or are dropped, a QUIC connection goes to a queue whatever its
# addresses are.
# TIMEOUT: 120
. "$SELFTEST_LIB/programs.sh"
plan 7
check "the interface is up" program_up 1
# Packets without an assigned queue go to queue 0.
ethtool -X "$dev" equal 1
check "packets that match no entry pass" ping -n -q -c 3 -i 0.2 -w 30 10.99.1.1

# udp SOURCE-PORT PORT HEX: five datagrams from the wire, which arrive or are dropped.
udp() {
    wire python3 -c '
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("10.99.1.1", int(sys.argv[1])))
for _ in range(5):
    s.sendto(bytes.fromhex(sys.argv[3]), ("10.99.1.2", int(sys.argv[2])))
' "$@"
}
# taken COUNT FRAMES CMD…: the number of frames that queue 1 receives meanwhile, which should be COUNT, of FRAMES
# that the command sends.
taken() {
    local before all
    before=$(stat 'rx_q-1_pkts') all=$(received)
    "${@:3}"
    grows $((all + $2)) received >/dev/null
    grows $((before + $1)) stat 'rx_q-1_pkts' >/dev/null
    echo $(($(stat 'rx_q-1_pkts') - before))
}
check_equal "a flow goes to queue 1" "$(taken 5 5 udp 4000 4000 00)" 5
check_equal "a flow with another source port does not go to queue 1" "$(taken 0 5 udp 4002 4000 00)" 0
# arrived FRAMES CMD…: the datagrams for ports without a socket that the kernel gets meanwhile, of which so
# many arrive. (Other packets of the wire are in the counters of queue 0, too.)
no_ports() { awk '/^Udp:/ && ++line == 2 { print $3 }' /proc/net/snmp; }
arrived() {
    local before
    before=$(no_ports)
    "${@:2}"
    grows $((before + $1)) no_ports >/dev/null
    # For what may come that should not.
    sleep 0.5
    echo $(($(no_ports) - before))
}
check_equal "datagrams without an entry arrive" "$(arrived 5 udp 4003 4003 00)" 5
check_equal "a flow is dropped by its entry" "$(arrived 0 udp 4001 4001 00)" 0
quic=0102030405060708
check_equal "a QUIC connection goes to queue 1, by long and short headers" \
    "$(taken 10 10 eval "udp 1111 443 c00000000108${quic}00ff; udp 2222 443 40${quic}ff")" 10
ethtool -X "$dev" default
done_testing
