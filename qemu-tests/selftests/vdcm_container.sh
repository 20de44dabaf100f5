#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# A podman container that has the socket of a composed device and nothing else, neither a network nor a
# device node, and drives it with a client of the published vfio_user crate.
# TIMEOUT: 240
. "$SELFTEST_LIB/vdcm.sh"
. "$SELFTEST_LIB/memory.sh"
. "$SELFTEST_LIB/podman.sh"
plan 19
containers_begin vdcm
# run NAME DEVICE -- COMMAND…: a container with that device's socket, at the same path.
run() {
    local socket=$vdcm_folder/$2.sock
    container_run "$1" --interactive --cap-drop all --volume "$socket:$socket" -- "${@:4}"
}

check "adit is bound to the NIC" adi_start
check "two ADIs are created" eval 'adi_create 1 && adi_create 2'
pins=$(pinned)
check "the daemon starts" vdcm_start
check "two devices are composed" eval 'vdev_create web 1 && vdev_create db 2'
check "a root with the client for containers is made" containers_root vdev_client
check_equal "a container has no network but loopback" "$(run web web -- ls /sys/class/net </dev/null)" lo
check "a container has no node of VFIO" eval '! run web web -- ls /dev/vfio </dev/null'
check_equal "a container has the socket of one device" "$(run web web -- ls "$vdcm_folder" </dev/null)" web.sock
client_run=(run web web -- vdev_client)
check "the client in the container connects" client_start web 10.99.0.3
check_equal "the device has a client" "$(vdev_state web)" connected
check "its queues come up" client up
check "it pings the wire" client ping 10.99.0.1 20
check "interrupts have reached it" eval '[[ ! $client_line =~ " 0 interrupts" ]]'
web_fd=$client_fd web_pid=$client_pid
client_run=(run db db -- vdev_client)
check "another container with another device pings the wire" eval \
    'client_start db 10.99.0.4 && client up && client ping 10.99.0.1 3'
client_stop
check "the other device is idle when its container has ended" retry 10 eval '[[ $(vdev_state db) == idle ]]'
podman kill web >/dev/null
exec {web_fd}>&-
wait "$web_pid" 2>/dev/null
check "the device of a killed container is idle" retry 10 eval '[[ $(vdev_state web) == idle ]]'
check_equal "no page of the containers is pinned" "$(unpinned "$pins")" "$pins"
check "devices and ADIs are destroyed" eval 'adit vdev destroy --all && adi_destroy 1 && adi_destroy 2'
check "the daemon stops" vdcm_stop
containers_end
rm -rf "$vdcm_folder"
done_testing
