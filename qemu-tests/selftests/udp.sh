#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# UDP in both directions: datagrams of all sizes arrive as sent.
# TIMEOUT: 120
. "$SELFTEST_LIB/net.sh"
plan 3
checksum_errors() { nstat -asz UdpInCsumErrors | awk '/^Udp/ { print $2 }'; }
check "the interface is up" net_up
errors_before=$(checksum_errors)
wire --bg echo python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 7007))
while True:
    s.sendto(*s.recvfrom(65536))'
echoes() {
    python3 - $host4 <<'PY'
import os, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(0.5)
for _ in range(120):  # until the other side has started
    s.sendto(b"ready?", (sys.argv[1], 7007))
    try:
        s.recv(65536)
        break
    except (TimeoutError, ConnectionRefusedError):
        pass
s.settimeout(30)
for size in (1, 17, 18, 19, 63, 64, 511, 1471, 1472, 1473, 4000, 8000):
    data = os.urandom(size)
    s.sendto(data, (sys.argv[1], 7007))
    while (got := s.recv(65536)) == b"ready?":  # a late echo
        pass
    assert got == data, f"{size} bytes came back as {len(got)}"
PY
}
check "echoed datagrams are unchanged" echoes
wire --kill echo
check_equal "no checksum error is counted" "$(checksum_errors)" "$errors_before"
done_testing
