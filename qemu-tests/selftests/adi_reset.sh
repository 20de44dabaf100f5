#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# ADIs and what comes from outside: a function-level reset, which they and their names survive while
# their owners have to open them anew; the driver unbound, the module reloaded, which end them.
# TIMEOUT: 240
. "$SELFTEST_LIB/adi.sh"
. "$SELFTEST_LIB/memory.sh"
plan 32
check "adit has the NIC" adit-load $nic
# What an ADI is: everything but the state of its queues.
identity() { (cd "$aux/$1" && cat instance port id pasid queues mac sfnum && readlink iommu_group); }
reset() { echo 1 >"/sys/bus/pci/devices/$nic/reset"; }
adi_create 1
# Where the one before was there is a hole: what comes back does not move there.
for sfnum in 2 3; do adi_create $sfnum max_io_eqs $sfnum; done
adi_destroy 1
check "one of them has a name" adit adi create --name web --sfnum 4 --mac 02:00:00:00:01:04
check_equal "three ADIs" "$(occupancy adis)" 3
for sfnum in 2 3 4; do identity "$(adi_device $sfnum)"; done >"$ktap_output.before"
two=$(adi_device 2) three=$(adi_device 3) web=$(adi_device 4) pins=$(pinned)
python3 "$SELFTEST_LIB/adi_after_reset.py" "$three" >"$ktap_output.owner" 2>&1 &
owner=$!
check "one has an owner" retry 20 grep -q holds "$ktap_output.owner"
check "a function-level reset" reset
check_equal "they are active, all of them" "$(cat $aux/adit.adi.*/state | sort | uniq -c | xargs)" "3 active"
check_equal "as devlink says" "$(port_field $(adi_port 2) '.function | .state + " " + .opstate')" \
    "active attached"
for sfnum in 2 3 4; do identity "$(adi_device $sfnum)"; done >"$ktap_output.after"
check "nothing of them is different" diff "$ktap_output.before" "$ktap_output.after"
check_equal "the name is still the ADI's" "$(adit -o json adi show web | jq -r .device)" "$web"
check "who has one open sees the reset, and gets errors from then on" eval \
    'wait $owner; status=$?; cat "$ktap_output.owner"; ((status == 0))'
check_equal "no page stays pinned" "$(pinned)" "$pins"
for device in $two $three web; do
    check "$device works for who opens it now" \
        adit ping --adi "$device" --ip 10.99.0.3 -i 10 -c 5 -q 10.99.0.1
done
check "a new one is made beside them" eval 'adi_create 5 && [[ $(occupancy adis) == 4 ]]'
check_equal "with an id that none had" "$(cat $aux/adit.adi.*/id | sort -u | wc -l)" 4
adit ping --adi $two --ip 10.99.0.4 -q >"$ktap_output.two" 2>&1 &
owner=$!
check "one answers the wire" retry 20 wire ping -c 1 -W 1 10.99.0.4
check "resets in a row" eval 'for i in 1 2 3; do reset || break; done'
check "end who has it open" retry 10 eval '! kill -0 $owner 2>/dev/null'
wait $owner
check_equal "with an error" "$?" 1
check "that says why" grep "the ADI is taken away" "$ktap_output.two"
check_equal "but no ADI" "$(cat $aux/adit.adi.*/state | sort | uniq -c | xargs)" "4 active"
check "one is destroyed as before" adit adi destroy web
check "a reset" reset
check_equal "does not bring it back" "$(occupancy adis) $(adit -o json adi list | jq length)" "3 3"
check "unbinding with ADIs" eval 'echo $nic >/sys/bus/pci/drivers/adit/unbind'
check "binding" eval 'echo $nic >/sys/bus/pci/drivers/adit/bind'
check_equal "no port is left" "$(devlink -j port show | jq -c .port)" '{}'
for round in 1 2 3; do
    check "reload $round with ADIs" eval \
        'for sfnum in {1..10}; do adi_up $sfnum || false; done; adit-load -u $nic && adit-load $nic'
done
check "adit is unloaded" adit-load -u $nic
rm -f "$ktap_output".*
done_testing
