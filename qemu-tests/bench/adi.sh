#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# adi.sh WHAT ARGS…: ADIs of NIC 0 (adit.ko) beside AF_XDP on NIC 1 (idpf) and a veth pair. Frames
# have 64 bytes with their check sequence and are counted where they arrive.
#
#   setup                       binds the NICs, makes two ADIs and the veth pair
#   scale COUNT DRIVER          makes and destroys COUNT ADIs, each a VFIO device (vfio) or left
#                               without a driver (none); see scale below
#   CONTENDER-out SECONDS       frames a second to the wire (adi, afxdp)
#   CONTENDER-in SECONDS RATE   frames a second from the wire, where RATE are offered (adi, afxdp)
#   CONTENDER-wire-rtt COUNT    median round trip from the wire in µs (adi, afxdp), and
#   adi-wire-irq-rtt COUNT      where the ADI's owner sleeps until an interrupt
#   CONTENDER-pair SECONDS      frames a second from one to the other (adi, veth)
#   CONTENDER-pair-rtt COUNT    median round trip between the two in µs (adi, veth)
. /repo/qemu-tests/selftests/lib/memory.sh
set -e -o pipefail
first=0000:00:05.0
stranger=02:00:00:00:00:fe
# Before a window opens.
settle=1

adi() { cat "/run/adi.$1"; }
adi_mac() { printf '02:00:00:00:0a:%02x' "$1"; }
# rate BEFORE AFTER NS-BEFORE NS-AFTER
rate() { awk "BEGIN { printf \"%.0f\n\", ($2 - $1) * 1e9 / ($4 - $3) }"; }
now() { date +%s%N; }
# The frames received by an interface at the other end of a wire.
arrived() { wire ip -j -s link show dev "$1" | jq '.[0].stats64.rx.packets'; }
median() { sort -n | awk '{ v[NR] = $1 } END { if (!NR) exit 1; print v[int((NR + 1) / 2)] }'; }
ping_median() { sed -n 's/.*time=\([0-9.]*\) ms/\1/p' | awk '{ print $1 * 1000 }' | median; }
adit_median() { sed -n 's/^round trip: .*median \([0-9.]*\),.*/\1/p'; }

# window SECONDS COUNTER…: the increase of a counter per second.
window() {
    local seconds=$1 before after start end
    shift
    sleep $settle
    before=$("$@") start=$(now)
    sleep "$seconds"
    after=$("$@") end=$(now)
    rate "$before" "$after" "$start" "$end"
}

# offer WIRE RATE MAC ADDRESS: frames from the wire, in the background there.
offer() {
    wire --bg offer trafgen --dev "$1" --cpus 1 --rate "$2pps" --no-cpu-stats \
        "{ eth(da=$3, sa=$stranger), ipv4(sa=198.18.0.1, da=$4), udp(sp=9, dp=9), fill(0, 18) }"
}

create() {
    adit -o json adi create --mac "$(adi_mac "$1")" | jq -r .device >"/run/adi.$1"
}

setup() {
    modprobe -a veth pktgen sch_ingress cls_matchall act_gact
    adit-load $first
    modprobe idpf
    nic-up 1 >/run/afxdp.dev
    ethtool -L "$(</run/afxdp.dev)" combined 1
    create 1
    create 2
    ip netns add pair
    ip link add veth0 type veth peer name veth1 netns pair
    ip addr add 198.18.1.1/24 dev veth0
    ip link set veth0 up
    ip -n pair addr add 198.18.1.2/24 dev veth1
    ip -n pair link set veth1 up
    uname -r
}

