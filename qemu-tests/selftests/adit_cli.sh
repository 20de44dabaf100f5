#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The adit command beside devlink(8): both show the same ADIs, and errors name their cause.
# TIMEOUT: 240
. "$SELFTEST_LIB/adit.sh"
plan 32
adit_free
check "adit is bound to the NIC" adit-load $nic
port() { devlink -j port show | jq -r ".port[] | select(.sfnum == $1) | .$2"; }
json() { adit -o json adi show "$1" | jq -r ".$2"; }
# The standard error of a command that must fail.
refusal() { "$@" 2>&1 >/dev/null && return 1; }

check "an ADI is created" adit adi create --name web --queues 2 --mac 02:aa:00:00:00:01
check "devlink shows the requested settings" eval \
    '[[ $(port 0 function.hw_addr) == 02:aa:00:00:00:01 && $(port 0 function.max_io_eqs) == 2 &&
        $(port 0 function.state) == active && $(port 0 function.opstate) == attached ]]'
device=$(json web device)
check "the auxiliary device has the sfnum, MAC and queues" eval \
    '[[ $(cd /sys/bus/auxiliary/devices/$device && cat sfnum mac queues) == $'"'0\n02:aa:00:00:00:01\n2'"' ]]'
check "sysfs and adit agree on the PASID" eval \
    '[[ $(json web pasid) == $(</sys/bus/auxiliary/devices/$device/pasid) && $(json web pasid) -gt 0 ]]'
check "sysfs and adit agree on the virtual port" eval \
    '[[ $(json web vport) == $(</sys/bus/auxiliary/devices/$device/vport) && $(json web vport) -gt 0 ]]'
check "a port created by devlink is listed" eval \
    'devlink port add pci/$nic flavour pcisf pfnum 0 sfnum 7 && adit adi list | grep -q "inactive .* 7$"'
check "a second ADI gets the lowest free sfnum" eval \
    'adit adi create && [[ $(json adi1 sfnum) == 1 ]]'
check "a name in use is refused" eval '[[ $(refusal adit adi create --name web) == *"web is taken"* ]]'
check "a refused name leaves no ADI" eval '[[ $(adit -o json adi list | jq length) == 3 ]]'
check "a MAC address in use is refused with the reason of the kernel" eval \
    '[[ $(refusal adit adi create --mac 02:aa:00:00:00:01) == *"MAC address is in use"* ]]'
check "a number of queues out of range is refused with the range" eval \
    '[[ $(refusal adit adi create --queues 0) == *"0 is not in 1..=64"* ]]'
check "a refused number of queues leaves no ADI" eval '[[ $(adit -o json adi list | jq length) == 3 ]]'
check "adit adi reset keeps the settings" eval \
    'adit adi reset web && [[ $(json web state) == active && $(json web mac) == 02:aa:00:00:00:01 && $(json web queues) == 2 ]]'
check "the counters of an unused ADI are zero" eval \
    '[[ $(adit -o json adi stats web | jq -c "[.[0].rx_packets, .[0].tx_packets, .[0].tx_dropped]") == "[0,0,0]" ]]'
check "watch lists the existing ADIs" eval '[[ $(adit adi watch --count 1 | grep -c ^new) == 3 ]]'
for which in web "$(json web device)" "$(json web function)/$(json web port_index)" "$(json web sfnum)"; do
    check "\`$which' identifies the ADI for show and for opening" eval \
        '[[ $(json "$which" device) == $(json web device) ]] && adit pktgen --adi "$which" --seconds 0.1 receive'
done
check_equal "a port links to its device" \
    "$(basename "$(readlink -f "/sys/bus/pci/devices/$nic/port.$(json web port_index)")")" "$(json web device)"
check_equal "a device names its port" "$(<"$aux/$(json web device)/port")" \
    "$(json web function)/$(json web port_index)"
group=$(json web vfio_group)
chmod 0640 "$group"
check "a permission error names the node, its owner and its mode" eval \
    '[[ $(refusal setpriv --reuid 1000 --regid 1000 --clear-groups adit ping --adi $(json web device) --ip 10.99.0.3 10.99.0.1) == \
        *"$group belongs to user 0 and group 0, with mode 0640"*60-adit.rules* ]]'
check "completions write no error to a closed pipe" eval '[[ -z $( { adit completions bash | true; } 2>&1 ) ]]'
check "JSON output writes no error to a closed pipe" eval '[[ -z $( { for n in {1..20}; do adit -o json adi list | true; done; } 2>&1 ) ]]'
folder=$(mktemp -d)
check "a CDI specification is written to the given folder" eval \
    'adit adi create --name boxed --cdi --cdi-dir "$folder" && [[ -n $(ls "$folder") ]]'
check "the specification in the given folder is removed with its ADI" eval 'adit adi destroy boxed && rmdir "$folder"'
check "destroy removes the port" eval 'adit adi destroy web && [[ -z $(port 0 flavour) ]]'
check "an error about an unknown ADI names it" eval '[[ $(refusal adit adi destroy web) == *"no ADI \`web\`"* ]]'
# files CMD…: the number of files that its system calls name. (How often it looks for a node that is not there
# yet depends on the machine.)
files() {
    strace -f -qq -e trace=%file -o "$ktap_output.trace" "$@" >/dev/null &&
        grep -o '"[^"]*"' "$ktap_output.trace" | sort -u | wc -l
}
few=$(files adit adi create --name few)
for sfnum in {100..139}; do
    printf 'port add %s flavour pcisf pfnum 0 sfnum %s\n' "$dl" "$sfnum"
done | devlink -b - >/dev/null
for it in $(devlink -j port show | jq -r '.port | to_entries[] | select(.value.sfnum >= 100) | .key'); do
    echo "port function set $it state active"
done | devlink -b - >/dev/null
many=$(files adit adi create --name many)
check "creating an ADI costs the same with 40 others ($few files, $many files)" test "$many" -le $((few + 4))
check "destroying an ADI costs the same with 40 others" test "$(files adit adi destroy many)" -le $(($(files adit adi show few) * 3))
rm -f "$ktap_output.trace"
check "destroy --all removes every ADI" eval 'adit adi destroy --all && [[ $(adit -o json adi list) == "[]" && $(devlink -j port show | jq ".port | length") == 0 ]]'
done_testing
