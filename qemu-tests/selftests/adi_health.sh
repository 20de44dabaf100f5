#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The function's health reporters, recovery from a loss of the control plane, and reload.
# TIMEOUT: 180
. "$SELFTEST_LIB/adit.sh"
plan 41
health() { devlink -j health show "$dl" reporter "$1" | jq -r ".health[][] | $2"; }
state() { [[ $(health "$1" .state) == "$2" ]]; }
check "adit is bound to the NIC" adit-load $nic
check_equal "both health reporters are registered" "$(devlink -j health show $dl | jq -r '.health[][].reporter' | sort | xargs)" \
    "adi_faults control_plane"
check_equal "both reporters are healthy" "$(health adi_faults .state) $(health control_plane .state)" "healthy healthy"
check_equal "the control plane reports no stray causes" \
    "$(devlink -j health diagnose $dl reporter control_plane | jq .stray_causes)" 0
check "an ADI is created" adi_up 1
check_equal "the diagnosis shows no faults" "$(devlink -j health diagnose $dl reporter adi_faults | jq -c '[.adis, .faults]')" "[0,0]"
check_equal "the dump is empty without a fault" "$(devlink -j health dump show $dl reporter adi_faults | jq -c .adis)" "[]"

# A queue that is stopped by a fault, of an ADI of devlink and one of mdev. devlink keeps a dump
# until it is cleared.
clear() { devlink health dump clear $dl reporter adi_faults; }
clear
uuid=$(cat /proc/sys/kernel/random/uuid)
types=/sys/class/mdev_bus/$nic/mdev_supported_types
check "a mediated ADI is created" eval 'echo "$uuid" >"$types/adit-1q/create"'
retry 20 test -e /sys/bus/mdev/devices/$uuid/iommu_group
check "automatic recovery can be switched off" \
    devlink health set $dl reporter adi_faults auto_recover false
faulty() { python3 "$SELFTEST_LIB/adi_faulty.py" "$@"; }
check "a queue with an unmapped address stops" faulty "$(basename $aux/adit.adi.*)" 0x77777000
check_equal "adi_faults reports one error" "$(retry 20 state adi_faults error; health adi_faults '.state + " \(.error)"')" \
    "error 1"
dump() { devlink -j health dump show $dl reporter adi_faults | jq -c ".adis$1"; }
check_equal "the dump shows the reason, the queue and the address" \
    "$(dump '[] | [.sfnum, .count, .reason, .queue_type, .queue, .address, .access]')" \
    "[1,1,\"NOT_MAPPED\",\"TX\",0,$((0x77777000)),\"read\"]"
check_equal "the dump shows the PASID" "$(dump '[].pasid')" "$(cat $aux/adit.adi.*/pasid)"
diagnosed() { devlink -j health diagnose $dl reporter adi_faults | jq -c '[.adis, .faults]'; }
check_equal "the diagnosis counts the fault" "$(diagnosed)" "[1,1]"
check "adi_faults recovers" devlink health recover $dl reporter adi_faults
check_equal "the reporter is healthy after recovery" "$(health adi_faults '.state + " \(.recover)"') $(diagnosed)" "healthy 1 [0,0]"
check "the dump can be cleared" clear
check_equal "the cleared dump is empty" "$(dump '')" "[]"
clear
check "a fault of the mediated ADI is reported" eval 'faulty "$uuid" 0x88888000 && retry 20 state adi_faults error'
check_equal "the dump names the mediated ADI by its UUID" "$(dump '[] | [.mdev, .sfnum, .reason]')" \
    "[\"$uuid\",null,\"NOT_MAPPED\"]"
devlink health recover $dl reporter adi_faults
clear
echo 1 >"/sys/bus/mdev/devices/$uuid/remove"

# Without memory decoding registers read as all ones, as of a lost function.
registers() { setpci -s "$nic" COMMAND="$1":2; }
check "memory decoding of the function can be disabled" registers 0
check "activating an ADI fails without registers" eval '! adi_up 2'
check "control_plane reports the error" retry 20 state control_plane error
check_equal "the existing ADI is dead" "$(cat $aux/adit.adi.*/state)" dead
check "recovery without registers fails with a reason" refused "" "function reset failed" devlink health recover $dl reporter control_plane
registers 2
check "recovery succeeds with registers" devlink health recover $dl reporter control_plane
check "the reporter is healthy after recovery" state control_plane healthy
check_equal "the existing ADI is active again" "$(cat $aux/adit.adi.*/state)" active
check "new ADIs are created" adi_state $(adi_port 2) active
check_equal "the new ADI is attached" "$(port_field $(adi_port 2) .function.opstate)" attached

check "devlink reload succeeds" devlink dev reload $dl
check_equal "no port exists after the reload" "$(devlink -j port show | jq -c .port)" '{}'
check_equal "no ADI exists after the reload" "$(occupancy adis)" 0
check "new ADIs are created" eval 'adi_up 1 && adi_up 2'
uuid=$(cat /proc/sys/kernel/random/uuid)
echo "$uuid" >"/sys/class/mdev_bus/$nic/mdev_supported_types/adit-1q/create"
check "reload with a mediated device is refused" refused "busy" "owned by mdev" devlink dev reload $dl
check_equal "a refused reload destroys no ADI" "$(occupancy adis)" 3
# The one that was created last: its port comes after the others.
python3 "$SELFTEST_LIB/adi_holder.py" "$(basename "$(ls -dv $aux/adit.adi.* | tail -1)")" hold >"$ktap_output.held" &
owner=$!
check "an ADI has an owner" retry 20 grep -q holds "$ktap_output.held"
echo 1 >"/sys/bus/mdev/devices/$uuid/remove"
check "reload with an ADI in use is refused" refused "busy" "is in use" devlink dev reload $dl
check_equal "a refused reload destroys no idle ADI" "$(occupancy adis)" 2
kill -9 $owner
wait $owner 2>/dev/null
rm "$ktap_output.held"
check "reload succeeds once the mediated device is removed" devlink dev reload $dl
check "adit is unloaded" adit-load -u $nic
done_testing
