# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=bash
#
# Shared by the selftests of a device process that runs under a keeper.

# keeper, worker: the process ids for NIC $keeper_nic, at the other end of the wire. The worker may be absent for a
# moment. Arguments of both name files of the NIC.
keeper_nic=0
keeper() {
    local pid
    for pid in $(wire pgrep -x 'adit-(nic|vdcm)'); do
        wire grep -sqzE "(nic|vdcm)$keeper_nic\.(sock|toml)\$" "/proc/$pid/cmdline" && echo "$pid" && return
    done
}
worker() { wire pgrep -P "$(keeper)" -x 'adit-(nic|vdcm)'; }
worker_is_other() { local now; now=$(worker) && [[ -n $now && $now != "$1" ]]; }

# replaced SIGNAL PID: sends a signal to a process and waits until another worker runs.
replaced() {
    local before
    before=$(worker) || return 1
    wire kill "-$1" "$2" && retry 60 worker_is_other "$before"
}

# pings_start: pings the wire at $host4 every 50 ms, beside what follows.
pings_start() {
    pings=$(mktemp)
    ping -n -D -O -i 0.05 $host4 >"$pings" 2>&1 &
    pings_pid=$!
    retry 30 grep -q 'bytes from' "$pings"
}

# pings_pause: ends them once they are answered again, and prints the longest time without an answer in
# milliseconds.
pings_pause() {
    local before
    before=$(grep -c 'bytes from' "$pings")
    retry 40 eval '(($(grep -c "bytes from" "$pings") > '"$before"' + 20))' || { tail -n 3 "$pings"; return 1; }
    kill -INT "$pings_pid"
    wait "$pings_pid"
    sed -n 's/^\[\([0-9.]*\)\] .*bytes from.*/\1/p' "$pings" |
        awk 'NR > 1 && $1 - last > most { most = $1 - last } { last = $1 } END { printf "%d\n", most * 1000 }'
    rm -f "$pings"
}
