# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=bash
#
# For the machine with several NICs and ports (xtask/src/selftests/wires.rs has its plan).
. "$SELFTEST_LIB/net.sh"

# port MAC: waits for the interface with that address and prints its name.
port() {
    local end=$((SECONDS + 60 * ${SELFTEST_PACE:-1}))
    until ip -json link | jq -er --arg mac "$1" 'map(select(.address == $mac))[0].ifname'; do
        ((SECONDS < end)) || return 1
        sleep 0.2
    done 2>/dev/null | grep -v '^null$'
}

# port_up INTERFACE ADDRESS: brings it up with an IPv4 address, in namespace $ns if there is one. The last one in
# none is $far_peer.
port_up() {
    [[ -n $ns ]] || far_peer=$1
    ${ns:+ip netns exec "$ns"} ip addr replace "$2" dev "$1"
    ${ns:+ip netns exec "$ns"} ip link set "$1" up
    retry 30 eval "[[ \$(${ns:+ip netns exec $ns} cat /sys/class/net/$1/carrier) == 1 ]]"
}

# far CMD…: in the namespace of a wire's other end.
far() { ip netns exec far "$@"; }
# far_end INTERFACE ADDRESS: moves the interface there.
far_end() {
    ip netns add far 2>/dev/null
    ip link set "$1" netns far && ns=far port_up "$1" "$2"
}
# far_stream OPTION…: iperf3 with a server there, for this stream only.
far_stream() {
    local server client dev=$far_peer
    ip netns exec far iperf3 -s -1 >/dev/null 2>&1 &
    server=$!
    retry 60 far sh -c "ss -Hltn 'sport = :5201' | grep -q ."
    iperf3 "$@" --connect-timeout 5000 &
    client=$!
    retry 60 has_ended $client || { diagnose 5201 far >&2; kill $client; }
    kill $server 2>/dev/null
    wait $server
    wait $client
}
# no_far_end: removes the namespace, which returns the interface.
no_far_end() { ip netns del far; }
