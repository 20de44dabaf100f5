#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# conntrack.p4: the guest may open connections, the wire only those to a service; translation.
# TIMEOUT: 400
. "$SELFTEST_LIB/programs.sh"
plan 28
host=10.99.5.1 guest=10.99.5.2
# The source of the guest's connections to port 6005.
public=10.99.5.77
check "the interface is up" program_up 5

device_metrics() { wire curl -sSf http://127.0.0.1:9906/metrics; }
# program_drops: packets that the program has dropped so far.
program_drops() { device_metric adit_p4_dropped_total 'reason="program"'; }
# serve PORT: a web server in the guest.
serve() {
    mkdir -p /tmp/p4_conntrack && seq 100000 >/tmp/p4_conntrack/page
    python3 -m http.server -b $guest -d /tmp/p4_conntrack "$1" >/dev/null 2>&1 &
    retry 60 sh -c "ss -Hltn 'sport = :$1' | grep -q ."
}

check "ping from the guest passes" ping -n -q -c 3 -i 0.2 -w 30 $host
before=$(program_drops)
check "ping from the wire is refused" eval "! wire ping -n -q -c 2 -i 0.2 -W 1 $guest"
check_equal "the program has dropped it" "$(($(grows $((before + 2)) program_drops) - before))" 2
check "TCP from the guest passes" wire_stream -c $host -t 2
check "its replies pass" wire_stream -c $host -t 2 -R
serve 8005
serve 8006
before=$(program_drops)
check_equal "the wire opens a connection to the service" \
    "$(wire curl -sSf -m 60 http://$guest:8005/page | cksum)" "$(cksum </tmp/p4_conntrack/page)"
check_equal "the program has dropped none of its packets" "$(($(program_drops) - before))" 0
check "the wire opens no connection to another port" eval "! wire curl -sS -m 3 http://$guest:8006/page"
check "the program has dropped its packets" retry 20 eval '(($(program_drops) > before))'

# --- an ICMP error is related: a socket of the guest gets it
refused() {
    python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("10.99.5.1", 9))
s.settimeout(60)
s.send(b"x")
try:
    s.recv(1)
except ConnectionRefusedError:
    print("refused")'
}
check_equal "an error about the guest's datagram reaches it" "$(refused)" refused
error() {
    wire python3 -c '
import socket, struct
# Port unreachable, about a datagram that the guest has not sent.
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, 17, 0, socket.inet_aton("10.99.5.2"), socket.inet_aton("10.99.5.1"))
icmp = struct.pack("!BBHI", 3, 3, 0, 0) + ip + struct.pack("!HHHH", 9, 99, 8, 0)
total = sum(struct.unpack("!18H", icmp))
total = (total & 0xffff) + (total >> 16)
total = (total & 0xffff) + (total >> 16)
s.sendto(icmp[:2] + struct.pack("!H", ~total & 0xffff) + icmp[4:], ("10.99.5.2", 0))'
}
before=$(program_drops)
check "the wire sends an error about no connection" error
check "the program has dropped it" retry 20 eval '(($(program_drops) == before + 1))'

# --- translation
check "the wire knows the public address" \
    wire ip neigh replace $public lladdr 02:ad:17:00:05:01 dev wire5
wire --bg peer sh -c 'python3 -c "
import socket
s = socket.create_server((\"10.99.5.1\", 6005))
c, peer = s.accept()
while c.recv(65536):
    pass
c.send(peer[0].encode())
c.close()"'
wire_listen 6005
seen=$(head -c 200000 /dev/zero | timeout 100 python3 -c '
import socket, sys
s = socket.create_connection(("10.99.5.1", 6005), 60)
s.sendall(sys.stdin.buffer.read())
s.shutdown(socket.SHUT_WR)
print(s.recv(100).decode())')
check_equal "the wire sees the public address, and its answer reaches the guest" "$seen" $public
wire --kill peer
check_equal "no checksum error is counted" "$(stat rx-csum_errors)" 0

# --- fragments: the program gets whole datagrams, the link carries fragments
complete() { device_metric adit_fragments_total 'event="complete"'; }
# reassembled: datagrams that the wire's end has put together.
reassembled() {
    wire cat /proc/net/snmp | awk '/^Ip:/ { if (n) print $n; else for (i = 1; i <= NF; i++) if ($i == "ReasmOKs") n = i }'
}
before=$(complete) there=$(reassembled)
check "ping with fragments passes" ping -n -q -c 5 -i 0.2 -w 30 -s 4000 $host
check "the NIC has put them together in both directions" eval '(($(complete) >= before + 10))'
check "they have reached the wire in fragments" eval '(($(reassembled) >= there + 5))'
wire --bg echo python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("10.99.5.1", 6006))
while True:
    data, peer = s.recvfrom(65536)
    s.sendto(peer[0].encode().ljust(16) + data, peer)'
# echoed BYTES: the source that the peer has seen of a datagram that it has sent back unchanged.
echoed() {
    timeout 60 python3 -c '
import os, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("10.99.5.1", 6006))
s.settimeout(2)
data = os.urandom(int(sys.argv[1]))
for _ in range(20):
    try:
        s.send(data)
        back = s.recv(65536)
    except (TimeoutError, ConnectionRefusedError):
        continue
    print(back[:16].decode().strip() if back[16:] == data else "other data")
    break' "$1"
}
check_equal "a datagram in 4 fragments is translated there and back" "$(echoed 5000)" $public
check_equal "so is one in 41" "$(echoed 60000)" $public
wire --kill echo
# What is sent again after a timeout may have lost a fragment.
check "no fragment is left" retry 60 eval '(($(device_metric adit_fragments_datagrams) == 0))'

# --- the NIC's connections, over the network that they are about
listed() { adit ct --p4rt $host:9561 -L -p tcp --dport "$1" 2>/dev/null; }
check "the service's connection is listed" eval 'listed 8005 | grep -q "src=$host dst=$guest .*ASSURED"'
check "the translated connection is listed with its translation" \
    eval 'listed 6005 | grep -q "src=$guest dst=$host .*src=$host dst=$public "'
check "no refused connection is listed" eval '! listed 8006 | grep -q .'

# --- why: the tracker's counters
check "errors about no connection are counted" \
    eval '(($(device_metric adit_conntrack_events_total "event=\"error\"") > 0))'
check "connections are counted" eval '(($(device_metric adit_conntrack_events_total "event=\"insert\"") > 3))'
check_equal "nothing is dropped for the tracker" "$(device_metric adit_p4_dropped_total 'reason="untranslatable"')" 0
done_testing
