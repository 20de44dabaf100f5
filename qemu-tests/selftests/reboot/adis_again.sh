#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# After a reboot with ADIs in use: the device has none any more, and new ones work.
# TIMEOUT: 100
. "$SELFTEST_LIB/adi.sh"
plan 10
check "another boot" eval '[[ $(</proc/sys/kernel/random/boot_id) != "$(</scratch/reboot/boot-id)" ]]'
check "the NIC is adit's" adi_start
check_equal "no ADI is left" "$(occupancy adis)" 0
check "the same ones are made" eval 'adi_create 1 && adi_create 2'
spec=/scratch/reboot/cdi/adit.dev-adi_web.json
hook() { # what a container's runtime calls before the container starts
    local words
    mapfile -t words < <(jq -r '.devices[0].containerEdits.hooks[0] | .path, .args[1:][]' $spec)
    "${words[@]}"
}
check "one with the device name of web's is there" eval \
    'adi_create 9 && [[ -e $aux/$(jq -r ".devices[0].annotations[\"adit.dev/device\"]" $spec) ]]'
check "a container with web's specification would not start" eval 'text=$(hook 2>&1); [[ $? != 0 && $text == *"is gone"* ]]'
check "no ADI has web's name" eval '[[ $(adit -o json adi list) != *web* ]]'
check "one command clears the specification" eval 'adit adi prune --cdi-dir ${spec%/*} && [[ ! -e $spec ]]'
check "one pings the wire" adit ping --adi "$(adi_device 1)" --ip 10.99.0.3 -i 10 -c 5 10.99.0.1
check "all can be taken away" adit-load -u "$nic"
done_testing
