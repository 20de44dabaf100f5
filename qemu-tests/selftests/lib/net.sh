# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=bash
#
# Shared by the network selftests. net_up brings the NIC up: $dev is its interface.
. "$SELFTEST_LIB/ktap.sh"

nic=0000:00:05.0
driver=/sys/bus/pci/drivers/idpf
host4=10.99.0.1 guest4=10.99.0.2
host6=fd99::1 guest6=fd99::2

# A test that unloaded the driver must not fail the next one.
net_up() {
    [[ -d $driver ]] || modprobe idpf
    [[ -e $driver/$nic ]] || echo "$nic" >"$driver/bind"
    dev=$(nic-up) || return 1
    ip link set "$dev" promisc off
}

# stat NAME: a counter of ethtool -S, summed over queues if NAME is a pattern.
stat() {
    ethtool -S "$dev" | awk -F: -v name="$1" '$1 ~ "^ *" name "$" { sum += $2 } END { print sum + 0 }'
}

link_stat() {
    cat "/sys/class/net/$dev/statistics/$1"
}

# ping4 [COUNT [OPTION…]], ping6: until COUNT replies have come, however late: with -W, ping waits for the
# last reply no longer than twice the longest round trip.
ping4() { ping -n -q -c "${1:-3}" -i 0.2 -w 30 "${@:2}" "$host4"; }
ping6() { ping -6 -n -q -c "${1:-3}" -i 0.2 -w 30 "${@:2}" "$host6"; }

# settle: brings the interface up after a change of settings.
settle() {
    ip link set "$dev" up && retry 15 carrier 1
}
carrier() { [[ $(cat "/sys/class/net/$dev/carrier" 2>/dev/null) == "$1" ]]; }

# wait_listen PORT, wire_listen PORT: until something listens in the guest, on the wire.
wait_listen() { retry 60 sh -c "ss -Hltn 'sport = :$1' | grep -q ."; }
wire_listen() { retry 60 wire_listens "$1"; }
wire_listens() { wire sh -c "ss -Hltn 'sport = :$1' | grep -q ."; }

# wire_stream OPTION…: iperf3 with a server on the wire, for this stream only: a server that goes on does
# not listen for a moment after each, and then refuses the next.
wire_stream() {
    local client
    # The server of the stream before may not have ended yet.
    retry 20 eval '! wire_listens 5201'
    wire --bg stream iperf3 -s -1 && wire_listen 5201 || return
    iperf3 "$@" --connect-timeout 5000 &
    client=$!
    retry 60 has_ended $client || { diagnose 5201 >&2; kill $client; }
    wait $client
}
has_ended() { ! kill -0 "$1" 2>/dev/null; }

# diagnose PORT [CMD…]: while a check about TCP fails: its connections here and at the other end, where CMD
# (wire) runs commands; counters of the driver and the device that are not 0.
diagnose() {
    local port=$1 other=("${@:2}")
    ((${#other[@]})) || other=(wire)
    local of="sport = :$port or dport = :$port"
    echo "--- here:"
    ss -tinmoa "$of"
    ip neigh
    echo "--- at the other end:"
    "${other[@]}" ss -tinmoa "$of"
    "${other[@]}" ip neigh
    "${other[@]}" tc -s qdisc show
    [[ -z $dev ]] || { echo "--- interface:" && ip -s -s link show dev "$dev" && ethtool -S "$dev" | grep -v ': 0$'; }
    echo "--- device:"
    device_metrics | grep -v '^#\| 0$'
    [[ -z $ADIT_P4RT ]] || timeout 20 adit ct -L
    wire tail -n 20 /run/adit/nic0.log
}

# device_metrics: the device's counters, as Prometheus text.
device_metrics() { wire curl -sSf http://127.0.0.1:9905/metrics; }

# device_metric NAME [LABELS…]: one counter of the device, summed over all samples with these
# labels (`direction="rx"`); nothing, which is no number, if there is no such counter.
device_metric() {
    local text
    text=$(device_metrics) || return
    awk -v name="$1" -v labels="${*:2}" '
        BEGIN { wanted = split(labels, label, " ") }
        $2 == "TYPE" && $3 == name { found = 1 }
        $1 == name || index($1, name "{") == 1 {
            for (i = 1; i <= wanted; i++)
                if (!index($1, label[i])) next
            sum += $NF
        }
        END { if (!found) exit 1; printf "%d\n", sum }' <<<"$text"
}

# received, sent: packets in the driver's queues so far. (`ip -s link` is up to 10 s late: idpf reads
# those counters of the device at intervals.)
received() { stat 'rx_q-[0-9]+_pkts'; }
sent() { stat 'tx_q-[0-9]+_pkts'; }

# wire_send DESTINATION COUNT: raw frames from the wire, destination as 12 hexadecimal digits.
wire_send() { wire "$SELFTEST_LIB/raw.py" send wire0 "${1}020000000098" "$2"; }

# filtered DESTINATION: the frames from the wire that their receivers do not want, so far. Those for a
# composed device are counted among those of ADIs; a unicast frame that no ADI wants goes to the virtual
# port of the NIC itself, which nobody enables there.
filtered() {
    local metric reason reasons=(filtered) number sum=0
    ((16#${1:0:2} & 1)) || reasons+=(port_disabled)
    for reason in "${reasons[@]}"; do
        for metric in adit_vport_dropped_total adit_adi_dropped_total; do
            number=$(device_metric $metric 'direction="rx"' "reason=\"$reason\"") || return
            sum=$((sum + number))
        done
    done
    echo $sum
}

# arrives yes|no DESTINATION: frames from the wire to that address arrive at the driver, or are
# counted as filtered by the device. 50 of them, so that other frames on the wire do not matter.
arrives() {
    local to=$2 taken before
    taken=$(received) before=$(filtered "$to")
    wire_send "$to" 50 || return 1
    if [[ $1 == yes ]]; then
        retry 20 eval '(($(received) >= taken + 50))' || { echo "too few arrived"; return 1; }
        (($(filtered $to) < before + 50)) || { echo "they were filtered"; return 1; }
    else
        retry 20 eval '(($(filtered $to) >= before + 50))' || { echo "they were not filtered"; return 1; }
        (($(received) < taken + 50)) || { echo "they arrived"; return 1; }
    fi
}
