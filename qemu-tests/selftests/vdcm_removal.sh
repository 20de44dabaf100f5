#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The ends of the ADI of a composed device: the function is reset, the driver of the ADI is unbound, the
# daemon is killed. The client's driver sees a reset, and nothing waits for anything.
# TIMEOUT: 240
. "$SELFTEST_LIB/vdcm.sh"
. "$SELFTEST_LIB/memory.sh"
plan 20
check "adit is bound to the NIC" adi_start
check "three ADIs are created" eval 'adi_create 1 && adi_create 2 && adi_create 3'
pins=$(pinned)
check "the daemon starts" vdcm_start
check "a device is composed out of an ADI" vdev_create web 1
check "a client pings the wire" eval 'client_start web 10.99.0.3 && client up && client ping 10.99.0.1 3'
check "the ADI is not deleted while it is in use" refused "Device or resource busy" "" adi_state "$(adi_port 1)" inactive
check "the driver of the ADI unbinds within 10 s" eval '
    within 10 sh -c "echo $(adi_device 1) >$(readlink -f "$aux/$(adi_device 1)/driver")/unbind"'
check "the client sees a reset" client await reset
check_equal "the device says that its ADI is gone" "$(vdev_state web)" gone
check_equal "no page is pinned" "$(unpinned "$pins")" "$pins"
check "the client ends" client_stop
check "the device is destroyed" adit vdev destroy web
check "a device is composed out of another ADI" vdev_create db 2
check "a client pings the wire" eval 'client_start db 10.99.0.4 && client up && client ping 10.99.0.1 3'
check "the function is reset within 20 s" within 20 sh -c "echo 1 >/sys/bus/pci/devices/$nic/reset"
check "the client sees a reset" client await reset
check "the client ends" client_stop
check "another device is composed and used after that" eval 'vdev_create next 3 && client_start next 10.99.0.5 &&
    client up && client ping 10.99.0.1 3'
kill -9 "$vdcm_pid"
wait "$vdcm_pid" 2>/dev/null
check_equal "no page is pinned after the daemon is killed" "$(unpinned "$pins")" "$pins"
client_stop
check "the ADIs have no owner" eval 'adi_destroy 1 && adi_destroy 2 && adi_destroy 3'
rm -rf "$vdcm_folder"
done_testing
