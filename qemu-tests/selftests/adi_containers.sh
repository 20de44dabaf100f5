#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Two podman containers without a network, an ADI each: they reach each other and the wire, and
# nothing of the other's.
# TIMEOUT: 400
. "$SELFTEST_LIB/adi.sh"
plan 14

export CONTAINERS_STORAGE_CONF=/tmp/adi-storage.conf
cat >$CONTAINERS_STORAGE_CONF <<EOF
[storage]
driver = "vfs"
runroot = "/tmp/adi-containers/run"
graphroot = "/tmp/adi-containers/storage"
EOF
# Nothing but a shell, adit and what that is linked with.
image() {
    local root=/tmp/adi-image
    mkdir -p $root/bin $root/tmp
    cp --parents "$(command -v busybox)" "$(command -v adit)" $root
    ldd "$(command -v adit)" | grep -o '/[^ ]*' | xargs cp -L --parents -t $root
    for applet in sh ls sleep mknod dd env; do ln -sf "$(command -v busybox)" $root/bin/$applet; done
    tar -C $root -c . | podman import --quiet --change "ENV PATH=/bin:$(dirname "$(command -v adit)")" - adi-test
}
# run NAME [OPTION…] -- COMMAND…: a container with the ADI of that name.
run() {
    local name=$1 options=()
    shift
    while [[ $1 != -- ]]; do options+=("$1") && shift; done
    podman --cgroup-manager=cgroupfs run --rm --name "$name" --network none --ulimit memlock=-1 \
        --device "adit.dev/adi=$name" "${options[@]}" adi-test "${@:2}"
}
group() { adit -o json adi show "$1" | jq -r .vfio_group; }
device() { adit -o json adi show "$1" | jq -r .device; }

check "the NIC is adit's" adi_start
check "an image with adit in it is made" image
check "two ADIs are made, with CDI specifications" eval \
    'adit adi create --name web --cdi && adit adi create --name db --cdi'
web=$(device web) db=$(device db) web_group=$(group web) db_group=$(group db)
check "a container has its own group's node and no other" eval \
    '[[ $(run web -- ls /dev/vfio | tr "\n" " ") == "${web_group##*/} vfio " ]]'
check "and is told its device" eval '[[ $(run web -- env) == *"ADIT_ADI_WEB=$web"* ]]'
run db --detach -- adit ping --adi "$db" --ip 10.99.0.12 -q >/dev/null
check "one answers the wire" retry 20 wire ping -c 1 -W 2 10.99.0.12
check "one pings the wire" run web -- adit ping --adi "$web" --ip 10.99.0.11 -i 50 -c 5 10.99.0.1
check "one pings the other" run web -- adit ping --adi "$web" --ip 10.99.0.11 -i 10 -c 50 -q 10.99.0.12
check "the other's device cannot be opened" eval \
    '! run web -- adit ping --adi "$db" --ip 10.99.0.13 -c 1 10.99.0.1'
major=$(command stat -c %t "$db_group") minor=$(command stat -c %T "$db_group")
check "nor a node of it made" eval \
    '! run web -- mknod /tmp/stolen c $((16#$major)) $((16#$minor))'
check "nor opened with the right to make nodes" eval \
    '[[ $(run web --cap-add MKNOD -- sh -c "mknod /tmp/stolen c $((16#$major)) $((16#$minor)) && dd if=/tmp/stolen count=1" 2>&1) == *"not permitted"* ]]'
check "a container that is killed lets its ADI go" eval \
    'podman --cgroup-manager=cgroupfs kill db >/dev/null && retry 20 adit adi destroy db'
check "and its specification with it" eval \
    '! run db -- ls && [[ ! -e /var/run/cdi/adit.dev-adi_db.json && -e /var/run/cdi/adit.dev-adi_web.json ]]'
check "the other goes, too" adit adi destroy web
podman --cgroup-manager=cgroupfs rm --all --force >/dev/null 2>&1
rm -rf /tmp/adi-containers /tmp/adi-image $CONTAINERS_STORAGE_CONF
done_testing
