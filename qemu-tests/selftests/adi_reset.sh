#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# ADIs across events of the function: a function-level reset, which ADIs and their names survive while
# their owners have to open them again; unbinding and reloading, which destroy them.
# TIMEOUT: 240
. "$SELFTEST_LIB/adi.sh"
. "$SELFTEST_LIB/memory.sh"
plan 32
check "adit is bound to the NIC" adi_start
# The identity of an ADI: everything but the state of its queues.
identity() { (cd "$aux/$1" && cat instance port id vport pasid queues mac sfnum && readlink iommu_group); }
reset() { echo 1 >"/sys/bus/pci/devices/$nic/reset"; }
adi_create 1
# The first ADI leaves a free slot: restored ADIs must not move into it.
for sfnum in 2 3; do adi_create $sfnum max_io_eqs $sfnum; done
adi_destroy 1
check "a named ADI is created" adit adi create --name web --sfnum 4 --mac 02:00:00:00:01:04
check_equal "three ADIs exist" "$(occupancy adis)" 3
for sfnum in 2 3 4; do identity "$(adi_device $sfnum)"; done >"$ktap_output.before"
two=$(adi_device 2) three=$(adi_device 3) web=$(adi_device 4) pins=$(pinned)
python3 "$SELFTEST_LIB/adi_after_reset.py" "$three" >"$ktap_output.owner" 2>&1 &
owner=$!
check "one ADI has an owner" retry 20 grep -q holds "$ktap_output.owner"
check "the function is reset" reset
check_equal "all ADIs are active after the reset" "$(cat $aux/adit.adi.*/state | sort | uniq -c | xargs)" "3 active"
check_equal "devlink shows the ADI as active and attached" "$(port_field $(adi_port 2) '.function | .state + " " + .opstate')" \
    "active attached"
for sfnum in 2 3 4; do identity "$(adi_device $sfnum)"; done >"$ktap_output.after"
check "the ADIs keep their identity across the reset" diff "$ktap_output.before" "$ktap_output.after"
check_equal "the named ADI has kept its name" "$(adit -o json adi show web | jq -r .device)" "$web"
check "the owner is notified of the reset and gets errors afterwards" eval \
    'wait $owner; status=$?; cat "$ktap_output.owner"; ((status == 0))'
check_equal "no page is pinned after the reset" "$(pinned)" "$pins"
for device in $two $three web; do
    check "$device works for an owner that opens it after the reset" \
        adit ping -W 30000 --adi "$device" --ip 10.99.0.3 -i 10 -c 5 -q 10.99.0.1
done
check "a new ADI is created beside them" eval 'adi_create 5 && [[ $(occupancy adis) == 4 ]]'
check_equal "the new ADI has an id of its own" "$(cat $aux/adit.adi.*/id | sort -u | wc -l)" 4
adit ping --adi $two --ip 10.99.0.4 -q >"$ktap_output.two" 2>&1 &
owner=$!
check "an ADI replies to a ping from the wire" retry 20 wire ping -c 1 -W 1 10.99.0.4
check "the function is reset three times in a row" eval 'for i in 1 2 3; do reset || break; done'
check "the owner of an open ADI exits on reset" retry 10 eval '! kill -0 $owner 2>/dev/null'
wait $owner
check_equal "the owner exits with an error" "$?" 1
check "the error names the reason" grep "the ADI is taken away" "$ktap_output.two"
check_equal "all ADIs are active after the resets" "$(cat $aux/adit.adi.*/state | sort | uniq -c | xargs)" "4 active"
check "the named ADI is destroyed" adit adi destroy web
check "the function is reset again" reset
check_equal "a destroyed ADI stays destroyed after a reset" "$(occupancy adis) $(adit -o json adi list | jq length)" "3 3"
check "the driver unbinds with ADIs in existence" eval 'echo $nic >/sys/bus/pci/drivers/adit/unbind'
check "the driver binds again" eval 'echo $nic >/sys/bus/pci/drivers/adit/bind'
check_equal "no port exists after binding" "$(devlink -j port show | jq -c .port)" '{}'
for round in 1 2 3; do
    check "the module is unloaded and loaded with ADIs, round $round" eval \
        'for sfnum in {1..10}; do adi_up $sfnum || false; done; adit-load -u $nic && adit-load $nic'
done
check "adit is unloaded" adit-load -u $nic
rm -f "$ktap_output".*
done_testing
