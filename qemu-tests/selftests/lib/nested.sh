# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=bash
#
# Sourced by selftests with a VM in the guest, after vdcm.sh. Its files are in the daemon's folder; it
# runs nested-vm.sh and reports on its console.
vm_mib=256
vm_console=$vdcm_folder/console

# vm_prepare: makes the VM's kernel and initramfs out of the guest's.
vm_prepare() {
    sh /repo/qemu-tests/guest/mkimage.sh "$vdcm_folder" "" "$SELFTEST_LIB/nested-vm.sh" &&
        "$SELFTEST_LIB/vmlinux.py" "$vdcm_folder/vmlinuz" >"$vdcm_folder/vmlinux"
}

# vm_start SOCKET: starts QEMU with a device over vfio-user, whose memory the device can map. Each
# instruction that the VM executes for the first time is translated twice: firmware and command line
# spare it what the test does not need.
vm_start() {
    local append="console=ttyS0 quiet panic=-1 no_timer_check random.trust_cpu=on mitigations=off nokaslr"
    append+=" tsc=reliable lsm=capability audit=0 initcall_blacklist=load_system_certificate_list"
    mkfifo "$vdcm_folder/console.in"
    qemu-system-x86_64 -M q35 -bios qboot.rom -nodefaults -display none -no-reboot \
        -accel tcg,thread=single -cpu qemu64,+rdrand -smp 1 -m "${vm_mib}M" \
        -object "memory-backend-memfd,id=m0,size=${vm_mib}M,share=on" -machine memory-backend=m0 \
        -kernel "$vdcm_folder/vmlinux" -initrd "$vdcm_folder/initrd" -append "$append" \
        -device '{"driver":"vfio-user-pci","socket":{"path":"'"$1"'","type":"unix"},"x-no-posted-writes":true}' \
        -serial stdio <"$vdcm_folder/console.in" >"$vm_console" 2>&1 3>&- &
    vm_pid=$!
    exec {vm_fd}>"$vdcm_folder/console.in"
    vm_began=$SECONDS
    sleep 1
    kill -0 "$vm_pid" || { cat "$vm_console"; return 1; }
}

# vm_prints SECONDS TEXT: waits until the VM has printed a line that begins so.
vm_prints() {
    vm_has() { grep -q "^$2" "$vm_console" || ! kill -0 "$vm_pid" 2>/dev/null; }
    retry "$1" vm_has "$@"
    if grep -q "^$2" "$vm_console"; then
        echo "# $((SECONDS - vm_began)) s after the start: $2" >&3
    else
        tail -n 60 "$vm_console" "$vdcm_log"
        return 1
    fi
}

# vm_value NAME: the value that the VM has printed under a name.
vm_value() { tr -d '\r' <"$vm_console" | sed -n "s/^vm: $1 //p" | tail -n 1; }

# vm_says TEXT: writes a line to the VM's console.
vm_says() { echo "$1" >&"$vm_fd"; }

# vm_ends SECONDS: waits until the VM has powered itself down.
vm_ends() {
    vm_is_gone() { ! kill -0 "$vm_pid" 2>/dev/null; }
    retry "$1" vm_is_gone || { kill -9 "$vm_pid"; tail -n 60 "$vm_console"; return 1; }
    exec {vm_fd}>&-
    wait "$vm_pid"
}

# adi_traffic DIRECTION: the frames that the device's ADI has sent (tx) or received (rx).
adi_traffic() {
    adit -o json vdev stats web |
        jq --arg way "$1" '[.[0].adis[].traffic | to_entries[] | select(.key | test("^\($way)_(uni|multi|broad)cast")) | .value] | add'
}

# Progress, beside the results of checks.
exec 3>&1
