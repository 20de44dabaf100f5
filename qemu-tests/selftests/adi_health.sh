#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The function's health reporters, recovery from a control plane that is gone, and reload.
# TIMEOUT: 120
. "$SELFTEST_LIB/adit.sh"
plan 37
health() { devlink -j health show "$dl" reporter "$1" | jq -r ".health[][] | $2"; }
state() { [[ $(health "$1" .state) == "$2" ]]; }
check "adit has the NIC" adit-load $nic
check_equal "reporters" "$(devlink -j health show $dl | jq -r '.health[][].reporter' | sort | xargs)" \
    "adi_faults control_plane"
check_equal "all is well" "$(health adi_faults .state) $(health control_plane .state)" "healthy healthy"
check_equal "no cause went astray" \
    "$(devlink -j health diagnose $dl reporter control_plane | jq .stray_causes)" 0
check "an ADI" adi_up 1
check_equal "no fault is known" "$(devlink -j health diagnose $dl reporter adi_faults | jq -c '[.adis, .faults]')" "[0,0]"
check_equal "and the dump is empty" "$(devlink -j health dump show $dl reporter adi_faults | jq -c .adis)" "[]"

# A queue that is stopped by a fault, of an ADI of devlink and one of mdev. devlink keeps a dump, as it
# was, until it is cleared.
clear() { devlink health dump clear $dl reporter adi_faults; }
clear
uuid=$(cat /proc/sys/kernel/random/uuid)
types=/sys/class/mdev_bus/$nic/mdev_supported_types
check "a mediated one" eval 'echo "$uuid" >"$types/adit-1q/create"'
retry 5 test -e /sys/bus/mdev/devices/$uuid/iommu_group
check "devlink is to leave recovery to us" \
    devlink health set $dl reporter adi_faults auto_recover false
faulty() { python3 "$SELFTEST_LIB/adi_faulty.py" "$@"; }
check "an owner makes its ADI fail" faulty "$(basename $aux/adit.adi.*)" 0x77777000
check_equal "the reporter says so" "$(retry 5 state adi_faults error; health adi_faults '.state + " \(.error)"')" \
    "error 1"
dump() { devlink -j health dump show $dl reporter adi_faults | jq -c ".adis$1"; }
check_equal "the dump shows what was wrong" \
    "$(dump '[] | [.sfnum, .count, .reason, .queue_type, .queue, .address, .access]')" \
    "[1,1,\"NOT_MAPPED\",\"TX\",0,$((0x77777000)),\"read\"]"
check_equal "and of which PASID" "$(dump '[].pasid')" "$(cat $aux/adit.adi.*/pasid)"
diagnosed() { devlink -j health diagnose $dl reporter adi_faults | jq -c '[.adis, .faults]'; }
check_equal "diagnosis counts it" "$(diagnosed)" "[1,1]"
check "recovery" devlink health recover $dl reporter adi_faults
check_equal "all is well again" "$(health adi_faults '.state + " \(.recover)"') $(diagnosed)" "healthy 1 [0,0]"
check "the dump is cleared" clear
check_equal "and empty" "$(dump '')" "[]"
clear
check "the mediated one fails, too" eval 'faulty "$uuid" 0x88888000 && retry 5 state adi_faults error'
check_equal "and is called by its UUID" "$(dump '[] | [.mdev, .sfnum, .reason]')" \
    "[\"$uuid\",null,\"NOT_MAPPED\"]"
devlink health recover $dl reporter adi_faults
clear
echo 1 >"/sys/bus/mdev/devices/$uuid/remove"

# Without its registers the function is as good as gone.
registers() { setpci -s "$nic" COMMAND="$1":2; }
check "the registers go away" registers 0
check "which the next one who wants something finds" eval '! adi_up 2'
check "it is reported" retry 10 state control_plane error
check_equal "the ADI that was there is dead" "$(cat $aux/adit.adi.*/state)" dead
check "recovery fails with words" refused "" "function reset failed" devlink health recover $dl reporter control_plane
registers 2
check "recovery when the registers are back" devlink health recover $dl reporter control_plane
check "all is well again" state control_plane healthy
check_equal "the ADI that was there is back" "$(cat $aux/adit.adi.*/state)" active
check "new ones are made" adi_state $(adi_port 2) active
check_equal "and live" "$(port_field $(adi_port 2) .function.opstate)" attached

check "reload" devlink dev reload $dl
check_equal "no port is left" "$(devlink -j port show | jq -c .port)" '{}'
check_equal "and no ADI" "$(occupancy adis)" 0
check "new ones are made" eval 'adi_up 1 && adi_up 2'
uuid=$(cat /proc/sys/kernel/random/uuid)
echo "$uuid" >"/sys/class/mdev_bus/$nic/mdev_supported_types/adit-1q/create"
check "reload under a mediated device is refused" refused "busy" "owned by mdev" devlink dev reload $dl
echo 1 >"/sys/bus/mdev/devices/$uuid/remove"
check "not once it is gone" devlink dev reload $dl
check "adit is unloaded" adit-load -u $nic
done_testing
