#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# web.sh WHAT ARGS…: `adit httpd` on an ADI of NIC 0 (adit.ko), and on kernel sockets behind NIC 1
# (idpf), as a node reaches a container: nftables DNAT, and a veth pair into its network namespace.
#
#   setup                                   binds the NICs, makes an ADI, the namespace and the files
#   CONTENDER BYTES CONNECTIONS SECONDS     prints a JSON array: what wrk measured from the wire (see
#                                           web.lua), and the CPU seconds of the guest meanwhile
set -e -o pipefail
first=0000:00:05.0
adi4=10.99.0.3 pod4=10.244.0.2
root=/srv/web
# Before the window opens.
settle=1

busy() { awk '/^cpu / { print $2 + $3 + $4 + $7 + $8 }' /proc/stat; }

setup() {
    modprobe veth
    adit-load $first
    modprobe idpf
    nic-up 1 >/dev/null
    adit -o json adi create --queues 2 --mac 02:00:00:00:0a:01 | jq -r .device >/run/adi.web
    mkdir -p $root
    for size in 100 1500; do head -c $size /dev/zero | tr '\0' x >$root/$size; done
    ip netns add web
    ip link add veth0 type veth peer name eth0 netns web
    ip addr add 10.244.0.1/24 dev veth0
    ip link set veth0 up
    ip -n web addr add $pod4/24 dev eth0
    ip -n web link set eth0 up
    ip -n web route add default via 10.244.0.1
    sysctl -qw net.ipv4.ip_forward=1
    nft -f - <<EOF
table ip web {
    chain prerouting {
        type nat hook prerouting priority dstnat
        ip daddr 10.99.1.2 tcp dport 80 dnat to $pod4:8080
    }
}
EOF
    uname -r
}

# window HOST BYTES CONNECTIONS SECONDS: the load from the wire, once the server answers.
window() {
    local url=http://$1/$2 before after line
    for ((n = 0; n < 100; n++)); do
        wire curl -s --max-time 2 -o /dev/null "$url" && break
        sleep 0.1
    done
    sleep $settle
    before=$(busy)
    line=$(wire wrk --threads 1 --connections "$3" --duration "$4s" --timeout 10s \
        --script /repo/qemu-tests/bench/web.lua "$url" | tail -n 1)
    after=$(busy)
    jq -c ". + [($after - $before) / $(getconf CLK_TCK)]" <<<"$line"
}

adi() {
    adit httpd --adi "$(</run/adi.web)" --address $adi4/24 --root $root 2>/dev/null >/run/web.counters &
    window $adi4 "$@"
    kill %1 && wait
}

kernel() {
    ip netns exec web adit httpd --listen $pod4:8080 --queues 2 --root $root 2>/dev/null >/run/web.counters &
    window 10.99.1.2 "$@"
    kill %1 && wait
}

"$@"
