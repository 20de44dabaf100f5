# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=bash
#
# What the network selftests share. Sourcing it brings the NIC up: $dev is its interface.
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

# stat NAME: one counter of ethtool -S, summed over queues if NAME is a pattern.
stat() {
    ethtool -S "$dev" | awk -F: -v name="$1" '$1 ~ "^ *" name "$" { sum += $2 } END { print sum + 0 }'
}

link_stat() {
    cat "/sys/class/net/$dev/statistics/$1"
}

ping4() { ping -n -q -c "${1:-3}" -i 0.2 -W 5 "${@:2}" "$host4"; }
ping6() { ping -6 -n -q -c "${1:-3}" -i 0.2 -W 5 "${@:2}" "$host6"; }

# The settings that tests change.
settle() {
    ip link set "$dev" up && retry 15 carrier 1
}
carrier() { [[ $(cat "/sys/class/net/$dev/carrier" 2>/dev/null) == "$1" ]]; }

# wait_listen PORT, wire_listen PORT: until something listens in the guest, on the wire.
wait_listen() { retry 15 sh -c "ss -Hltn 'sport = :$1' | grep -q ."; }
wire_listen() { retry 15 wire sh -c "ss -Hltn 'sport = :$1' | grep -q ."; }

# device_metrics: what the device counts, as Prometheus text.
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
