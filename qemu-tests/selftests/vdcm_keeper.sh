#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# adit-vdcm under a keeper, with devices out of ADIs over VFIO: the daemon is replaced by SIGHUP under
# traffic, and no driver notices; after a crash the devices finish a reset and come back, on the same ADIs. An ADI
# that is taken away meanwhile is gone for its device, and free for others.
# TIMEOUT: 400
. "$SELFTEST_LIB/vdcm.sh"
. "$SELFTEST_LIB/memory.sh"
plan 49
vdcm_options=(--keeper)
worker() { pgrep -P "$vdcm_pid" -x adit-vdcm; }
is_other() { local now; now=$(worker) && [[ $now != "$1" ]] && adit vdev list; }
# next_worker SIGNAL PID: sends a signal, and waits until another daemon answers.
next_worker() {
    local before
    before=$(worker) || return
    kill "-$1" "$2" && retry 30 is_other "$before" || { cat "$vdcm_log"; return 1; }
}
resets() { adit -o json vdev stats "$1" | jq -c '.[0] | select(.name) | .resets // {}'; }
# flow: the wire pings the client, which answers what it gets while it serves, until `flow_pause`.
flow() {
    flow_log=$vdcm_folder/flow
    wire ping -n -D -O -i 0.05 10.99.0.3 >"$flow_log" 2>&1 &
    flow_pid=$!
}
# flow_pause: ends it, and prints the longest time without an answer in milliseconds.
flow_pause() {
    wire pkill -INT -f 'ping -n -D -O -i 0.05 10.99.0.3'
    wait "$flow_pid"
    sed -n 's/^\[\([0-9.]*\)\] .*bytes from.*/\1/p' "$flow_log" |
        awk 'NR > 1 && $1 - last > most { most = $1 - last } { last = $1 } END { printf "%d\n", most * 1000 }'
}

check "adit is bound to the NIC" adi_start
check "ADIs are created" eval 'adi_create 1 && adi_create 2 max_io_eqs 2 && adi_create 3 max_io_eqs 2 && adi_create 4'
pins=$(pinned)
check "the daemon starts under a keeper" vdcm_start
check "a device is composed out of an ADI" vdev_create web 1
check "a client's queues come up" eval 'client_start web 10.99.0.3 && client up && client ping 10.99.0.1 3'
web_fd=$client_fd web_out=$client_out web_pid=$client_pid
# web: the commands are for this client again.
web() { client_fd=$web_fd client_out=$web_out client_pid=$web_pid client_lines=$(wc -l <"$web_out"); }
check "the memory of the client is pinned once" eval '(($(pinned) - pins == 512))'

flow
for round in 1 2 3; do
    check "the daemon is replaced under traffic, round $round" eval '
        echo "serve 60" >&"$client_fd" && next_worker HUP "$vdcm_pid" && client_answers "ok serve 60"'
    check_equal "the device has its client, no reset and the same memory" \
        "$(vdev_state web) $(resets web) $(($(pinned) - pins))" "connected {} 512"
done
# The client answers for a while after the last replacement.
check "the traffic goes on" client serve 40
pause=$(flow_pause)
grep -o 'updated: clients were paused.*' "$vdcm_log" | sed 's/^/# /'
grep -o 'pid=[0-9]* us=[0-9]*' "$vdcm_log" | sed 's/^/# paused: /'
echo "# the longest time without an answer: $pause ms"
check "the driver works without having looked for a reset, by interrupts" eval '
    client ping 10.99.0.1 10 && [[ ! $client_line =~ " 0 interrupts" ]]'
check "memory is mapped and unmapped under running queues" eval \
    'client map more && client unmap more && client ping 10.99.0.1 3'
check "the queues go down and come up" eval 'client down && client up && client ping 10.99.0.1 3'
check "the ADI is not deleted while it is in use" refused "Device or resource busy" "" adi_state "$(adi_port 1)" inactive
check "memory that an earlier daemon has mapped is unmapped" client unmap all
check_equal "no page is pinned" "$(unpinned "$pins")" "$pins"
check "the next client uses the device" eval 'client_stop && client_start web 10.99.0.3 && client up &&
    client ping 10.99.0.1 3'
