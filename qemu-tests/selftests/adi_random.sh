#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Several callers make random calls of devlink, mdev and sysfs on ADIs at the same time, resets and
# unbinding included; afterwards nothing is leaked and ADIs work. ADIT_SEED repeats the calls of
# each caller; ADIT_SECONDS and ADIT_CALLERS extend the test.
# TIMEOUT: 200
. "$SELFTEST_LIB/adit.sh"
plan 7
seed=${ADIT_SEED:-$RANDOM}
seconds=${ADIT_SECONDS:-25}
callers=${ADIT_CALLERS:-3}
echo "# ADIT_SEED=$seed"
types=/sys/class/mdev_bus/$nic/mdev_supported_types
made=$(mktemp -d)

any() { echo "${@:RANDOM % $# + 1:1}"; }
some_port() { echo "$dl/$(any 0 1 2 3 4 5 9999)"; }
uuid() { printf '00000000-0000-4000-8000-%012x' $((RANDOM % 6)); }

# One random call; its outcome does not matter.
call() {
    case $((RANDOM % 24)) in
    [0-3]) devlink port add "$dl" flavour "$(any pcisf pcisf pcisf pcipf)" pfnum "$(any 0 0 0 1)" \
        sfnum "$(any 0 1 2 3 4 5 4294967295)" ;;
    [4-7]) devlink port function set "$(some_port)" state "$(any active active inactive)" ;;
    8) devlink port function set "$(some_port)" hw_addr \
        "$(any 02:00:00:00:00:01 02:00:00:00:00:02 00:00:00:00:00:00 ff:ff:ff:ff:ff:ff)" ;;
    9) devlink port function set "$(some_port)" max_io_eqs "$(any 0 1 2 3 16 17 65536 4294967295)" ;;
    1[0-1]) devlink port del "$(some_port)" ;;
    12) devlink -j port show ;;
    13) devlink resource show "$dl"; devlink dev info "$dl" ;;
    14) # shellcheck disable=SC2046
        devlink health $(any diagnose "dump show" "dump clear" recover) "$dl" \
        reporter "$(any adi_faults control_plane)" ;;
    15) devlink dev reload "$dl" action "$(any driver_reinit fw_activate)" ;;
    1[6-7]) uuid >"$types/$(any adit-1q adit-2q adit-8q)/create" ;;
    18) echo "$(any 1 0 x)" >"/sys/bus/mdev/devices/$(uuid)/remove" ;;
    19) echo "$(any nonsense "" 00000000-0000-4000-8000-00000000000)" >"$types/adit-1q/create" ;;
    20) cat /sys/bus/auxiliary/devices/adit.adi.*/{pasid,mac,state,faults,queues} ;;
    21) ((RANDOM % 4)) || echo 1 >"/sys/bus/pci/devices/$nic/reset" ;;
    22) ((RANDOM % 4)) || { echo "$nic" >/sys/bus/pci/drivers/adit/unbind; echo "$nic" >/sys/bus/pci/drivers/adit/bind; } ;;
    23) name=$(basename "$(any /sys/bus/auxiliary/devices/adit.adi.*)")
        echo "$name" >"/sys/bus/auxiliary/drivers/adit.adit/$(any unbind bind)" ;;
    esac >/dev/null 2>&1
}
caller() {
    RANDOM=$((seed + $1))
    local end=$((SECONDS + seconds)) count=0
    # On a slow machine a call takes seconds.
    while ((SECONDS < end || count <= 20)); do
        call
        count=$((count + 1))
    done
    echo $count >"$made/$1"
}

check "adit is bound to the NIC" adit-load $nic
for ((number = 1; number <= callers; number++)); do caller $number & done
check "no caller hangs" within $((seconds + 60)) tail -q --pid=$! -f /dev/null
wait
echo "# $(cat "$made"/* | paste -sd+ | bc) calls"
check "every caller has made calls" eval '(($(cat $made/* | sort -n | head -n 1) > 20))'
[[ -e /sys/bus/pci/drivers/adit/$nic ]] || echo "$nic" >/sys/bus/pci/drivers/adit/bind
check "an ADI is created after the calls" adi_up 777
check_equal "the new ADI is attached" "$(port_field $(adi_port 777) .function.opstate)" attached
check "adit is unloaded" adit-load -u $nic
check_equal "no device remains" "$(ls $aux /sys/bus/mdev/devices | grep -c 'adit\|-')" 0
done_testing
