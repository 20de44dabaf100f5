#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# acl.p4: rules in both directions, with and without merged frames.
# TIMEOUT: 120
. "$SELFTEST_LIB/programs.sh"
plan 8
check "the interface is up" program_up 2
check "packets that match no rule pass" ping -n -q -c 3 -i 0.2 -W 5 10.99.2.1
# received_at PORT: the number of three datagrams from the wire that the guest receives.
received_at() {
    python3 -c '
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("10.99.2.2", int(sys.argv[1])))
s.settimeout(4)
heard = 0
try:
    while heard < 3:
        heard += len(s.recv(10)) == 1
except TimeoutError:
    pass
print(heard)' "$1" &
    retry 15 sh -c "ss -Hlun 'sport = :$1' | grep -q ."
    for _ in 1 2 3; do wire bash -c "printf x >/dev/udp/10.99.2.2/$1"; done
    wait
}
check_equal "packets to a port below the range pass" "$(received_at 4999)" 3
check_equal "packets to the first port of the range are dropped" "$(received_at 5000)" 0
check_equal "packets to the last port of the range are dropped" "$(received_at 5009)" 0
check_equal "packets to a port above the range pass" "$(received_at 5010)" 3
wire --bg server iperf3 -s
wire_listen 5201
check "TCP passes in both directions" iperf3 -c 10.99.2.1 -t 2 --bidir --connect-timeout 5000
wire --kill server
wire --bg server iperf3 -s -p 6000
wire_listen 6000
check "a rule denies connections of the guest" eval '! iperf3 -c 10.99.2.1 -p 6000 -t 1 --connect-timeout 2000'
wire --kill server
done_testing
