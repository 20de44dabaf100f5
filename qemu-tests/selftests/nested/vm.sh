#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# A VM in the guest: QEMU on a device that adit-vdcm composes out of an ADI over VFIO. The VM has the
# guest's own kernel, whose idpf binds to the device, and pings the wire. Emulation inside of emulation
# takes minutes.
# TIMEOUT: 2000
. "$SELFTEST_LIB/vdcm.sh"
. "$SELFTEST_LIB/memory.sh"
. "$SELFTEST_LIB/nested.sh"
plan 21
check "adit is bound to the NIC" adi_start
check "an ADI is created" adi_create 1
pins=$(pinned)
check "the daemon starts" vdcm_start
check "a device is composed out of the ADI" vdev_create web 1
check "the kernel and an initramfs with idpf are prepared" vm_prepare
check "QEMU starts with the device" vm_start "$vdcm_folder/web.sock"
check "QEMU is the client of the device" retry 60 eval '[[ $(vdev_state web) == connected ]]'
check "the VM boots, and its idpf makes an interface" vm_prints 1500 "vm: interface up" || {
    kill -9 "$vm_pid"
    bail_out "the VM has no interface"
}
check_equal "it has the address of the ADI" "$(vm_value address)" 02:00:00:00:01:01
check "the VM pings the wire" vm_prints 300 "vm: the wire replies"
# All but the addresses of the VGA's memory and of ROMs.
check "the VM's memory is pinned" eval '(($(pinned) - pins >= (vm_mib - 1) * 256))'
sent=$(adi_traffic tx) received=$(adi_traffic rx)
check "the wire pings the VM" wire ping -n -c 3 -i 0.5 -W 30 10.99.0.2
check "the queues of the ADI have sent and received the frames" eval \
    '(($(adi_traffic tx) >= sent + 3 && $(adi_traffic rx) >= received + 3))'
check "interrupts have reached the VM's driver" eval 'vm_says continue && vm_prints 120 "vm: interrupts" &&
    (($(vm_value interrupts) > 0))'
check "idpf is unloaded" vm_prints 120 "vm: unloaded"
check "the VM powers itself down" vm_ends 240
check "its kernel's log has no warning" eval 'grep -q "^\[" "$vm_console" && ! grep "^\[" "$vm_console" | grep -E -f "$SELFTEST_LIB/klog-patterns"'
check "the device is idle" retry 20 eval '[[ $(vdev_state web) == idle ]]'
check_equal "no page is pinned any more" "$(unpinned "$pins")" "$pins"
check "the device is destroyed" eval 'adit vdev destroy web && adi_destroy 1'
check "the daemon stops" vdcm_stop
rm -rf "$vdcm_folder"
done_testing
