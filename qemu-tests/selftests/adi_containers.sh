#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Two podman containers without a network, an ADI each: they reach each other and the wire, but
# have no access to the other's device.
# TIMEOUT: 400
. "$SELFTEST_LIB/adi.sh"
. "$SELFTEST_LIB/podman.sh"
plan 23

containers_begin adi
# run NAME [OPTION…] -- COMMAND…: a container with the ADI of that name.
run() {
    container_run "$1" --ulimit memlock=-1 --device "adit.dev/adi=$1" "${@:2}"
}
group() { adit -o json adi show "$1" | jq -r .vfio_group; }
device() { adit -o json adi show "$1" | jq -r .device; }

check "adit is bound to the NIC" adi_start
check "a root with adit for containers is made" containers_root adit
check "two ADIs with CDI specifications are created" eval \
    'adit adi create --name web --cdi && adit adi create --name db --cdi'
web=$(device web) db=$(device db) web_group=$(group web) db_group=$(group db)
check "a container has the node of its own VFIO group and no other" eval \
    '[[ $(run web -- ls /dev/vfio | tr "\n" " ") == "${web_group##*/} vfio " ]]'
check "a container has its device name in its environment" eval '[[ $(run web -- env) == *"ADIT_ADI_WEB=$web"* ]]'
run db --detach -- adit ping --adi "$db" --ip 10.99.0.12 -q >/dev/null
check "the ADI of one container replies to a ping from the wire" retry 20 wire ping -c 1 -W 2 10.99.0.12
check "the ADI of the other container pings the wire" run web -- adit ping -W 30000 --adi "$web" --ip 10.99.0.11 -i 50 -c 5 10.99.0.1
check "the ADI of one container pings the ADI of the other" run web -- adit ping -W 30000 --adi "$web" --ip 10.99.0.11 -i 10 -c 50 -q 10.99.0.12
check "a container cannot open the device of the other" eval \
    '! run web -- adit ping --adi "$db" --ip 10.99.0.13 -c 1 10.99.0.1'
major=$(command stat -c %t "$db_group") minor=$(command stat -c %T "$db_group")
check "a container cannot create a node of the other's group" eval \
    '! run web -- mknod /tmp/stolen c $((16#$major)) $((16#$minor))'
check "a container with CAP_MKNOD cannot open the other's group" eval \
    '[[ $(run web --cap-add MKNOD -- sh -c "mknod /tmp/stolen c $((16#$major)) $((16#$minor)) && dd if=/tmp/stolen count=1" 2>&1) == *"not permitted"* ]]'
check "the ADI of a killed container can be destroyed" eval \
    'podman kill db >/dev/null && retry 20 adit adi destroy db'
check "the CDI specification is removed with its ADI" eval \
    '! run db -- ls && [[ ! -e /var/run/cdi/adit.dev-adi_db.json && -e /var/run/cdi/adit.dev-adi_web.json ]]'
# The ADI of web is removed without adit while web runs, and another one is created.
web_node=$(group web) spec=/var/run/cdi/adit.dev-adi_web.json
cp $spec /tmp/adi-web.json
run web --detach -- sleep 100000 >/dev/null
check "devlink removes an ADI that its container has not opened" \
    devlink port del "$dl/$(adit -o json adi show web | jq .port_index)"
check "another ADI is created at the same port" adit adi create --name db --cdi
check "the node in the first container leads to no device" eval \
    '[[ $(podman exec web dd if=$web_node count=1 2>&1) == *"No such device"* ]]'
check "the node in the first container has a device number of its own" eval '[[ $(command stat -c %t:%T $(group db)) != "$(podman exec web stat -c %t:%T $web_node)" ]]'
podman kill web >/dev/null
retry 30 eval '! podman container exists web'
# A container engine that read the specification before it was removed.
cp /tmp/adi-web.json $spec
refused_start() { # refused_start WORDS: a container with web's specification does not start.
    local text
    text=$(run web -- ls /dev/vfio 2>&1) && { echo "it started: $text"; return 1; }
    echo "$text"
    [[ $text == *"$1"* ]]
}
check "a container with the stale specification of web does not start" refused_start "$web_node"
sed "s|$web_node|$(group db)|" /tmp/adi-web.json >$spec
check "a container with the stale specification of web and the node of db does not start" refused_start "error executing hook"
check "the stale specification is listed and pruned" eval \
    '[[ $(adit adi list) == *web*${spec#/var}* ]] && adit adi prune && [[ ! -e $spec && $(adit adi list) != *web* ]]'
check "the container of db starts" eval '[[ $(run db -- env) == *"ADIT_ADI_DB=$(device db)"* ]]'
check "the container of db opens its ADI by name" run db -- adit ping -W 30000 --adi db --ip 10.99.0.13 -i 50 -c 3 10.99.0.1
check "the ADI of db is destroyed" adit adi destroy db
containers_end
done_testing