# batch LINE…: runs the lines, COUNT times in the order given, with % for the port and @ for
# an SF number, and prints the µs that each time has taken.
batch() {
    local index line start file
    file=$(mktemp)
    for ((index = 0; index < count; index++)); do
        # Indices are given from the lowest that is free; the two existing ADIs have 0 and 1.
        for line in "$@"; do
            line=${line//@/$((index + 100))}
            echo "${line//%/pci/$first/$((index * spread + 2))}"
        done
    done >"$file"
    start=$(now)
    devlink -b "$file" >/dev/null
    echo $((($(now) - start) / 1000 / count))
    rm -f "$file"
}

# [µs to make each, µs to destroy each, both, bytes of each]. One by one, only the sum is reported: it is
# repeated, as a single ADI takes less time than starting devlink(8).
scale() {
    local count=$1 spread=1 driver=$2 before after made gone both
    local add=("port add pci/$first flavour pcisf pfnum 0 sfnum @" "port function set % state active")
    [[ $driver == vfio ]] || echo 0 >/sys/bus/auxiliary/drivers_autoprobe
    before=$(memory)
    made=$(batch "${add[@]}")
    after=$(memory)
    if [[ $driver == vfio ]]; then (($(bound) == count + 2)); else (($(bound) == 2)); fi
    gone=$(batch "port del %")
    both=$((made + gone))
    if ((count == 1)); then
        made=null gone=null
        both=$(count=100 spread=0 batch "${add[@]}" "port del %")
    fi
    echo 1 >/sys/bus/auxiliary/drivers_autoprobe
    echo "[$made, $gone, $both, $(((after - before) * 1024 / $1))]"
}

# The number of ADIs that are VFIO devices.
bound() { find /sys/bus/auxiliary/devices/adit.adi.*/driver -maxdepth 0 2>/dev/null | wc -l; }

adi-out() {
    adit pktgen --adi "$(adi 1)" --seconds $(($1 + 3)) send --to $stranger >/dev/null &
    window "$1" arrived wire0
    wait
}

adi-in() {
    offer wire0 "$2" "$(adi_mac 1)" 198.18.0.2
    adit -o json pktgen --adi "$(adi 1)" --seconds "$1" receive | jq .received_per_second
    wire --kill offer || true
}

# As testpmd polls, so do owners of ADIs: a spin is longer than the time between requests.
spin=(--spin 50000)

adi-wire-irq-rtt() {
    spin=()
    adi-wire-rtt "$@"
}

adi-wire-rtt() {
    adit ping --adi "$(adi 1)" --ip 10.99.0.7 "${spin[@]}" -q &
    wire ping -n -q -c 2 -i 0.2 -W 5 10.99.0.7 >/dev/null || true
    wire ping -n -c "$1" -i 0.005 -W 2 10.99.0.7 | ping_median
    kill $!
    wait
}

adi-pair() {
    adit pktgen --adi "$(adi 1)" --seconds $(($1 + 4)) send --to "$(adi_mac 2)" >/dev/null &
    sleep $settle
    adit -o json pktgen --adi "$(adi 2)" --seconds "$1" receive | jq .received_per_second
    wait
}

adi-pair-rtt() {
    adit ping --adi "$(adi 2)" --ip 198.18.2.2 "${spin[@]}" -q &
    sleep $settle
    adit ping --adi "$(adi 1)" --ip 198.18.2.1 "${spin[@]}" -q -c "$1" -i 5 198.18.2.2 | adit_median
    kill $!
    wait
}

veth_received() { ip -n pair -j -s link show dev veth1 | jq '.[0].stats64.rx.packets'; }

veth-pair() {
    # They end where the stack takes them over.
    tc -n pair qdisc add dev veth1 clsact
    tc -n pair filter add dev veth1 ingress matchall action drop
    pktgen-send veth0 "$(ip -n pair -j link show dev veth1 | jq -r '.[0].address')" $(($1 + 3)) >/dev/null &
    window "$1" veth_received
    wait
    tc -n pair qdisc del dev veth1 clsact
}

veth-pair-rtt() {
    ping -n -q -c 2 -i 0.2 198.18.1.2 >/dev/null
    ping -n -c "$1" -i 0.005 198.18.1.2 | ping_median
}

# testpmd MODE CMD…: runs CMD while testpmd, on its AF_XDP driver, has the queue.
# One that receives is interactive: it is asked for its counts, in lines that are not kept in a
# buffer. The others end with the first line that they read.
testpmd() {
    local dev status=0 interactive=()
    dev=$(</run/afxdp.dev)
    [[ $1 != rxonly ]] || interactive=(-i)
    rm -f /run/testpmd.in
    mkfifo /run/testpmd.in
    timeout 120 stdbuf -oL dpdk-testpmd --no-huge -m 256 --no-pci --file-prefix=bench \
        --vdev "net_af_xdp0,iface=$dev" -- "${interactive[@]}" --forward-mode="$1" --txpkts=60 --no-mlockall \
        --total-num-mbufs=8192 --auto-start </run/testpmd.in >/run/testpmd.log 2>&1 &
    exec 3>/run/testpmd.in
    for ((n = 0; n < 300; n++)); do
        grep -q 'packet forwarding' /run/testpmd.log && ip link show dev "$dev" | grep -q xdp && break
        sleep 0.1
    done
    sleep $settle
    "${@:2}" || status=$?
    echo quit >&3
    exec 3>&-
    wait
    ((status == 0)) || tail -n 20 /run/testpmd.log >&2
    return $status
}

# The frames received by testpmd.
testpmd_received() {
    local before
    before=$(grep -c 'RX-packets' /run/testpmd.log || true)
    echo "show port stats 0" >&3
    for ((n = 0; n < 100; n++)); do
        (($(grep -c 'RX-packets' /run/testpmd.log || true) > before)) && break
        sleep 0.02
    done
    awk '/RX-packets/ { n = $2 } END { print n }' /run/testpmd.log
}

afxdp-out() { testpmd txonly window "$1" arrived wire1; }
afxdp_in() {
    local before after
    offer wire1 "$2" "$(cat "/sys/class/net/$(</run/afxdp.dev)/address")" 10.99.1.2
    # On a busy machine the first frame takes its time.
    for ((n = 0; n < 100; n++)); do
        (($(testpmd_received) > 0)) && break
        sleep 0.1
    done
    window "$1" testpmd_received
    # idpf (xsk.c, idpf_xskrq_poll) hands out buffers only after it has received something: when a
    # flood has used all of them up, it never receives again. trafgen sends once a second.
    before=$(testpmd_received)
    sleep 2.5
    after=$(testpmd_received)
    wire --kill offer || true
    if ((after == before)); then
        echo "idpf has no buffers left for the socket and does not recover" >&2
        return 1
    fi
}
afxdp-in() { testpmd rxonly afxdp_in "$@"; }
afxdp_rtt() {
    wire ping -n -q -c 5 -i 0.2 -W 5 10.99.1.2 >/dev/null || true
    wire ping -n -c "$1" -i 0.005 -W 2 10.99.1.2 | ping_median
}
afxdp-wire-rtt() { testpmd icmpecho afxdp_rtt "$1"; }

"$@"
