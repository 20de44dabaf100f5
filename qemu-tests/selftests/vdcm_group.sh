#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# A device whose virtual port has the queues of two ADIs over VFIO, two of each: one driver, RSS over
# the queues of both. The end of one ADI is a reset of the device, and leaves nothing of the other.
# TIMEOUT: 240
. "$SELFTEST_LIB/vdcm.sh"
. "$SELFTEST_LIB/memory.sh"
plan 31
check "adit is bound to the NIC" adi_start
check "ADIs are created" eval 'adi_create 1 max_io_eqs 2 && adi_create 2 max_io_eqs 2 && adi_create 3 &&
    adi_create 4 max_io_eqs 2 && adi_create 5 max_io_eqs 2'
pins=$(pinned)
check "the daemon starts" vdcm_start
check "a device is composed out of a group" vdev_create big 1 2 -- --group 2
shown() { adit -o json vdev show "$1" | jq -c "$2"; }
check_equal "it has one port with the queues of both" "$(shown big '[.queues, (.adis | length), .adis[0].pairs, .adis[0].mac]')" \
    '[4,1,4,"02:00:00:00:01:01"]'
check "an ADI of the group is in no other device" refused "busy" "" vdev_create other 2
check "an ADI of the group is not deleted" refused "Device or resource busy" "" adi_state "$(adi_port 2)" inactive
check "a client connects" client_start big 10.99.0.3 4
check "the doorbells of both are mapped as one range" eval \
    'client describe && [[ $client_line == *"mapped [(1100000, 10000)]"* ]]'
check "the queues come up" client up
check "the memory of the client is pinned for each ADI" eval '(($(pinned) - pins == 2 * 512))'
check "all queues ping the wire" client ping 10.99.0.1 40
check "interrupts have reached the client" eval '[[ ! $client_line =~ " 0 interrupts" ]]'

# spread: flows from the wire arrive at all four queues of the device at 10.99.0.3.
spread() {
    echo "flows 64" >&"$client_fd"
    wire bash -c 'for port in {40000..40063}; do echo x >"/dev/udp/10.99.0.3/$port"; done'
    client_answers "ok flows 64" && [[ $client_line =~ :" "([0-9]+)" "([0-9]+)" "([0-9]+)" "([0-9]+)$ ]] || return
    local n sum=0
    for n in "${BASH_REMATCH[@]:1}"; do
        ((n > 0)) || return
        sum=$((sum + n))
    done
    ((sum == 64))
}
check "flows from the wire are spread over the queues of both ADIs" spread
check_equal "the frames are those of the first ADI's port" \
    "$(($(<"$aux/$(adi_device 1)/statistics/rx_packets") >= 64)) $(<"$aux/$(adi_device 2)/statistics/rx_packets")" "1 0"
check "the device is reset by the driver and by the client" eval 'client reset && client up && client ping 10.99.0.1 4 && spread'
kill -9 "$client_pid"
wait "$client_pid" 2>/dev/null
check "the device is idle after its client is killed" retry 10 eval '[[ $(vdev_state big) == idle ]]'
check_equal "no page is pinned for a device without a client" "$(unpinned "$pins")" "$pins"
check "the next client uses it" eval 'client_start big 10.99.0.3 4 && client up && client ping 10.99.0.1 4 && spread'
check "the driver of the second ADI unbinds within 10 s" eval '
    within 10 sh -c "echo $(adi_device 2) >$(readlink -f "$aux/$(adi_device 2)/driver")/unbind"'
check "the client sees a reset" client await reset
check_equal "the device says that its ADI is gone" "$(vdev_state big)" gone
check_equal "no page is pinned" "$(unpinned "$pins")" "$pins"
# The daemon may notice a moment later that the client has left.
swapped() { client_stop && retry 10 adit vdev swap big 0 "$(adi_device "$1")" "$(adi_device "$2")"; }
works() { client_start big 10.99.0.3 4 && client up && client ping 10.99.0.1 4 && spread; }
check "another ADI takes its place in the group" swapped 1 4
check "the device works" works
check "an ADI of a group that works is replaced, and the other one leads" swapped 4 5
check "the device works with them" works
check "the first ADI is of use for another device" eval 'client_stop && adit vdev destroy big && vdev_create small 1 &&
    client_start small 10.99.0.3 2 && client up && client ping 10.99.0.1 4 && client_stop && adit vdev destroy small'
check "another group is composed and used" eval 'vdev_create next 3 1 -- --group 2 && client_start next 10.99.0.4 3 &&
    client up && client ping 10.99.0.1 6'
kill -9 "$vdcm_pid"
wait "$vdcm_pid" 2>/dev/null
check_equal "no page is pinned after the daemon is killed" "$(unpinned "$pins")" "$pins"
client_stop
check "the ADIs have no owner" eval 'adi_destroy 1 && adi_destroy 2 && adi_destroy 3 && adi_destroy 4 && adi_destroy 5'
rm -rf "$vdcm_folder"
done_testing
