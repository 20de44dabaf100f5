#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# An independent P4Runtime client (finsy, at the other end of the wire) loads programs and entries
# into the running NIC; packets are processed accordingly.
# TIMEOUT: 300
. "$SELFTEST_LIB/programs.sh"
plan 28

# controller WORD…: the output of a command of the control plane; see lib/controller.py.
controller() {
    local answer
    answer=$(wire bash -c 'exec 3<>/dev/tcp/127.0.0.1/9560 && echo "$*" >&3 && cat <&3' - "$@") || return
    [[ ${answer##*$'\n'} == done ]] || { echo "$answer"; return 1; }
    head -n -1 <<<"$answer"
}
# added A B: the difference of two counters, in packets and bytes.
added() { echo "$((${2% *} - ${1% *})) $((${2#* } - ${1#* }))"; }
# wire_seen WIRE: the number of packets that left through it so far.
wire_seen() { wire ip -json -s link show dev "$1" | jq '.[0].stats64.rx.packets'; }
# hops_of_one COUNT CMD…: pings until COUNT replies: otherwise ping gives up on a late reply after two
# round trips.
hops_of_one() { "${@:2}" -n -c "$1" -i 0.2 -w 20 | grep -c 'ttl=63'; }

host=10.99.4.1 guest=10.99.4.2
check "the interface is up" program_up 4
check "packets pass with the initial program" ping -n -q -c 3 -i 0.2 -w 30 $host

# --- a router, empty at first
# It has started with the guest.
check "the client listens" retry 60 wire bash -c 'exec 3<>/dev/tcp/127.0.0.1/9560'
check "the client installs l3.p4" controller l3
check "no packet from the guest passes without routes" eval "! ping -n -q -c 3 -i 0.2 -W 1 $host"
check "no packet from the wire passes without routes" eval "! wire ping -n -q -c 3 -i 0.2 -W 1 $guest"
entries() {
    controller l3 insert nexthops m.nexthop=1 to forward src=0x020000000401 dst=0x02ad17000401 port=0x1000 &&
        controller l3 insert nexthops m.nexthop=2 to forward src=0x020000000402 dst=0x02ad17ff0401 port=0 &&
        controller l3 insert ipv4_routes h.ipv4.dst=$guest/32 to set_nexthop nexthop=1 &&
        controller l3 insert ipv4_routes h.ipv4.dst=$host/32 to set_nexthop nexthop=2
}
check "the client inserts next hops and routes" entries
there() { controller l3 hits ipv4_routes h.ipv4.dst=$host/32; }
back() { controller l3 hits ipv4_routes h.ipv4.dst=$guest/32; }
check_equal "the counters of new routes are 0" "$(there), $(back)" "0 0, 0 0"
check_equal "packets from the guest pass over one hop" \
    "$(ping -n -c 10 -i 0.2 -W 5 -s 100 $host | grep -o 'ttl=[0-9]*' | sort -u)" ttl=63
# 100 bytes behind Ethernet, IPv4 and ICMP.
check "the counter of the route counts the packets" retry 20 eval '[[ $(there) == "10 1420" ]]'
check "the counter of the return route counts the packets" retry 20 eval '[[ $(back) == "10 1420" ]]'
check_equal "packets from the wire pass over one hop" "$(hops_of_one 3 wire ping $guest)" 3
mkdir -p /tmp/p4_runtime && seq 100000 >/tmp/p4_runtime/page
python3 -m http.server -b $guest -d /tmp/p4_runtime 8004 >/dev/null 2>&1 &
server=$!
retry 60 sh -c "ss -Hltn 'sport = :8004' | grep -q ."
check_equal "a page is fetched from the guest" \
    "$(wire curl -sSf -m 60 http://$guest:8004/page | cksum)" "$(cksum </tmp/p4_runtime/page)"
kill $server

# --- other entries at run time
check "an existing entry is refused" \
    eval "! controller l3 insert ipv4_routes h.ipv4.dst=$host/32 to drop"
check "an entry with a value out of range is refused" eval '! controller l3 insert nexthops m.nexthop=0x10000 to drop'
check_equal "packets pass after the refused entries" "$(hops_of_one 2 ping $host)" 2
check "the next hop is moved to the other wire" \
    controller l3 modify nexthops m.nexthop=2 to forward src=0x020000000402 dst=0x02ad17ff0401 port=1
one=$(wire_seen wire4) other=$(wire_seen wire4b) before=$(there)
ping -n -q -c 5 -i 0.2 -W 1 $host >/dev/null
check_equal "packets leave through the other wire" "$(($(grows $((other + 5)) wire_seen wire4b) - other))" 5
check_equal "packets no longer leave through the first wire" "$(wire ip -json -s link show dev wire4 | jq ".[0].stats64.rx.packets - $one < 5")" true
check "the counter of the route continues" retry 20 eval '[[ $(added "$before" "$(there)") == "5 490" ]]'
check "the next hop is moved back to the first wire" \
    controller l3 modify nexthops m.nexthop=2 to forward src=0x020000000402 dst=0x02ad17ff0401 port=0
check_equal "packets pass over the first wire" "$(hops_of_one 2 ping $host)" 2
check "the client deletes a route" controller l3 delete ipv4_routes h.ipv4.dst=$host/32
check "no packet passes without the route" eval "! ping -n -q -c 3 -i 0.2 -W 1 $host"

# --- a packet filter instead
check "the client installs acl.p4" controller acl
check_equal "the packet filter does not decrement the TTL" "$(ping -n -c 3 -i 0.2 -w 20 $host | grep -c 'ttl=64')" 3
rule="ipv4_rules h.ipv4.protocol=17 m.network.dst_port=5000...5009 priority=10"
# shellcheck disable=SC2086 # several words
denied() {
    local output before
    output=$(controller acl insert $rule to deny) || { echo "$output"; return 1; }
    before=$(received)
    for port in 5000 5004 5009; do wire bash -c "printf x >/dev/udp/$guest/$port"; done
    retry 20 eval '[[ $(controller acl hits $rule) == "3 129" ]]' || { controller acl hits $rule; return 1; }
    (($(received) < before + 3))
}
check "a rule denies packets and counts them" denied
# shellcheck disable=SC2086
permitted() {
    controller acl modify $rule to permit || return
    python3 -c "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('$guest', 5004))
s.settimeout(60)
assert s.recv(10) == b'x'" &
    local listener=$!
    retry 60 sh -c "ss -Hlun 'sport = :5004' | grep -q ."
    wire bash -c "printf x >/dev/udp/$guest/5004"
    wait "$listener"
}
check "the modified rule permits packets" permitted
done_testing
