#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# web.sh WHAT: `adit httpd` on an ADI of NIC 0 (adit.ko), and on kernel sockets behind NIC 1 (idpf), as a
# node reaches a container: nftables DNAT, and a veth pair into its network namespace.
#
#   setup    binds the NICs, makes an ADI, the namespace and the files, and starts both servers
#   counts   prints the guest's interrupts, with those of timers and between CPUs, and context switches
#   end      stops them; the last line is a JSON object of their counters
set -e -o pipefail
first=0000:00:05.0
adi4=10.99.0.3 pod4=10.244.0.2
root=/srv/web
# What the servers print.
out=/run/web

network() {
    modprobe veth
    adit-load $first
    modprobe idpf
    nic-up 1 >/dev/null
    ip netns add web
    ip link add veth0 type veth peer name eth0 netns web
    ip addr add 10.244.0.1/24 dev veth0
    ip link set veth0 up
    ip -n web addr add $pod4/24 dev eth0
    ip -n web link set eth0 up
    ip -n web route add default via 10.244.0.1
    sysctl -qw net.ipv4.ip_forward=1
    nft -f - <<EOT
table ip web {
    chain prerouting {
        type nat hook prerouting priority dstnat
        ip daddr 10.99.1.2 tcp dport 80 dnat to $pod4:8080
    }
}
EOT
}

# serve NAME ADDRESS COMMAND…: starts a server, and waits until the wire reaches it at the address.
serve() {
    local name=$1 address=$2
    setsid "${@:3}" >$out/$name.json 2>$out/$name.log </dev/null &
    echo $! >$out/$name.pid
    for ((n = 0; n < 100; n++)); do
        wire curl -s --max-time 2 -o /dev/null "http://$address/100" && return
        sleep 0.1
    done
    echo "the server $name does not answer at $address:" >&2
    cat $out/$name.log >&2
    return 1
}

setup() {
    local adi
    network
    mkdir -p $root $out
    for size in 100 1500; do head -c $size /dev/zero | tr '\0' x >$root/$size; done
    adi=$(adit -o json adi create --queues 2 --mac 02:00:00:00:0a:01 | jq -r .device)
    serve adi $adi4 adit -o json httpd --adi "$adi" --address $adi4/24 --root $root
    serve kernel 10.99.1.2 ip netns exec web adit -o json httpd --listen $pod4:8080 --queues 2 --root $root
}

counts() {
    awk '$1 == "intr" { i = $2 } $1 == "ctxt" { c = $2 } END { print "[" i ", " c "]" }' /proc/stat
}

end() {
    local name
    for name in adi kernel; do
        kill "$(<$out/$name.pid)"
        for ((n = 0; n < 200; n++)); do
            [[ -s $out/$name.json ]] && break
            sleep 0.1
        done
        cat $out/$name.log >&2
    done
    jq -c -n --slurpfile adi $out/adi.json --slurpfile kernel $out/kernel.json \
        '{adi: $adi[0], kernel: $kernel[0]}'
}

"$@"
