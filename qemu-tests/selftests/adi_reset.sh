#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# ADIs and what ends them from outside: a function-level reset, the driver unbound, the module
# reloaded.
# TIMEOUT: 200
. "$SELFTEST_LIB/adit.sh"
plan 21
check "adit has the NIC" adit-load $nic
for sfnum in 1 2 3; do adi_up $sfnum; done
check_equal "three ADIs" "$(occupancy adis)" 3
pasids=$(cat $aux/adit.adi.*/pasid)
check "a function-level reset" eval 'echo 1 >/sys/bus/pci/devices/$nic/reset'
check_equal "they are dead, all of them" "$(cat $aux/adit.adi.*/state | sort | uniq -c | xargs)" "3 dead"
check_equal "and devlink says so" "$(port_field $(adi_port 2) '.function | .state + " " + .opstate')" \
    "active detached"
check "a new one is made" adi_up 4
for sfnum in 1 2 3; do
    check "number $sfnum is made inactive" adi_state $(adi_port $sfnum) inactive
    check "and active again" adi_state $(adi_port $sfnum) active
done
check_equal "all four live" "$(cat $aux/adit.adi.*/state | sort | uniq -c | xargs)" "4 active"
check "a reset again, and again" eval 'for i in 1 2 3; do echo 1 >/sys/bus/pci/devices/$nic/reset || false; done'
check "unbinding with dead ADIs" eval 'echo $nic >/sys/bus/pci/drivers/adit/unbind'
check "binding" eval 'echo $nic >/sys/bus/pci/drivers/adit/bind'
check_equal "no port is left" "$(devlink -j port show | jq -c .port)" '{}'
for round in 1 2 3; do
    check "reload $round with ADIs" eval \
        'for sfnum in {1..10}; do adi_up $sfnum || false; done; adit-load -u $nic && adit-load $nic'
done
check "adit is unloaded" adit-load -u $nic
done_testing
