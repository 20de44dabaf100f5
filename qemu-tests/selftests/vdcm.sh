#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# A device that adit-vdcm composes out of an ADI over VFIO, with a driver in another process that has
# the device's socket and nothing else: registers, mailbox, queues, interrupts, memory, resets, and a
# driver that is killed.
# TIMEOUT: 240
. "$SELFTEST_LIB/vdcm.sh"
. "$SELFTEST_LIB/memory.sh"
plan 24
check "adit is bound to the NIC" adi_start
check "an ADI is created" adi_create 1
pins=$(pinned)
check "the daemon starts" vdcm_start
check "a device is composed out of the ADI" vdev_create web 1
check_equal "the device has no client" "$(vdev_state web)" idle
check "the ADI has an owner" eval '! adi_state "$(adi_port 1)" inactive'
check "a client connects" client_start web 10.99.0.3
check_equal "the device has a client" "$(vdev_state web)" connected
check "the device is an IDPF VF with doorbells that are mapped" eval \
    'client describe && [[ $client_line == *"class 020001 express true mapped [(1100000, 4000)]"* ]]'
check "the queues come up" client up
check "the memory of the client is pinned once" eval '(($(pinned) - pins == 512))'
check "the client pings the wire" client ping 10.99.0.1 20
check "interrupts have reached the client" eval '[[ ! $client_line =~ " 0 interrupts" ]]'
echo "serve 3" >&"$client_fd"
check "the wire pings the client" wire ping -c 3 -i 0.2 -w 30 10.99.0.3
check "the client has answered" client_answers "ok serve 3"
check "other memory is mapped and unmapped under running queues" eval \
    'client map more && client unmap more && client ping 10.99.0.1 3'
check "the queues go down and come up" eval 'client down && client up && client ping 10.99.0.1 3'
check "the device is reset by the driver and by the client" eval \
    'client reset && client up && client ping 10.99.0.1 3'
check "memory of running queues is unmapped" client unmap all
check_equal "no page is pinned after the unmapping" "$(pinned)" "$pins"
kill -9 "$client_pid"
wait "$client_pid" 2>/dev/null
check "the device is idle after its client is killed" retry 10 eval '[[ $(vdev_state web) == idle ]]'
check "the next client uses it" eval 'client_start web 10.99.0.3 && client up && client ping 10.99.0.1 3 &&
    client_stop'
check "the device is destroyed" eval 'adit vdev destroy web && adi_destroy 1'
check "the daemon stops" vdcm_stop
rm -rf "$vdcm_folder"
done_testing
