#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The adit command beside devlink(8): both see the same ADIs, and refusals name their cause.
# TIMEOUT: 120
. "$SELFTEST_LIB/adit.sh"
plan 20
adit_free
check "the module takes the NIC" adit-load $nic
port() { devlink -j port show | jq -r ".port[] | select(.sfnum == $1) | .$2"; }
json() { adit -o json adi show "$1" | jq -r ".$2"; }
# What a refused command says on standard error.
refusal() { "$@" 2>&1 >/dev/null && return 1; }

check "an ADI is made" adit adi create --name web --queues 2 --mac 02:aa:00:00:00:01
check "devlink shows it as it was asked for" eval \
    '[[ $(port 0 function.hw_addr) == 02:aa:00:00:00:01 && $(port 0 function.max_io_eqs) == 2 &&
        $(port 0 function.state) == active && $(port 0 function.opstate) == attached ]]'
device=$(json web device)
check "its auxiliary device has the sfnum, MAC and queues" eval \
    '[[ $(cd /sys/bus/auxiliary/devices/$device && cat sfnum mac queues) == $'"'0\n02:aa:00:00:00:01\n2'"' ]]'
check "sysfs and adit agree on the PASID" eval \
    '[[ $(json web pasid) == $(</sys/bus/auxiliary/devices/$device/pasid) && $(json web pasid) -gt 0 ]]'
check "a port of devlink's making is listed" eval \
    'devlink port add pci/$nic flavour pcisf pfnum 0 sfnum 7 && adit adi list | grep -q "inactive .* 7$"'
check "a second ADI gets the lowest sfnum that is free" eval \
    'adit adi create && [[ $(json adi1 sfnum) == 1 ]]'
check "a name is given once" eval '[[ $(refusal adit adi create --name web) == *"web is taken"* ]]'
check "and nothing stays behind" eval '[[ $(adit -o json adi list | jq length) == 3 ]]'
check "an address is given once, and the kernel's reason is told" eval \
    '[[ $(refusal adit adi create --mac 02:aa:00:00:00:01) == *"something else has its address"* ]]'
check "too many queues are refused" eval \
    '[[ $(refusal adit adi create --queues 60000) == *"queue pairs"* ]]'
check "and nothing stays behind then either" eval '[[ $(adit -o json adi list | jq length) == 3 ]]'
check "reset keeps the settings" eval \
    'adit adi reset web && [[ $(json web state) == active && $(json web mac) == 02:aa:00:00:00:01 && $(json web queues) == 2 ]]'
check "an ADI that nobody has used has counters, all zero" eval \
    '[[ $(adit -o json adi stats web | jq -c "[.[0].rx_packets, .[0].tx_packets, .[0].tx_dropped]") == "[0,0,0]" ]]'
check "watch tells what is there" eval '[[ $(adit adi watch --count 1 | grep -c ^new) == 3 ]]'
folder=$(mktemp -d)
check "a CDI specification goes where it is wanted" eval \
    'adit adi create --name boxed --cdi --cdi-dir "$folder" && [[ -n $(ls "$folder") ]]'
check "and goes away with its ADI" eval 'adit adi destroy boxed && rmdir "$folder"'
check "destroy takes the port away" eval 'adit adi destroy web && [[ -z $(port 0 flavour) ]]'
check "an ADI that is not there is named" eval '[[ $(refusal adit adi destroy web) == *"no ADI \`web\`"* ]]'
check "all of them go" eval 'adit adi destroy --all && [[ $(adit -o json adi list) == "[]" && $(devlink -j port show | jq ".port | length") == 0 ]]'
done_testing
