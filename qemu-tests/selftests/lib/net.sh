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

ping4() { ping -n -q -c "${1:-3}" -i 0.2 -W 5 "${@:2}" "$host4"; }
ping6() { ping -6 -n -q -c "${1:-3}" -i 0.2 -W 5 "${@:2}" "$host6"; }

# settle: brings the interface up after a change of settings.
settle() {
    ip link set "$dev" up && retry 15 carrier 1
}
carrier() { [[ $(cat "/sys/class/net/$dev/carrier" 2>/dev/null) == "$1" ]]; }

# wait_listen PORT, wire_listen PORT: until something listens in the guest, on the wire.
wait_listen() { retry 15 sh -c "ss -Hltn 'sport = :$1' | grep -q ."; }
wire_listen() { retry 15 wire sh -c "ss -Hltn 'sport = :$1' | grep -q ."; }

# device_metrics: the device's counters, as Prometheus text.
device_metrics() { wire curl -sSf http://127.0.0.1:9905/metrics; }

# device_metric NAME [LABELS…]: one counter of the device, summed over all samples with these
# labels (`direction="rx"`).
device_metric() {
    device_metrics | awk -v name="$1" -v labels="${*:2}" '
        BEGIN { wanted = split(labels, label, " ") }
        $1 == name || index($1, name "{") == 1 {
            for (i = 1; i <= wanted; i++)
                if (!index($1, label[i])) next
            sum += $NF
        }
        END { printf "%d\n", sum }'
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
    local metric reason reasons=(filtered) sum=0
    ((16#${1:0:2} & 1)) || reasons+=(port_disabled)
    for reason in "${reasons[@]}"; do
        for metric in adit_vport_dropped_total adit_adi_dropped_total; do
            sum=$((sum + $(device_metric $metric 'direction="rx"' "reason=\"$reason\"")))
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
        retry 5 eval '(($(received) >= taken + 50))' || { echo "too few arrived"; return 1; }
        (($(filtered $to) < before + 50)) || { echo "they were filtered"; return 1; }
    else
        retry 5 eval '(($(filtered $to) >= before + 50))' || { echo "they were not filtered"; return 1; }
        (($(received) < taken + 50)) || { echo "they arrived"; return 1; }
    fi
}
