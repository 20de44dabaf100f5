#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# An ADI is removed in every way besides `adit adi destroy`. Whichever it was, its name, its
# CDI specification and its VFIO group are nobody else's afterwards.
# TIMEOUT: 300
. "$SELFTEST_LIB/adi.sh"
plan 54
json() { adit -o json adi list | jq -r ".[] | select(.name == \"$1\" and .state != \"orphan\") | .$2"; }
# The kinds of what is left of a name.
left() { adit -o json adi list | jq -r ".[] | select(.name == \"$1\" and .state == \"orphan\") | if .specification then \"specification\" else \"name\" end" | sort | xargs; }
spec() { echo "${2:-/var/run/cdi}/adit.dev-adi_$1.json"; }
# hook NAME [FOLDER]: what a container's runtime calls before the container starts.
hook() {
    local words
    mapfile -t words < <(jq -r '.devices[0].containerEdits.hooks[] | select(.hookName == "createRuntime") | .path, .args[1:][]' "$(spec "$@")")
    "${words[@]}"
}
node() { jq -r '.devices[0].containerEdits.deviceNodes[1].path' "$(spec "$1")"; }
numbers() { command stat -c %t:%T "$1"; }
# gone NAME WHY…: the hook refuses it, with these words.
gone() { local text; text=$(hook "$1" 2>&1) && return 1; echo "$text"; [[ $text == *"$2"* ]]; }

check "the NIC is adit's" adi_start
# after HOW: db is created after web was removed in that way; nothing of web leads to db.
after() {
    check "$1: web is left over, and says so" eval '[[ $(left web) == "name specification" && -z $(json web state) ]]'
    check "$1: a container with it would not start" gone web "is gone"
    check "$1: the next ADI is made, at the same port" adit adi create --name db --sfnum 0 --cdi
    check_equal "$1: it has its own name" "$(json db sfnum)" 0
    check "$1: neither node nor numbers are those of web" eval \
        '[[ $(json db vfio_group) != "$web_node" && $(numbers "$(json db vfio_group)") != "$web_numbers" ]]'
    check "$1: what was left has gone by that" eval '[[ -z $(left web) && ! -e $(spec web) ]]'
    check "$1: db is as it should be" eval 'hook db && adit adi destroy db && [[ ! -e $(spec db) ]]'
}
before() {
    adit adi create --name web --sfnum 0 --cdi >/dev/null || return
    web_node=$(node web) web_numbers=$(numbers "$web_node")
    hook web
}
check "an ADI with a name" before
check "port del" devlink port del "$dl/$(json web port_index)"
after "port del"
check "an ADI with a name" before
check "devlink reload" devlink dev reload "$dl"
after reload
check "an ADI with a name" before
check "unbind" eval 'echo $nic >/sys/bus/pci/drivers/adit/unbind && echo $nic >/sys/bus/pci/drivers/adit/bind'
after unbind
check "an ADI with a name" before
check "rmmod" eval 'adit-load -u "$nic" && adit-load "$nic"'
after rmmod

# Ways on which the ADI stays.
check "an ADI with a name" before
check "a reset takes neither name nor node" eval \
    'echo 1 >/sys/bus/pci/devices/$nic/reset && hook web && [[ $(json web vfio_group) == "$web_node" ]]'
check "its driver is unbound" eval 'echo $(json web device) >/sys/bus/auxiliary/drivers/adit.adit/unbind'
check "which leaves a name, but no node" eval '[[ $(json web state) == active ]] && gone web "no VFIO device"'
check "and bound, to another node" eval \
    'echo $(json web device) >/sys/bus/auxiliary/drivers/adit.adit/bind && gone web "is not $web_node any more"'
check "devlink stops it, and starts it" eval \
    'port=$dl/$(json web port_index); devlink port function set $port state inactive && devlink port function set $port state active'
check "the name is still the ADI's" eval '[[ $(json web state) == active ]]'
check "the node is not" eval '[[ $(left web) == specification ]] && gone web "is gone"'
check "reset by adit writes another specification" eval 'adit adi reset web && hook web && [[ -z $(left web) ]]'
check "so that destroy finds all of it" eval 'adit adi destroy web && [[ ! -e $(spec web) && -z $(left web) ]]'

# A name is in use while its ADI is, whatever else is taken.
check "one command clears what is left" eval \
    'before && devlink port del "$dl/$(json web port_index)" && adit adi prune && [[ -z $(left web) && ! -e $(spec web) ]]'
folder=$(mktemp -d)
check "also in another folder" eval \
    'adit adi create --name far --cdi --cdi-dir "$folder" && devlink port del "$dl/$(json far port_index)" && adit adi prune && rmdir "$folder"'
uuid=$(</proc/sys/kernel/random/uuid)
check "a mediated ADI" eval 'echo "$uuid" >"/sys/class/mdev_bus/$nic/mdev_supported_types/adit-1q/create"'
group() { basename "$(readlink -f "/sys/bus/mdev/devices/$uuid/iommu_group")"; }
first=$(group)
numbers=$(numbers "/dev/vfio/$first")
check "made again under the same UUID, it is another one" eval \
    'instance=$(<"/sys/bus/mdev/devices/$uuid/instance"); echo 1 >"/sys/bus/mdev/devices/$uuid/remove" &&
     echo "$uuid" >"/sys/class/mdev_bus/$nic/mdev_supported_types/adit-1q/create" &&
     [[ $(<"/sys/bus/mdev/devices/$uuid/instance") != "$instance" && $(group) != "$first" && $(numbers "/dev/vfio/$(group)") != "$numbers" ]]'
echo 1 >"/sys/bus/mdev/devices/$uuid/remove"
check "vport numbers are not used again at once" eval \
    'adi_create 1 && id=$(<"$aux/$(adi_device 1)/id") && adi_destroy 1 && adi_create 1 && [[ $(<"$aux/$(adi_device 1)/id") != "$id" ]]'
check "everything goes" eval 'adit adi destroy --all && [[ $(adit -o json adi list) == "[]" ]]'
check "adit is unloaded" adit-load -u "$nic"
done_testing
