#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# After a reboot with ADIs in use: the device has no ADIs, and new ones work.
# TIMEOUT: 100
. "$SELFTEST_LIB/adi.sh"
plan 10
check "the guest has rebooted" eval '[[ $(</proc/sys/kernel/random/boot_id) != "$(</scratch/reboot/boot-id)" ]]'
check "adit is bound to the NIC" adi_start
check_equal "no ADI remains after the reboot" "$(occupancy adis)" 0
check "the same ADIs are created" eval 'adi_create 1 && adi_create 2'
spec=/scratch/reboot/cdi/adit.dev-adi_web.json
hook() { # runs the hook that a container runtime runs before the container starts
    local words
    mapfile -t words < <(jq -r '.devices[0].containerEdits.hooks[0] | .path, .args[1:][]' $spec)
    "${words[@]}"
}
check "an ADI with the device name of web exists" eval \
    'adi_create 9 && [[ -e $aux/$(jq -r ".devices[0].annotations[\"adit.dev/device\"]" $spec) ]]'
check "the runtime hook refuses the specification of web" eval 'text=$(hook 2>&1); [[ $? != 0 && $text == *"is gone"* ]]'
check "no ADI is named web" eval '[[ $(adit -o json adi list) != *web* ]]'
check "prune removes the specification" eval 'adit adi prune --cdi-dir ${spec%/*} && [[ ! -e $spec ]]'
check "an ADI pings the wire" adit ping -W 30000 --adi "$(adi_device 1)" --ip 10.99.0.3 -i 10 -c 5 10.99.0.1
check "adit is unloaded" adit-load -u "$nic"
done_testing
