#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# acl.p4: rules in both directions, with and without merged frames.
# TIMEOUT: 240
. "$SELFTEST_LIB/programs.sh"
plan 8
check "the interface is up" program_up 2
check "packets that match no rule pass" ping -n -q -c 3 -i 0.2 -w 30 10.99.2.1
# received_at PORT SECONDS: the number of three datagrams from the wire that the guest receives until so long
# after they were sent.
received_at() {
    local sent
    sent=$(mktemp -u)
    mkfifo "$sent"
    python3 -c '
import select, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("10.99.2.2", int(sys.argv[1])))
heard, waits_for, rest = 0, [s, sys.stdin], None
while heard < 3:
    ready = select.select(waits_for, [], [], rest)[0]
    if s in ready:
        heard += len(s.recv(10)) == 1
    elif sys.stdin in ready:
        waits_for, rest = [s], int(sys.argv[2])
    else:
        break
print(heard)' "$@" <"$sent" &
    exec 3>"$sent"
    rm "$sent"
    retry 60 sh -c "ss -Hlun 'sport = :$1' | grep -q ."
    for _ in 1 2 3; do wire bash -c "printf x >/dev/udp/10.99.2.2/$1"; done
    exec 3>&-
    wait
}
check_equal "packets to a port below the range pass" "$(received_at 4999 30)" 3
check_equal "packets to the first port of the range are dropped" "$(received_at 5000 2)" 0
check_equal "packets to the last port of the range are dropped" "$(received_at 5009 2)" 0
check_equal "packets to a port above the range pass" "$(received_at 5010 30)" 3
check "TCP passes in both directions" wire_stream -c 10.99.2.1 -t 2 --bidir
wire --bg server iperf3 -s -p 6000
check "a rule denies connections of the guest" eval 'wire_listen 6000 && ! iperf3 -c 10.99.2.1 -p 6000 -t 1 --connect-timeout 2000'
wire --kill server
done_testing
