#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# An ADI is removed in every way besides `adit adi destroy`. After each, no other ADI
# has its name, its CDI specification or its VFIO group.
# TIMEOUT: 300
. "$SELFTEST_LIB/adi.sh"
plan 54
json() { adit -o json adi list | jq -r ".[] | select(.name == \"$1\" and .state != \"orphan\") | .$2"; }
# The kinds of orphans of a name.
left() { adit -o json adi list | jq -r ".[] | select(.name == \"$1\" and .state == \"orphan\") | if .specification then \"specification\" else \"name\" end" | sort | xargs; }
spec() { echo "${2:-/var/run/cdi}/adit.dev-adi_$1.json"; }
# hook NAME [FOLDER]: runs the hook that a container runtime runs before the container starts.
hook() {
    local words
    mapfile -t words < <(jq -r '.devices[0].containerEdits.hooks[] | select(.hookName == "createRuntime") | .path, .args[1:][]' "$(spec "$@")")
    "${words[@]}"
}
node() { jq -r '.devices[0].containerEdits.deviceNodes[1].path' "$(spec "$1")"; }
numbers() { command stat -c %t:%T "$1"; }
# gone NAME REASON: the hook fails with this reason.
gone() { local text; text=$(hook "$1" 2>&1) && return 1; echo "$text"; [[ $text == *"$2"* ]]; }

check "adit is bound to the NIC" adi_start
# after METHOD: db is created after web was removed by that method; no remainder of web refers to db.
after() {
    check "$1: the name and the specification of web are listed as orphans" eval '[[ $(left web) == "name specification" && -z $(json web state) ]]'
    check "$1: the runtime hook refuses the specification of web" gone web "is gone"
    check "$1: the next ADI is created at the same port" adit adi create --name db --sfnum 0 --cdi
    check_equal "$1: the next ADI has its own name" "$(json db sfnum)" 0
    check "$1: the next ADI shares neither node nor device number with web" eval \
        '[[ $(json db vfio_group) != "$web_node" && $(numbers "$(json db vfio_group)") != "$web_numbers" ]]'
    check "$1: the orphans of web are removed" eval '[[ -z $(left web) && ! -e $(spec web) ]]'
    check "$1: the next ADI works and is destroyed" eval 'hook db && adit adi destroy db && [[ ! -e $(spec db) ]]'
}
before() {
    adit adi create --name web --sfnum 0 --cdi >/dev/null || return
    web_node=$(node web) web_numbers=$(numbers "$web_node")
    hook web
}
check "a named ADI is created" before
check "the port is deleted by devlink" devlink port del "$dl/$(json web port_index)"
after "port del"
check "a named ADI is created" before
check "the driver is reloaded by devlink" devlink dev reload "$dl"
after reload
check "a named ADI is created" before
check "the driver is unbound and bound" eval 'echo $nic >/sys/bus/pci/drivers/adit/unbind && echo $nic >/sys/bus/pci/drivers/adit/bind'
after unbind
check "a named ADI is created" before
check "the module is unloaded and loaded" eval 'adit-load -u "$nic" && adit-load "$nic"'
after rmmod

# Methods that keep the ADI.
check "a named ADI is created" before
check "a reset keeps the name and the node" eval \
    'echo 1 >/sys/bus/pci/devices/$nic/reset && hook web && [[ $(json web vfio_group) == "$web_node" ]]'
check "the driver of the ADI is unbound" eval 'echo $(json web device) >/sys/bus/auxiliary/drivers/adit.adit/unbind'
check "without a driver the ADI keeps its name and has no node" eval '[[ $(json web state) == active ]] && gone web "no VFIO device"'
check "the driver of the ADI is bound and the node differs" eval \
    'echo $(json web device) >/sys/bus/auxiliary/drivers/adit.adit/bind && gone web "is not $web_node any more"'
check "devlink deactivates and activates the ADI" eval \
    'port=$dl/$(json web port_index); devlink port function set $port state inactive && devlink port function set $port state active'
check "the ADI has kept its name" eval '[[ $(json web state) == active ]]'
check "the specification is an orphan after the reactivation" eval '[[ $(left web) == specification ]] && gone web "is gone"'
check "adit adi reset writes a new specification" eval 'adit adi reset web && hook web && [[ -z $(left web) ]]'
check "destroy removes the ADI and the new specification" eval 'adit adi destroy web && [[ ! -e $(spec web) && -z $(left web) ]]'

# A name is in use as long as its ADI exists.
check "prune removes the orphans of a name" eval \
    'before && devlink port del "$dl/$(json web port_index)" && adit adi prune && [[ -z $(left web) && ! -e $(spec web) ]]'
folder=$(mktemp -d)
check "prune removes orphans in another folder" eval \
    'adit adi create --name far --cdi --cdi-dir "$folder" && devlink port del "$dl/$(json far port_index)" && adit adi prune && rmdir "$folder"'
uuid=$(</proc/sys/kernel/random/uuid)
check "a mediated ADI is created" eval 'echo "$uuid" >"/sys/class/mdev_bus/$nic/mdev_supported_types/adit-1q/create"'
# It becomes a VFIO device after it is created.
group() { retry 20 test -e "/sys/bus/mdev/devices/$uuid/iommu_group" && basename "$(readlink -f "/sys/bus/mdev/devices/$uuid/iommu_group")"; }
first=$(group)
numbers=$(numbers "/dev/vfio/$first")
check "a mediated ADI created again under its UUID has a new identity" eval \
    'instance=$(<"/sys/bus/mdev/devices/$uuid/instance"); echo 1 >"/sys/bus/mdev/devices/$uuid/remove" &&
     echo "$uuid" >"/sys/class/mdev_bus/$nic/mdev_supported_types/adit-1q/create" &&
     [[ $(<"/sys/bus/mdev/devices/$uuid/instance") != "$instance" && $(group) != "$first" && $(numbers "/dev/vfio/$(group)") != "$numbers" ]]'
echo 1 >"/sys/bus/mdev/devices/$uuid/remove"
check "vport ids are not reused immediately" eval \
    'adi_create 1 && id=$(<"$aux/$(adi_device 1)/id") && adi_destroy 1 && adi_create 1 && [[ $(<"$aux/$(adi_device 1)/id") != "$id" ]]'
check "destroy --all removes every ADI" eval 'adit adi destroy --all && [[ $(adit -o json adi list) == "[]" ]]'
check "adit is unloaded" adit-load -u "$nic"
done_testing
