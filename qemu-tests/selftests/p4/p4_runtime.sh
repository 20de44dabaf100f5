#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# A P4Runtime client that is not ours (finsy, at the wire's end) gives the running NIC programs and
# entries; packets are treated accordingly.
# TIMEOUT: 300
. "$SELFTEST_LIB/programs.sh"
plan 27

# controller WORD…: what the control plane prints; lib/controller.py says what it takes.
controller() {
    local answer
    answer=$(wire bash -c 'exec 3<>/dev/tcp/127.0.0.1/9560 && echo "$*" >&3 && cat <&3' - "$@") || return
    [[ ${answer##*$'\n'} == done ]] || { echo "$answer"; return 1; }
    head -n -1 <<<"$answer"
}
# added A B: what B has more than A, in packets and bytes.
added() { echo "$((${2% *} - ${1% *})) $((${2#* } - ${1#* }))"; }
# wire_seen WIRE: packets that came out of it so far.
wire_seen() { wire ip -json -s link show dev "$1" | jq '.[0].stats64.rx.packets'; }
# Until so many have been answered: ping gives up a late answer after two round trips otherwise.
hops_of_one() { "${@:2}" -n -c "$1" -i 0.2 -w 20 | grep -c 'ttl=63'; }

host=10.99.4.1 guest=10.99.4.2
check "up" program_up 4
check "with the program that it starts with all passes" ping -n -q -c 3 -i 0.2 -W 5 $host

# --- a router, empty at first
check "the client installs l3.p4" controller l3
check "without routes nothing passes" eval "! ping -n -q -c 3 -i 0.2 -W 1 $host"
check "nor from the wire" eval "! wire ping -n -q -c 3 -i 0.2 -W 1 $guest"
entries() {
    controller l3 insert nexthops m.nexthop=1 to forward src=0x020000000401 dst=0x02ad17000401 port=0x1000 &&
        controller l3 insert nexthops m.nexthop=2 to forward src=0x020000000402 dst=0x02ad17ff0401 port=0 &&
        controller l3 insert ipv4_routes h.ipv4.dst=$guest/32 to set_nexthop nexthop=1 &&
        controller l3 insert ipv4_routes h.ipv4.dst=$host/32 to set_nexthop nexthop=2
}
check "next hops and routes" entries
there() { controller l3 hits ipv4_routes h.ipv4.dst=$host/32; }
back() { controller l3 hits ipv4_routes h.ipv4.dst=$guest/32; }
check_equal "their counters begin at 0" "$(there), $(back)" "0 0, 0 0"
check_equal "then packets pass, over one hop" \
    "$(ping -n -c 10 -i 0.2 -W 5 -s 100 $host | grep -o 'ttl=[0-9]*' | sort -u)" ttl=63
# 100 bytes behind Ethernet, IPv4 and ICMP.
check "the route's counter says how many there were" retry 10 eval '[[ $(there) == "10 1420" ]]'
check "and so does that of the way back" retry 10 eval '[[ $(back) == "10 1420" ]]'
check_equal "from the wire too" "$(hops_of_one 3 wire ping $guest)" 3
mkdir -p /tmp/p4_runtime && seq 100000 >/tmp/p4_runtime/page
python3 -m http.server -b $guest -d /tmp/p4_runtime 8004 >/dev/null 2>&1 &
server=$!
retry 60 sh -c "ss -Hltn 'sport = :8004' | grep -q ."
check_equal "a page out of the guest" \
    "$(wire curl -sSf -m 60 http://$guest:8004/page | cksum)" "$(cksum </tmp/p4_runtime/page)"
kill $server

# --- other entries, while it runs
check "an entry that there is already is refused" \
    eval "! controller l3 insert ipv4_routes h.ipv4.dst=$host/32 to drop"
check "and one of a wrong value" eval '! controller l3 insert nexthops m.nexthop=0x10000 to drop'
check_equal "which changes nothing" "$(hops_of_one 2 ping $host)" 2
check "the next hop is at the other wire" \
    controller l3 modify nexthops m.nexthop=2 to forward src=0x020000000402 dst=0x02ad17ff0401 port=1
one=$(wire_seen wire4) other=$(wire_seen wire4b) before=$(there)
ping -n -q -c 5 -i 0.2 -W 1 $host >/dev/null
check_equal "packets come out there" "$(($(wire_seen wire4b) - other))" 5
check_equal "and only there" "$(wire ip -json -s link show dev wire4 | jq ".[0].stats64.rx.packets - $one < 5")" true
check_equal "its route counts on" "$(added "$before" "$(there)")" "5 490"
check "the next hop is back" \
    controller l3 modify nexthops m.nexthop=2 to forward src=0x020000000402 dst=0x02ad17ff0401 port=0
check_equal "and packets pass again" "$(hops_of_one 2 ping $host)" 2
check "a route goes" controller l3 delete ipv4_routes h.ipv4.dst=$host/32
check "and nothing passes" eval "! ping -n -q -c 3 -i 0.2 -W 1 $host"

# --- a packet filter instead
check "the client installs acl.p4" controller acl
check_equal "which is no router" "$(ping -n -c 3 -i 0.2 -w 20 $host | grep -c 'ttl=64')" 3
rule="ipv4_rules h.ipv4.protocol=17 m.network.dst_port=5000...5009 priority=10"
# shellcheck disable=SC2086 # several words
denied() {
    local said before
    said=$(controller acl insert $rule to deny) || { echo "$said"; return 1; }
    before=$(received)
    for port in 5000 5004 5009; do wire bash -c "printf x >/dev/udp/$guest/$port"; done
    retry 10 eval '[[ $(controller acl hits $rule) == "3 129" ]]' || { controller acl hits $rule; return 1; }
    (($(received) < before + 3))
}
check "a rule denies and counts what it denied" denied
# shellcheck disable=SC2086
permitted() {
    controller acl modify $rule to permit || return
    python3 -c "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('$guest', 5004))
s.settimeout(10)
assert s.recv(10) == b'x'" &
    local listener=$!
    retry 15 sh -c "ss -Hlun 'sport = :5004' | grep -q ."
    wire bash -c "printf x >/dev/udp/$guest/5004"
    wait "$listener"
}
check "changed, it permits" permitted
done_testing
