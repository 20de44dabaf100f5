#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The module is loaded and unloaded repeatedly, with ADIs of devlink and mdev, and owners under
# traffic; every few rounds the function is reset under them, too.
# TIMEOUT: 1500
. "$SELFTEST_LIB/adi.sh"
. "$SELFTEST_LIB/memory.sh"
plan 4
rounds=${ADIT_ROUNDS:-100}
types=/sys/class/mdev_bus/$nic/mdev_supported_types

round() {
    local owner
    adi_create 1 && adi_create 2 || return
    cat /proc/sys/kernel/random/uuid >"$types/adit-2q/create" || return
    adit pktgen --adi "$(adi_device 1)" --seconds 60 send >/dev/null 2>&1 &
    owner=$!
    sleep 0.$((RANDOM % 10))
    if (($1 % 5 == 0)); then
        echo 1 >"/sys/bus/pci/devices/$nic/reset" || return
    fi
    adit-load -u "$nic" || return
    wait $owner
    [[ ! -e /sys/module/adit ]] || return
    adit-load "$nic"
}
loop() {
    for ((n = 1; n <= $1; n++)); do
        round "$n" || { echo "round $n of $1"; return 1; }
    done
}
check "adit is bound to the NIC" adi_start
loop 5 >/dev/null
before=$(memory) pins=$(pinned)
check "the module is reloaded $rounds times" loop "$rounds"
check "no memory is leaked" freed "$before" 4096
check_equal "no page is left pinned" "$(unpinned "$pins")" "$pins"
done_testing