web_fd=$client_fd web_out=$client_out web_pid=$client_pid

check "a device is composed out of a group" eval 'vdev_create big 2 3 -- --group 2 && client_start big 10.99.0.4 4 &&
    client up && client ping 10.99.0.1 8'
big_fd=$client_fd big_out=$client_out big_pid=$client_pid
big() { client_fd=$big_fd client_out=$big_out client_pid=$big_pid client_lines=$(wc -l <"$big_out"); }
check "the daemon is replaced" next_worker HUP "$vdcm_pid"
check "both drivers go on" eval 'client ping 10.99.0.1 8 && web && client ping 10.99.0.1 3'
check_equal "no device was reset" "$(resets web) $(resets big)" "{} {}"
check_equal "memory is pinned once for each ADI" "$(($(pinned) - pins))" "$((3 * 512))"

check "the daemon is killed, and there is another one" next_worker KILL "$(worker)"
check "the drivers see a reset, and come back" eval '
    client restart && client up && client ping 10.99.0.1 3 && big && client restart && client up && client ping 10.99.0.1 8'
check_equal "memory is pinned once for each ADI" "$(($(pinned) - pins))" "$((3 * 512))"
check_equal "the devices have the same ADIs" "$(adit -o json vdev show web | jq -r '.adis[].name')" "$(adi_device 1)"
check "the daemon is replaced after that" eval 'next_worker HUP "$vdcm_pid" && client ping 10.99.0.1 8'
check "the group is destroyed with its client, and its ADIs are free at once" eval '
    client_stop && adit vdev destroy big && adi_destroy 2 && adi_destroy 3'
web

# No daemon is there while the function, and the ADI with it, is reset.
kill -STOP "$vdcm_pid"
kill -9 "$(pgrep -P "$vdcm_pid" -x adit-vdcm)"
check "the function is reset while there is no daemon" within 20 sh -c "echo 1 >/sys/bus/pci/devices/$nic/reset"
gone=$(worker)
kill -CONT "$vdcm_pid"
check "another daemon is there" retry 30 is_other "$gone"
check "the client sees a reset" client await reset
check_equal "the device says that its ADI is gone" "$(vdev_state web)" gone
check_equal "no page is pinned" "$(unpinned "$pins")" "$pins"
check "the daemon is replaced with a device that is gone" next_worker HUP "$vdcm_pid"
check_equal "the device says so still" "$(vdev_state web)" gone
check "another device has the ADI" eval 'client_stop && vdev_create other 1 && client_start other 10.99.0.5 && client up &&
    client ping 10.99.0.1 3'
check "the daemon is replaced, with another device on the ADI of the one that is gone" next_worker HUP "$vdcm_pid"
check "the other device has its ADI, and its driver goes on" eval '[[ $(vdev_state web) == gone ]] &&
    client ping 10.99.0.1 3'
check "the daemon is killed" next_worker KILL "$(worker)"
check "the other device has its ADI after a reset" eval '[[ $(vdev_state web) == gone ]] &&
    client restart && client up && client ping 10.99.0.1 3'
check "the other device is destroyed" eval 'client_stop && adit vdev destroy other'
check "another ADI takes its place" eval 'retry 10 adit vdev swap web 0 "$(adi_device 4)" &&
    client_start web 10.99.0.3 && client up && client ping 10.99.0.1 3'
check "the daemon is killed, and the device comes back on that ADI" eval 'next_worker KILL "$(worker)" &&
    client restart && client up && client ping 10.99.0.1 3'
client_stop
check "keeper and daemon stop" vdcm_stop
check_equal "no page is pinned" "$(unpinned "$pins")" "$pins"
check "the ADIs have no owner" eval 'adi_destroy 1 && adi_destroy 4'
rm -rf "$vdcm_folder"
done_testing
