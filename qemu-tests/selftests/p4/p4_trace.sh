#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# `adit trace` on the running NIC, through conntrack.p4: a ping and a web page, their entries,
# connections and translation, and why a packet was refused.
# TIMEOUT: 300
. "$SELFTEST_LIB/programs.sh"
plan 15
host=10.99.5.1 guest=10.99.5.2
public=10.99.5.77
check "the interface is up" program_up 5
dir=$(mktemp -d)
# NIC 5 answers P4Runtime at the far end of its own wire: the guest's packets to it are not traced.
# follow NAME ARG…: follows packets in the background, into $dir/NAME; returns once none is missed.
follow() {
    adit trace --p4rt $host:9561 "${@:2}" >"$dir/$1" 2>"$dir/$1.err" &
    pid=$!
    retry 30 grep -q "following packets" "$dir/$1.err"
}
# ended: waits for the packets that were asked for.
ended() { within 30 tail --pid=$pid -f /dev/null && wait $pid; }
has() { grep -qF -- "$2" "$dir/$1"; }

follow ping --proto icmp --count 4
ping -n -q -c 2 -i 0.2 -w 30 $host >/dev/null
check "a ping is followed" ended
check "its connection is committed" has ping "commit: COMMITTED, zone 0, new|trk"
check "its replies are of a known connection" has ping "track: zone 0, est|rpl|trk"
check "requests leave on the wire" has ping "sent on wire 0"
check "replies are delivered to a receive queue" grep -q "delivered to port 4096, receive queue [01]" "$dir/ping"

# --- a service's entry
mkdir -p "$dir/www" && echo page >"$dir/www/page"
python3 -m http.server -b $guest -d "$dir/www" 8005 >/dev/null 2>&1 &
server=$!
retry 60 sh -c "ss -Hltn 'sport = :8005' | grep -q ."
follow service --host $guest --l4-port 8005 --flags syn,!ack --count 1
wire curl -sSf -m 30 http://$guest:8005/page >/dev/null
check "a connection's first packet is followed" ended
check "the service's entry is shown" grep -q "hit   services .*ipv4.dst=$guest.* allow" "$dir/service"
kill $server

# --- translation
check "the wire knows the public address" \
    wire ip neigh replace $public lladdr 02:ad:17:00:05:01 dev wire5
follow nat --proto tcp --dport 6005 --flags syn,!ack --count 1
timeout 20 bash -c "echo >/dev/tcp/$host/6005" 2>/dev/null
check "a translated packet is followed" ended
check "the translation's entry is shown" grep -q "hit   translations .* masquerade(" "$dir/nat"
check "the packet leaves with it" grep -q "leaves as $public:[0-9]* > $host:6005 tcp" "$dir/nat"

# --- a refused packet, and which action to blame
follow refused -o json --src $host --proto tcp --dport 8006 --count 1
wire curl -sS -m 2 http://$guest:8006/ >/dev/null 2>&1
check "a refused packet is followed" ended
check_equal "the action that drops it is named" \
    "$(jq -r '.dropped[0].why' "$dir/refused")" 'drop_packet in the action `refuse`'
check_equal "and it is the blamed step" \
    "$(jq -r '.steps[.dropped[0].step].action' "$dir/refused")" refuse
rm -rf "$dir"
done_testing
